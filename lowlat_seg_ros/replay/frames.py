"""The frames of a bag's cameras as a replay sees them, in the order in which they arrived."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.label_classes import LabelClasses, numbered_classes
from lowlat_seg_ros.data.label_file import LabelCensus, ReadLabels
from lowlat_seg_ros.evaluation.classes_by_name import ClassesByName, ClassesError
from lowlat_seg_ros.evaluation.optical_flow import grey_for_flow
from lowlat_seg_ros.evaluation.per_frame_network import full_network
from lowlat_seg_ros.replay.bags import Bag, BagFrame, truth_topic
from lowlat_seg_ros.replay.problems import Problems
from lowlat_seg_ros.slow.registry import Tracks

PerFrame = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


class ReplayFrame:
    """One frame of one camera. What several systems want of it is computed once, when the first one asks."""

    def __init__(
        self,
        camera: str,
        index: int,
        arrival: int,
        stamp: int,
        image: NDArray[np.uint8],
        truth: NDArray[np.uint8] | None,
        full_network: PerFrame,
    ) -> None:
        """
        Args:
            camera: its topic.
            index: frames of this camera before this one.
            arrival: nanoseconds: when a node would have received it. Never before the last frame's.
            stamp: nanoseconds: when it was taken, by its header.
            image: (H, W, 3) uint8 RGB.
            truth: (H, W) class ids, 255 = unlabelled.
            full_network: labels an image by Sl, Sh and the classifier.
        """
        self.camera = camera
        self.index = index
        self.arrival = arrival
        self.stamp = stamp
        self.image = image
        self.truth = truth
        self._full_network = full_network

    @cached_property
    def full_labels(self) -> NDArray[np.uint8]:
        """What the full network sees in it, (H, W)."""
        return self._full_network(self.image)

    @cached_property
    def grey(self) -> NDArray[np.uint8]:
        """The frame as the optical flow wants it."""
        return grey_for_flow(self.image)


def arriving_frames(
    bag: Bag, cameras: tuple[str, ...], tracks: Tracks, problems: Problems, classes: LabelClasses | None = None
) -> Iterator[ReplayFrame]:
    """The frames of all cameras, by their arrivals, as they would have come from the vehicle's network.

    `classes` says what the truth's ids are, by default those of the fast network's classes; where the slow one has
    others, they are matched by name. What of it cannot be used is left out and noted in ``problems``; masks and classes
    without a pixel are noted at the end.
    """
    whole = full_network(tracks)
    truth = TruthIds(tracks, classes, problems)
    taken = dict.fromkeys(cameras, 0)
    census = {camera: LabelCensus(truth.classes) for camera in cameras}
    streams = [enumerate(bag.frames(camera)) for camera in cameras]
    for index, frame in heapq.merge(*streams, key=lambda numbered: numbered[1].arrival):
        taken[frame.topic] += 1
        labels = truth.usable(frame, census[frame.topic])
        yield ReplayFrame(frame.topic, index, frame.arrival, frame.stamp, frame.image, labels, whole)
    for camera, counted in census.items():
        counted.tell(problems, camera)
        _count_left_out(bag, camera, taken[camera], counted.files, problems)


def _count_left_out(bag: Bag, camera: str, frames: int, truths: int, problems: Problems) -> None:
    """How many of a camera's messages, and of its truth's, have no part in the figures."""
    messages = {topic.name: topic.message_count for topic in bag.topics}
    problems.leave_out(f"messages on {camera}", messages[camera] - frames, messages[camera])
    truth = truth_topic(camera)
    if truth in messages:
        problems.leave_out(f"messages on {truth} for {camera}", messages[truth] - truths, messages[truth])


class TruthIds:
    """From the ids of a bag's truth to the slow network's."""

    def __init__(self, tracks: Tracks, classes: LabelClasses | None, problems: Problems) -> None:
        """`classes` says what the ids are; without it they are those of the fast track's classes."""
        fast = tracks.fast.classes
        self.classes = classes or numbered_classes(len(fast), names=fast)
        self._problems = problems
        self._by_name: ClassesByName | None = None
        self._why_not = ""
        self._is_assumed = classes is None and tracks.slow.own_fast_network is None
        self._table = np.full(256, UNLABELLED, np.uint8)
        for stored, given in self.classes.ids.items():
            if stored < len(self._table):
                self._table[stored] = given
        if tracks.slow.classes != self.classes.names:
            try:
                self._by_name = ClassesByName.match(tracks.slow.classes, self.classes.names)
            except ClassesError as error:
                self._why_not = f"the truth is left out: {error}"

    def usable(self, frame: BagFrame, census: LabelCensus) -> NDArray[np.uint8] | None:
        """The frame's truth in the slow network's ids; None where there is none or it cannot be used."""
        if frame.labels is None:
            return None
        if self._why_not:
            self._problems.add("classes", self._why_not, frame.received)
            return None
        stored = frozenset(np.flatnonzero(np.bincount(frame.labels.ravel(), minlength=256)).tolist())
        unknown = stored - set(self.classes.ids)
        if unknown:
            self._problems.add(
                (frame.topic, "truth"),
                f"{frame.topic} has a truth with the class id {max(unknown)}, but {self.classes.expected}; it is left "
                "out",
                frame.received,
            )
            return None
        if self._is_assumed:
            self._problems.add(
                "truth", "The truth is taken for the ids of the fast track's classes; --classes says otherwise"
            )
        labels = self._table[frame.labels]
        census.add(f"at {frame.stamp} ns on {frame.topic}", ReadLabels(labels, stored))
        if self._by_name is None:
            return labels
        for number, sentence in enumerate(self._by_name.sentences()):
            self._problems.add(("classes", number), sentence.removesuffix("."))
        return self._by_name.ids[labels]
