"""Label maps made visible: colours, overlays, key-frame markers, legends and contact sheets.

Pictures are (H, W, 3) uint8. Nothing here depends on the order of the channels: give colours in the order the pictures
have (RGB throughout this package; the node's overlay topic is BGR and passes BGR colours).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import UNLABELLED

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

KEY_FRAME_COLOUR: Final[Colour] = (60, 220, 60)  # the same in RGB and BGR
PAPER: Final[Colour] = (255, 255, 255)
INK: Final[Colour] = (20, 20, 20)
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
SMOOTHNESS: Final = 4
FONT_HEIGHT_PIXELS: Final = 22.0  # of a capital letter of that font at scale 1


def colourise(labels: NDArray[np.uint8], colours: Sequence[Colour]) -> Picture:
    """Paint every label of (H, W) uint8 in its class's colour; ids without a colour, 255 among them, become black."""
    _require_labels(labels)
    return cv2.applyColorMap(np.ascontiguousarray(labels), _colour_of_every_id(colours)).astype(np.uint8, copy=False)


def overlay(frame: Picture, labels: NDArray[np.uint8], colours: Sequence[Colour], opacity: float) -> Picture:
    """Blend the labels' colours over a frame: `opacity` 0 gives the frame, 1 the colours alone.

    Where two classes meet, a line of their full colours is drawn.

    frame (H, W, 3) uint8, labels (H, W) uint8 -> (H, W, 3) uint8. Pixels without a class (255) and pixels whose id has
    no colour keep the picture. Raises ValueError if the two differ in size or the opacity is outside 0..1.
    """
    _require_labels(labels)
    if frame.shape != (*labels.shape, 3):
        raise ValueError(
            f"The labels are {labels.shape}, so the frame must be {(*labels.shape, 3)}, not {frame.shape}."
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"The opacity must be between 0 and 1, not {opacity}.")
    painted = colourise(labels, colours)
    blended = cv2.addWeighted(frame, 1 - opacity, painted, opacity, 0)
    if opacity > 0:
        cv2.copyTo(painted, _outlines(labels), blended)
    has_no_colour = labels >= len(colours)
    if has_no_colour.any():
        cv2.copyTo(frame, has_no_colour.view(np.uint8), blended)
    return blended.astype(np.uint8, copy=False)


def _outlines(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W): 1 where a neighbour above, below, left or right has another class."""
    differs = np.zeros(labels.shape, np.uint8)
    beside = (labels[:, 1:] != labels[:, :-1]).view(np.uint8)
    below = (labels[1:] != labels[:-1]).view(np.uint8)
    for part, other in (
        (differs[:, 1:], beside),
        (differs[:, :-1], beside),
        (differs[1:], below),
        (differs[:-1], below),
    ):
        part |= other
    return differs


def mark_key_frame(picture: Picture, reason: str = "") -> Picture:
    """Return a copy of a picture with the border and the tag that say: this frame was a key frame, and why."""
    marked = picture.copy()
    height, width = marked.shape[:2]
    border = max(2, height // 100)
    cv2.rectangle(marked, (0, 0), (width - 1, height - 1), KEY_FRAME_COLOUR, 2 * border - 1)
    text_height = max(8, height // 32)
    text = f"KEY FRAME: {reason}" if reason else "KEY FRAME"
    tag = line_of_text(text, text_height, KEY_FRAME_COLOUR, widest=width)[:height]
    marked[: tag.shape[0], : tag.shape[1]] = tag
    return marked


def legend(classes: Sequence[str], colours: Sequence[Colour], width: int, text_height: int = 11) -> Picture:
    """Return a strip of `width` pixels with every class's colour and name, in as many rows as they need."""
    if len(classes) != len(colours):
        raise ValueError(f"A legend needs one colour a class, not {len(colours)} colours for {len(classes)} classes.")
    if not classes:
        raise ValueError("A legend needs at least one class.")
    entries = [_legend_entry(name, colour, text_height, width) for name, colour in zip(classes, colours, strict=True)]
    entry_width = max(entry.shape[1] for entry in entries)
    return _grid([_widened(entry, entry_width) for entry in entries], columns=max(1, width // entry_width), width=width)


def contact_sheet(
    tiles: Sequence[tuple[Picture, str]], columns: int, tile_width: int = 480, text_height: int | None = None
) -> Picture:
    """Lay out (picture, caption) pairs row by row, each picture `tile_width` wide under its caption.

    Capitals are `text_height` pixels high, unless given a fortieth of the width.

    All pictures must have the shape of the first. Returns (rows * tile height, columns * tile width, 3) uint8; places
    left over in the last row stay white. Raises ValueError for no tiles, no columns or pictures of several sizes.
    """
    if not tiles or columns < 1:
        raise ValueError("A contact sheet needs at least one picture and one column.")
    shapes = {picture.shape for picture, _ in tiles}
    if len(shapes) > 1:
        raise ValueError(f"A contact sheet needs pictures of one size, not {sorted(shapes)}.")
    drawn = [
        _captioned(picture, caption, tile_width, text_height or max(8, tile_width // 40)) for picture, caption in tiles
    ]
    columns = min(columns, len(drawn))
    return _grid(drawn, columns, width=columns * drawn[0].shape[1])


def encoded_png(picture: Picture) -> bytes:
    """An RGB picture as the content of a PNG file."""
    written, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not written:
        raise ValueError(f"A picture of {picture.shape} cannot be encoded as a PNG.")
    return content.tobytes()


def _colour_of_every_id(colours: Sequence[Colour]) -> NDArray[np.uint8]:
    if not 0 < len(colours) <= UNLABELLED:
        raise ValueError(f"There must be 1 to {UNLABELLED} colours, not {len(colours)}.")
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(colours), 0] = colours
    return table


def _require_labels(labels: NDArray[np.uint8]) -> None:
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(f"Labels must be (H, W) uint8, not {labels.shape} {labels.dtype}.")


def _captioned(picture: Picture, caption: str, width: int, text_height: int) -> Picture:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    smaller = width < picture.shape[1]
    tile = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    text = line_of_text(caption, text_height, PAPER, width)
    framed = np.vstack([_widened(text, width), tile.astype(np.uint8, copy=False)])
    return cv2.copyMakeBorder(framed, 0, 4, 4, 4, cv2.BORDER_CONSTANT, value=PAPER).astype(np.uint8, copy=False)


def _legend_entry(name: str, colour: Colour, text_height: int, width: int) -> Picture:
    text = line_of_text(name, text_height, PAPER, max(1, width - 3 * text_height))
    swatch = np.full((text.shape[0], 2 * text_height, 3), PAPER, np.uint8)
    swatch[text_height // 2 : -(text_height // 2), text_height // 2 :] = colour
    return np.hstack([swatch, text])[:, :width]


def line_of_text(text: str, height: int, background: Colour, widest: int) -> Picture:
    """Draw one line of dark text whose capitals are `height` pixels high, on a strip no wider than `widest` pixels.

    It is drawn larger and reduced, which makes OpenCV's strokes smooth.
    """
    drawn_height = height * SMOOTHNESS
    scale = drawn_height / FONT_HEIGHT_PIXELS
    thickness = max(1, round(drawn_height / 9))
    margin = max(3, height // 2) * SMOOTHNESS
    (text_width, _), _ = cv2.getTextSize(text, FONT, scale, thickness)
    width = SMOOTHNESS * math.ceil(text_width / SMOOTHNESS) + 2 * margin
    strip = np.full((drawn_height + 2 * margin, width, 3), background, np.uint8)
    cv2.putText(strip, text, (margin, margin + drawn_height), FONT, scale, INK, thickness, cv2.LINE_AA)
    size = min(widest, width // SMOOTHNESS), strip.shape[0] // SMOOTHNESS
    return cv2.resize(strip, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _widened(picture: Picture, width: int) -> Picture:
    missing = width - picture.shape[1]
    return cv2.copyMakeBorder(picture, 0, 0, 0, missing, cv2.BORDER_CONSTANT, value=PAPER).astype(np.uint8, copy=False)


def _grid(tiles: Sequence[Picture], columns: int, width: int) -> Picture:
    tile_height, tile_width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    grid = np.full((rows * tile_height, width, 3), PAPER, np.uint8)
    for position, tile in enumerate(tiles):
        top, left = position // columns * tile_height, position % columns * tile_width
        grid[top : top + tile_height, left : left + tile_width] = tile
    return grid
