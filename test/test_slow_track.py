"""The slow track's thread: its lanes and turns, its end, and what it takes from the rest of the process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
import torch
from stream_setup import (
    INPUT_SIZE,
    PATIENCE,
    STEP,
    GatedSlowNetwork,
    PlainSlowNetwork,
    moving_frames,
    plain_frame,
    segment_all,
    segment_with_key,
    stream_network,
    two_tracks,
    wait_until,
)
from torch import Tensor

from lowlat_seg_ros.fast.frames import Answer, SeenFrame
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import FixedInterval
from lowlat_seg_ros.stream.scheduled_slow_track import InlineSlowTrack
from lowlat_seg_ros.stream.slow_lane import SlowJob
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack


def job(sequence: int, brightness: float = 0.0) -> SlowJob:
    image = torch.full((1, 3, INPUT_SIZE[1], INPUT_SIZE[0]), brightness)
    with torch.inference_mode():
        return SlowJob(SeenFrame(sequence, sequence * STEP, image, stream_network().low_features(image)))


# --- lanes and turns -------------------------------------------------------------------------------------------------


def test_a_camera_whose_every_frame_is_a_key_frame_does_not_starve_another() -> None:
    slow = GatedSlowNetwork(stream_network())
    with ThreadedSlowTrack(slow) as track:
        greedy = StreamEngine(stream_network(), track, FixedInterval(1))
        modest = StreamEngine(stream_network(), track, FixedInterval(4))
        bright, dark = plain_frame(250), plain_frame(5)
        segment_with_key(greedy, bright, 0)
        segment_with_key(modest, dark, 0)
        slow.shut()
        begun = len(slow.images)
        for i in range(1, 13):
            greedy.segment(bright, i * STEP)
            modest.segment(dark, i * STEP)
            if i == 1:
                wait_until(lambda: len(slow.images) == begun + 1, "Sh began with the greedy camera's first key frame")
            elif i % 4 == 0:  # the modest camera's key frame waits, and the greedy one's next is due
                slow.let_through_one()
                greedy.segment(bright, i * STEP)
                slow.let_through_one()
        slow.let_through(2)
    cameras = ["greedy" if float(image.float().mean()) > 127 else "modest" for image in slow.images[begun:]]
    assert cameras[:3] == ["greedy", "modest", "greedy"]
    assert cameras.count("modest") == 3  # of its frames 4, 8 and 12, each as soon as its turn came


def test_lanes_with_work_take_turns() -> None:
    slow = GatedSlowNetwork(stream_network())
    slow.shut()
    with ThreadedSlowTrack(slow) as track:
        lanes = [track.open_lane() for _ in range(3)]
        lanes[0].submit(job(0, brightness=0.0))
        wait_until(lambda: len(slow.images) == 1, "Sh began with the first job")
        for turn in range(1, 9):
            for brightness, lane in enumerate(lanes):
                lane.submit(job(turn, float(brightness)))
            slow.let_through_one()
        slow.let_through(4)
    order = [int(image.mean().round()) for image in slow.images[:9]]
    assert order == [0, 1, 2, 0, 1, 2, 0, 1, 2]


def test_a_lesson_that_a_key_frame_interrupted_goes_on_once_none_waits() -> None:
    learned: list[str] = []
    with ThreadedSlowTrack(stream_network(), share=1.0) as track:
        first = track.open_lane(
            learn=lambda key, may_go_on: learned.append(f"first, may go on: {may_go_on()}"),
            learn_more=lambda may_go_on: learned.append(f"first again, may go on: {may_go_on()}"),
        )
        second = track.open_lane(learn=lambda key, may_go_on: learned.append(f"second, may go on: {may_go_on()}"))
        with track._changed:
            first.submit(job(0))
            second.submit(job(0))
        wait_until(lambda: len(learned) == 3, "the first has learned again")
    assert learned == ["first, may go on: False", "second, may go on: True", "first again, may go on: True"]


def test_results_come_to_the_lane_that_asked() -> None:
    with ThreadedSlowTrack(stream_network()) as track:
        lanes = [track.open_lane() for _ in range(3)]
        for sequence, lane in enumerate(lanes):
            lane.submit(job(sequence))
        wait_until(lambda: all(lane.counts().done == 1 for lane in lanes), "one job of each lane done")
        keys = [[result.key.frame.sequence for result in lane.collect() if result.key is not None] for lane in lanes]
        assert keys == [[0], [1], [2]]
        assert all(lane.collect() == [] for lane in lanes)


def test_counts_tell_what_a_lane_does() -> None:
    with two_tracks(FixedInterval(1)) as tracks:
        lane = tracks.lane
        assert not lane.counts().busy and not lane.counts().waiting
        tracks.slow_network.shut()
        lane.submit(job(0))
        tracks.wait_for_start(1)
        assert lane.counts().busy and not lane.counts().waiting
        lane.submit(job(1))
        assert lane.counts().busy and lane.counts().waiting
        tracks.slow_network.let_through(2)
        tracks.wait_for_done(2)
        counts = lane.counts()
    assert (counts.busy, counts.waiting, counts.done, counts.failed, counts.discarded) == (False, False, 2, 0, 0)
    assert counts.last_milliseconds > 0


def test_taking_a_job_where_none_waits_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="a job can be taken only while one waits and none is in work"):
        InlineSlowTrack(stream_network()).open_lane().take()


# --- memory and idle time --------------------------------------------------------------------------------------------


def test_an_idle_slow_track_keeps_no_frame_alive() -> None:
    with ThreadedSlowTrack(stream_network()) as track:
        lane = track.open_lane()
        submitted = job(0)
        image = weakref.ref(submitted.frame.image)
        lane.submit(submitted)
        del submitted
        wait_until(lambda: lane.counts().done == 1, "the job done")
        lane.collect()
        wait_until(lambda: image() is None, "the job's image freed")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_idle_slow_track_sleeps() -> None:
    """It is not woken once, however many ordinary frames pass: a polling thread takes the GIL from the fast track."""
    with two_tracks(FixedInterval(1000)) as tracks:
        segment_all(tracks.engine, moving_frames(2))
        wait_until(lambda: status_of_slow_thread()["State"].startswith("S"), "the slow track asleep")
        switches = status_of_slow_thread()["voluntary_ctxt_switches"]
        segment_all(tracks.engine, moving_frames(100), first=2)
        assert status_of_slow_thread()["voluntary_ctxt_switches"] == switches


def slow_thread() -> threading.Thread:
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "slow track"]
    return thread


def status_of_slow_thread() -> dict[str, str]:
    lines = Path(f"/proc/self/task/{slow_thread().native_id}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


# --- a guest on the CPU ----------------------------------------------------------------------------------------------


NICENESS = """
import os, threading
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack
def niceness(thread):
    return os.getpriority(os.PRIO_PROCESS, thread.native_id)
main = threading.main_thread()
before = niceness(main)
with ThreadedSlowTrack(object(), niceness=3):
    (slow,) = [thread for thread in threading.enumerate() if thread is not main]
    print([niceness(slow) - before, niceness(main) - before])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of a thread is Linux's")
@pytest.mark.skipif(os.getpriority(os.PRIO_PROCESS, 0) > 16, reason="the tests run too nicely to become any nicer")
def test_only_the_slow_thread_is_niced() -> None:
    """In a process of its own: niceness cannot be taken back, and every later test would keep it."""
    done = run_python(NICENESS)
    assert done.stdout.strip() == "[3, 0]", done.stderr


THREAD_COUNTS = """
import threading, torch
{settle}
from lowlat_seg_ros.fast.frames import Answer, LowFeatures, SeenFrame
from lowlat_seg_ros.stream.slow_lane import SlowJob
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack
class Asked:
    def answer(self, image, low):
        counts.append(torch.get_num_threads())
        return Answer(image, image)
counts = []
image = torch.zeros(1)
with ThreadedSlowTrack(Asked(), intra_op_threads=1) as track:
    track.warm_up(SlowJob(SeenFrame(0, 0, image, LowFeatures(image, image, image))))
    counts.append(torch.get_num_threads())
    later = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    later.start()
    later.join()
print(counts)
"""


@pytest.mark.parametrize("own", [None, 3], ids=["untouched", "set"])
def test_only_the_slow_thread_computes_on_one_thread(own: int | None) -> None:
    """In a process of its own: the number also holds for threads that were never asked for theirs, and pytest's was."""
    settle = f"torch.set_num_threads({own})" if own else ""
    own = own or int(run_python("import torch\nprint(torch.get_num_threads())").stdout)
    done = run_python(THREAD_COUNTS.format(settle=settle))
    assert done.stdout.strip() == f"[1, {own}, {own}]", done.stderr


# --- its end ---------------------------------------------------------------------------------------------------------


class EndlessSh(PlainSlowNetwork):
    """An Sh of as many operators as one likes."""

    def __init__(self) -> None:
        self.operators = 0

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        while True:
            image = torch.nn.functional.avg_pool2d(image, 3, 1, 1)
            self.operators += 1


def test_closing_ends_the_thread_between_two_operators_of_sh() -> None:
    network = EndlessSh()
    track = ThreadedSlowTrack(network)
    track.open_lane().submit(job(0))
    wait_until(lambda: network.operators > 10, "Sh in the middle of its work")
    assert track.close(timeout=PATIENCE)


def test_closing_an_idle_slow_track_ends_its_thread_and_once_more_does_no_harm() -> None:
    track = ThreadedSlowTrack(stream_network())
    thread = slow_thread()
    assert track.close(timeout=PATIENCE) and track.close(timeout=PATIENCE)
    assert not thread.is_alive()


def test_closing_says_so_where_the_thread_does_not_end_in_time() -> None:
    slow = GatedSlowNetwork(stream_network())
    slow.shut()
    track = ThreadedSlowTrack(slow)
    track.open_lane().submit(job(0))
    wait_until(lambda: len(slow.images) == 1, "Sh at the gate")
    assert not track.close(timeout=0.01)
    slow.let_through()
    assert track.close(timeout=PATIENCE)


def test_the_fast_track_goes_on_after_the_slow_track_is_closed() -> None:
    with two_tracks(FixedInterval(2)) as tracks:
        pass
    first, *others = segment_all(tracks.engine, moving_frames(6))
    assert first.waited_for_slow_track and all(result.labels.max() < 255 for result in others)
    assert others[-1].slow_track.waiting and not others[-1].slow_track.busy


EXIT_IN_THE_MIDDLE = """
import sys
sys.path.insert(0, {test!r})
from test_slow_track import EndlessSh, ThreadedSlowTrack, job, wait_until
network = EndlessSh()
track = ThreadedSlowTrack(network)
track.open_lane().submit(job(0))
wait_until(lambda: network.operators > 10, "Sh in the middle of its work")
"""


def test_a_process_that_ends_in_the_middle_of_sh_does_not_abort() -> None:
    done = run_python(EXIT_IN_THE_MIDDLE.format(test=str(Path(__file__).parent)))
    assert (done.returncode, done.stderr) == (0, "")


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment, check=False
    )


# --- settings --------------------------------------------------------------------------------------------------------


def test_settings_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="the slow track has 0 intra-op threads; expected 1 or more"):
        ThreadedSlowTrack(stream_network(), intra_op_threads=0)
    with pytest.raises(ValueError, match="the slow track's niceness is 20; expected 0 to 19"):
        ThreadedSlowTrack(stream_network(), niceness=20)
    with pytest.raises(ValueError, match="the inline slow track's delay is 0 frames; expected 1 or more"):
        InlineSlowTrack(stream_network(), delay_frames=0)


# --- inline ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_frames", [1, 2, 5])
def test_inline_a_result_comes_the_named_number_of_frames_later(delay_frames: int) -> None:
    lane = InlineSlowTrack(stream_network(), delay_frames).open_lane()
    lane.collect()
    lane.submit(job(0))
    assert [len(lane.collect()) for _ in range(delay_frames + 1)] == [0] * (delay_frames - 1) + [1, 0]


def test_inline_keeps_one_in_work_and_the_newest_waiting_too() -> None:
    lane = InlineSlowTrack(stream_network(), delay_frames=3).open_lane()
    collected = []
    for frame in range(10):
        collected.append([result.key.frame.sequence for result in lane.collect() if result.key is not None])
        lane.submit(job(frame))
    assert collected == [[], [], [], [0], [], [], [2], [], [], [5]]
    counts = lane.counts()
    assert counts.busy and counts.waiting and counts.done == 3 and counts.discarded == 5


def test_inline_a_reset_drops_what_is_in_work() -> None:
    lane = InlineSlowTrack(stream_network(), delay_frames=2).open_lane()
    lane.submit(job(0))
    lane.submit(job(1))
    lane.reset()
    assert [lane.collect() for _ in range(5)] == [[]] * 5
    assert lane.counts().discarded == 2
