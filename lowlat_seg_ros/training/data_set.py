"""Finding the frames of a data set, in one of three layouts, and setting some aside.

Nothing but the training split is ever looked at: `val` and `test` are for scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lowlat_seg_ros.data import cityscapes
from lowlat_seg_ros.data.classes import CAMVID_CLASSES
from lowlat_seg_ros.data.clips import Clip, ClipError, PictureFolder, Video, open_clip
from lowlat_seg_ros.data.drives import drives_in
from lowlat_seg_ros.data.folders import label_files_in, paired_labels, pictures_in, strays
from lowlat_seg_ros.data.frame_source import FrameSource, VideoFrame
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.label_classes import LabelClasses, numbered_classes
from lowlat_seg_ros.data.label_file import LabelFile
from lowlat_seg_ros.data.labelled_clips import label_files
from lowlat_seg_ros.data.parts import is_in_last
from lowlat_seg_ros.data.problems import DataError, Problems
from lowlat_seg_ros.training.data_plan import DataPlan, parse_hold_out
from lowlat_seg_ros.training.frames import LONGEST_DISTANCE, TrainingFrame

SPLIT = "train"
UNLABELLED_SPACING = 10  # frames between the later frames of an unlabelled video's pairs


class DataSet(NamedTuple):
    """What a run trains on, and what it is scored on meanwhile. `problems` has a sentence for each file amiss."""

    name: str
    trained: list[TrainingFrame]
    held_out: list[TrainingFrame]
    unlabelled: list[TrainingFrame]  # of the videos that nobody labelled
    problems: list[str]
    notes: Problems  # what is left out or assumed, with which training goes on


def find_data(plan: DataPlan, class_count: int, classes: LabelClasses | None = None) -> DataSet:
    """The data set that the plan names; `classes` says what the numbers in `plan.labels` are, by default the model's.

    Raises:
        PlanError: the plan names no data set, or two.
        DataError: a folder or video is missing or empty, or the data set has other classes than the model.
    """
    plan.must_name_data()
    problems: list[str] = []
    notes = Problems()
    if plan.frames is not None:
        ids = (classes or numbered_classes(class_count)).with_void(plan.void)
        name, frames = _named_frames(plan, ids, problems, notes)
    else:
        assert plan.root is not None
        name, frames = _known_layout(plan.root, class_count, problems, notes)
    # With nothing but problems there is nothing to set aside, and the problems are what must be said.
    trained, held_out = set_aside(frames, plan.hold_out) if frames else ([], [])
    unlabelled: list[TrainingFrame] = []
    for video in plan.videos:
        try:
            unlabelled += unlabelled_frames(video, notes)
        except DataError as error:
            problems.append(str(error))
    return DataSet(name, trained, held_out, unlabelled, problems, notes)


def _known_layout(
    root: Path, class_count: int, problems: list[str], notes: Problems
) -> tuple[str, list[TrainingFrame]]:
    if cityscapes.is_cityscapes(root):
        _require_classes("Cityscapes", cityscapes.CLASS_COUNT, class_count)
        return "Cityscapes' training split", placed(cityscapes_frames(root, problems))
    if (root / SPLIT).is_dir() and (root / f"{SPLIT}annot").is_dir():
        _require_classes("CamVid", len(CAMVID_CLASSES), class_count)
        return "CamVid's training split", placed(camvid_frames(root, problems, notes))
    raise DataError(
        f"{root} is no data set; expected the folders train and trainannot (CamVid) or leftImg8bit and gtFine "
        "(Cityscapes); of other layouts, name the folders of frames and labels"
    )


def placed(frames: list[TrainingFrame]) -> list[TrainingFrame]:
    """The frames with their positions in their drives, by their order."""
    drives = [frame.drive for frame in frames]
    return [
        frame._replace(position=drives[:index].count(frame.drive) / drives.count(frame.drive))
        for index, frame in enumerate(frames)
    ]


def _require_classes(name: str, expected: int, class_count: int) -> None:
    if class_count != expected:
        raise DataError(
            f"{name} has {expected} classes, but the model has {class_count}; expected a model of {expected}"
        )


def camvid_frames(root: Path, problems: list[str], notes: Problems) -> list[TrainingFrame]:
    """CamVid's training stills, a second apart: nothing is known of the frames before them."""
    images, labels = root / SPLIT, root / f"{SPLIT}annot"
    pictures = pictures_in(images, notes)
    if not pictures:
        raise DataError(f"CamVid's folder {images} holds no pictures.")
    frames = [
        TrainingFrame(
            picture.stem,
            picture.stem.rpartition("_")[0],
            picture,
            LabelFile(file or labels / f"{picture.stem}.png", CAMVID_LABELS),
        )
        for picture, file in zip(pictures, paired_labels(pictures, labels, notes), strict=True)
    ]
    return with_labels_there(frames, problems)


def cityscapes_frames(root: Path, problems: list[str]) -> list[TrainingFrame]:
    """Cityscapes' labelled training frames, each with the video before it where that was fetched."""
    images = cityscapes.labelled_images(root, SPLIT)
    if not images:
        raise DataError(f"Cityscapes' folder {root / 'leftImg8bit' / SPLIT} holds no pictures CITY/*_leftImg8bit.png.")
    frames = [
        TrainingFrame(
            cityscapes.frame_name(image),
            image.parent.name,
            image,
            cityscapes.labels_of(root, image),
            cityscapes.earlier_images(root, image, LONGEST_DISTANCE),
        )
        for image in images
    ]
    return with_labels_there(frames, problems)


def with_labels_there(frames: list[TrainingFrame], problems: list[str]) -> list[TrainingFrame]:
    """The frames whose label files exist; the others become problems."""
    present = []
    for frame in frames:
        if frame.labels is None or frame.labels.path.is_file():
            present.append(frame)
        else:
            problems.append(f"The picture {frame.image} has no labels: {frame.labels.path} does not exist.")
    return present


def _named_frames(
    plan: DataPlan, ids: LabelClasses, problems: list[str], notes: Problems
) -> tuple[str, list[TrainingFrame]]:
    assert plan.frames is not None and plan.labels is not None
    if not plan.labels.is_dir():
        raise DataError(f"The folder of labels {plan.labels} does not exist.")
    frames: list[TrainingFrame] = []
    for path, labels in drives_in(plan.frames, plan.labels, notes):
        try:
            clip = open_clip(path)
            follow_each_other = plan.consecutive or isinstance(clip, Video)
            frames += clip_frames(clip, labels, ids, follow_each_other, problems)
            notes.include(clip.problems)
        except (ClipError, DataError) as error:
            problems.append(str(error))
    return f"the frames in {plan.frames.name}", frames


def clip_frames(
    clip: Clip, labels: Path, ids: LabelClasses, follow_each_other: bool, problems: list[str]
) -> list[TrainingFrame]:
    """The labelled frames of a clip. A still without labels is a problem, and so are labels without a frame."""
    sources = frame_sources(clip)
    files = label_files(clip, labels)
    if len(files) != len(sources):
        problems.append(
            f"There are {len(files)} label files in {labels}, but {clip.name} has {len(sources)} frames; "
            "expected one for each."
        )
        return []
    drive = clip.path.stem if isinstance(clip, Video) else clip.name
    problems += [f"The labels {stray} belong to no frame." for stray in strays(label_files_in(labels), files)]
    if not follow_each_other:
        for source, file in zip(sources, files, strict=True):
            if file is None:
                problems.append(f"The picture {source} has no labels in {labels}.")
    return [
        TrainingFrame(
            f"{drive}/{file.stem}",
            drive,
            sources[index],
            LabelFile(file, ids),
            _before(sources, index) if follow_each_other else (),
            index / len(sources),
        )
        for index, file in enumerate(files)
        if file is not None
    ]


def frame_sources(clip: Clip) -> list[FrameSource]:
    """Where each frame of a clip lies. A video is decoded once, since its header may be a few frames off."""
    if isinstance(clip, PictureFolder):
        return list(clip.pictures)
    if not isinstance(clip, Video):
        raise DataError(f"{clip.name} is no folder of pictures and no video file.")
    try:
        return [VideoFrame(clip.path, index, frame.time) for index, frame in enumerate(clip.timed_frames())]
    except ClipError as error:
        raise DataError(str(error)) from error


def unlabelled_frames(path: Path, notes: Problems) -> list[TrainingFrame]:
    """Every tenth frame of a video or a folder of its frames, with the ten before it, for the base network to label.

    What is left out or assumed of it is added to `notes`.
    """
    try:
        clip = open_clip(path)
    except ClipError as error:
        raise DataError(str(error)) from error
    sources = frame_sources(clip)
    notes.include(clip.problems)
    if len(sources) <= UNLABELLED_SPACING:
        raise DataError(f"The video {path} has {len(sources)} frames; expected more than {UNLABELLED_SPACING}.")
    return [
        TrainingFrame(f"{clip.name}/{index}", clip.name, sources[index], None, _before(sources, index))
        for index in range(UNLABELLED_SPACING, len(sources), UNLABELLED_SPACING)
    ]


def _before(sources: list[FrameSource], index: int) -> tuple[FrameSource, ...]:
    return tuple(reversed(sources[max(0, index - LONGEST_DISTANCE) : index]))


def set_aside(frames: list[TrainingFrame], hold_out: str | None) -> tuple[list[TrainingFrame], list[TrainingFrame]]:
    """The frames to train on and those to be scored only: none, every n-th, the last part of each drive, or a drive.

    Raises:
        DataError: no frame is of the drive, or nothing would be left, or a frame held out was filmed within a second
            of one that is trained on, and so would say little about other streets.
    """
    if hold_out is None:
        return frames, []
    kind, value = parse_hold_out(hold_out)
    if kind == "every":
        is_held = [index % int(value) == int(value) - 1 for index in range(len(frames))]
    elif kind == "last":
        is_held = [is_in_last(float(value), frame.position) for frame in frames]
    else:
        is_held = [frame.drive == value for frame in frames]
    held = [frame for frame, out in zip(frames, is_held, strict=True) if out]
    trained = [frame for frame, out in zip(frames, is_held, strict=True) if not out]
    if not held or not trained:
        drives = ", ".join(sorted({frame.drive for frame in frames})[:20])
        left = "all" if held else "none"
        raise DataError(f"hold_out is {hold_out!r}, which holds {left} of the frames; the drives are {drives}")
    seen = {source for frame in trained for source in frame.earlier}
    if any(frame.image in seen for frame in held):
        raise DataError(
            f"hold_out is {hold_out!r}, but these frames follow each other, and those before and after one held out "
            "look the same as it; expected 'last fifth' or 'drive NAME'"
        )
    return trained, held
