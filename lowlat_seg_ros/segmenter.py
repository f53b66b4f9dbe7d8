"""Frames in, labels out: the two tracks as a user of the library sees them."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.fast.registry import AUTO
from lowlat_seg_ros.runtime.device import choose_device
from lowlat_seg_ros.slow.registry import load_tracks
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY, KeyFramePolicy
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack


class Segmenter:
    """Labels one camera's frames in a time that never changes, with a large network's labels. Use it in a ``with``.

    Example::

        with Segmenter("default") as segmenter:
            for frame, stamp_ns in camera:
                labels = segmenter.segment(frame, stamp_ns).labels
    """

    def __init__(
        self,
        model: str = "default",
        *,
        device: str = "auto",
        propagation: str = AUTO,
        fast_model: str = "default",
        policy: KeyFramePolicy | None = None,
    ) -> None:
        """Load the model and run every path once, so that no frame waits for that.

        Args:
            model: the name of a shipped model, a checkpoint's directory, or a network of another library's
                (``docs/any_network.md``).
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            propagation: how a frame gets its labels from the key frame: ``auto`` or a name of
                ``fast.registry.PROPAGATIONS``.
            fast_model: whose Sl carries the labels of a model that has no fast track of its own.
            policy: when a frame becomes a key frame; the node's default unless given.

        Raises:
            Error: the device is not there, the model cannot be loaded, or the propagation cannot carry what it gives.
        """
        place = choose_device(device)
        slow, fast = load_tracks(model, fast_model, place)
        self.classes: tuple[str, ...] = slow.classes
        self._slow_track = ThreadedSlowTrack(slow, place)
        try:
            self._engine = StreamEngine(
                fast,
                self._slow_track,
                policy or DEFAULT_POLICY,
                propagation=propagation,
                device=place,
            )
            self._engine.warm_up()
        except BaseException:
            self._slow_track.close()
            raise

    def segment(self, frame_rgb: NDArray[np.uint8], stamp_ns: int) -> SegmentationResult:
        """Label one frame without waiting for the large network.

        Args:
            frame_rgb: (H, W, 3) uint8, of any size.
            stamp_ns: nanoseconds, no smaller than the last frame's.

        Returns:
            The frame's labels, (H, W) uint8 ids of ``classes`` or 255, and how they came about.

        Raises:
            ValueError: ``frame_rgb`` is no such image.
        """
        return self._engine.segment(frame_rgb, stamp_ns)

    def close(self) -> None:
        """End both tracks' threads; no frame may come afterwards."""
        self._engine.close()
        self._slow_track.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
