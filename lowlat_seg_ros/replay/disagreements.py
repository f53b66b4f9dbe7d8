"""The frames on which the two tracks and the full network differ most: kept as pictures, and shown on the page."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.drawing import Colour, Picture, colourise
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb
from lowlat_seg_ros.errors import in_one_line
from lowlat_seg_ros.replay.frames import ReplayFrame
from lowlat_seg_ros.replay.report import Disagreement

FRAMES_KEPT: Final = 6
APART: Final = 1_000_000_000  # nanoseconds: frames of one scene differ for one reason, and one picture shows it
WIDEST: Final = 960  # pixels of a picture
PICTURES_FOLDER: Final = "pictures"
MOST_PIXELS_ACROSS: Final = 640
MOST_BYTES: Final = 3_000_000  # of all pictures of a page
MOST_VIDEO_BYTES: Final = 8_000_000
JPEG_QUALITY: Final = 80
LONGEST_TOPIC: Final = 100  # characters; no topic of ROS 2's own has other letters than names of files may have
DIMMED: Final = 0.4  # brightness left of the picture where two label maps are the same


@dataclass(frozen=True)
class KeptFrame:
    """A frame that differs much, with its pictures: contents by the fields of ``Disagreement``."""

    index: int
    arrival: int
    agreement: float
    key_age_frames: int
    pictures: dict[str, bytes]


def file_stem(camera: str) -> str:
    """What the names of a camera's files begin with, and no other's: `left.image_raw` for `/left/image_raw`."""
    if len(camera) <= LONGEST_TOPIC and re.fullmatch(r"(/\w+)+", camera, re.ASCII):
        return camera[1:].replace("/", ".")
    return f"camera_{hashlib.sha256(camera.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


class Disagreements:
    """Keeps the worst frames of one camera, at most FRAMES_KEPT and never two of one scene."""

    def __init__(self, camera: str, colours: tuple[Colour, ...]) -> None:
        self._stem = file_stem(camera)
        self._colours = colours
        self._kept: list[KeptFrame] = []  # the worst first

    def offer(self, frame: ReplayFrame, labels: NDArray[np.uint8], agreement: float, key_age_frames: int) -> None:
        """A frame, its labels (H, W) and the fraction of them that the full network shares."""
        others = [kept for kept in self._kept if abs(kept.arrival - frame.arrival) >= APART]
        same_scene = [kept for kept in self._kept if abs(kept.arrival - frame.arrival) < APART]
        limit = min((kept.agreement for kept in same_scene), default=1.0)
        if len(others) >= FRAMES_KEPT:
            limit = min(limit, others[FRAMES_KEPT - 1].agreement)
        if agreement >= limit:
            return
        pictures = self._pictures(frame, labels)
        worst = KeptFrame(frame.index, frame.arrival, agreement, key_age_frames, pictures)
        self._kept = sorted([*others, worst], key=lambda kept: (kept.agreement, kept.index))[:FRAMES_KEPT]

    def report(self, first_arrival: int) -> tuple[list[Disagreement], dict[str, bytes]]:
        """What was kept, the worst first, and the contents of the files that it names."""
        entries: list[Disagreement] = []
        files: dict[str, bytes] = {}
        for kept in self._kept:
            names = {what: self._file_name(kept.index, what) for what in kept.pictures}
            files.update({names[what]: content for what, content in kept.pictures.items()})
            time_s = round((kept.arrival - first_arrival) / 1e9, 6)
            entries.append(Disagreement(kept.index, time_s, kept.agreement, kept.key_age_frames, **names))
        return entries, files

    def _file_name(self, index: int, what: str) -> str:
        suffix = "jpg" if what == "picture" else "png"
        return f"{PICTURES_FOLDER}/{self._stem}_{index:06d}_{what}.{suffix}"

    def _pictures(self, frame: ReplayFrame, labels: NDArray[np.uint8]) -> dict[str, bytes]:
        difference = np.where(labels == frame.full_labels, np.uint8(UNLABELLED), labels)
        return {
            "picture": _encoded(frame.image, ".jpg", WIDEST),
            "labels": self._label_picture(labels),
            "full_labels": self._label_picture(frame.full_labels),
            "difference": self._label_picture(difference),
        }

    def _label_picture(self, labels: NDArray[np.uint8]) -> bytes:
        return _encoded(colourise(labels, self._colours), ".png", WIDEST)


def _encoded(picture: Picture, suffix: str, widest: int, parameters: Sequence[int] = ()) -> bytes:
    """An RGB picture, (H, W, 3) uint8, as a file's content, no wider than ``widest``; PNG keeps classes' colours."""
    height, width = picture.shape[:2]
    if width > widest:
        way = cv2.INTER_NEAREST_EXACT if suffix == ".png" else cv2.INTER_AREA
        size = widest, max(1, round(height * widest / width))
        picture = cv2.resize(picture, size, interpolation=way).astype(np.uint8, copy=False)
    encoded, content = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), parameters)
    if not encoded:
        raise RuntimeError(f"OpenCV cannot write {suffix} pictures")
    return content.tobytes()


LABELLED_OPACITY: Final = 0.55


@dataclass(frozen=True)
class Panel:
    """One picture of a frame."""

    title: str
    description: str  # for those who cannot see it
    uri: str


def labelled_video(folder: Path, camera: Mapping[str, Any]) -> tuple[str, str]:
    """The camera's video as an address that holds it, and why the page has none of a video that the report names."""
    video = camera.get("video")
    if video is None:
        return "", ""
    try:
        file = _inside(folder, video["file"])
        if file.stat().st_size > MOST_VIDEO_BYTES:
            return "", f"The video {video['file']} lies beside this page, which it would make too large"
        return f"data:video/webm;base64,{base64.b64encode(file.read_bytes()).decode('ascii')}", ""
    except (OSError, ImageFileError) as error:
        return "", f"The video {video['file']} cannot be shown: {in_one_line(error)}"


@dataclass(frozen=True)
class DisagreementView:
    """A frame on which two label maps differ much, as the page shows it. Without panels, ``problem`` says why."""

    frame: int
    time_s: float
    agreement: float
    key_age_frames: int
    panels: tuple[Panel, ...]
    problem: str = ""


def disagreement_views(folder: Path, cameras: Iterable[Mapping[str, Any]]) -> dict[str, list[DisagreementView]]:
    """The disagreements of each camera, by topic, with their pictures from ``folder``.

    Beyond MOST_BYTES a frame's pictures are left out; the cameras' worst frames come first.
    """
    views: dict[str, list[DisagreementView]] = {camera["topic"]: [] for camera in cameras}
    bytes_left = MOST_BYTES
    by_rank = [
        (rank, camera["topic"], disagreement)
        for camera in cameras
        for rank, disagreement in enumerate(camera["disagreements"])
    ]
    for _, topic, disagreement in sorted(by_rank, key=lambda entry: entry[0]):
        view = _view(folder, disagreement)
        size = sum(len(panel.uri) for panel in view.panels)
        if size > bytes_left:
            view = _without_pictures(disagreement, "Its pictures would make this page too large.")
        else:
            bytes_left -= size
        views[topic].append(view)
    return views


def labelled_picture(folder: Path, camera: Mapping[str, Any]) -> Panel | None:
    """A frame under the two tracks' labels; None where the report has no readable pictures of this camera."""
    if not camera["disagreements"]:
        return None
    shown = camera["disagreements"][-1]  # of those that are kept, the one with the best labels
    try:
        picture, labels = (read_rgb(_inside(folder, shown[name])) for name in ("picture", "labels"))
    except ImageFileError:
        return None  # its own place in the page says so
    if picture.shape != labels.shape:
        return None
    blended = cv2.addWeighted(picture, 1 - LABELLED_OPACITY, labels, LABELLED_OPACITY, 0).astype(np.uint8, copy=False)
    title = f"Frame {shown['frame']} as the two tracks label it"
    return Panel(title, f"{title}, in the classes' colours", _uri(blended, ".jpg"))


def _view(folder: Path, disagreement: Mapping[str, Any]) -> DisagreementView:
    try:
        picture, labels, full_labels, difference = (
            read_rgb(_inside(folder, disagreement[name])) for name in ("picture", "labels", "full_labels", "difference")
        )
    except ImageFileError as error:
        return _without_pictures(disagreement, str(error))
    panels = (
        Panel("Camera", "The camera's picture", _uri(picture, ".jpg")),
        Panel("Two tracks", "The two tracks' labels in their classes' colours", _uri(labels, ".png")),
        Panel("Full network", "The full network's labels in their classes' colours", _uri(full_labels, ".png")),
        Panel(
            "Difference",
            "The two tracks' labels where they are not the full network's, the rest of the picture dimmed",
            _uri(over_dimmed(picture, difference), ".jpg"),
        ),
    )
    return DisagreementView(**_facts(disagreement), panels=panels)


def _without_pictures(disagreement: Mapping[str, Any], problem: str) -> DisagreementView:
    return DisagreementView(**_facts(disagreement), panels=(), problem=problem)


def _facts(disagreement: Mapping[str, Any]) -> dict[str, Any]:
    return {name: disagreement[name] for name in ("frame", "time_s", "agreement", "key_age_frames")}


def _inside(folder: Path, name: str) -> Path:
    """The file of a report, which may come from elsewhere and is not to name files outside its own folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ImageFileError(f"The picture {name} is not in the report's folder.")
    return path


def over_dimmed(picture: Picture, difference: Picture) -> Picture:
    """The colours of ``difference``, (H, W, 3) uint8, where it is not black; elsewhere the picture, grey and dark."""
    if picture.shape != difference.shape:
        height, width = difference.shape[:2]
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    differs = difference.any(axis=2, keepdims=True)
    return np.where(differs, difference, (DIMMED * grey).astype(np.uint8))


def _uri(picture: Picture, suffix: str) -> str:
    content = _encoded(picture, suffix, MOST_PIXELS_ACROSS, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    kind = "jpeg" if suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
