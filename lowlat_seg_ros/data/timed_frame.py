"""One frame of a clip and its time."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

NANOSECONDS_A_SECOND: Final = 1_000_000_000


class TimedFrame(NamedTuple):
    """When a frame was taken, in nanoseconds from the clip's first one, and its picture, (H, W, 3) uint8 RGB."""

    time: int
    image: NDArray[np.uint8]
