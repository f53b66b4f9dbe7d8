"""Recorded drives: the camera frames of a rosbag2 bag, in the order in which they were received, read without ROS.

A bag is a folder with metadata.yaml or one of its files, in MCAP or SQLite, compressed or not. Of a bag that is damaged
the good part is delivered, and `problems` says in a line each what was wrong. Nothing but an index is held in memory.

The truth of a camera's frames, where a bag has any, is a topic of label images (mono8, class ids, 255 = unlabelled)
with the frames' stamps. It is named `labels_truth` beside the camera's own: `/image` and `/labels_truth`,
`/left/image_raw` and `/left/labels_truth`. `data.bag_writer` makes such bags.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.replay.clocks import CameraClock, Source, Times, camera_clock, paired
from lowlat_seg_ros.replay.messages import (
    CAMERA_TYPES,
    IMAGE,
    NANOSECONDS_A_SECOND,
    Header,
    deserialize,
    frame_of,
    header_of,
    labels_of,
)
from lowlat_seg_ros.replay.problems import BagError, DamagedMessage
from lowlat_seg_ros.replay.recording import BagMessage, BagTopic, Recording

__all__ = ["Bag", "BagError", "BagFrame", "BagMessage", "BagTopic", "CameraSummary", "open_bag", "truth_topic"]

TRUTH_NAME: Final = "labels_truth"

NEAREST_WITHOUT_RATE: Final = 1_000_000
"""Nanoseconds between a frame and its truth at most, where no rate says what half a period is."""


class BagFrame(NamedTuple):
    """One picture of a camera, with its truth if the bag has any."""

    topic: str
    received: int  # nanoseconds: when the recorder received it, and when it is to be played
    stamp: int  # nanoseconds: when the picture was taken, by its header
    arrival: int  # nanoseconds: when a node would have received it, by the clock that can be believed; never falls
    frame_id: str
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    labels: NDArray[np.uint8] | None  # (H, W) class ids, 255 where nothing is labelled


class CameraSummary(NamedTuple):
    """A camera's topic by its first good message and its index."""

    topic: str
    size: tuple[int, int]  # width, height in pixels
    encoding: str
    frame_id: str
    rate_hz: float | None  # None where no time passes
    frame_count: int
    lost_frames: int  # as gaps between the frames tell, about
    clock: Source  # that says so


class TimedMessages:
    """Messages of one frame_id: their numbers on their topic, receive times and clock."""

    def __init__(
        self, numbers: Sequence[int] = (), received: Times | None = None, clock: CameraClock | None = None
    ) -> None:
        nothing = np.zeros(0, np.int64)
        self.numbers = numbers
        self.received = nothing if received is None else received
        self.clock = camera_clock(nothing, nothing) if clock is None else clock
        self.places = {number: place for place, number in enumerate(numbers)}


def open_bag(path: str | Path) -> Bag:
    """Open a bag: a folder, or a single .mcap or .db3 file.

    Raises BagError, in one sentence, if nothing of it can be read: a missing path, an empty or foreign file.
    """
    return Bag(path)


def truth_topic(camera: str) -> str:
    """The label topic that belongs to a camera's topic: `/left/labels_truth` for `/left/image_raw`."""
    return camera.removesuffix("/compressed").rpartition("/")[0] + "/" + TRUTH_NAME


class Bag(Recording):
    """An open bag: its cameras' frames, beside its messages."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._headers: dict[str, dict[int, Header]] = {}

    @property
    def camera_topics(self) -> tuple[str, ...]:
        """Every topic of images or compressed images that has messages, but for the truth of another."""
        return tuple(
            topic.name
            for topic in self.topics
            if topic.type in CAMERA_TYPES and topic.message_count and not topic.name.endswith("/" + TRUTH_NAME)
        )

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

    def frames(self, camera: str | None = None, labels: str | None = None) -> Iterator[BagFrame]:
        """The frames of a camera in the order of their receive times, each with its labels if the bag has them.

        `camera` as in choose_camera(); `labels` names the topic of the truth, by default truth_topic(camera) where the
        bag has it. Left out and noted in `problems`: a message that is no picture, a frame of another camera (another
        frame_id or size than the first has), labels that do not fit. Noted, too: frames without labels and labels
        without a frame where the bag has any; stamps that go back, which are delivered as they are: that is what a node
        would have received. Raises BagError for topics that are not there.
        """
        camera = self.choose_camera(camera)
        topic = truth_topic(camera) if labels is None else labels
        has_labels = self._types.get(topic) == IMAGE
        if labels is not None and not has_labels:
            raise BagError(f"{self.path} has no label images on a topic {labels}.")
        return self._frames(camera, topic if has_labels else None)

    def camera_summary(self, camera: str) -> CameraSummary:
        """What a camera's topic holds, without decoding more than its first good message; raises BagError."""
        for number, message in self.numbered(camera):
            decoded = self._decode(message)
            if decoded is None:
                continue
            content, header, image, _ = decoded
            timed = self._timed(camera, number)
            self._note_clock(camera, timed)
            return CameraSummary(
                camera,
                size=(image.shape[1], image.shape[0]),
                encoding=content.encoding if message.type == IMAGE else content.format,
                frame_id=header.frame_id,
                rate_hz=timed.clock.rate_hz,
                frame_count=len(timed.numbers),
                lost_frames=timed.clock.lost,
                clock=timed.clock.source,
            )
        count = len(self._index(camera))
        raise BagError(f"None of the {count} messages on {camera} in {self.path} is a picture.")

    def clock(self, camera: str) -> CameraClock:
        """By what a camera's messages are timed."""
        return self._timed(camera).clock

    # --- Frames -------------------------------------------------------------------------------------------------------

    def _frames(self, camera: str, truth: str | None) -> Iterator[BagFrame]:
        first: tuple[str, tuple[int, ...]] | None = None
        latest = None
        timed, labels = TimedMessages(), _NO_LABELS
        for number, message in self.numbered(camera):
            decoded = self._decode(message)
            if decoded is None:
                continue
            _, header, image, notes = decoded
            if first is None:
                first = header.frame_id, image.shape
                timed = self._timed(camera, number)
                self._note_clock(camera, timed)
                labels = _NO_LABELS if truth is None else self._labels_of_frames(camera, timed, truth)
            if (header.frame_id, image.shape) != first or number not in timed.places:
                self._note_other_camera(message, first, (header.frame_id, image.shape))
                continue
            if latest is not None and header.stamp < latest:
                self._note(message, "order", f"has stamps that go back, first by {_seconds(latest - header.stamp)} s")
            latest = header.stamp
            for note in notes:
                self._note(message, note, f"has a picture that {note}")
            arrival = int(timed.clock.arrivals[timed.places[number]])
            found = None
            if number in labels and truth is not None:
                found = self._labels_at(truth, labels[number], header.stamp, image.shape[:2])
            yield BagFrame(camera, message.received, header.stamp, arrival, header.frame_id, image, found)

    def _decode(self, message: BagMessage) -> tuple[Any, Header, NDArray[np.uint8], list[str]] | None:
        """The message, its header and picture, and what is amiss with that; None, and noted, for what is no picture."""
        notes: list[str] = []
        try:
            content = deserialize(message.data, message.type)
            return content, header_of(content), frame_of(content, message.type, notes), notes
        except DamagedMessage as error:
            self._note(message, "picture", f"has a message that is left out: {error}")
            return None

    def _timed(self, topic: str, number: int | None = None) -> TimedMessages:
        """The clock of the topic's messages, or only of those that have the frame_id of that number."""
        if topic not in self._headers:
            self._headers[topic] = {
                each: header
                for each, position in enumerate(self._index(topic))
                if (header := self.header(topic, position)) is not None
            }
        headers = self._headers[topic]
        numbers = list(headers)
        if number in headers:
            numbers = [each for each in numbers if headers[each].frame_id == headers[number].frame_id]
        received = np.minimum(self._index(topic)["time"][numbers], LATEST).astype(np.int64)
        stamps = np.array([headers[each].stamp for each in numbers], np.int64)
        overflowing = sum(headers[each].is_overflowing for each in numbers)
        return TimedMessages(numbers, received, camera_clock(stamps, received, overflowing))

    def _note_clock(self, camera: str, timed: TimedMessages) -> None:
        count, lost = len(timed.numbers), timed.clock.lost
        for number, sentence in enumerate(timed.clock.problems):
            self._problems.add((camera, "clock", number), f"{camera}: {sentence}")
        if lost and not self._gaps_are_explained:
            self._problems.add((camera, "gaps"), f"{camera} has lost about {lost} of {count + lost} frames to gaps")

    def _note_other_camera(
        self, message: BagMessage, first: tuple[str, tuple[int, ...]], other: tuple[str, tuple[int, ...]]
    ) -> None:
        self._note(
            message,
            "camera",
            f"carries more than one camera: {_camera_in_words(*other)} is left out beside {_camera_in_words(*first)}",
        )

    def _labels_of_frames(self, camera: str, timed: TimedMessages, truth: str) -> dict[int, int]:
        """The number of the labels that belong to a frame, by the frame's number; what is left over is noted."""
        labels = self._timed(truth)
        widest = NEAREST_WITHOUT_RATE if timed.clock.period is None else timed.clock.period / 2
        by_stamp = timed.clock.stamps, timed.received, labels.clock.stamps, labels.received
        if timed.clock.source == "header stamps":
            chosen = paired(*by_stamp, widest)
        else:
            by_receiving = timed.received, timed.received, labels.received, labels.received
            chosen = paired(*by_receiving, widest)
            if len(np.unique(timed.clock.stamps)) > len(timed.numbers) / 2:
                chosen = paired(*by_stamp, 0)
        without = int(np.sum(chosen < 0))
        unused = len(labels.numbers) - (len(chosen) - without)
        if without:
            sentence = f"{without} of {len(chosen)} frames on {camera} have no labels on {truth}; they are not scored"
            self._problems.add((camera, truth, "frames"), sentence)
        if unused:
            every = len(labels.numbers)
            sentence = f"{unused} of {every} labels on {truth} have no frame on {camera}; they go unused"
            self._problems.add((camera, truth, "labels"), sentence)
        return {frame: labels.numbers[each] for frame, each in zip(timed.numbers, chosen, strict=True) if each >= 0}

    def _labels_at(self, topic: str, number: int, stamp: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """The label image of that number; None if it is none or its (H, W) is not `shape`, which is noted."""
        message = self._read(topic, self._index(topic)[number])
        if message is None:
            return None
        try:
            labels = labels_of(deserialize(message.data, IMAGE))
        except DamagedMessage as error:
            self._note(message, "labels", f"has a message that is left out: {error}")
            return None
        if labels.shape == shape:
            return labels
        height, width = labels.shape
        self._problems.add(
            (topic, "size"),
            f"{topic} has labels of {width}x{height} for a frame of {shape[1]}x{shape[0]}; they are left out",
            stamp,
        )
        return None


_NO_LABELS: Final[dict[int, int]] = {}

LATEST: Final = 1 << 62  # nanoseconds, in 2116: a damaged receive time may say more, and sums would overflow


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "no topic"


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS_A_SECOND:.3f}"


def _camera_in_words(frame_id: str, shape: tuple[int, ...]) -> str:
    return f"{frame_id!r} ({shape[1]}x{shape[0]})"
