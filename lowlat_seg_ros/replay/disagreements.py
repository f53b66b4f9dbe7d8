"""The frames on which the two tracks and the full network differ most, as pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.drawing import Colour, colourise
from lowlat_seg_ros.replay.frames import ReplayFrame
from lowlat_seg_ros.replay.report import Disagreement

FRAMES_KEPT: Final = 6
APART: Final = 1_000_000_000  # nanoseconds: frames of one scene differ for one reason, and one picture shows it
WIDEST: Final = 960  # pixels of a picture
PICTURES_FOLDER: Final = "pictures"


@dataclass(frozen=True)
class KeptFrame:
    """A frame that differs much, with its pictures: contents by the fields of ``Disagreement``."""

    index: int
    arrival: int
    agreement: float
    key_age_frames: int
    pictures: dict[str, bytes]


class Disagreements:
    """Keeps the worst frames of one camera, at most FRAMES_KEPT and never two of one scene."""

    def __init__(self, camera: str, colours: tuple[Colour, ...]) -> None:
        self._stem = re.sub(r"\W+", "_", camera.strip("/")) or "camera"
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
            "picture": _encoded(frame.image, ".jpg", cv2.INTER_AREA),
            "labels": self._label_picture(labels),
            "full_labels": self._label_picture(frame.full_labels),
            "difference": self._label_picture(difference),
        }

    def _label_picture(self, labels: NDArray[np.uint8]) -> bytes:
        return _encoded(colourise(labels, self._colours), ".png", cv2.INTER_NEAREST_EXACT)


def _encoded(image: NDArray[np.uint8], suffix: str, interpolation: int) -> bytes:
    """An RGB image as a file's content, no wider than WIDEST."""
    height, width = image.shape[:2]
    if width > WIDEST:
        size = WIDEST, max(1, round(height * WIDEST / width))
        image = cv2.resize(image, size, interpolation=interpolation).astype(np.uint8, copy=False)
    encoded, content = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise RuntimeError(f"OpenCV cannot write {suffix} pictures")
    return content.tobytes()
