"""The frames that an evaluation is given, and what of them has no part in its figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.data.clips import Clip, PictureFolder
from lowlat_seg_ros.data.label_classes import LabelClasses
from lowlat_seg_ros.data.labelled_clips import LabelledFrame, labelled_frames
from lowlat_seg_ros.data.parts import is_in_last
from lowlat_seg_ros.data.problems import DataError
from lowlat_seg_ros.fast.pictures import frame_size, unlabelled_image
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet


def given_frames(
    clip: Clip, labels: Path | None, classes: LabelClasses, *, every: int = 1, last: float | None = None
) -> Iterator[LabelledImage]:
    """Each N-th frame of a clip, or of its last part; frames without labels are unlabelled from edge to edge.

    How many of them there are is noted in the clip's `problems` at the end.

    Args:
        last: the share of the clip that is taken, from its end; all of it unless given.

    Raises:
        DataError, ClipError: a file cannot be used, or no frame is left.
    """
    numbered: Iterator[tuple[int, LabelledFrame]] = enumerate(labelled_frames(clip, labels, classes))
    if last is not None:
        count = _frame_count(clip)
        numbered = ((index, frame) for index, frame in numbered if is_in_last(last, index / count))
    taken = unlabelled = 0
    for index, frame in itertools.islice(numbered, 0, None, every):
        taken += 1
        unlabelled += frame.labels is None
        ids = unlabelled_image(frame_size(frame.image)) if frame.labels is None else frame.labels
        yield LabelledImage(_name(clip, index), frame.image, ids, frame.time)
    if taken == 0:
        raise DataError(f"{clip.name} has no frame in the part that was asked for.")
    if labels is not None and unlabelled:
        clip.problems.add("frames", f"{unlabelled} of the {taken} frames have no labels in {labels} and are not scored")
        clip.problems.leave_out("frames", unlabelled, taken)


def _frame_count(clip: Clip) -> int:
    """Exactly: a video's header may be a few off."""
    if isinstance(clip, PictureFolder | SyntheticStreet):
        return clip.frame_count
    return sum(1 for _ in clip.frames())


def _name(clip: Clip, index: int) -> str:
    return clip.pictures[index].stem if isinstance(clip, PictureFolder) else f"frame {index}"
