"""The demo's pictures: a video with the overlay and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.clips import Clip
from lowlat_seg_ros.data.drawing import contact_sheet, encoded_png, legend, mark_key_frame, overlay
from lowlat_seg_ros.data.video_writer import VideoWriter
from lowlat_seg_ros.demo import DemoRun
from lowlat_seg_ros.models.config import ModelConfig

OPACITY: Final = 0.55
SHEET_TILES: Final = 12
SHEET_COLUMNS: Final = 3


def write_pictures(clip: Clip, run: DemoRun, model: ModelConfig, folder: Path) -> None:
    """Write `overlay.webm`, every frame of the clip, and `contact_sheet.png`, some of them with the classes' names.

    Raises:
        ClipError, VideoError, DemoError, OSError: a file that cannot be read or written.
    """
    on_sheet = _evenly_chosen(_labelled_frames(run), SHEET_TILES)
    tiles = []
    names = legend(model.classes, model.colours, clip.size[0])
    size = clip.size[0], clip.size[1] + names.shape[0]
    with VideoWriter(folder / "overlay.webm", size, clip.rate_hz) as video:
        for number, (picture, caption) in enumerate(_pictures(clip, run, model)):
            video.write(np.vstack([picture, names]))
            if number in on_sheet:
                tiles.append((picture, f"{clip.name}, frame {number}: {caption}"))
    sheet = contact_sheet(tiles, SHEET_COLUMNS)
    wide = legend(model.classes, model.colours, sheet.shape[1])
    atomic_write(folder / "contact_sheet.png", encoded_png(np.vstack([sheet, wide])))


def _labelled_frames(run: DemoRun) -> list[int]:
    return [number for number, answer in enumerate(run.answers) if answer is not None]


def _evenly_chosen(numbers: list[int], count: int) -> set[int]:
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    return {numbers[place] for place in places}


def _pictures(clip: Clip, run: DemoRun, model: ModelConfig) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """Every frame that was sent, with its labels over it, and what to say of it."""
    sent = zip(clip.frames(), run.answers, strict=False)  # a clip that is cut short ends with the shorter one
    for frame, answer in tqdm(sent, total=len(run.answers), unit="frame", desc="drawing", disable=None):
        if answer is None:
            yield frame, "dropped"
            continue
        message = answer.key_frame
        picture = overlay(frame, answer.labels(), model.colours, OPACITY)
        if message.is_key_frame:
            yield mark_key_frame(picture, message.key_reason), f"{message.total_ms:.0f} ms, key frame"
        else:
            yield picture, f"{message.total_ms:.0f} ms, key frame {message.key_age_frames} before"
