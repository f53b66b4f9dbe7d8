"""Frames in, labels out: the two tracks as a user of the library sees them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.fast.registry import AUTO
from lowlat_seg_ros.models.config import Colour
from lowlat_seg_ros.runtime.device import choose_device
from lowlat_seg_ros.runtime.threads import thread_counts
from lowlat_seg_ros.slow.network import SlowNetwork
from lowlat_seg_ros.stream.engine import StreamEngine
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY, FixedInterval, KeyFramePolicy
from lowlat_seg_ros.stream.networks import Wishes, load_networks
from lowlat_seg_ros.stream.result import SegmentationResult
from lowlat_seg_ros.stream.scheduled_slow_track import InlineLane, InlineSlowTrack
from lowlat_seg_ros.stream.slow_track import ThreadedSlowTrack

DELAY_FRAMES: Final = 2
"""How late a key frame's answer is in recorded footage: as late as the shipped model's at 15 Hz on two cores."""


class Segmenter:
    """Labels one camera's frames: each at the cost of a small network, with nearly the labels of a large one.

    Use it in a ``with``. A live camera's frames go to ``segment`` as they come; recorded ones to ``video`` or
    ``frames``, which repeat exactly::

        with Segmenter("default") as segmenter:
            for frame, result in segmenter.video("drive.mp4"):
                print(result.labels.shape, segmenter.classes[result.labels[0, 0]])

    It sets torch's number of threads while it works on a frame and OpenCV's until it is closed, and puts both back.
    Import it before torch where you can: the threads that torch starts by itself otherwise spin where they wait.
    Calls must come from one thread at a time.

    Attributes:
        classes: the names of the classes; their places are the ids in the labels.
        colours: one RGB colour a class.
        runtimes: where each track's network runs and why nowhere better, a sentence each.
    """

    def __init__(
        self,
        model: str | SlowNetwork = "default",
        *,
        device: str = "auto",
        propagation: str = AUTO,
        fast_model: str = "default",
        policy: KeyFramePolicy = DEFAULT_POLICY,
        fast_track_threads: int = 0,
        slow_track_threads: int = 0,
        fast_runtime: str = AUTO,
        slow_runtime: str = AUTO,
        fast_precision: str = AUTO,
        slow_precision: str = AUTO,
    ) -> None:
        """Load the model and run every path once, so that no frame waits for that.

        Args:
            model: the name of a shipped model, a checkpoint's directory, a network of another library's
                (``docs/any_network.md``), or what ``load_model`` gave.
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            propagation: how a frame gets its labels from the key frame: ``auto`` or a name of
                ``fast.registry.PROPAGATIONS``.
            fast_model: whose Sl carries the labels of a model that has no fast track of its own.
            fast_runtime, slow_runtime: where each track's network runs: ``torch``, ``openvino``, ``onnxruntime``,
                ``tensorrt``, or ``auto``, which chooses by the CPU and by what is installed (``docs/runtimes.md``).
                Labels are the same on every computer in ``torch`` ``fp32`` alone.
            fast_precision, slow_precision: ``fp32``, ``bf16``, ``fp16``, ``int8`` or ``auto``.
            policy: when a frame becomes a key frame; the node's default unless given.
            fast_track_threads, slow_track_threads: CPU threads of each track; 0 chooses by the number of cores, as the
                node does.

        Raises:
            Error: the device is not there, the model cannot be loaded or cannot run where it is asked for, or the
                propagation cannot carry what it gives.
        """
        self._device = choose_device(device)
        wishes = Wishes.named(fast_runtime, slow_runtime, fast_precision, slow_precision)
        self._threads = thread_counts(fast_track_threads, slow_track_threads)
        with self._fast_threads():  # what is compiled is compiled for so many
            networks = load_networks(model, fast_model, self._device, wishes)
        self._slow, self._fast = networks.slow, networks.fast
        self.runtimes: list[str] = networks.in_words()
        self._policy, self._propagation = policy, propagation
        self.classes: tuple[str, ...] = self._slow.classes
        self.colours: tuple[Colour, ...] = self._slow.colours
        self._callers_opencv_threads = cv2.getNumThreads()
        self._slow_track = ThreadedSlowTrack(self._slow, self._device, intra_op_threads=self._threads.slow)
        try:
            cv2.setNumThreads(self._threads.fast)  # it takes every core otherwise, the slow track's too
            self._engine = StreamEngine(
                self._fast, self._slow_track, policy, propagation=propagation, device=self._device
            )
            with self._fast_threads():
                self._engine.warm_up()
        except BaseException:
            self._slow_track.close()
            cv2.setNumThreads(self._callers_opencv_threads)
            raise

    def segment(self, frame_rgb: NDArray[np.uint8], stamp_ns: int) -> SegmentationResult:
        """Label one frame of a live camera without waiting for the large network.

        Args:
            frame_rgb: (H, W, 3) uint8, RGB, of any size.
            stamp_ns: when it was taken, in nanoseconds; no smaller than the last frame's.

        Returns:
            The frame's labels, (H, W) uint8 ids of ``classes`` or 255, and how they came about.

        Raises:
            ValueError: ``frame_rgb`` is no such image.
        """
        return self._segment_in(self._engine, frame_rgb, stamp_ns)

    def video(
        self, path: str | Path, *, rate_hz: float | None = None, delay_frames: int = DELAY_FRAMES
    ) -> Iterator[tuple[NDArray[np.uint8], SegmentationResult]]:
        """Label a video file or a folder of pictures. The same file gives the same labels, bit for bit.

        Args:
            path: a video, a folder of pictures in the natural order of their names, or the word ``street`` for the
                synthetic street.
            rate_hz: frames a second, where the file's own is wrong; a folder's is 15 unless given.
            delay_frames: a key frame's answer is there that many frames later.

        Yields:
            Each frame, (H, W, 3) uint8 RGB, with its result. ``result.milliseconds`` are those of the fast track on
            this machine.

        Raises:
            Error: the file cannot be read; of a damaged one, once the frames before the damage have been labelled.
        """
        clip = open_clip(path, rate_hz=rate_hz)
        stamped = ((frame.image, frame.time) for frame in clip.timed_frames())
        return self.frames(stamped, delay_frames=delay_frames)

    def frames(
        self, stamped_frames: Iterable[tuple[NDArray[np.uint8], int]], *, delay_frames: int = DELAY_FRAMES
    ) -> Iterator[tuple[NDArray[np.uint8], SegmentationResult]]:
        """Label recorded frames, as ``video`` does: (H, W, 3) uint8 RGB, each with its stamp in nanoseconds."""
        slow_track = InlineSlowTrack(self._slow, delay_frames)
        engine = StreamEngine(self._fast, slow_track, self._policy, propagation=self._propagation, device=self._device)
        return self._in_turn(engine, stamped_frames)

    def stills(self, pictures: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[np.uint8], SegmentationResult]]:
        """Label pictures that have nothing to do with each other, of any sizes: the large network on every one."""
        engine = StreamEngine(
            self._fast,
            InlineSlowTrack(self._slow),
            FixedInterval(1),
            propagation="copy",  # the network's own answer as it is: nothing is carried from picture to picture
            device=self._device,
            low_latency=False,
        )
        return self._in_turn(engine, ((picture, number) for number, picture in enumerate(pictures)), is_video=False)

    def _in_turn(
        self, engine: StreamEngine, stamped_frames: Iterable[tuple[NDArray[np.uint8], int]], is_video: bool = True
    ) -> Generator[tuple[NDArray[np.uint8], SegmentationResult], None, None]:
        with closing(engine):
            for frame, stamp_ns in stamped_frames:
                result = self._segment_in(engine, frame, stamp_ns)
                yield frame, _without_slow_track_time(result, engine) if is_video else result
                if not is_video:
                    engine.forget()

    def _segment_in(self, engine: StreamEngine, frame: NDArray[np.uint8], stamp_ns: int) -> SegmentationResult:
        with self._fast_threads():
            return engine.segment(frame, stamp_ns)

    @contextmanager
    def _fast_threads(self) -> Iterator[None]:
        callers_threads = torch.get_num_threads()
        torch.set_num_threads(self._threads.fast)
        try:
            yield
        finally:
            torch.set_num_threads(callers_threads)

    def close(self) -> None:
        """End both tracks' threads; no frame may come afterwards."""
        self._engine.close()
        self._slow_track.close()
        cv2.setNumThreads(self._callers_opencv_threads)

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _without_slow_track_time(result: SegmentationResult, engine: StreamEngine) -> SegmentationResult:
    """The result with the milliseconds of the fast track alone: in recorded footage Sh runs within the call."""
    assert isinstance(engine.slow_lane, InlineLane)
    times, inline = result.milliseconds, engine.slow_lane.milliseconds_of_last_collect
    return replace(result, milliseconds=replace(times, low=times.low - inline, total=times.total - inline))
