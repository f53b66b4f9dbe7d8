"""One bag replayed offline: every frame through every system, in simulated time. Read ``replay_bag`` first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lowlat_seg_ros.data.clips import FOLDER_RATE_HZ
from lowlat_seg_ros.data.video_writer import VideoError
from lowlat_seg_ros.evaluation.optical_flow import FlowField
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.replay.bag_files import fingerprint
from lowlat_seg_ros.replay.bags import Bag, open_bag
from lowlat_seg_ros.replay.clocks import Source, usual_period
from lowlat_seg_ros.replay.disagreements import PICTURES_FOLDER, Disagreements, file_stem
from lowlat_seg_ros.replay.frames import ReplayFrame, arriving_frames
from lowlat_seg_ros.replay.labelled_video import LabelledVideo
from lowlat_seg_ros.replay.messages import NANOSECONDS_A_SECOND
from lowlat_seg_ros.replay.problems import BagError, Problems
from lowlat_seg_ros.replay.profile import NANOSECONDS_A_MILLISECOND, Profile, reference_profile
from lowlat_seg_ros.replay.report import BagReport, CameraReport, ModelReport, Report, Video
from lowlat_seg_ros.replay.settings import ReplaySettings
from lowlat_seg_ros.replay.systems import (
    FrameTaker,
    FullNetwork,
    ObservedTracks,
    Observer,
    SingleFrameNetwork,
    System,
    TwoTracks,
    Worker,
)
from lowlat_seg_ros.replay.tally import Tally
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.slow.registry import Tracks, fingerprint_of
from lowlat_seg_ros.stream.networks import load_networks

Progress = Callable[[int, int], None]
"""Is told how many frames are done and how many there are."""


@dataclass(frozen=True)
class Model:
    """The networks of both tracks, and what names their weights."""

    slow: SlowNetwork
    weights_sha256: str
    fast_network: FastNetwork | None = None  # of a slow network that has none of its own
    name: str = ""  # that of the fast network's description unless given

    @property
    def tracks(self) -> Tracks:
        fast = self.fast_network or self.slow.own_fast_network
        assert fast is not None
        return Tracks(self.slow, fast)

    def to_report(self) -> ModelReport:
        config = self.tracks.fast.config
        classes, colours = list(self.slow.classes), list(self.slow.colours)
        return ModelReport(self.name or config.name, classes, colours, config.input_size, self.weights_sha256)


def load_model(model: str, settings: ReplaySettings) -> Model:
    """The networks of a model, where the settings want them; raises what ``load_networks`` does."""
    networks = load_networks(model, settings.fast_model, torch.device("cpu"), settings.wishes)
    slow, fast = networks.slow, networks.fast
    name = "" if slow.own_fast_network is not None else Path(model).name
    return Model(slow, fingerprint_of(model, settings.fast_model), fast, name)


@dataclass(frozen=True)
class Outcome:
    """A replay's report, and the pictures that it names by their paths beside it."""

    report: Report
    pictures: dict[str, bytes]


def replay_bag(
    path: Path, model: Model, settings: ReplaySettings, profile: Profile, progress: Progress = lambda done, all: None
) -> Outcome:
    """What the node would have done on that drive, on a computer as the profile says.

    The outcome depends on nothing else, but for the report's ``timings``. Memory does not grow with the bag, but for
    some numbers a frame.

    Raises:
        BagError: the bag cannot be read, or lacks a camera that was asked for, or has none.
    """
    started = time.perf_counter()
    with open_bag(path) as bag:
        cameras = chosen_cameras(bag, settings.cameras)
        drive = Drive(model.tracks, TwoTracks(model.tracks, settings, profile, cameras), profile, cameras)
        total = sum(topic.message_count for topic in bag.topics if topic.name in cameras)
        problems = Problems()
        note_strange_profile(model, profile, problems)
        for done, frame in enumerate(arriving_frames(bag, cameras, model.tracks, problems, settings.truth), start=1):
            drive.arrive(frame)
            progress(done, total)
        drive.finish()
        seen = [camera for camera in cameras if drive.arrivals[camera]]
        if not seen:
            raise BagError(f"{path} holds no picture that can be read: {' '.join(bag.problems)}")
        reports, pictures = drive.report({camera: bag.clock(camera).source for camera in seen})
        report = Report(
            bag=BagReport(bag.name, fingerprint(bag.path), [*bag.problems, *problems.report_lines()]),
            model=model.to_report(),
            settings=settings.to_mapping(),
            profile=profile.to_mapping(),
            cameras=reports,
            timings={"replay_s": round(time.perf_counter() - started, 3)},
        )
    return Outcome(report, pictures)


def note_strange_profile(model: Model, profile: Profile, problems: Problems) -> None:
    """The shipped profile tells nothing of a network that somebody brings along."""
    if model.slow.own_fast_network is None and profile == reference_profile():
        problems.add(
            "profile",
            f"the times are those of the shipped model's networks ({profile.name}), not of {model.name}; measure its "
            "own by --measure, or give them by --like",
        )


def chosen_cameras(bag: Bag, names: tuple[str, ...]) -> tuple[str, ...]:
    """The topics of those names, or every camera of the bag; raises BagError, naming what there is."""
    if not names and len(bag.camera_topics) > 1:
        return bag.camera_topics
    return tuple(dict.fromkeys(bag.choose_camera(name) for name in names or (None,)))


class Drive:
    """All systems, and what they make of all cameras."""

    def __init__(
        self,
        tracks: Tracks,
        two_tracks: ObservedTracks,
        profile: Profile,
        cameras: tuple[str, ...],
        two_tracks_worker: Callable[[System, dict[str, Observer]], FrameTaker] = Worker,
        simulated: TwoTracks | None = None,
    ) -> None:
        """
        Args:
            tracks: of the systems that the two tracks are compared with.
            two_tracks: the system in question.
            profile: how long the others take.
            cameras: topics.
            two_tracks_worker: gives the frames to the two tracks.
            simulated: the same in simulated time, where the two tracks are real ones.
        """
        class_count = len(tracks.slow.classes)
        self.arrivals: dict[str, list[int]] = {camera: [] for camera in cameras}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._first_stamps: dict[str, int] = {}
        self._two_tracks = two_tracks
        self._simulated = simulated
        self._disagreements = {camera: Disagreements(camera, tracks.slow.colours) for camera in cameras}
        self._videos = {camera: LabelledVideo(tracks.slow.colours) for camera in cameras}
        flows = {camera: FlowField() for camera in cameras}
        self._tallies: list[dict[str, Tally]] = []
        self._workers: list[FrameTaker] = []
        systems: list[System] = [two_tracks, *([simulated] if simulated else []), FullNetwork(profile)]
        if tracks.fast.classes == tracks.slow.classes:
            systems.append(SingleFrameNetwork(tracks.fast, profile))
        for system in systems:
            tallies = {camera: self._tally(system, camera, class_count, flows[camera]) for camera in cameras}
            self._tallies.append(tallies)
            worker = two_tracks_worker if system is two_tracks else Worker
            self._workers.append(worker(system, dict(tallies)))

    def arrive(self, frame: ReplayFrame) -> None:
        """The next frame of any camera, by its arrival."""
        if not self.arrivals[frame.camera]:
            self._sizes[frame.camera] = frame.image.shape[1], frame.image.shape[0]
            self._first_stamps[frame.camera] = frame.stamp
        self.arrivals[frame.camera].append(frame.arrival)
        for worker in self._workers:
            worker.arrive(frame)

    def finish(self) -> None:
        """Let everything end that has begun."""
        for worker in self._workers:
            worker.finish()
        self._two_tracks.finish()
        if self._simulated is not None:
            self._simulated.finish()

    def report(self, clocks: Mapping[str, Source]) -> tuple[list[CameraReport], dict[str, bytes]]:
        """The reports of these cameras, which must have frames, with their clocks, and the pictures that they name."""
        reports: list[CameraReport] = []
        pictures: dict[str, bytes] = {}
        for camera, clock in clocks.items():
            report, files = self._camera_report(camera, clock)
            reports.append(report)
            pictures.update(files)
        return reports, pictures

    def _tally(self, system: System, camera: str, class_count: int, flow: FlowField) -> Tally:
        if system is self._two_tracks:
            lane, disagreements = self._two_tracks.lanes[camera], self._disagreements[camera]
            video = self._videos[camera]
            return Tally(system, class_count, flow, lane=lane, disagreements=disagreements, video=video)
        if isinstance(system, TwoTracks):
            return Tally(system, class_count, flow, lane=system.lanes[camera])
        return Tally(system, class_count, flow, is_full_network=isinstance(system, FullNetwork))

    def _camera_report(self, camera: str, clock: Source) -> tuple[CameraReport, dict[str, bytes]]:
        arrivals = self.arrivals[camera]
        period = None if clock == "none" else usual_period(arrivals)
        period_ms = None if period is None else period / NANOSECONDS_A_MILLISECOND
        systems = [tallies[camera].report(period_ms) for tallies in self._tallies]
        disagreements, pictures = self._disagreements[camera].report(arrivals[0])
        problems = self._two_tracks.problems[camera].lines()
        video = None
        try:
            content = self._videos[camera].content(1000 / period_ms if period_ms else FOLDER_RATE_HZ)
        except (VideoError, OSError) as error:
            content = None
            problems.append(f"there is no video of the labels: {error}")
        if content is not None:
            video = Video(f"{PICTURES_FOLDER}/{file_stem(camera)}_labelled.webm", self._videos[camera].every)
            pictures[video.file] = content
        scores = systems[0].scores
        report = CameraReport(
            topic=camera,
            size=self._sizes[camera],
            first_stamp="{}.{:09d}".format(*divmod(self._first_stamps[camera], NANOSECONDS_A_SECOND)),
            duration_s=round((arrivals[-1] - arrivals[0]) / NANOSECONDS_A_SECOND, 6),
            clock=clock,
            period_ms=period_ms,
            frames=len(arrivals),
            frames_with_truth=scores.streaming_frames if scores else 0,
            problems=problems,
            systems=systems,
            disagreements=disagreements,
            video=video,
        )
        return report, pictures
