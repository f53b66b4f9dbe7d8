"""What moved where since the key frame, where that is to be believed, and the key frame's logits carried along it.

The kernels of equation 1 move what a whole element of F_h stands for, 8 pixels of the shipped model's image; a pole is
two pixels wide. A logit stands for two. Where the flow is known and right, the key frame's logits themselves are the
better answer. Source of the idea: Zhu et al., "Deep Feature Flow for Video Recognition", CVPR 2017, which carries
features instead.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.pictures import Size
from lowlat_seg_ros.kernels import cpp
from lowlat_seg_ros.runtime.captured import captured

PICTURE_SCALE = 0.5  # of the network's input
SMALLEST_PICTURE = 16  # pixels a side, below which DIS has no two scales
FINEST_SCALE = 0  # DIS searches down to single pixels of that picture, where poles and edges of cars are
DOUBTED_DIFFERENCE = 20.0  # of 255, in the colour that differs most: at so much the doubt is 1 - 1/e
DOUBT_WINDOW = 5  # pixels over which differences are averaged
UNEXPLAINED = 0.65  # mean doubt of a propagation beyond which the key frame is of another scene
NO_MAP = np.empty(0, np.float32)  # for OpenCV's remap, which takes the places in one map or in two


Picture = NDArray[np.uint8] | Tensor
"""What motion is looked for in: (h, w, 3) uint8 on the CPU, (1, 3, h, w) float32 on a GPU."""


class Motion(NamedTuple):
    """From each place of the current picture to where it was in the key frame's."""

    flow: Tensor  # (h, w, 2) float32, x and y in pixels of the picture
    doubt: Tensor  # (h, w) float32: 0 where the key frame shows there what the current one shows here, towards 1


def picture_size(input_size: Size) -> Size:
    """(width, height) of the pictures that motion is looked for in, for a network's input of such a size."""
    width, height = (max(SMALLEST_PICTURE, round(PICTURE_SCALE * pixels)) for pixels in input_size)
    return width, height


class MotionEstimator:
    """Dense optical flow between two pictures of one camera.

    DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016) in C++ (``src/optical_flow.cpp``),
    where that is not built OpenCV's, on the CPU whatever the network runs on. Any number of threads may search at once.
    """

    def __init__(self, input_size: Size) -> None:
        """``input_size``: (width, height) in pixels of the network's input."""
        self.usual_seconds = 0.0  # of a core, that the last search took
        self._size = picture_size(input_size)
        columns, rows = np.meshgrid(*(np.arange(pixels, dtype=np.float32) for pixels in self._size))
        self._places = np.stack([columns, rows], axis=-1)
        difference = np.arange(256, dtype=np.float32)
        self._doubt_of_difference = 1 - np.exp(-((difference / DOUBTED_DIFFERENCE) ** 2))

    def picture(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What motion is looked for in: (H, W, 3) uint8 RGB to (h, w, 3), half of the network's input size."""
        return np.asarray(cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA), np.uint8)

    def find(self, frame: NDArray[np.uint8], key: NDArray[np.uint8] | None, start: Motion | None) -> FoundMotion:
        """A frame's picture, and the motion since the key frame's, as ``picture`` and ``between`` give them."""
        began = time.thread_time()
        picture = self.picture(frame)
        if key is None:  # nothing to search
            return FoundMotion(picture, None)
        found = FoundMotion(picture, self.between(key, picture, start))
        self.usual_seconds = time.thread_time() - began
        return found

    def between(self, key: NDArray[np.uint8], current: NDArray[np.uint8], start: Motion | None = None) -> Motion:
        """The motion between two such pictures.

        Args:
            start: where to begin the search, the motion from the same key frame to the frame before. What has moved
                far is found by many small steps where one large one would miss it.
        """
        key_grey, grey = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (key, current))
        first_flow = np.zeros_like(self._places) if start is None else start.flow.numpy()
        find = cpp.find_flow if cpp.can_run() else flow_by_opencv
        flow = find(np.asarray(grey, np.uint8), np.asarray(key_grey, np.uint8), first_flow)
        doubt = self._doubt(key, current, self._places + flow)
        return Motion(torch.from_numpy(flow), torch.from_numpy(doubt))

    def _doubt(
        self, key: NDArray[np.uint8], current: NDArray[np.uint8], sources: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """By the colours: labels change where grey levels hardly do."""
        carried = cv2.remap(key, sources, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        red, green, blue = cv2.split(cv2.absdiff(carried, current))
        difference = cv2.blur(cv2.max(cv2.max(red, green), blue), (DOUBT_WINDOW, DOUBT_WINDOW))
        return np.asarray(cv2.LUT(difference, self._doubt_of_difference), np.float32)


def flow_by_opencv(
    current: NDArray[np.uint8], key: NDArray[np.uint8], start: NDArray[np.float32]
) -> NDArray[np.float32]:
    """As ``cpp.find_flow``; the two do not find just the same."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    estimator.setFinestScale(FINEST_SCALE)
    # It takes half of the preset's time and gains nothing here.
    estimator.setVariationalRefinementIterations(0)
    return np.asarray(estimator.calc(current, key, start.copy()), np.float32)  # written over it


class FoundMotion(NamedTuple):
    """What is made of a frame beside the network."""

    picture: Picture  # what later frames' motion is found from, if this one becomes a key frame
    motion: Motion | None  # since the key frame; None without one


def already_found(found: FoundMotion) -> Future[FoundMotion]:
    """Of a frame whose motion was not found beside the network, as an evaluation's."""
    future = Future[FoundMotion]()
    future.set_result(found)
    return future


class MotionSearch:
    """One frame's. The thread does it, or whoever needs the result before the thread has got that far."""

    def __init__(
        self,
        estimator: MotionEstimator,
        frame: NDArray[np.uint8],
        key: NDArray[np.uint8] | None,
        start: Motion | None,
    ) -> None:
        self.key = key
        self._estimator = estimator
        self._start = start
        self._frame: NDArray[np.uint8] | None = frame
        self._has_begun = False
        self._is_done = threading.Event()
        self._finishing = threading.Lock()
        self._found: FoundMotion | None = None

    def result(self) -> FoundMotion:
        """Waits no longer than a search takes that is left in peace, and then searches itself.

        A thread whose core other programs want may need many times as long. Both find the same.
        """
        if not self._is_done.wait(self._estimator.usual_seconds if self._has_begun else 0.0):
            self._search()
        assert self._found is not None
        return self._found

    def search_unless_begun(self) -> None:
        """The thread's turn."""
        if not self._has_begun:
            self._search()

    def _search(self) -> None:
        frame, start = self._frame, self._start
        if frame is None or self._is_done.is_set():
            return
        self._has_begun = True
        found = self._estimator.find(frame, self.key, start)
        with self._finishing:
            if not self._is_done.is_set():  # who comes second finds the same, in other memory: others have the first
                self._found = found
                self._is_done.set()
        self._frame = self._start = None  # not kept alive with a key frame


class MotionBesideNetwork:
    """The motion of one camera's frames since their key frames, found while the network runs.

    It takes a third of what a frame costs and needs nothing of the network: begun before Sl, it is there when its turn
    comes. One thread calls this; any may ask for a result.
    """

    def __init__(self, estimator: MotionEstimator) -> None:
        # A search knows this and not the camera: else a camera dropped in mid-search would keep itself alive.
        self._estimator = estimator
        self._last: MotionSearch | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="motion")
        self._thread_id = self._thread.submit(threading.get_native_id).result()
        blank = estimator.picture(np.zeros((1, 1, 3), np.uint8))
        estimator.between(blank, blank)  # OpenCV's first search takes longer

    def begin(self, image: Tensor, key: Picture | None) -> MotionSearch:
        """Start to look for the motion of a frame, (1, 3, H, W) uint8 RGB, since the key frame of that picture."""
        assert key is None or isinstance(key, np.ndarray), "expected the picture of a key frame that was seen here"
        frame = image[0].permute(1, 2, 0).numpy()
        # Linux may wake a thread on the core of the one that wakes it, another being idle: the network would wait.
        keep_off_this_core(self._thread_id)
        search = MotionSearch(self._estimator, frame, key, self._start_for(key))
        if key is not None:
            self._last = search
        self._thread.submit(search.search_unless_begun)
        return search

    def _start_for(self, key: NDArray[np.uint8] | None) -> Motion | None:
        """The last motion where that is from the same key frame."""
        if key is None or self._last is None or self._last.key is not key:
            return None
        try:
            return self._last.result().motion
        except Exception:  # it is that frame's to tell
            return None

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)


def keep_off_this_core(thread_id: int) -> None:
    """Let a thread run on any core that the caller may use but the one it is on, from now on. Linux only.

    Args:
        thread_id: as ``threading.get_native_id`` has it in that thread.
    """
    if sys.platform != "linux":
        return
    others = os.sched_getaffinity(0) - {_c_library().sched_getcpu()}
    with suppress(OSError):  # a container may forbid it, or have moved the process since: it is only quicker so
        if others:
            os.sched_setaffinity(thread_id, others)


@functools.cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def is_another_scene(doubt: Tensor) -> bool:
    """Whether no label that is carried can be right. ``doubt``: (1, 1, h, w), 0 where the key frame explains, to 1."""
    return float(doubt.mean()) > UNEXPLAINED


def carry(
    key_logits: Tensor, logits: Tensor, motion: Motion, doubt: Tensor | None = None, alone: Tensor | None = None
) -> Tensor:
    """A key frame's logits carried along the motion, mixed with the current frame's own where that is doubted.

    Args:
        key_logits: (1, classes, h, w) on any device, on whatever grid they lie.
        logits: likewise, or folded by ``fold``.
        doubt: (1, 1, h', w'), 0 to 1, of the propagation: where it does not believe the key frame, nor do we.
        alone: (1, classes, h', w'), what takes the current frame's place by that doubt.
    """
    height, width = key_logits.shape[-2:]
    flow, doubts = (each.to(logits.device) for each in motion_on_grid(motion, (width, height)))
    return carried_logits(key_logits, logits, flow, doubts, doubt, alone)


def fold(picture: Tensor, fineness: int) -> Tensor:
    """(B, C, r h, r w) to (B, r r C, h, w): r places a side into one, each one's channels side by side."""
    places = picture.permute(0, 2, 3, 1)
    parts = places.unflatten(2, (-1, fineness)).unflatten(1, (-1, fineness)).transpose(2, 3)  # (B, h, w, r, r, C)
    return parts.flatten(3).permute(0, 3, 1, 2)


def unfold(picture: Tensor, fineness: int) -> Tensor:
    """Back from ``fold``."""
    parts = picture.permute(0, 2, 3, 1).unflatten(3, (fineness, fineness, -1)).transpose(2, 3)  # (B, h, r, w, r, C)
    return parts.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def motion_on_grid(motion: Motion, grid: Size) -> Motion:
    """The motion for a grid of (width, height) places over the same picture, the flow in places of it."""
    height, width = motion.doubt.shape
    if grid == (width, height):
        return motion
    flow, doubt = (_averaged(each, grid) for each in motion)
    return Motion(torch.stack([flow[..., 0] * (grid[0] / width), flow[..., 1] * (grid[1] / height)], dim=-1), doubt)


def _averaged(picture: Tensor, grid: Size) -> Tensor:
    """(h, w) or (h, w, C) on another grid of (width, height): each place the mean of what it covers."""
    if picture.device.type == "cpu":
        return torch.from_numpy(np.asarray(cv2.resize(picture.numpy(), grid, interpolation=cv2.INTER_AREA), np.float32))
    planes = picture.unsqueeze(-1) if picture.dim() == 2 else picture
    found = functional.adaptive_avg_pool2d(planes.permute(2, 0, 1)[None], grid[::-1])[0].permute(1, 2, 0)
    return found[..., 0] if picture.dim() == 2 else found


def carried_logits(
    key_logits: Tensor,
    logits: Tensor,
    flow: Tensor,
    doubt: Tensor,
    coarse_doubt: Tensor | None = None,
    alone: Tensor | None = None,
) -> Tensor:
    """The key frame's logits at each place of the current frame, mixed with its own by how much the flow is doubted.

    They are read bicubically as torch's ``grid_sample`` does, the key frame's picture going on as it ends. Computed in
    C++ on the CPU (``src/carried_logits.cpp``), by ``carry_in_torch`` elsewhere.

    Args:
        key_logits: (1, classes, h, w), float.
        logits: of the current frame, of the same shape and dtype, or folded: (1, r r classes, h / r, w / r).
        flow: (h, w, 2), float32, x and y from each place to where it was in the key frame, in places.
        doubt: (h, w), float32: 0 takes the key frame's logits, 1 the current frame's. What comes from outside of the
            key frame is always the current frame's.
        coarse_doubt: (1, 1, h', w'), float, enlarged bilinearly: the larger of both doubts counts.
        alone: (1, classes, h', w'), float: enlarged likewise, it takes the current frame's place by the coarse doubt.

    Returns:
        (1, classes, h, w); nan where either is.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    classes, height, width = key_logits.shape[1:]
    fineness = max(1, width // logits.shape[-1])
    folded = 1, fineness**2 * classes, height // fineness, width // fineness
    is_whole = height % fineness == 0 and width % fineness == 0
    fits = is_whole and logits.shape == folded and len(key_logits) == 1 and doubt.shape == (height, width)
    if alone is not None and (coarse_doubt is None or alone.shape != (1, classes, *coarse_doubt.shape[-2:])):
        raise ValueError(f"expected {classes} classes alone on the grid of a coarse doubt, not {tuple(alone.shape)}")
    if not fits or flow.shape != (height, width, 2):
        raise ValueError(
            f"expected two pictures' logits of one shape with a flow and a doubt for each place, not "
            f"{tuple(key_logits.shape)}, {tuple(logits.shape)}, {tuple(flow.shape)} and {tuple(doubt.shape)}"
        )
    operands = [key_logits, logits] if alone is None else [key_logits, logits, alone]
    carry = cpp.carry_logits if cpp.can_run(*operands) else carry_in_torch
    return carry(key_logits, logits, flow, doubt, coarse_doubt, alone)


@captured
def carry_in_torch(
    key_logits: Tensor,
    logits: Tensor,
    flow: Tensor,
    doubt: Tensor,
    coarse_doubt: Tensor | None = None,
    alone: Tensor | None = None,
) -> Tensor:
    """The reference, for any device and floating-point dtype."""
    height, width = key_logits.shape[-2:]
    logits = unfold(logits, max(1, width // logits.shape[-1]))
    if coarse_doubt is not None:
        enlarged = enlarge(coarse_doubt.float(), (height, width))
        doubt = torch.maximum(doubt, enlarged[0, 0])
        if alone is not None:
            logits = torch.lerp(logits, enlarge(alone, (height, width)), enlarged.to(logits.dtype))
    source = sources(flow)
    x, y = source.unbind(-1)
    is_inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    positions = positions_of(torch.where(is_inside[..., None], source, 0))
    exact = torch.promote_types(key_logits.dtype, torch.float32)  # a position in half precision is places off
    carried = functional.grid_sample(
        key_logits.to(exact), positions[None].to(exact), mode="bicubic", padding_mode="border", align_corners=True
    ).to(logits.dtype)
    share = torch.where(is_inside, 1 - doubt, 0).to(logits.dtype)
    return (1 - share) * logits + share * carried


def sources(flow: Tensor) -> Tensor:
    """Where each place of a picture comes from, (h, w, 2), x and y in places."""
    rows, columns = (torch.arange(size, device=flow.device) for size in flow.shape[:2])
    return flow + torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


def positions_of(source: Tensor) -> Tensor:
    """Places (h, w, 2) as ``grid_sample`` wants them: from -1 to 1, which are the outermost ones."""
    height, width = source.shape[:2]
    x, y = source.unbind(-1)
    return torch.stack([2 * x / max(1, width - 1) - 1, 2 * y / max(1, height - 1) - 1], dim=-1)


def enlarge(picture: Tensor, grid: tuple[int, ...]) -> Tensor:
    """(1, C, …) on a grid of (height, width), bilinearly."""
    return functional.interpolate(picture, list(grid), mode="bilinear", align_corners=False)
