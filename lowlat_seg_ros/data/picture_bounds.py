"""How large a picture may be: a hundred kilobytes of PNG can claim, and fill, half a gigabyte."""

from __future__ import annotations

from typing import Final

FREE_PIXELS: Final = 1 << 24
PIXELS_A_BYTE: Final = 8
"""What a file may hold: 16 megapixels, and eight for each of its bytes. A photograph has less than two."""


def has_too_many_pixels(width: int, height: int, file_bytes: int) -> bool:
    """Whether a picture of that size is more than a file of that length may hold."""
    return width * height > FREE_PIXELS + PIXELS_A_BYTE * file_bytes
