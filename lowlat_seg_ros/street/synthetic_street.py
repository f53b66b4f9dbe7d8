"""The synthetic street: a drive down a made-up street with exact labels of all eleven classes of CamVid.

It stands in for a camera where there is no recording: in the demo, and as the tests' data. Every frame is a function of
the seed and its index alone, so that any frame can be asked for on its own, again, and in another process.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.data.timed_frame import NANOSECONDS_A_SECOND, TimedFrame
from lowlat_seg_ros.street.backdrop import Backdrop
from lowlat_seg_ros.street.camera import PinholeCamera
from lowlat_seg_ros.street.cross_section import CAMERA_LANE, LANES_FROM_OUTSIDE
from lowlat_seg_ros.street.ground import Ground
from lowlat_seg_ros.street.layout import lay_out
from lowlat_seg_ros.street.surface import Surface
from lowlat_seg_ros.street.traffic import CAMERA_SPEED, traffic

VIEW: Final = 110.0
"""Metres: how far the street is drawn; the skyline stands at its end."""

BEHIND: Final = 15.0
"""Metres: what begins so far behind the camera may still reach into its view; no house is longer."""

SMALLEST_SIDE, LARGEST_SIDE = 16, 4096
GRAIN: Final = 3.0  # standard deviation of a CamVid picture's noise, in grey levels, about
GRAIN_TILE: Final = 512


class SyntheticStreet:
    """`frame_count` frames of `size` (width, height) at `rate_hz`, made from `seed`; satisfies the Clip protocol.

    Raises ValueError, in one sentence, for a parameter that makes no clip.
    """

    name = "street"

    def __init__(
        self, size: tuple[int, int] = (480, 360), seed: int = 0, frame_count: int = 150, rate_hz: float = 15.0
    ) -> None:
        _require_a_clip(size, seed, frame_count, rate_hz)
        self.problems = Problems()  # a street has none
        self.size = size
        self.seed = seed
        self.frame_count = frame_count
        self.rate_hz = float(rate_hz)
        duration = frame_count / self.rate_hz
        length = CAMERA_SPEED * duration + VIEW
        # One stream of random numbers for each part: a change to one leaves the others as they are.
        randoms = [np.random.default_rng((seed, part)) for part in range(5)]
        self._backdrop = Backdrop(VIEW, randoms[0])
        self._ground = Ground(randoms[1])
        self._layout = lay_out(length, randoms[2])
        self.travellers = traffic(length, duration, randoms[3])
        self._grain = _grain(size, randoms[4])

    def __len__(self) -> int:
        return self.frame_count

    def __getitem__(self, index: int) -> LabelledImage:
        """Return frame `index`: its picture (H, W, 3) uint8 RGB and its class ids (H, W) uint8, 0..10."""
        camera, surfaces = self.scene(index)
        canvas = np.empty((self.size[1], self.size[0], 4), np.uint8)
        for surface in surfaces:
            surface.paint(canvas, camera)
        image = self._photographed(canvas, index)
        labels = np.ascontiguousarray(canvas[..., 3])
        return LabelledImage(f"{self.name}_{index:05d}", image, labels, self.time_of(index))

    def time_of(self, index: int) -> int:
        """Nanoseconds from the first frame to this one."""
        return round(index * NANOSECONDS_A_SECOND / self.rate_hz)

    def frames(self, first: int = 0) -> Generator[NDArray[np.uint8], None, None]:
        """Yield the picture of every frame from number `first` on, (H, W, 3) uint8 RGB."""
        for index in range(first, self.frame_count):
            yield self[index].image

    def timed_frames(self, first: int = 0) -> Generator[TimedFrame, None, None]:
        """The same, each with its time."""
        for index, image in enumerate(self.frames(first), start=first):
            yield TimedFrame(self.time_of(index), image)

    def scene(self, index: int) -> tuple[PinholeCamera, list[Surface]]:
        """Return the camera at frame `index` and what it sees, in an order in which later surfaces hide earlier ones.

        Raises IndexError if the clip has no such frame.
        """
        if not 0 <= index < self.frame_count:
            raise IndexError(f"The street has frames 0 to {self.frame_count - 1}, not {index}.")
        time = index / self.rate_hz
        camera = camera_at(time, self.size)
        in_lanes = [(lane, standing.z, standing.surface) for lane, standing in self._layout.in_lanes]
        in_lanes += [
            (who.lane, who.z(time), who.body(time)) for who in self.travellers if _in_view(who.z(time), camera)
        ]
        surfaces: list[Surface] = [self._backdrop, self._ground]
        for group in (self._layout.behind_walls, self._layout.walls):
            surfaces += _from_far_to_near([(standing.z, standing.surface) for standing in group], camera)
        for lane in LANES_FROM_OUTSIDE:
            surfaces += _from_far_to_near([(z, surface) for where, z, surface in in_lanes if where is lane], camera)
        return camera, surfaces

    def _photographed(self, canvas: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the canvas's colours as a lens and a sensor would render them: slightly soft, with grain."""
        image = cv2.GaussianBlur(cv2.cvtColor(canvas, cv2.COLOR_RGBA2RGB), (3, 3), 0.55)
        row, column = np.random.default_rng((self.seed, index)).integers(0, GRAIN_TILE, 2)
        height, width = image.shape[:2]
        grain = self._grain[row : row + height, column : column + width]
        return cv2.addWeighted(image, 1.0, grain, 1.0, -128.0).astype(np.uint8, copy=False)


def camera_at(time: float, size: tuple[int, int]) -> PinholeCamera:
    """Return where the camera is `time` seconds after the start: driving on, swaying and turning a little."""
    return PinholeCamera(
        size=size,
        x=CAMERA_LANE.centre + 0.15 * math.sin(2 * math.pi * time / 6.1),
        z=CAMERA_SPEED * time + 0.3 * math.sin(2 * math.pi * time / 4.3),
        yaw=0.012 * math.sin(2 * math.pi * time / 5.3 + 1.0),
        bounce=0.002 * math.sin(2 * math.pi * time * 1.1),
    )


def _in_view(z: float, camera: PinholeCamera) -> bool:
    return camera.z - BEHIND < z < camera.z + VIEW


def _from_far_to_near(surfaces: list[tuple[float, Surface]], camera: PinholeCamera) -> list[Surface]:
    visible = [(z, surface) for z, surface in surfaces if _in_view(z, camera)]
    return [surface for _, surface in sorted(visible, key=lambda pair: -pair[0])]


def _require_a_clip(size: tuple[int, int], seed: int, frame_count: int, rate_hz: float) -> None:
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise ValueError(f"A street's width and height must be {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, not {size}.")
    if seed < 0:
        raise ValueError(f"A street's seed must not be negative, but is {seed}.")
    if frame_count < 1:
        raise ValueError(f"A street needs at least one frame, not {frame_count}.")
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"A street's rate must be more than 0 Hz, not {rate_hz}.")


def _grain(size: tuple[int, int], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return noise around 128, larger than a picture so that each frame can take another part of it."""
    shape = size[1] + GRAIN_TILE, size[0] + GRAIN_TILE, 3
    return np.clip(np.round(128 + GRAIN * random.standard_normal(shape, np.float32)), 0, 255).astype(np.uint8)
