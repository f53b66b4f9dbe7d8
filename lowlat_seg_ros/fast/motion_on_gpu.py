"""The motion since the key frame, found on a GPU: as ``fast.motion`` finds it on the CPU, all patches at once.

There each patch is tried with what its neighbours have found before it, in two passes; here all try what the four
around them have found so far, in as many rounds.
"""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.motion import (
    DOUBT_WINDOW,
    DOUBTED_DIFFERENCE,
    FoundMotion,
    Motion,
    MotionBesideNetwork,
    MotionEstimator,
    Picture,
    already_found,
    picture_size,
    positions_of,
    sources,
)
from lowlat_seg_ros.fast.pictures import Size
from lowlat_seg_ros.runtime.captured import captured

# As src/optical_flow.cpp has them.
PATCH: Final = 8
STRIDE: Final = 4
STEPS: Final = 3
LEAST_CURVATURE: Final = 64.0
ROUNDS: Final = 2


def motion_finder(input_size: Size, device: torch.device) -> MotionBesideNetwork | MotionOnGpu:
    """One camera's, on the device of its fast track."""
    if device.type == "cpu":
        return MotionBesideNetwork(MotionEstimator(input_size))
    return MotionOnGpu(input_size)


class MotionOnGpu:
    """The motion of one camera's frames since their key frames, put on the fast track's stream before Sl."""

    def __init__(self, input_size: Size) -> None:
        """``input_size``: (width, height) in pixels of the network's input."""
        self._size = picture_size(input_size)
        self._last: Tensor | None = None  # the flow found last,
        self._last_key: Tensor | None = None  # and since which picture

    def begin(self, image: Tensor, key: Picture | None) -> Future[FoundMotion]:
        """See ``MotionBesideNetwork.begin``."""
        assert key is None or isinstance(key, Tensor), "expected the picture of a key frame that was seen here"
        picture = _picture(image, size=self._size)
        if key is None:
            return already_found(FoundMotion(picture, None))
        if self._last is None or self._last_key is not key:
            self._last = picture.new_zeros(*picture.shape[-2:], 2)
        flow, doubt = _motion_between(key, picture, self._last)
        self._last, self._last_key = flow, key
        return already_found(FoundMotion(picture, Motion(flow, doubt)))

    def close(self) -> None:
        """Nothing is left running."""


@captured
def _picture(image: Tensor, *, size: Size) -> Tensor:
    """What motion is looked for in: (1, 3, H, W) uint8 to (1, 3, h, w) float32."""
    return functional.adaptive_avg_pool2d(image.float(), size[::-1]).contiguous()


@captured
def _motion_between(key: Tensor, current: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The flow (h, w, 2) from the current picture to the key frame's, and the doubt (h, w)."""
    flow = flow_between(_grey(current), _grey(key), start)
    return flow, _doubt(key, current, flow)


def _grey(picture: Tensor) -> Tensor:
    red, green, blue = picture[0]
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _doubt(key: Tensor, current: Tensor, flow: Tensor) -> Tensor:
    """By the colours: labels change where grey levels hardly do."""
    positions = positions_of(sources(flow))[None]
    carried = functional.grid_sample(key, positions, padding_mode="border", align_corners=True)
    difference = (carried - current).abs().amax(dim=1, keepdim=True)
    reach = DOUBT_WINDOW // 2
    mean = functional.avg_pool2d(functional.pad(difference, [reach] * 4, mode="reflect"), DOUBT_WINDOW, 1)
    return 1 - torch.exp(-((mean[0, 0] / DOUBTED_DIFFERENCE) ** 2))


def flow_between(current: Tensor, key: Tensor, start: Tensor) -> Tensor:
    """Dense optical flow by inverse search, (h, w, 2) float32: x and y in pixels from the current picture to the key's.

    Source: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as ``src/optical_flow.cpp``.

    Args:
        current, key: (h, w) float32, grey levels, 16 pixels a side or more.
        start: (h, w, 2), where to begin.
    """
    pyramid = [torch.stack([current, key, *start.unbind(-1)])[None]]
    for _ in range(level_count(*current.shape) - 1):
        halved = functional.avg_pool2d(pyramid[-1], 2)
        pyramid.append(torch.cat([halved[:, :2], 0.5 * halved[:, 2:]], dim=1))
    flow: Tensor | None = None
    for level in reversed(pyramid):
        if flow is not None:
            flow = _enlarged(flow, level.shape[-2:])
        flow = _search(level, flow)
    assert flow is not None
    return flow[0].permute(1, 2, 0).contiguous()


def level_count(height: int, width: int) -> int:
    """As many as leave the longer side four patches and the shorter one."""
    longer, shorter = max(height, width) / (4 * PATCH), min(height, width) / PATCH
    return 1 + max(0, min(round(math.log2(longer)), int(math.log2(shorter))))


def _enlarged(flow: Tensor, grid: torch.Size) -> Tensor:
    """(1, 2, h, w) on twice as many places, or one more; a shift is twice as many of them."""
    fine = 2 * functional.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
    missing = grid[1] - fine.shape[-1], grid[0] - fine.shape[-2]
    return functional.pad(fine, (0, missing[0], 0, missing[1]), mode="replicate") if any(missing) else fine


def _search(level: Tensor, flow: Tensor | None) -> Tensor:
    """One level's flow, (1, 2, h, w).

    Args:
        level: (1, 4, h, w): both greys and where to begin.
        flow: as the coarser level has it, likewise; None at the coarsest.
    """
    patches = _patches_of(level)
    begins = [level[:, 2:]] if flow is None else [level[:, 2:], flow]
    found = patches.best(torch.stack([patches.middles_of(each) for each in begins]))
    for turn in range(ROUNDS):
        found = patches.descended(found if turn == 0 else patches.best(patches.with_neighbours(found.shifts)))
    return patches.of_pixels(found.shifts)


class _Found(NamedTuple):
    """What is known of n patches."""

    shifts: Tensor  # (n, 2)
    misfits: Tensor  # (n,): how far each is from the key frame, its mean apart,
    slopes: Tensor  # (n, 2): and where that grows


class _Patches(NamedTuple):
    """Of one level, n of them in rows and columns."""

    key: Tensor  # (1, 1, h, w)
    rows: Tensor  # of each one's first pixel
    columns: Tensor
    pixels: Tensor  # (n, PATCH²), their places in the picture, row after row
    positions: Tensor  # (n, PATCH², 2) likewise, as ``grid_sample`` wants them
    scale: Tensor  # (2,): of a shift there
    greys: Tensor  # (n, PATCH²) of the current picture
    slopes: Tensor  # (n, PATCH², 2) likewise
    inverse: Tensor  # (n, 2, 2) of the curvature

    def middles_of(self, flow: Tensor) -> Tensor:
        """(1, 2, h, w) to (n, 2)."""
        middle = PATCH // 2
        some = flow[0].index_select(1, self.rows + middle).index_select(2, self.columns + middle)
        return some.flatten(1).t()

    def difference(self, shifts: Tensor) -> Tensor:
        """The key frame's greys less the current ones, with shifts (m, n, 2): (m, n, PATCH²)."""
        positions = self.positions + (shifts * self.scale)[:, :, None]
        seen = functional.grid_sample(
            self.key, positions.flatten(0, 1)[None], padding_mode="border", align_corners=True
        )
        return seen.view(positions.shape[:-1]) - self.greys

    def best(self, shifts: Tensor) -> _Found:
        """Of m shifts for each patch, (m, n, 2), the one that fits best."""
        difference = self.difference(shifts)
        difference = difference - difference.mean(dim=-1, keepdim=True)
        misfits, which = difference.square().sum(dim=-1).min(dim=0)
        chosen = which[None, :, None]
        of_best = difference.gather(0, chosen.expand(-1, -1, PATCH**2))[0]
        slopes = (of_best[..., None] * self.slopes).sum(dim=1)
        return _Found(shifts.gather(0, chosen.expand(-1, -1, 2))[0], misfits, slopes)

    def with_neighbours(self, shifts: Tensor) -> Tensor:
        """Each patch's shift and those of the four around it, (5, n, 2)."""
        grid = shifts.t().unflatten(1, (len(self.rows), len(self.columns)))
        around = functional.pad(grid[None], [1] * 4, mode="replicate")[0]
        upper, lower, left, right = around[:, :-2, 1:-1], around[:, 2:, 1:-1], around[:, 1:-1, :-2], around[:, 1:-1, 2:]
        return torch.stack([grid, upper, lower, left, right]).flatten(2).transpose(1, 2)

    def descended(self, found: _Found) -> _Found:
        """Some steps of Newton's method further, where they lead to a better fit."""
        first = found.shifts
        for _ in range(STEPS):
            step = (self.inverse * found.slopes[:, None]).sum(dim=-1)
            # Farther than itself a patch finds nothing that it has seen.
            following = first + (found.shifts - step - first).clamp(-PATCH, PATCH)
            found = self.best(torch.stack([found.shifts, following]))
        return found

    def of_pixels(self, shifts: Tensor) -> Tensor:
        """Each pixel's flow, (1, 2, h, w): its patches' mean, those that fit its own grey counting more."""
        height, width = self.key.shape[-2:]
        weights = 1 / self.difference(shifts[None])[0].abs().clamp(min=1)
        told = torch.cat([weights[..., None] * shifts[:, None], weights[..., None]], dim=-1)
        grid = len(self.rows), len(self.columns)
        told, pixels = (each.unflatten(0, grid) for each in (told, self.pixels))
        sums = told.new_zeros(height * width, 3)
        # Patches that have no pixel in common at a time: a GPU would add what falls on one pixel in any order.
        for rows in _apart(grid[0], height):
            for columns in _apart(grid[1], width):
                where = pixels[rows, columns].flatten()
                sums[where] = sums[where] + told[rows, columns].flatten(0, 2)
        x, y, total = sums.unbind(1)
        return torch.stack([x / total, y / total]).view(1, 2, height, width)


def _patches_of(level: Tensor) -> _Patches:
    """Of a level as ``_search`` takes it: every ``STRIDE`` pixels one, the last one ending with the picture."""
    height, width = level.shape[-2:]
    rows, columns = (_starts(pixels, level.device) for pixels in (height, width))
    within = torch.arange(PATCH, device=level.device)
    y = (rows[:, None, None, None] + within[:, None]).expand(-1, len(columns), -1, PATCH)
    x = (columns[:, None, None] + within).expand(len(rows), -1, PATCH, -1)
    around = functional.pad(level[:, :1], [1] * 4, mode="replicate")
    across = (around[..., 2:] - around[..., :-2])[0, 0]
    down = (around[..., 2:, :] - around[..., :-2, :])[0, 0]
    dx = 0.125 * (across[:-2] + 2 * across[1:-1] + across[2:])  # Sobel's filter
    dy = 0.125 * (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:])
    slopes = torch.stack([dx, dy], dim=-1)[y, x].flatten(2, 3).flatten(0, 1)
    centred = slopes - slopes.mean(dim=1, keepdim=True)
    (xx, xy), (_, yy) = (row.unbind(-1) for row in (centred.transpose(1, 2) @ centred).unbind(1))
    xx, yy = xx + LEAST_CURVATURE, yy + LEAST_CURVATURE
    inverse = torch.stack([yy, -xy, -xy, xx], dim=-1).unflatten(-1, (2, 2)) / (xx * yy - xy * xy)[:, None, None]
    across_all, down_all = 2 / (width - 1), 2 / (height - 1)
    return _Patches(
        key=level[:, 1:2],
        rows=rows,
        columns=columns,
        pixels=(y * width + x).flatten(2, 3).flatten(0, 1),
        positions=torch.stack([x * across_all - 1, y * down_all - 1], dim=-1).flatten(2, 3).flatten(0, 1),
        scale=torch.stack([level.new_full((), across_all), level.new_full((), down_all)]),
        greys=level[0, 0][y, x].flatten(2, 3).flatten(0, 1),
        slopes=slopes,
        inverse=inverse,
    )


def _apart(count: int, pixels: int) -> list[slice]:
    """Which of ``count`` patches along a side lie apart: every other one of them, and a last one that is moved."""
    is_moved = (pixels - PATCH) % STRIDE != 0
    regular = count - is_moved
    return [slice(0, regular, 2), slice(1, regular, 2), *([slice(regular, count)] if is_moved else [])]


def _starts(pixels: int, device: torch.device) -> Tensor:
    count = (pixels - PATCH + STRIDE - 1) // STRIDE + 1
    return (STRIDE * torch.arange(count, device=device)).clamp(max=pixels - PATCH)
