"""Bad weather and bad cameras, made: what a clip would look like at night, in fog, against the sun, or out of focus.

The kinds are ImageNet-C's that a car meets (Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019), and rain and a low sun, in its five strengths. Fog is as thick as the way
through it is long, on the scene that pairs are synthesised with: a road, house fronts to both sides.

A corrupted picture depends on the picture, its time, kind, strength and seed alone. What hangs in the air stays there
from frame to frame: fog drifts, rain falls, the sun stands still; a sensor's noise is another one in every frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from lowlat_seg_ros.errors import Error

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Field = NDArray[np.float32]  # (H, W) or (H, W, 1)

STRENGTHS: Final = (1, 2, 3, 4, 5)
REFERENCE_WIDTH: Final = 480.0  # pixels, to which lengths below belong; of wider pictures they are as much longer
GAMMA: Final = 2.2  # between a picture's levels and light

# By strength. Of night: the light that is left, and by how much the camera's gain brightens what it took.
EXPOSURE: Final = (0.25, 0.12, 0.06, 0.03, 0.015)
GAIN: Final = (2.0, 3.0, 4.0, 5.0, 6.0)
WELL: Final = 4000.0  # electrons in a white pixel
READ_NOISE: Final = 4.0  # electrons, standard deviation
VISIBILITY: Final = (160.0, 90.0, 55.0, 35.0, 20.0)  # metres in fog
RAIN: Final = (0.25, 0.4, 0.55, 0.75, 1.0)  # drops, and the veil of those too far to be seen
SUN: Final = (0.4, 0.7, 1.1, 1.6, 2.3)  # of white, beside the disc
BLUR_LENGTH: Final = (5.0, 9.0, 14.0, 20.0, 28.0)  # pixels
DEFOCUS_RADIUS: Final = (1.5, 2.5, 4.0, 6.0, 8.5)  # pixels
QUALITY: Final = (25, 18, 15, 10, 7)  # ImageNet-C's own

AIR: Final = (205.0, 208.0, 212.0)  # colour of fog and of far rain
FARTHEST: Final = 150.0  # metres
CONTRAST_LOST: Final = 3.0  # at the limit of visibility: e^-3 of a thing's contrast is left
DRIFT: Final = 0.15  # of the picture's width a second
TILE: Final = 512  # pixels a side of fog's and rain's patterns, which repeat
FALL: Final = 900.0  # pixels a second of near drops
SLANT: Final = 0.18  # of their way down, sidewards


class CorruptionError(Error):
    """No corruption of that name; the message says which there are."""


@dataclass(frozen=True)
class Corruption:
    """One kind at one strength, 1 to 5."""

    kind: str  # of KINDS
    strength: int
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.strength}"

    def __call__(self, image: Picture, time: int) -> Picture:
        """``image`` (H, W, 3) uint8 RGB, taken at that time in nanoseconds, as it would have looked then."""
        moment = Moment(self.strength - 1, time / 1e9, self.seed, np.random.default_rng((self.seed, time % 2**63)))
        return np.ascontiguousarray(np.clip(np.rint(KINDS[self.kind](image, moment)), 0, 255).astype(np.uint8))


class Moment(NamedTuple):
    """What a corruption goes by, beside the picture."""

    level: int  # 0 to 4: an index into what is given by strength
    seconds: float
    seed: int
    random: np.random.Generator  # this frame's own


def parse_corruption(text: str) -> Corruption:
    """``fog:3``. Raises CorruptionError."""
    kind, _, strength = text.partition(":")
    if kind not in KINDS or strength not in map(str, STRENGTHS):
        raise CorruptionError(
            f"there is no corruption {text!r}; expected KIND:STRENGTH, one of {', '.join(KINDS)}, and 1 to 5"
        )
    return Corruption(kind, int(strength))


def _night(image: Picture, moment: Moment) -> Field:
    """Little light: photons are counted one by one, the amplifier adds noise, and the gain brightens both."""
    light = EXPOSURE[moment.level] * (image / np.float32(255)) ** np.float32(GAMMA)
    noise = moment.random.standard_normal(image.shape, dtype=np.float32)
    electrons = light * WELL + noise * np.sqrt(light * WELL + READ_NOISE**2)
    taken = np.clip(GAIN[moment.level] * electrons / WELL, 0, 1)
    return _as_field(255 * taken ** np.float32(1 / GAMMA))


def _fog(image: Picture, moment: Moment) -> Field:
    distance = _distances(image.shape[0], image.shape[1])
    thickness = _drifting(image.shape, moment) * CONTRAST_LOST / VISIBILITY[moment.level]
    return _veiled(image, 1 - np.exp(-distance * thickness))


def _rain(image: Picture, moment: Moment) -> Field:
    """Near drops as long streaks, far ones short and dim, and a veil of all those that are farther still."""
    amount, scale = RAIN[moment.level], image.shape[1] / REFERENCE_WIDTH
    veiled = _veiled(image, 1 - np.exp(-_distances(image.shape[0], image.shape[1]) * amount / 90))
    streaks = np.zeros(image.shape[:2], np.float32)
    for layer, (size, speed) in enumerate(((1.0, 1.0), (0.6, 0.6), (0.35, 0.35))):
        tile = _drops(moment.seed + layer, round(1000 * amount), size)
        fallen = FALL * speed * moment.seconds
        streaks += (0.35 + 0.65 * size) * _window(tile, image.shape, -fallen, fallen * SLANT, scale)
    return _as_field(veiled + np.minimum(streaks, 0.75)[..., None] * (np.float32(225) - veiled))


def _glare(image: Picture, moment: Moment) -> Field:
    """A sun low over the road: its disc, its halo, and the light that a windscreen scatters over everything."""
    height, width = image.shape[:2]
    random = np.random.default_rng(moment.seed)
    x, y = width * random.uniform(0.35, 0.65), height * 0.28
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot(columns - x, rows - y) / width
    halo = 0.75 * np.exp(-distance / 0.16) + 0.25 * np.exp(-distance / 0.6) + 2 * np.exp(-((distance / 0.035) ** 2))
    scattered = 255 * SUN[moment.level] * halo[..., None] * np.array([1.0, 0.95, 0.82], np.float32)
    return _as_field(image * np.float32(1 - 0.08 * (moment.level + 1)) + scattered)


def _motion_blur(image: Picture, moment: Moment) -> Field:
    """Of a camera that turns: mostly sidewards, a direction that changes slowly."""
    length = BLUR_LENGTH[moment.level] * image.shape[1] / REFERENCE_WIDTH
    angle = 0.35 * math.sin(2 * math.pi * moment.seconds / 3.7 + moment.seed)
    reach = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    x, y = math.cos(angle) * length / 2, math.sin(angle) * length / 2
    _draw_line(kernel, (reach - x, reach - y), (reach + x, reach + y), 255)
    return _filtered(image, kernel)


def _defocus(image: Picture, moment: Moment) -> Field:
    radius = DEFOCUS_RADIUS[moment.level] * image.shape[1] / REFERENCE_WIDTH
    reach = math.ceil(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    return _filtered(image, _as_field(np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)))


def _jpeg(image: Picture, moment: Moment) -> Field:
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY[moment.level]]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV cannot read its own JPEG"
    return _as_field(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


KINDS: Final[dict[str, Callable[[Picture, Moment], Field]]] = {
    "night": _night,
    "fog": _fog,
    "rain": _rain,
    "glare": _glare,
    "motion-blur": _motion_blur,
    "defocus": _defocus,
    "jpeg": _jpeg,
}


def _as_field(values: NDArray[Any] | MatLike) -> Field:
    return np.asarray(values, np.float32)


def _filtered(image: Picture, kernel: NDArray[Any]) -> Field:
    # Of floats OpenCV takes large kernels by Fourier transform.
    return _as_field(
        cv2.filter2D(_as_field(image), -1, _as_field(kernel / kernel.sum()), borderType=cv2.BORDER_REFLECT_101)
    )


def _veiled(image: Picture, share: Field) -> Field:
    """The picture with a share (H, W) of each pixel's light from the air in front of it."""
    return _as_field(image + share[..., None] * (np.array(AIR, np.float32) - image))


@lru_cache(maxsize=4)
def _distances(height: int, width: int) -> Field:
    """Metres to what each pixel shows, (height, width): a road 1.4 m below, house fronts 12 m to both sides."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    road, fronts = np.maximum(rows / height - 0.48, 0) * height / 1.4, np.abs(columns - width / 2) / 12
    nearness = np.hypot(np.hypot(road, fronts) / width, 1 / FARTHEST)  # no edge where the two meet
    return _as_field(1 / nearness)


def _drifting(shape: tuple[int, ...], moment: Moment) -> Field:
    """How much thicker or thinner than the mean fog is, (H, W), a pattern that moves on and slowly changes."""
    scale, way = shape[1] / REFERENCE_WIDTH, DRIFT * REFERENCE_WIDTH * moment.seconds
    one = _window(_clouds(moment.seed), shape, 0.1 * way, way, scale)
    return 1 + (one + _window(_clouds(moment.seed + 1), shape, -0.15 * way, 0.6 * way, scale)) * np.float32(0.3)


@lru_cache(maxsize=8)
def _clouds(seed: int) -> Field:
    """A tile of soft noise of all sizes, which repeats without a seam: mean 0, standard deviation 1."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]) * TILE
    spectrum = np.fft.rfft2(random.standard_normal((TILE, TILE))) / np.maximum(frequency, 1) ** 1.8
    spectrum[0, 0] = 0
    clouds = np.fft.irfft2(spectrum, (TILE, TILE))
    return _as_field(clouds / clouds.std())


@lru_cache(maxsize=16)
def _drops(seed: int, count: int, size: float) -> Field:
    """A tile of ``count`` streaks, those of the nearest drops (``size`` 1) longest; 0 to 1."""
    random = np.random.default_rng((seed, 1))
    tile = np.zeros((2 * TILE, TILE), np.uint8)  # what crosses the lower edge goes on at the upper one
    for x, y, brightness in random.uniform((0, 0, 80), (TILE, TILE, 255), (count, 3)):
        length = 26 * size * random.uniform(0.6, 1.4)
        _draw_line(tile, (x, y), (x - SLANT * length, y + length), brightness)
    folded = np.maximum(tile[:TILE], tile[TILE:]).astype(np.float32) / 255
    return _as_field(cv2.GaussianBlur(folded, (3, 3), 0.8 * size))


def _draw_line(picture: NDArray[np.uint8], start: tuple[float, float], stop: tuple[float, float], grey: float) -> None:
    """From one (column, row) to another, smooth, which OpenCV draws into bytes only."""
    (x1, y1), (x2, y2) = ((round(16 * x), round(16 * y)) for x, y in (start, stop))  # sixteenths of a pixel
    cv2.line(picture, (x1, y1), (x2, y2), (grey,), 1, cv2.LINE_AA, 4)


def _window(tile: Field, shape: tuple[int, ...], down: float, right: float, scale: float) -> Field:
    """(H, W) of a tile that repeats for ever, enlarged, moved by so many of its own pixels."""
    height, width = math.ceil(shape[0] / scale) + 1, math.ceil(shape[1] / scale) + 1
    rows, columns = (np.arange(height) + round(down)) % TILE, (np.arange(width) + round(right)) % TILE
    part = tile[np.ix_(rows, columns)]
    if scale == 1:
        return part[: shape[0], : shape[1]]
    size = math.ceil(width * scale), math.ceil(height * scale)
    return _as_field(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR))[: shape[0], : shape[1]]
