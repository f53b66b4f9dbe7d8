"""One bag replayed live: what the node did with it over DDS, scored as an offline replay is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from lowlat_seg_ros.demo import DemoError
from lowlat_seg_ros.evaluation.per_frame_network import PerFrameNetwork
from lowlat_seg_ros.models.checkpoint import CheckpointError
from lowlat_seg_ros.replay.bags import Bag, BagError, open_bag
from lowlat_seg_ros.replay.frames import ReplayFrame, arriving_frames
from lowlat_seg_ros.replay.jobs import Endings, Failure, Job, unexpected_failure
from lowlat_seg_ros.replay.problems import Problems
from lowlat_seg_ros.replay.profile import NANOSECONDS_A_MILLISECOND, Profile
from lowlat_seg_ros.replay.replay import (
    Drive,
    Model,
    Outcome,
    Progress,
    chosen_cameras,
    load_model,
)
from lowlat_seg_ros.replay.report import BagReport, Report
from lowlat_seg_ros.replay.settings import ReplaySettings
from lowlat_seg_ros.replay.systems import TwoTracks
from lowlat_seg_ros.replay.tally import NANOSECONDS_A_SECOND
from lowlat_seg_ros.ros.live_performance import LiveOptions, LivePerformance, perform_live
from lowlat_seg_ros.ros.live_two_tracks import LiveTwoTracks, LiveWorker


def run_live(jobs: Sequence[Job], options: LiveOptions, progress: Callable[[int, int, int], None]) -> Endings:
    """Replay the jobs' bags live, one after the other: each needs the machine for itself.

    ``progress`` is told a job's number, its frames sent and about how many it has.
    """
    for number, job in enumerate(jobs):
        try:
            yield number, replay_bag_live(job, load_model(job.model), options, partial(progress, number))
        except (BagError, CheckpointError, DemoError, OSError) as error:
            yield number, Failure(str(error))
        except Exception as error:
            yield number, unexpected_failure(error)


def replay_bag_live(
    job: Job, model: Model, options: LiveOptions, progress: Progress = lambda done, all: None
) -> Outcome:
    """What the node did with the job's bag on this machine, played at the options' rate.

    Beside it stand the two tracks as an offline replay simulates them, with the durations that the node itself has
    told, and the other systems, which do not run in the node, on the job's profile. All times are those of the play:
    at half the rate a camera has twice the period.

    Raises:
        BagError: the bag cannot be read, or lacks a camera that was asked for, or has none.
        DemoError: node or player ended before their time, or were not ready in time.
    """
    started = time.perf_counter()
    with open_bag(job.bag) as bag:
        cameras = chosen_cameras(bag, job.settings.cameras)
        total = options.rounds * sum(topic.message_count for topic in bag.topics if topic.name in cameras)
        performance = perform_live(
            job.bag, cameras, job.model, job.settings, options, lambda done: progress(done, total)
        )
        seen = tuple(camera for camera in cameras if performance.sent[camera])
        if not seen:
            raise BagError(f"{job.bag} holds no picture that can be read: {' '.join(bag.problems)}")
        two_tracks = LiveTwoTracks(performance, options)
        simulated = simulated_tracks(model, job.settings, two_tracks.profile(job.profile), seen)
        drive = Drive(model.network, two_tracks, job.profile, seen, LiveWorker, simulated)
        problems = Problems()
        for frame in _played_frames(bag, seen, model, performance, problems):
            drive.arrive(frame)
        drive.finish()
        reports, pictures = drive.report(list(seen))
        report = Report(
            bag=BagReport(bag.name, [*bag.problems, *problems.lines(), *_delays(performance)]),
            model=model.to_report(),
            settings={**job.settings.to_mapping(), "live": {"rate": options.rate, "rounds": options.rounds}},
            profile=job.profile.to_mapping(),
            cameras=reports,
            timings=_timings(performance, time.perf_counter() - started),
        )
    return Outcome(report, pictures)


def simulated_tracks(model: Model, settings: ReplaySettings, profile: Profile, cameras: tuple[str, ...]) -> TwoTracks:
    """The two tracks in simulated time, as the node ran them by this profile."""
    tracks = TwoTracks(model.network, settings, profile, cameras)
    durations = {
        "an ordinary frame": profile.fast_ms,
        "a key frame": profile.key_frame_ms if settings.low_latency else profile.full_ms,
        "Sh": profile.slow_ms,
    }
    in_words = ", ".join(f"{what} {milliseconds:g} ms" for what, milliseconds in durations.items())
    tracks.description = f"the same in simulated time, as an offline replay has it, with the node's medians: {in_words}"
    return tracks


def _played_frames(
    bag: Bag, cameras: tuple[str, ...], model: Model, performance: LivePerformance, problems: Problems
) -> Iterator[ReplayFrame]:
    """The frames once more, in the order in which they were sent; a frame arrives when it was sent."""
    full_network = PerFrameNetwork(model.network)
    position = dict.fromkeys(cameras, 0)
    total = sum(len(performance.sent[camera]) for camera in cameras)
    while sum(position.values()) < total:
        for frame in arriving_frames(bag, cameras, model.network.config.class_count, full_network, problems):
            frame.index = position[frame.camera]
            frame.arrival = performance.sent[frame.camera][frame.index].sent
            position[frame.camera] += 1
            yield frame


def _delays(performance: LivePerformance) -> Iterator[str]:
    if performance.left_out:
        seconds = performance.left_out / NANOSECONDS_A_SECOND
        yield f"the bag has pauses of more than 5 s between frames: {seconds:.0f} s in all were not played"
    if performance.put_off:
        milliseconds = performance.put_off / NANOSECONDS_A_MILLISECOND
        yield f"this machine could not play the bag at its rate: frames were put off by {milliseconds:.0f} ms in all"


def _timings(performance: LivePerformance, seconds: float) -> dict[str, float]:
    return {
        "replay_s": round(seconds, 3),
        "player_longest_delay_ms": performance.longest_delay / NANOSECONDS_A_MILLISECOND,
        "player_put_off_ms": performance.put_off / NANOSECONDS_A_MILLISECOND,
    }
