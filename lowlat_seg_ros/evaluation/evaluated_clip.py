"""A labelled clip as one model sees it: what several figures need of a frame is worked out once."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.data.camvid import DataError, LabelledImage
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.evaluation.optical_flow import grey_for_flow
from lowlat_seg_ros.evaluation.remembering_network import RememberingNetwork, RememberingSlowNetwork
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, LowFeatures, SeenFrame
from lowlat_seg_ros.fast.motion import FoundMotion, Motion, MotionEstimator, already_found
from lowlat_seg_ros.fast.pictures import Preprocessor, as_image, frame_size, label_image, unlabelled_image
from lowlat_seg_ros.fast.propagation import Propagation
from lowlat_seg_ros.fast.registry import AUTO, build_propagation, propagation_in_use
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.choice import AS_LOADED, Place
from lowlat_seg_ros.slow.network import SlowNetwork

FULL_ROWS: Final = ("per-frame", "per-frame-fused")  # of rows.ROWS, the full network on every frame
CAMVID_HZ: Final = 15.0  # of its labelled clip
LEARNING_INTERVAL: Final = 10  # frames between the key frames that a propagation has learned from
MOTIONS_KEPT: Final = 256  # of half a megabyte each; asked for by distance, each begins with one of the last round


@dataclass(frozen=True, eq=False)
class EvaluatedFrame:
    """One frame and its ground truth."""

    index: int  # frames of the clip before it
    name: str
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    truth: NDArray[np.uint8]  # (H, W) class ids, 255 = unlabelled
    time: int | None = None  # nanoseconds from the video's first frame, where that is known

    @cached_property
    def grey(self) -> NDArray[np.uint8]:
        """The frame as the optical flow wants it."""
        return grey_for_flow(self.image)


class EvaluatedClip:
    """The frames of one clip in turn, with their features and the full network's labels. All of it stays in memory."""

    def __init__(
        self,
        network: SegmentationNetwork,
        clip: Iterable[LabelledImage],
        *,
        slow: SlowNetwork | None = None,
        places: tuple[Place, Place] = (AS_LOADED, AS_LOADED),
        propagation: str = AUTO,
        rate_hz: float = CAMVID_HZ,
        has_labels: bool = True,
        scored: Collection[int] | None = None,
    ) -> None:
        """
        Args:
            network: the fast track's, ready for inference, on the CPU.
            slow: the slow track's; ``network`` itself unless given.
            places: where the fast and the slow network run.
            propagation: ``auto`` or a name of ``fast.registry.PROPAGATIONS``.
            rate_hz: frames a second, by which those without times of their own are stamped.
            has_labels: whether the clip's labels are the truth. Otherwise they are not looked at, and what the full
                network sees in a frame stands for them.
            scored: the classes that the truth may hold; all unless given.
            clip: read at once, so that a file which cannot be used is named before anything is computed.

        Raises:
            DataError: a file cannot be used, or holds a class that the model does not have.
        """
        config = network.config
        self._as_given = partial(
            EvaluatedClip,
            network,
            slow=slow,
            places=places,
            propagation=propagation,
            rate_hz=rate_hz,
            has_labels=has_labels,
            scored=scored,
        )
        self.network = network
        self.remembering = RememberingNetwork(network)
        self.slow = RememberingSlowNetwork(slow or network)
        self.places = places
        self.classes = self.slow.classes
        self.full_rows = FULL_ROWS if slow is None or slow.own_fast_network is not None else FULL_ROWS[:1]
        self.frames = [
            EvaluatedFrame(index, item.name, item.image, _known_classes(item, len(self.classes)), item.time)
            for index, item in enumerate(clip)
        ]
        self._preprocess = Preprocessor(config.input_size, torch.device("cpu"))
        self.propagation_name = propagation_in_use(propagation)
        self._propagation = build_propagation(propagation, self.remembering, self.slow)
        self.confidence_prior = self._propagation.confidence_prior
        self._period = round(1e9 / rate_hz)
        self._motion_estimator = MotionEstimator(config.input_size) if self._propagation.needs_motion else None
        self._motions: OrderedDict[tuple[int, int], Motion] = OrderedDict()
        self._low: dict[int, LowFeatures] = {}
        self._answers: dict[int, Answer] = {}
        self._full_labels: dict[int, NDArray[np.uint8]] = {}
        self._labels_at_input: dict[int, NDArray[np.uint8]] = {}
        self.has_labels = has_labels
        self._scored = scored
        if not has_labels:
            with torch.inference_mode():
                self.frames = [replace(frame, truth=self.full_labels(frame.index)) for frame in self.frames]

    def __len__(self) -> int:
        return len(self.frames)

    def require_one_size(self) -> None:
        """Raises DataError where a frame has not the first one's size: a video's frames are all alike."""
        first = self.frames[0]
        for frame in self.frames:
            if frame.image.shape != first.image.shape:
                raise DataError(
                    f"The picture {frame.name} is {_size(frame)} but {first.name} is {_size(first)}; expected the "
                    "frames of one video, or --stills."
                )

    def with_pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> EvaluatedClip:
        """The same clip, its truth included, as if the camera had taken other pictures (H, W, 3) of it."""
        items = [
            LabelledImage(frame.name, picture, frame.truth, frame.time)
            for frame, picture in zip(self.frames, pictures, strict=True)
        ]
        other = self._as_given(items)
        other.frames = [
            replace(frame, truth=own.truth) for frame, own in zip(other.frames, self.frames, strict=True)
        ]  # where there are no labels it is what the full network sees in the pictures as they were
        return other

    def new_matrix(self) -> ConfusionMatrix:
        return ConfusionMatrix(len(self.classes), self._scored)

    def low(self, index: int) -> LowFeatures:
        """F_l of a frame."""
        if index not in self._low:
            self._low[index] = self.remembering.low_features(self.preprocessed(index))
        return self._low[index]

    def stamp(self, index: int) -> int:
        """Nanoseconds from the clip's first frame to this one: by their own times or, without, by the rate."""
        if index < 0:  # of another scene, before a cut
            return index * self._period
        first, frame = self.frames[0].time, self.frames[index].time
        return index * self._period if first is None or frame is None else frame - first

    def answer(self, index: int) -> Answer:
        """What the full network sees in a frame."""
        if index not in self._answers:
            self._answers[index] = self.slow.answer(self._slow_networks_picture(index), self.low(index).low)
        return self._answers[index]

    def _slow_networks_picture(self, index: int) -> Tensor:
        if self.slow.sees_whole_frame:
            return as_image(self.frames[index].image, torch.device("cpu"))
        return self.preprocessed(index)

    def high(self, index: int) -> Tensor:
        """F_h of a frame by Sh, (1, C_h, h, w)."""
        feature = self.answer(index).feature
        assert feature is not None, "expected a network of ours"
        return feature

    def preprocessed(self, index: int) -> Tensor:
        """A frame as the network takes it, (1, 3, height, width) of the model's input size."""
        return self._preprocess(self.frames[index].image)

    def full_labels(self, index: int) -> NDArray[np.uint8]:
        """What the full network sees in a frame, (H, W) of the frame."""
        if index not in self._full_labels:
            self._full_labels[index] = self.labels_of_answer(self.answer(index), index)
        return self._full_labels[index]

    def labels_at_input(self, index: int) -> NDArray[np.uint8]:
        """The same as the engine learns from them, (height, width) of the model's input size."""
        if index not in self._labels_at_input:
            answer, size = self._taught[index][0].answer, self.network.config.input_size
            self._labels_at_input[index] = label_image(answer.logits, size, size, answer.ids)
        return self._labels_at_input[index]

    def propagated_labels(self, key: int, index: int) -> NDArray[np.uint8]:
        """What the engine makes of a frame from the accurate answer of a key frame, (H, W) of the frame."""
        key_frame, propagation = self._taught[key]
        return self.labels_of_answer(propagation.answer(key_frame, self._seen(index, key)), index)

    @cached_property
    def _taught(self) -> list[tuple[KeyFrame, Propagation]]:
        """Each frame as a key frame, and the propagation as it is once it has learned from it.

        Before, it has learned from each ``LEARNING_INTERVAL``-th frame, as if these had been the key frames.
        """
        taught: list[tuple[KeyFrame, Propagation]] = []
        pupils = [
            build_propagation(self.propagation_name, self.remembering, self.slow) for _ in range(LEARNING_INTERVAL)
        ]
        for index in range(len(self)):
            pupil, seen = pupils[index % LEARNING_INTERVAL], self._seen(index, None)
            key_frame = KeyFrame(seen, pupil.prepare(self.answer(index), seen), is_accurate=True)
            pupil.learn(key_frame, lambda: True)
            taught.append((key_frame, copy.copy(pupil)))  # what it has learned is exchanged in one piece, never changed
        return taught

    def _seen(self, index: int, key: int | None) -> SeenFrame:
        """A frame as Sl sees it, with its motion since a key frame."""
        motion = None
        if self._motion_estimator is not None:
            picture = self._motion_estimator.picture(self._preprocess.resized(self.frames[index].image))
            motion = already_found(FoundMotion(picture, None if key is None else self._motion(key, index)))
        return SeenFrame(index, self.stamp(index), self.preprocessed(index), self.low(index), motion)

    def _motion(self, key: int, index: int) -> Motion:
        """Found as the engine finds it: from the frame after the key frame on, each time beginning with the last."""
        if (key, index) in self._motions:
            return self._motions[key, index]
        assert self._motion_estimator is not None
        start = None if index <= key + 1 else self._motion(key, index - 1)
        key_frame, frame = (self._preprocess.resized(self.frames[number].image) for number in (key, index))
        picture = self._motion_estimator.picture
        motion = self._motion_estimator.between(picture(key_frame), picture(frame), start)
        self._motions[key, index] = motion
        if len(self._motions) > MOTIONS_KEPT:
            self._motions.popitem(last=False)
        return motion

    def labels_of_feature(self, high: Tensor, index: int) -> NDArray[np.uint8]:
        """Labels of a frame, (H, W) of the frame, from an F_h at its place."""
        return self.labels_of_logits(self.network.classify(high), index)

    def labels_of_logits(self, logits: Tensor, index: int) -> NDArray[np.uint8]:
        return self.labels_of_answer(Answer(logits), index)

    def labels_of_answer(self, answer: Answer, index: int) -> NDArray[np.uint8]:
        """As the engine makes them; nothing but 255 where the logits are not finite."""
        size = frame_size(self.frames[index].image)
        try:
            return label_image(answer.logits, self.network.config.input_size, size, answer.ids)
        except FloatingPointError:
            return unlabelled_image(size)


def _known_classes(item: LabelledImage, class_count: int) -> NDArray[np.uint8]:
    largest = int(item.labels.max(initial=0, where=item.labels != UNLABELLED))
    if largest >= class_count:
        raise DataError(
            f"The labels of {item.name} hold the class id {largest}, and the model's ids end at {class_count - 1}."
        )
    return item.labels


def _size(frame: EvaluatedFrame) -> str:
    width, height = frame_size(frame.image)
    return f"{width} x {height}"
