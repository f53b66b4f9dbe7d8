"""A bag replayed live: played into the node over DDS, and what the node did scored as an offline replay is.

Node and player are processes of their own; what needs ROS is imported when it runs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from lowlat_seg_ros.data.label_classes import LabelClasses
from lowlat_seg_ros.replay.bag_files import fingerprint
from lowlat_seg_ros.replay.bags import Bag, BagError, open_bag
from lowlat_seg_ros.replay.frames import ReplayFrame, arriving_frames
from lowlat_seg_ros.replay.jobs import Endings, Job, ending_of
from lowlat_seg_ros.replay.live_two_tracks import LiveOptions, LivePlay, LiveTwoTracks, LiveWorker, SentFrame
from lowlat_seg_ros.replay.messages import NANOSECONDS_A_SECOND
from lowlat_seg_ros.replay.problems import Problems
from lowlat_seg_ros.replay.profile import NANOSECONDS_A_MILLISECOND, Profile
from lowlat_seg_ros.replay.replay import (
    Drive,
    Model,
    Outcome,
    Progress,
    chosen_cameras,
    load_model,
    note_strange_profile,
)
from lowlat_seg_ros.replay.report import BagReport, Report
from lowlat_seg_ros.replay.settings import PolicySettings, ReplaySettings
from lowlat_seg_ros.replay.systems import TwoTracks


def run_live(jobs: Sequence[Job], options: LiveOptions, progress: Callable[[int, int, int], None]) -> Endings:
    """Replay the jobs' bags live, one after the other: each needs the machine for itself.

    ``progress`` is told a job's number, its frames sent and about how many it has.
    """

    def replay(number: int, job: Job) -> Outcome:
        return replay_bag_live(job, load_model(job.model, job.settings), options, partial(progress, number))

    for number, job in enumerate(jobs):
        yield number, ending_of(partial(replay, number, job))


def replay_bag_live(
    job: Job, model: Model, options: LiveOptions, progress: Progress = lambda done, all: None
) -> Outcome:
    """What the node did with the job's bag on this machine, played at the options' rate.

    Beside it stand the two tracks as an offline replay simulates them, with the durations that the node itself has
    told, and the other systems, which do not run in the node, on the job's profile. All times are those of the play:
    at half the rate a camera has twice the period.

    Raises:
        BagError: the bag cannot be read, or lacks a camera that was asked for, or has none.
        HarnessError: node or player ended before their time, or were not ready in time.
    """
    started = time.perf_counter()
    with open_bag(job.bag) as bag:
        cameras = chosen_cameras(bag, job.settings.cameras)
        total = options.rounds * sum(topic.message_count for topic in bag.topics if topic.name in cameras)
        play = play_live(job, cameras, options, lambda done: progress(done, total))
        seen = tuple(camera for camera in cameras if play.sent[camera])
        if not seen:
            raise BagError(f"{job.bag} holds no picture that can be read: {' '.join(bag.problems)}")
        two_tracks = LiveTwoTracks(play, options)
        simulated = simulated_tracks(model, job.settings, two_tracks.profile(job.profile), seen)
        drive = Drive(model.tracks, two_tracks, job.profile, seen, LiveWorker, simulated)
        problems = Problems()
        note_strange_profile(model, job.profile, problems)
        for frame in _played_frames(bag, seen, model, play, problems, job.settings.truth):
            drive.arrive(frame)
        drive.finish()
        reports, pictures = drive.report({camera: bag.clock(camera).source for camera in seen})
        report = Report(
            bag=BagReport(bag.name, fingerprint(bag.path), [*bag.problems, *_delays(play), *problems.report_lines()]),
            model=model.to_report(),
            settings={**job.settings.to_mapping(), "live": {"rate": options.rate, "rounds": options.rounds}},
            profile=job.profile.to_mapping(),
            cameras=reports,
            timings=_timings(play, time.perf_counter() - started),
        )
    return Outcome(report, pictures)


def play_live(
    job: Job, cameras: tuple[str, ...], options: LiveOptions, progress: Callable[[int], None] = lambda sent: None
) -> LivePlay:
    """Play a bag's cameras into the node; ``progress`` is told how many frames were sent.

    Raises:
        HarnessError: a process ended before its time or was not ready in time, or the player stopped sending.
    """
    from lowlat_seg_ros.ros.harness import NODE, Harness
    from lowlat_seg_ros.ros.player import played_topic
    from lowlat_seg_ros.ros.recorder import Recording

    # What the node calls the cameras: a bag's topics may be no names that it takes.
    names = {camera: f"camera_{number}" for number, camera in enumerate(cameras)}
    with tempfile.TemporaryDirectory() as logs, Harness("replay", Path(logs)) as harness:
        clock = f"/clock:={harness.namespace}/clock"
        images = [f"{name}/image:={played_topic(camera)}" for camera, name in names.items()]
        parameters = node_parameters(job.model, tuple(names.values()), job.settings)
        harness.start(NODE, "seg_node", parameters, [clock, *images])
        recorders = {
            camera: harness.record(played_topic(camera), f"lowlat_seg/{name}", Recording())
            for camera, name in names.items()
        }
        chosen = [argument for camera in cameras for argument in ("--camera", camera)]
        how = ["--rate", str(options.rate), "--loop", str(options.rounds), "--clock"]
        player = harness.start_player(
            "lowlat_seg_ros.ros.bag_player", "bag_player", [str(job.bag), *chosen, *how], [clock]
        )
        harness.wait_until_connected()
        played = harness.play(player, progress)
        sent: dict[str, list[SentFrame]] = {camera: [] for camera in cameras}
        for event in played.sent:
            sent[event["camera"]].append(SentFrame(event["stamp"], event["sent"]))
        recordings = {camera: recorder.recording for camera, recorder in recorders.items()}
        harness.wait_for_answers(
            lambda: all(recording.accounts_for(len(sent[camera])) for camera, recording in recordings.items())
        )
        harness.finish()
    assert played.end is not None
    return LivePlay(
        sent=sent,
        answers={camera: each.answers([frame.stamp for frame in sent[camera]]) for camera, each in recordings.items()},
        dropped={camera: recording.dropped_count for camera, recording in recordings.items()},
        device=recorders[cameras[0]].device,
        longest_delay=played.end["longest_delay"],
        put_off=played.end["put_off"],
        left_out=played.end["left_out"],
    )


def node_parameters(model: str, names: tuple[str, ...], settings: ReplaySettings) -> list[str]:
    """The node's, each "name:=value", for cameras of these names."""
    parameters = {
        "model": model,
        "use_sim_time": "true",
        "cameras": f"[{', '.join(names)}]",
        "low_latency": str(settings.low_latency).lower(),
        "slow_track_share": str(float(settings.slow_track_share)),
        "propagation": settings.propagation,
        "fast_model": settings.fast_model,
        **settings.wishes.to_mapping(),
        **policy_parameters(settings.policy),
    }
    return [f"{name}:={value}" for name, value in parameters.items()]


def policy_parameters(policy: PolicySettings) -> dict[str, str]:
    """The node's parameters for a replay's key-frame policy."""
    values = policy.to_mapping()
    name = values.pop("name")
    # The node has a threshold for each policy, so that all can be set before one is chosen.
    threshold_name = "deviation_threshold" if name == "predicted_deviation" else "feature_difference_threshold"
    if "threshold" in values:
        values[threshold_name] = float(values.pop("threshold"))
    return {"policy": name, **{key: str(value) for key, value in values.items()}}


def simulated_tracks(model: Model, settings: ReplaySettings, profile: Profile, cameras: tuple[str, ...]) -> TwoTracks:
    """The two tracks in simulated time, as the node ran them by this profile."""
    tracks = TwoTracks(model.tracks, settings, profile, cameras)
    durations = {
        "an ordinary frame": profile.fast_ms,
        "a key frame": profile.key_frame_ms if settings.low_latency else profile.full_ms,
        "Sh": profile.slow_ms,
    }
    in_words = ", ".join(f"{what} {milliseconds:g} ms" for what, milliseconds in durations.items())
    tracks.description = f"the same in simulated time, as an offline replay has it, with the node's medians: {in_words}"
    return tracks


def _played_frames(
    bag: Bag,
    cameras: tuple[str, ...],
    model: Model,
    play: LivePlay,
    problems: Problems,
    truth: LabelClasses | None,
) -> Iterator[ReplayFrame]:
    """The frames once more, in the order in which they were sent; a frame arrives when it was sent."""
    position = dict.fromkeys(cameras, 0)
    total = sum(len(play.sent[camera]) for camera in cameras)
    while sum(position.values()) < total:
        for frame in arriving_frames(bag, cameras, model.tracks, problems, truth):
            frame.index = position[frame.camera]
            frame.arrival = play.sent[frame.camera][frame.index].sent
            position[frame.camera] += 1
            yield frame


def _delays(play: LivePlay) -> Iterator[str]:
    if play.left_out:
        seconds = play.left_out / NANOSECONDS_A_SECOND
        yield f"the bag has pauses of more than 5 s between frames: {seconds:.0f} s in all were not played"
    if play.put_off:
        milliseconds = play.put_off / NANOSECONDS_A_MILLISECOND
        yield f"this machine could not play the bag at its rate: frames were put off by {milliseconds:.0f} ms in all"


def _timings(play: LivePlay, seconds: float) -> dict[str, float]:
    return {
        "replay_s": round(seconds, 3),
        "player_longest_delay_ms": play.longest_delay / NANOSECONDS_A_MILLISECOND,
        "player_put_off_ms": play.put_off / NANOSECONDS_A_MILLISECOND,
    }
