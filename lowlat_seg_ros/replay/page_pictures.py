"""Pictures inside the page: read, made small and written as data URIs, until the page has enough of them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from lowlat_seg_ros.data.drawing import Picture
from lowlat_seg_ros.data.image_file import ImageFileError, read_rgb

MOST_PIXELS_ACROSS: Final = 640
MOST_BYTES: Final = 3_000_000  # of all pictures of a page
JPEG_QUALITY: Final = 80
DIMMED: Final = 0.4  # brightness left of the picture where two label maps are the same


@dataclass(frozen=True)
class Panel:
    """One picture of a frame."""

    title: str
    description: str  # for those who cannot see it
    uri: str


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
    height, width = picture.shape[:2]
    if width > MOST_PIXELS_ACROSS:
        size = (MOST_PIXELS_ACROSS, max(1, round(height * MOST_PIXELS_ACROSS / width)))
        way = cv2.INTER_NEAREST if suffix == ".png" else cv2.INTER_AREA  # classes' colours are not to be blended
        picture = cv2.resize(picture, size, interpolation=way).astype(np.uint8, copy=False)
    _, encoded = cv2.imencode(
        suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    kind = "jpeg" if suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"
