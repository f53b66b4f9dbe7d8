"""Recorded drives: the camera frames of a rosbag2 bag, in the order in which they were received, read without ROS.

A bag is a folder with metadata.yaml or one of its files, in MCAP or SQLite, compressed or not. Of a bag that is damaged
the good part is delivered, and `problems` says in a line each what was wrong. Nothing but an index is held in memory.

The truth of a camera's frames, where a bag has any, is a topic of label images (mono8, class ids, 255 = unlabelled)
with the frames' stamps. It is named `labels_truth` beside the camera's own: `/image` and `/labels_truth`,
`/left/image_raw` and `/left/labels_truth`. `data.bag_writer` makes such bags.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.replay.bag_files import find_bag_files, open_storage_file
from lowlat_seg_ros.replay.messages import (
    CAMERA_TYPES,
    CDR,
    IMAGE,
    NANOSECONDS_A_SECOND,
    Header,
    StampedLabels,
    deserialize,
    frame_of,
    header_of,
    labels_of,
    without_compression,
)
from lowlat_seg_ros.replay.problems import BagError, DamagedMessage, Problems
from lowlat_seg_ros.replay.storage_file import StorageFile, StoredTopic, is_of_first_type

__all__ = ["Bag", "BagError", "BagFrame", "BagMessage", "BagTopic", "CameraSummary", "open_bag", "truth_topic"]

TRUTH_NAME: Final = "labels_truth"

GAP_PERIODS: Final = 1.5
"""A camera that is silent for longer than this many of its periods has lost frames."""


class BagTopic(NamedTuple):
    """A topic of a bag; `type` as in "sensor_msgs/msg/Image"."""

    name: str
    type: str
    message_count: int


class BagMessage(NamedTuple):
    """A message as it was recorded: `data` is its CDR serialization, ready to be published as it is."""

    topic: str
    type: str
    received: int  # nanoseconds
    data: bytes


class BagFrame(NamedTuple):
    """One picture of a camera, with its truth if the bag has any."""

    topic: str
    received: int  # nanoseconds: when the recorder received it, and when it is to be played
    stamp: int  # nanoseconds: when the picture was taken, by its header
    frame_id: str
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    labels: NDArray[np.uint8] | None  # (H, W) class ids, 255 where nothing is labelled


class CameraSummary(NamedTuple):
    """A camera's topic by its first good message and its index."""

    topic: str
    size: tuple[int, int]  # width, height in pixels
    encoding: str
    frame_id: str
    rate_hz: float  # by the median period; nan for fewer than two frames
    frame_count: int
    lost_frames: int  # as gaps between the frames tell, about


def open_bag(path: str | Path) -> Bag:
    """Open a bag: a folder, or a single .mcap or .db3 file.

    Raises BagError, in one sentence, if nothing of it can be read: a missing path, an empty or foreign file.
    """
    return Bag(path)


def truth_topic(camera: str) -> str:
    """The label topic that belongs to a camera's topic: `/left/labels_truth` for `/left/image_raw`."""
    return camera.removesuffix("/compressed").rpartition("/")[0] + "/" + TRUTH_NAME


class Bag:
    """An open bag; a context manager. Use it from one thread; iterators of one bag may take turns."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().name
        self._problems = Problems()
        paths, stated_counts = find_bag_files(self.path, self._problems)
        self._files = _open_files(self.path, paths, self._problems)
        self._types = _types_of_topics(self._files, self._problems)
        self.topics = tuple(
            BagTopic(name, message_type, sum(len(file.entries(name)) for file in self._files))
            for name, message_type in sorted(self._types.items())
        )
        self._compare_with(stated_counts)

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the bag's files."""
        for file in self._files:
            file.close()

    @property
    def problems(self) -> list[str]:
        """One line for each kind of defect met so far; those of single messages are met while they are read."""
        return self._problems.lines()

    @property
    def camera_topics(self) -> tuple[str, ...]:
        """Every topic of images or compressed images that has messages, but for the truth of another."""
        return tuple(
            topic.name
            for topic in self.topics
            if topic.type in CAMERA_TYPES and topic.message_count and not topic.name.endswith("/" + TRUTH_NAME)
        )

    @property
    def time_range(self) -> tuple[int, int]:
        """When the first and the last message were received, in nanoseconds; (0, 0) for a bag without messages."""
        times = [self._index(topic.name)["time"] for topic in self.topics if topic.message_count]
        if not times:
            return 0, 0
        return min(int(each[0]) for each in times), max(int(each[-1]) for each in times)

    def choose_camera(self, name: str | None = None) -> str:
        """The camera's topic of that name, or the only one; raises BagError, naming what there is, if that fails."""
        cameras = self.camera_topics
        if name is not None:
            # People type the names of `ros2 topic list` with and without the slash.
            found = [topic for topic in self.topics if topic.name.lstrip("/") == name.lstrip("/")]
            if found and found[0].type not in CAMERA_TYPES:
                raise BagError(
                    f"{found[0].name} in {self.path} is a {found[0].type}; expected one of {_listed(cameras)}."
                )
            if not found or not found[0].message_count:
                raise BagError(f"{self.path} has no images on a topic {name}; it has them on {_listed(cameras)}.")
            return found[0].name
        if not cameras:
            topics = ", ".join(f"{topic.name} ({topic.type})" for topic in self.topics[:8] if topic.message_count)
            reason = f" ({self.problems[0].removesuffix('.')})" if self.problems else ""
            raise BagError(f"{self.path} holds no camera images; it has {topics or 'no messages at all'}{reason}.")
        if len(cameras) > 1:
            raise BagError(f"{self.path} has images on {_listed(cameras)}; name one of them.")
        return cameras[0]

    def messages(self, *topics: str) -> Iterator[BagMessage]:
        """The messages of these topics, or of all, as they were recorded, in the order of their receive times.

        A message that cannot be read is left out and noted in `problems`.
        """
        names = topics or tuple(self._types)
        indexes = [self._index(name) for name in names]
        owners = np.repeat(np.arange(len(names)), [len(index) for index in indexes])
        merged = np.concatenate([*indexes, _no_positions()])
        for number in np.argsort(merged["time"], kind="stable"):
            name = names[owners[number]]
            message = self._read(name, merged[number])
            if message is not None:
                yield message

    def frames(self, camera: str | None = None, labels: str | None = None) -> Iterator[BagFrame]:
        """The frames of a camera in the order of their receive times, each with its labels if the bag has them.

        `camera` as in choose_camera(); `labels` names the topic of the truth, by default truth_topic(camera) where the
        bag has it. Left out and noted in `problems`: a message that is no picture, a frame of another camera (another
        frame_id or size than the first has), labels that do not fit. Stamps that go back are noted, and delivered as
        they are: that is what a node would have received. Raises BagError for topics that are not there.
        """
        camera = self.choose_camera(camera)
        truth = self._stamped_labels(camera, labels)
        return self._frames(camera, truth)

    def camera_summary(self, camera: str) -> CameraSummary:
        """What a camera's topic holds, without decoding more than its first good message; raises BagError."""
        times = self._index(camera)["time"]
        period, lost = _period_and_lost_frames(times)
        for message in self.messages(camera):
            decoded = self._decode(message)
            if decoded is None:
                continue
            content, header, image = decoded
            encoding = content.encoding if message.type == IMAGE else content.format
            size = image.shape[1], image.shape[0]
            rate_hz = NANOSECONDS_A_SECOND / period if period > 0 else float("nan")
            return CameraSummary(camera, size, encoding, header.frame_id, rate_hz, len(times), lost)
        raise BagError(f"None of the {len(times)} messages on {camera} in {self.path} is a picture.")

    # --- Frames -------------------------------------------------------------------------------------------------------

    def _frames(self, camera: str, truth: StampedLabels | None) -> Iterator[BagFrame]:
        self._note_gaps(camera)
        first: tuple[str, tuple[int, ...]] | None = None
        latest = None
        for message in self.messages(camera):
            decoded = self._decode(message)
            if decoded is None:
                continue
            _, header, image = decoded
            first = first or (header.frame_id, image.shape)
            if (header.frame_id, image.shape) != first:
                self._note_other_camera(message, first, (header.frame_id, image.shape))
                continue
            if latest is not None and header.stamp < latest:
                self._note(message, "order", f"has stamps that go back, first by {_seconds(latest - header.stamp)} s")
            latest = header.stamp
            labels = truth.at(header.stamp, image.shape[:2]) if truth else None
            yield BagFrame(camera, message.received, header.stamp, header.frame_id, image, labels)

    def _decode(self, message: BagMessage) -> tuple[Any, Header, NDArray[np.uint8]] | None:
        try:
            content = deserialize(message.data, message.type)
            return content, header_of(content), frame_of(content, message.type)
        except DamagedMessage as error:
            self._note(message, "picture", f"has a message that is left out: {error}")
            return None

    def _note_gaps(self, camera: str) -> None:
        times = self._index(camera)["time"]
        _, lost = _period_and_lost_frames(times)
        if lost and not self._gaps_are_explained:
            self._problems.add(
                (camera, "gaps"), f"{camera} has lost about {lost} of {len(times) + lost} frames to gaps"
            )

    def _note_other_camera(
        self, message: BagMessage, first: tuple[str, tuple[int, ...]], other: tuple[str, tuple[int, ...]]
    ) -> None:
        self._note(
            message,
            "camera",
            f"carries more than one camera: {_camera_in_words(*other)} is left out beside {_camera_in_words(*first)}",
        )

    def _stamped_labels(self, camera: str, labels: str | None) -> StampedLabels | None:
        topic = truth_topic(camera) if labels is None else labels
        has_labels = self._types.get(topic) == IMAGE
        if labels is not None and not has_labels:
            raise BagError(f"{self.path} has no label images on a topic {labels}.")
        return StampedLabels(self._labels(topic), self._problems, topic) if has_labels else None

    def _labels(self, topic: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for message in self.messages(topic):
            try:
                content = deserialize(message.data, IMAGE)
                yield header_of(content).stamp, labels_of(content)
            except DamagedMessage as error:
                self._note(message, "labels", f"has a message that is left out: {error}")

    # --- Messages -----------------------------------------------------------------------------------------------------

    def _index(self, topic: str) -> NDArray[Any]:
        """Where the topic's messages are, in the order of their receive times: `file` beside the fields of ENTRY."""
        parts = [_no_positions()]
        for number, file in enumerate(self._files):
            entries = file.entries(topic)
            part = np.empty(len(entries), POSITION)
            part["file"] = number
            for name in entries.dtype.names or ():
                part[name] = entries[name]
            parts.append(part)
        positions = np.concatenate(parts)
        if np.any(positions["time"][1:] < positions["time"][:-1]):
            self._problems.add(
                ("stored", topic), f"{topic} is stored out of order; it is read in the order of its receive times"
            )
        return positions[np.argsort(positions["time"], kind="stable")]

    def _read(self, topic: str, position: np.void) -> BagMessage | None:
        message = BagMessage(topic, self._types[topic], int(position["time"]), b"")
        file = self._files[position["file"]]
        try:
            data = without_compression(file.read(topic, position))
        except DamagedMessage as error:
            if (file.path, "damage") in self._problems:
                return None  # it is the same damage, and one line about it is enough
            sentence = f"{self.name} has messages that cannot be read, the first on {topic}: {error}"
            self._problems.add("damage", sentence, (topic, message.received))
            return None
        return message._replace(data=data)

    def _compare_with(self, stated_counts: dict[str, int]) -> None:
        stated = sum(stated_counts.values())
        held = sum(topic.message_count for topic in self.topics)
        # Damage that was met already explains why messages are missing; this is for those that somebody took out.
        if stated_counts and stated != held and not self.problems:
            self._problems.add("counts", f"metadata.yaml counts {stated} messages, and {held} are there")
        self._gaps_are_explained = bool(self.problems)

    def _note(self, message: BagMessage, kind: str, sentence: str) -> None:
        self._problems.add((message.topic, kind), f"{message.topic} {sentence}", message.received)


POSITION: Final = np.dtype([("time", "<u8"), ("place", "<i8"), ("offset", "<u8"), ("file", "<i4")])


def _no_positions() -> NDArray[Any]:
    return np.zeros(0, POSITION)


def _open_files(bag: Path, paths: tuple[Path, ...], problems: Problems) -> list[StorageFile]:
    """Every file that can be opened; raises the first file's BagError if none can."""
    files: list[StorageFile] = []
    errors: list[BagError] = []
    for path in paths:
        try:
            files.append(open_storage_file(path, problems))
        except BagError as error:
            errors.append(error)
    if not files:
        raise errors[0] if errors else BagError(f"{bag} is no bag: the files that it names are not there.")
    for unusable in errors:
        problems.add(("file", str(unusable)), str(unusable).removesuffix("."))
    return files


def _types_of_topics(files: list[StorageFile], problems: Problems) -> dict[str, str]:
    """The type of every topic that ROS 2 could have recorded."""
    topics: dict[str, StoredTopic] = {}
    for file in files:
        for topic in file.topics.values():
            if topic.serialization != CDR:
                problems.add(
                    "serialization",
                    f"{topic.name} is serialized as {topic.serialization!r}, not in ROS 2's {CDR}; it is not read",
                    topic.name,
                )
            else:
                is_of_first_type(topic, topics, problems)
    return {name: topic.type for name, topic in topics.items()}


def _period_and_lost_frames(times: NDArray[np.uint64]) -> tuple[float, int]:
    """The usual time between two frames in nanoseconds, 0 if there is none, and how many frames the gaps would hold."""
    periods = np.diff(times.astype(np.int64))
    period = float(np.median(periods)) if len(periods) else 0.0
    if period <= 0:
        return 0.0, 0
    gaps = periods[periods > GAP_PERIODS * period]
    return period, int(np.sum(np.round(gaps / period) - 1))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "no topic"


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS_A_SECOND:.3f}"


def _camera_in_words(frame_id: str, shape: tuple[int, ...]) -> str:
    return f"{frame_id!r} ({shape[1]}x{shape[0]})"
