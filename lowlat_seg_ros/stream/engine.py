"""One camera's way through the two tracks: a frame and its stamp in, labels out. Read ``segment`` first."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowlat_seg_ros.fast.labelling import label_image, unlabelled_image
from lowlat_seg_ros.fast.motion import Motion, carry, motion_estimator
from lowlat_seg_ros.fast.motion_beside_network import MotionBesideNetwork
from lowlat_seg_ros.fast.preprocessing import Preprocessor, Size, check_frame, frame_size
from lowlat_seg_ros.runtime.track_stream import FAST_PRIORITY, TrackStream
from lowlat_seg_ros.stream.key_frame import KeyFrame, KeyFrameCache, SeenFrame
from lowlat_seg_ros.stream.networks import FastNetwork
from lowlat_seg_ros.stream.policy import FeatureDifference, KeyFrameDecision, KeyFramePolicy, PredictedDeviation
from lowlat_seg_ros.stream.result import SegmentationResult, StageClock
from lowlat_seg_ros.stream.slow_lane import SlowJob, SlowLane, SlowResult, describe_error, run_sh

FIRST_FRAME = KeyFrameDecision(True, "first frame")
NO_KEY_YET = KeyFrameDecision(False)  # the first frame is still in the slow track


class HighFeature(NamedTuple):
    """F_h of the current frame, (1, C_h, h, w), and the key frame it came from: the frame itself where Sh ran on it."""

    high: Tensor
    key: KeyFrame
    motion: Motion | None = None  # since that key frame, where its logits are carried along
    doubt: Tensor | None = None  # (1, 1, h, w), of what that key frame explains


class StreamEngine:
    """Segments the frames of one camera. All that is remembered from frame to frame is in here and in the slow lane.

    Not thread-safe: one thread calls it. ``policy`` and ``low_latency`` may be exchanged between two frames.
    """

    def __init__(
        self,
        network: FastNetwork,
        slow_lane: SlowLane,
        policy: KeyFramePolicy,
        *,
        device: torch.device | str = "cpu",
        low_latency: bool = True,
        input_size: Size | None = None,
    ) -> None:
        """
        Args:
            network: the fast track's, in evaluation mode, on ``device``.
            slow_lane: this camera's place at the slow track; its network gives F_h and classifies it.
            policy: decides which frames become key frames.
            low_latency: key frames take the fast track's labels (the paper's LLS). Otherwise they wait for Sh.
            input_size: (width, height) that frames are resized to; the network's own unless given.

        Raises:
            ValueError: the two networks' feature maps do not lie on the same grid.
        """
        if slow_lane.network.stride != network.stride:
            raise ValueError(
                f"the slow network's feature map has stride {slow_lane.network.stride}; "
                f"expected {network.stride}, the stride at which the fast network propagates"
            )
        self.policy = policy
        self.low_latency = low_latency
        self._network = network
        self._slow_lane = slow_lane
        self._input_size = input_size or network.config.input_size
        self._preprocess = Preprocessor(self._input_size, torch.device(device))
        estimator = motion_estimator(network.config, self._input_size)
        self._motion = None if estimator is None else MotionBesideNetwork(estimator)
        self._stream = TrackStream(torch.device(device), FAST_PRIORITY)
        self._cache = KeyFrameCache()
        self._sequence = 0
        self._last_stamp: int | None = None
        self._last_size: Size | None = None
        self._warnings: list[str] = []  # for the next result

    def segment(self, frame: NDArray[np.uint8], stamp: int) -> SegmentationResult:
        """Label one frame. Waits for Sh only on key frames where ``low_latency`` is off.

        Until the first key frame's Sh is done there is nothing to propagate, and labels are what Sl sees alone.

        Args:
            frame: (H, W, 3) uint8, RGB, of any size.
            stamp: nanoseconds, no smaller than the last frame's.

        Raises:
            ValueError: ``frame`` is no such image; it is as if it had never come.
        """
        clock = StageClock()
        check_frame(frame)
        self._reset_where_stream_breaks(frame, stamp)
        with torch.inference_mode(), self._stream.in_use():
            self._collect_slow_track()
            try:
                result = self._fast_track(frame, stamp, clock)
            except (RuntimeError, MemoryError, FloatingPointError, cv2.error) as error:
                result = self._without_labels(frame, stamp, clock, error)
        self._sequence += 1
        return result

    def _fast_track(self, frame: NDArray[np.uint8], stamp: int, clock: StageClock) -> SegmentationResult:
        """The paper's figure 2, from the frame to its labels."""
        seen = self._see(frame, stamp, self._cache.key)
        clock.finish("low")
        decision = self._decide(seen)
        clock.finish("schedule")
        feature = self._high_feature(seen, decision, clock)
        logits = self._logits(seen, feature)
        labels = self._label(logits, frame_size(frame))
        clock.finish("labels")
        is_key_frame = self._keep_key(seen, decision, feature, logits)
        key = seen if feature is None else feature.key
        return SegmentationResult(
            labels=labels,
            stamp=stamp,
            sequence=seen.sequence,
            is_key_frame=is_key_frame,
            key_reason=decision.reason,
            deviation=decision.deviation,
            threshold=decision.threshold,
            key_stamp=key.stamp,
            key_age_frames=seen.sequence - key.sequence,
            key_is_accurate=feature is not None and feature.key.is_accurate,
            waited_for_slow_track=clock.has_finished("high"),
            milliseconds=clock.times(),
            slow_track=self._slow_lane.counts(),
            warnings=self._take_warnings(),
        )

    def _see(self, frame: NDArray[np.uint8], stamp: int, key: KeyFrame | None) -> SeenFrame:
        """Sl, with the search for the motion since the key frame begun beside it."""
        resized = self._preprocess.resized(frame)
        motion = None
        if self._motion is not None:
            motion = self._motion.begin(resized, None if key is None else key.motion_picture)
        image = self._preprocess.image(resized)
        return SeenFrame(self._sequence, stamp, image, self._network.low_features(image), motion)

    def _decide(self, seen: SeenFrame) -> KeyFrameDecision:
        key = self._cache.key
        if key is None:
            return NO_KEY_YET if self._slow_lane.owes_result else FIRST_FRAME
        frames_since_key = self._cache.frames_since_key(seen.sequence)
        return self.policy.decide(self._network, key.low, seen.low, frames_since_key)

    def _high_feature(self, seen: SeenFrame, decision: KeyFrameDecision, clock: StageClock) -> HighFeature | None:
        """F_h of this frame; None where there is no key frame to propagate from yet."""
        key = self._cache.key
        if decision.is_key_frame and not self.low_latency:
            own_key = self._run_sh_in_place(seen)
            clock.finish("high")
            if own_key is not None:
                return HighFeature(own_key.high, own_key)
        if key is None:
            return None
        high, doubt = self._network.propagate(key.high, key.low, seen.low)
        motion = seen.found_motion
        clock.finish("propagate")
        return HighFeature(high, key, motion, doubt)

    def _logits(self, seen: SeenFrame, feature: HighFeature | None) -> Tensor:
        if feature is None:
            return self._network.classify_low(seen.low.low)  # what Sl sees alone is less, but it is there in time
        if feature.high is feature.key.high and feature.key.logits is not None:
            return feature.key.logits  # Sh has just run on this frame
        logits = self._slow_lane.network.classify(feature.high)
        if feature.motion is None or feature.key.logits is None:
            return logits
        return carry(feature.key.logits, logits, feature.motion, feature.doubt)

    def _label(self, logits: Tensor, size: Size) -> NDArray[np.uint8]:
        return label_image(logits, self._input_size, size)

    def _keep_key(
        self, seen: SeenFrame, decision: KeyFrameDecision, feature: HighFeature | None, logits: Tensor
    ) -> bool:
        """Put a key frame into the cache and hand it to the slow track; returns whether the frame is one."""
        if not decision.is_key_frame:
            return False
        if feature is not None and feature.key.sequence == seen.sequence:
            self._cache.put(feature.key)
            return True
        if not self.low_latency:
            return False  # Sh has just failed on it: the old key frame stays, and the next frame tries again
        if feature is not None:
            self._cache.put(KeyFrame.of(seen, feature.high, logits, is_accurate=False))
        # Only now, so that on the CPU a key frame's own labels do not share the cores with its Sh.
        self._slow_lane.submit(SlowJob(seen, self._stream.mark()))
        return True

    # --- the slow track's side ---------------------------------------------------------------------------------------

    def _collect_slow_track(self) -> None:
        for result in self._slow_lane.collect():
            self._warn_of_failure(result)
            if result.key is not None:
                self._cache.offer_late(result.key)

    def _run_sh_in_place(self, seen: SeenFrame) -> KeyFrame | None:
        result = self._slow_lane.run_in_place(seen)
        self._warn_of_failure(result)
        return result.key

    def _warn_of_failure(self, result: SlowResult) -> None:
        if result.key is None:
            self._warnings.append(f"Sh failed on a key frame: {result.error}")

    # --- where the stream breaks -------------------------------------------------------------------------------------

    def reset(self, reason: str) -> None:
        """Forget the key frame and the slow track's work; the next frame is a first frame and tells ``reason``."""
        self._stream.wait()  # a dropped feature's memory goes back to the slow stream: no kernel may still read it
        self._cache.clear()
        self._slow_lane.reset()
        self._warnings.append(f"the stream starts anew: {reason}")

    def _reset_where_stream_breaks(self, frame: NDArray[np.uint8], stamp: int) -> None:
        size = frame_size(frame)
        if self._last_size not in (None, size):
            self.reset(f"the frame's size changed from {self._last_size} to {size}")
        if self._last_stamp is not None and stamp < self._last_stamp:
            self.reset(f"the stamp went back by {(self._last_stamp - stamp) / 1e9:.3f} s")
        self._last_size, self._last_stamp = size, stamp

    def _without_labels(
        self, frame: NDArray[np.uint8], stamp: int, clock: StageClock, error: Exception
    ) -> SegmentationResult:
        """An unlabelled image for a frame on which the fast track failed; its features are not to be relied on."""
        self.reset(f"the fast track failed: {describe_error(error)}")
        return SegmentationResult(
            labels=unlabelled_image(frame_size(frame)),
            stamp=stamp,
            sequence=self._sequence,
            is_key_frame=False,
            key_reason="",
            deviation=math.nan,
            threshold=math.nan,
            key_stamp=stamp,
            key_age_frames=0,
            key_is_accurate=False,
            waited_for_slow_track=clock.has_finished("high"),
            milliseconds=clock.times(),
            slow_track=self._slow_lane.counts(),
            warnings=self._take_warnings(),
        )

    def _take_warnings(self) -> tuple[str, ...]:
        warnings, self._warnings = tuple(self._warnings), []
        return warnings

    # --- before the first frame --------------------------------------------------------------------------------------

    def warm_up(self, size: Size | None = None) -> None:
        """Run every path once, so that no frame pays for compiling kernels or growing memory. Changes no state.

        Args:
            size: (width, height) of the frames to come; the network's input size unless given.

        Raises:
            RuntimeError: the network fails on a black frame.
            ValueError: the slow network's feature map is not of the stride it names.
        """
        size = size or self._input_size
        frame = np.zeros((size[1], size[0], 3), np.uint8)
        with torch.inference_mode(), self._stream.in_use():
            seen = self._see(frame, stamp=0, key=None)
            in_slow_track = self._slow_lane.warm_up(SlowJob(seen, self._stream.mark()))
            in_place = run_sh(self._slow_lane.network, seen)
            for result in (in_slow_track, in_place):
                if result.key is None:
                    raise RuntimeError(f"Sh failed on a black frame: {result.error}")
                self._check_grid(result.key.high)
                self._label(self._slow_lane.network.classify(result.key.high), size)
                high, doubt = self._network.propagate(result.key.high, seen.low, seen.low)
                motion = self._see(frame, stamp=0, key=result.key).found_motion
                self._label(self._logits(seen, HighFeature(high, result.key, motion, doubt)), size)
            self._label(self._network.classify_low(seen.low.low), size)
            for policy in (PredictedDeviation(threshold=0.0), FeatureDifference(threshold=0.0)):
                policy.measure(self._network, seen.low, seen.low)

    def _check_grid(self, high: Tensor) -> None:
        width, height = self._input_size
        stride = self._slow_lane.network.stride
        expected = (math.ceil(height / stride), math.ceil(width / stride))
        if tuple(high.shape[-2:]) != expected:
            raise ValueError(
                f"the slow network's feature map has {tuple(high.shape[-2:])} elements; expected {expected}, "
                f"{height}x{width} pixels at its stride {stride}"
            )
