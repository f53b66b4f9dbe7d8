"""One camera's way through the two tracks: a frame and its stamp in, labels out. Read ``segment`` first."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.fast.confidence import Confidence, Evidence
from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.motion import Picture
from lowlat_seg_ros.fast.motion_on_gpu import motion_finder
from lowlat_seg_ros.fast.network import FastNetwork
from lowlat_seg_ros.fast.pictures import Preprocessor, Size, check_frame, frame_size, label_image, unlabelled_image
from lowlat_seg_ros.fast.propagation import ClassifierState
from lowlat_seg_ros.fast.registry import AUTO, PropagationKind, build_propagation, propagation_in_use
from lowlat_seg_ros.runtime.captured import calls_to_warm_up
from lowlat_seg_ros.runtime.track_stream import FAST_PRIORITY, TrackStream
from lowlat_seg_ros.stream.deviation_prior import CalibratedDeviation
from lowlat_seg_ros.stream.key_frames import (
    AnswerAges,
    FeatureDifference,
    KeyFrameCache,
    KeyFrameDecision,
    KeyFramePolicy,
    PredictedDeviation,
    StreamClock,
)
from lowlat_seg_ros.stream.lessons import Lessons
from lowlat_seg_ros.stream.result import SegmentationResult, StageTimes
from lowlat_seg_ros.stream.slow_lane import SlowJob, SlowResult, SlowTrack, describe_error, run_slow_network

FIRST_FRAME = KeyFrameDecision(True, "first frame")
NO_KEY_YET = KeyFrameDecision(False)  # the first frame is still in the slow track
NO_DECISION = KeyFrameDecision(False)
NO_ANSWER_YET = "no answer yet"
LONGEST_WAIT = 10.0  # seconds that a due key frame is put off for Sh, which hangs if it takes longer


BACKWARD_STAMP_TOLERANCE = 0.5  # seconds: the node's default, and what a replay imagines


class Found(NamedTuple):
    """What a frame shows, and the key frame that says so: the frame itself where the slow network ran on it."""

    answer: Answer | None  # None: not known yet
    key: KeyFrame | None  # None: Sl alone says so


class StreamEngine:
    """Segments the frames of one camera. All that is remembered from frame to frame is in here and in the slow lane.

    Not thread-safe: one thread calls it. ``policy`` and ``low_latency`` may be exchanged between two frames.
    """

    def __init__(
        self,
        network: FastNetwork,
        slow_track: SlowTrack,
        policy: KeyFramePolicy,
        *,
        propagation: str | PropagationKind = AUTO,
        device: torch.device | str = "cpu",
        low_latency: bool = True,
        input_size: Size | None = None,
        owns_frames: bool = False,
    ) -> None:
        """
        Args:
            network: the fast track's, in evaluation mode, on ``device``.
            slow_track: where the slow network answers; the engine opens a lane of its own there, ``slow_lane``.
            policy: decides which frames become key frames.
            propagation: ``auto``, a name of ``fast.registry.PROPAGATIONS``, or a kind that is not among them.
            low_latency: key frames take the fast track's labels (the paper's LLS). Otherwise they wait for Sh.
            input_size: (width, height) that frames are resized to; the network's own unless given.
            owns_frames: nobody writes to a frame afterwards, so that the slow track may look at it without a copy.

        Raises:
            PropagationError: there is no such propagation, or it cannot carry what the slow network gives.
        """
        self.policy = policy
        self.low_latency = low_latency
        self.device = torch.device(device)
        self._owns_frames = owns_frames
        self._network = network
        self.propagation = propagation_in_use(propagation)
        self._propagation = build_propagation(propagation, network, slow_track.network)
        self._input_size = input_size or network.config.input_size
        self._confidence = Confidence(self._input_size, self._propagation.confidence_prior)
        self._deviation = CalibratedDeviation(network)
        self._lessons = Lessons(self._propagation, self._confidence, self._deviation, self._input_size)
        self.slow_lane = slow_track.open_lane(self._propagation.prepare, self._lessons.learn, self._lessons.learn_more)
        self._preprocess = Preprocessor(self._input_size, self.device)
        self.motion = motion_finder(self._input_size, self.device) if self._propagation.needs_motion else None
        self.stream = TrackStream(self.device, FAST_PRIORITY)
        self._cache = KeyFrameCache()
        self._clock = StreamClock(self.slow_lane.now)
        self._sequence = 0
        self._last_stamp: int | None = None
        self._last_size: Size | None = None
        self._warnings: list[str] = []  # for the next result
        self._accuracy = AnswerAges()
        self.restart_count = 0  # of the stream: how often something broke it

    def segment(self, frame: NDArray[np.uint8], stamp: int) -> SegmentationResult:
        """Label one frame. Waits for the slow network only on key frames where ``low_latency`` is off.

        Until its first answer there is nothing to propagate, and labels are what Sl sees alone.

        Args:
            frame: (H, W, 3) uint8, RGB, of any size.
            stamp: nanoseconds, no smaller than the last frame's.

        Raises:
            ValueError: ``frame`` is no such image; it is as if it had never come.
        """
        clock = _StageClock()
        check_frame(frame)
        self._reset_where_stream_breaks(frame, stamp)
        self._clock.advance(stamp)
        self._accuracy.frame_arrived(self.slow_lane.now())
        with torch.inference_mode(), self.stream.in_use():
            self._collect_slow_track()
            try:
                result = self._fast_track(frame, stamp, clock)
            except Exception as error:  # contract 9: whatever an image does to the code costs that image
                result = self._without_labels(frame, stamp, clock, error)
        self._sequence += 1
        return result

    def _fast_track(self, frame: NDArray[np.uint8], stamp: int, clock: _StageClock) -> SegmentationResult:
        """The picture in ``docs/design.md``, from the frame to its labels."""
        key = self._cache.key
        seen = self._see(frame, stamp, key)
        clock.finish("low")
        decision = self._decide(key, seen)
        clock.finish("schedule")
        found = self._find(key, frame, seen, decision, clock)
        labels = self._label(found.answer, frame_size(frame))
        clock.finish("labels")
        evidence = self._evidence(seen, found)
        is_key_frame = decision.is_key_frame and self._keep_key(frame, seen, found, labels, evidence)
        reason = "" if found.answer is not None else NO_ANSWER_YET
        return self._result(labels, reason, stamp, clock, decision, is_key_frame, found.key, evidence)

    def _see(self, frame: NDArray[np.uint8], stamp: int, key: KeyFrame | None) -> SeenFrame:
        """Sl, with the search for the motion since the key frame begun beside it."""
        image = self._preprocess(frame)
        motion = None if self.motion is None else self.motion.begin(image, _picture_of(key))
        low = self._network.low_features(image)
        return SeenFrame(self._sequence, stamp, image, low, motion, self.slow_lane.now(), self._clock.now)

    def _decide(self, key: KeyFrame | None, seen: SeenFrame) -> KeyFrameDecision:
        if key is None:
            self._accuracy.key_due()
            return NO_KEY_YET if self.slow_lane.owes_result else FIRST_FRAME
        since_key = self._cache.since_key(seen.sequence, self._clock.now)
        has_idle_time = self._slow_track_has_idle_time
        self._deviation.begin()
        decision = self.policy.decide(self._deviation, key.frame.low, seen.low, since_key, has_idle_time)
        if decision.is_key_frame and decision.reason != "idle":
            self._accuracy.key_due()
        is_working = self.slow_lane.is_at_work and since_key.seconds < LONGEST_WAIT
        if decision.is_key_frame and self.low_latency and is_working:
            # Put off until Sh is done with the last one: a frame that waited would be old by the time its turn came.
            return replace(decision, is_key_frame=False, reason="")
        if decision.is_key_frame:
            self._deviation.expect(seen.sequence, key.frame.sequence)
        return decision

    def _slow_track_has_idle_time(self) -> bool:
        # A frame that would wait for Sh is not made to wait for what is not due.
        return self.low_latency and self.slow_lane.has_idle_time()

    def _find(
        self,
        key: KeyFrame | None,
        frame: NDArray[np.uint8],
        seen: SeenFrame,
        decision: KeyFrameDecision,
        clock: _StageClock,
    ) -> Found:
        """The one place where labels come from: the slow network in place, Sl alone, or the key frame."""
        if decision.is_key_frame and not self.low_latency:
            result = self._wait_for_slow_network(SlowJob(seen, whole=self._whole(frame)))
            clock.finish("high")
            if result.key is not None:
                return Found(result.own, result.key)
        if key is None:
            return Found(self._propagation.answer_without_key(seen), None)
        answer = self._propagation.answer(key, seen)
        clock.finish("propagate")
        return Found(answer, key)

    def _label(self, answer: Answer | None, size: Size) -> NDArray[np.uint8]:
        if answer is None:
            return unlabelled_image(size)
        return label_image(answer.logits, self._input_size, size, answer.ids)

    def _evidence(self, seen: SeenFrame, found: Found) -> Evidence | None:
        """How far labels can be believed; None before the slow network's first answer, and where they are its own."""
        key, answer = found.key, found.answer
        if key is None or answer is None or key.frame is seen:
            return None
        origin_time = key.frame.time if key.evidence is None else key.evidence.origin_time
        return Evidence(answer, seen, key, origin_time, self._confidence.weights)

    def _keep_key(
        self,
        frame: NDArray[np.uint8],
        seen: SeenFrame,
        found: Found,
        labels: NDArray[np.uint8],
        evidence: Evidence | None,
    ) -> bool:
        """Put a key frame into the cache and hand it to the slow track; returns whether the frame became one."""
        has_own_answer = found.key is not None and found.key.frame.sequence == seen.sequence
        if not (has_own_answer or self.low_latency):
            return False  # Sh has just failed on it: the old key frame stays, and the next frame tries again
        self._cache.note_key_frame(seen.sequence, self._clock.now)
        if found.key is not None and has_own_answer:
            self._cache.put(found.key)
            self._accuracy.answered(seen.arrived)
            return True
        if found.answer is not None and evidence is not None:
            own = evidence.of_key_frame()
            self._cache.put(KeyFrame(seen, found.answer, is_accurate=False, evidence=own))
            self._confidence.expect(own, labels)
        # Only now, so that on the CPU a key frame's own labels do not share the cores with its Sh.
        whole = self._whole(frame)
        if whole is not None and not self._owns_frames:
            whole = whole.copy()
        self.slow_lane.submit(SlowJob(seen, self.stream.mark(), whole))
        return True

    def _whole(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """The camera's frame where the slow network looks at that."""
        return frame if self.slow_lane.network.sees_whole_frame else None

    def _result(
        self,
        labels: NDArray[np.uint8],
        unlabelled_reason: str,
        stamp: int,
        clock: _StageClock,
        decision: KeyFrameDecision = NO_DECISION,
        is_key_frame: bool = False,
        key: KeyFrame | None = None,
        evidence: Evidence | None = None,
    ) -> SegmentationResult:
        learned = self._propagation.classifier_state
        return SegmentationResult(
            labels=labels,
            stamp=stamp,
            sequence=self._sequence,
            is_key_frame=is_key_frame,
            key_reason=decision.reason,
            deviation=decision.deviation,
            threshold=decision.threshold,
            key_stamp=stamp if key is None else key.frame.stamp,
            key_age_frames=0 if key is None else self._sequence - key.frame.sequence,
            key_is_accurate=key is not None and key.is_accurate,
            waited_for_slow_track=clock.has_finished("high"),
            milliseconds=clock.times(),
            slow_track=self.slow_lane.counts(),
            propagation=self.propagation,
            classifier_agreement=math.nan if learned is None else learned.agreement,
            classifier_age_ms=_milliseconds_between(learned, stamp),
            unlabelled_reason=unlabelled_reason,
            evidence=evidence,
            warnings=self._take_warnings(),
        )

    # --- the slow track's side ---------------------------------------------------------------------------------------

    def _collect_slow_track(self) -> None:
        self.slow_lane.watch()
        self._warnings += self.slow_lane.take_notices()
        for result in self.slow_lane.collect():
            self._note(result)
            if result.key is not None and self._cache.offer_late(result.key):
                self._accuracy.answered(result.key.frame.arrived)

    def _wait_for_slow_network(self, job: SlowJob) -> SlowResult:
        result = self.slow_lane.run_in_place(job)
        self._note(result)
        return result

    def _note(self, result: SlowResult) -> None:
        if result.key is None:
            self._warnings.append(f"Sh failed on a key frame: {result.error}")

    # --- where the stream breaks -------------------------------------------------------------------------------------

    def is_out_of_order(self, stamp: int, tolerance: int) -> bool:
        """Whether a frame of that stamp comes too late to be segmented, and by too little to break the stream.

        Args:
            stamp: nanoseconds.
            tolerance: nanoseconds that a stamp may be before the last one's: further back the time has been set anew.
        """
        return self._last_stamp is not None and 0 < self._last_stamp - stamp <= tolerance

    def reset(self, reason: str) -> None:
        """Forget what was seen; the next frame is a first frame and tells ``reason``."""
        self.forget()
        self.restart_count += 1
        self._warnings.append(f"the stream starts anew: {reason}")

    def forget(self) -> None:
        """As before the first frame: no key frame, nothing in the slow track, any stamp and size may come."""
        self.stream.wait()  # a dropped feature's memory goes back to the slow stream: no kernel may still read it
        self._cache.clear()
        self.slow_lane.reset()
        self._accuracy.clear()
        self._last_size = self._last_stamp = None

    def answer_ages(self) -> AnswerAges:
        """How the slow network's answers have kept up with the frames so far."""
        return self._accuracy

    def _reset_where_stream_breaks(self, frame: NDArray[np.uint8], stamp: int) -> None:
        size = frame_size(frame)
        if self._last_size not in (None, size):
            self.reset(f"the frame's size changed from {self._last_size} to {size}")
        if self._last_stamp is not None and stamp < self._last_stamp:
            self.reset(f"the stamp went back by {(self._last_stamp - stamp) / 1e9:.3f} s")
        self._last_size, self._last_stamp = size, stamp

    def _without_labels(
        self, frame: NDArray[np.uint8], stamp: int, clock: _StageClock, error: Exception
    ) -> SegmentationResult:
        """An unlabelled image for a frame on which the fast track failed; its features are not to be relied on."""
        reason = f"the fast track failed: {describe_error(error)}"
        self.reset(reason)
        return self._result(unlabelled_image(frame_size(frame)), reason, stamp, clock)

    def _take_warnings(self) -> tuple[str, ...]:
        warnings, self._warnings = tuple(self._warnings), []
        return warnings

    # --- before the first frame, and after the last -------------------------------------------------------------------

    def warm_up(self, size: Size | None = None) -> None:
        """Run every path once, so that no frame pays for compiling kernels or growing memory. Changes no state.

        Args:
            size: (width, height) of the frames to come; the network's input size unless given.

        Raises:
            RuntimeError: the slow network fails on a black frame.
            PropagationError: what it gives cannot be carried.
        """
        size = size or self._input_size
        frame = np.zeros((size[1], size[0], 3), np.uint8)
        with torch.inference_mode(), self.stream.in_use():
            for call in range(calls_to_warm_up(self.device)):
                self._run_every_path(frame, size, in_place=call == 0 or not self.low_latency)

    def _run_every_path(self, frame: NDArray[np.uint8], size: Size, in_place: bool) -> None:
        """``in_place``: Sh in this thread too, where it is hardly ever needed, and a recording would take memory."""
        seen = self._see(frame, stamp=0, key=None)
        job = SlowJob(seen, self.stream.mark(), self._whole(frame))
        results = [self.slow_lane.warm_up(job)]
        if in_place:
            results.append(run_slow_network(self.slow_lane.network, job, self._propagation.prepare))
        for result in results:
            if result.key is None:
                raise RuntimeError(f"Sh failed on a black frame: {result.error}")
            self._label(result.key.answer, size)
            later = self._see(frame, stamp=0, key=result.key)
            self._label(self._propagation.answer(result.key, later), size)
            self._propagation.warm_up(result.key, later)
        self._label(self._propagation.answer_without_key(seen), size)
        for policy in (PredictedDeviation(threshold=0.0), FeatureDifference(threshold=0.0)):
            policy.measure(self._network, seen.low, seen.low)

    def close(self) -> None:
        """End the engine's own thread and give up what is in the slow track; no frame may come afterwards."""
        self.slow_lane.reset()
        if self.motion is not None:
            self.motion.close()


def _picture_of(key: KeyFrame | None) -> Picture | None:
    """What the motion since a key frame is found from; waits for it."""
    return None if key is None or key.frame.motion is None else key.frame.motion.result().picture


def _milliseconds_between(learned: ClassifierState | None, stamp: int) -> float:
    """From the newest key frame that was learned from to a frame; nan also where the stamps went back in between."""
    if learned is None or stamp < learned.stamp:
        return math.nan
    return (stamp - learned.stamp) / 1e6


class _StageClock:
    """Measures the stages of one call, one after the other."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter_ns()
        self._stages: dict[str, float] = {}

    def finish(self, stage: str) -> None:
        """The time since the last stage's end was this stage's."""
        now = time.perf_counter_ns()
        self._stages[stage] = (now - self._last) / 1e6
        self._last = now

    def has_finished(self, stage: str) -> bool:
        return stage in self._stages

    def times(self) -> StageTimes:
        return StageTimes(**self._stages, total=(time.perf_counter_ns() - self._start) / 1e6)
