"""Counts and scores what one system makes of one camera's frames. In memory stay numbers, and the last frame."""

from __future__ import annotations

import math

import numpy as np

from lowlat_seg_ros.evaluation.optical_flow import FlowField, TemporalConsistency
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.replay.disagreements import Disagreements
from lowlat_seg_ros.replay.frames import ReplayFrame
from lowlat_seg_ros.replay.profile import NANOSECONDS_A_MILLISECOND
from lowlat_seg_ros.replay.report import SlowTrackReport, SystemReport, known
from lowlat_seg_ros.replay.summaries import agreement_report, frame_counts, latency_report, spread_of
from lowlat_seg_ros.replay.systems import Labelled, SlowTrackFigures, System
from lowlat_seg_ros.replay.timeline import FrameRecord, Timeline
from lowlat_seg_ros.replay.truth_scores import TruthScores

NANOSECONDS_A_SECOND = 1_000_000_000


class Tally:
    """Observes one camera's frames under one system, and reports in the end."""

    def __init__(
        self,
        system: System,
        class_count: int,
        flow: FlowField,
        *,
        lane: SlowTrackFigures | None = None,
        disagreements: Disagreements | None = None,
        is_full_network: bool = False,
    ) -> None:
        """
        Args:
            system: whose labels these are.
            class_count: the model's.
            flow: of this camera, shared by its systems.
            lane: this camera's place at the slow track, where the system has one.
            disagreements: keeps the frames that differ most from the full network's.
            is_full_network: the system is the one that others are compared with.
        """
        self._system = system
        self._lane = lane
        self._disagreements = disagreements
        self._is_full_network = is_full_network
        self._timeline = Timeline(has_key_frames=lane is not None)
        self._first_arrival: int | None = None
        self._scores = TruthScores(class_count)
        self._against_full = ConfusionMatrix(class_count)
        self._consistency = TemporalConsistency(class_count, flow)

    def frame_arrives(self, frame: ReplayFrame) -> None:
        if self._first_arrival is None:
            self._first_arrival = frame.arrival
        if frame.truth is not None:
            self._scores.streaming.truth_at(frame.arrival, frame.truth)

    def frame_dropped(self, frame: ReplayFrame) -> None:
        self._timeline.add(FrameRecord(self._seconds(frame), "dropped"))

    def frame_labelled(self, frame: ReplayFrame, available: int, labelled: Labelled) -> None:
        agreement = math.nan if self._is_full_network else self._agreement(frame, labelled)
        self._timeline.add(self._record(frame, available, labelled, agreement))
        self._scores.streaming.labels_available_at(available, labelled.labels)
        if frame.truth is not None:
            self._scores.add(labelled.labels, frame.truth, labelled.key_distance)
        self._consistency.add(frame, labelled.labels)

    def report(self, period_ms: float | None) -> SystemReport:
        """All figures; ``period_ms`` is the camera's, the deadline for each frame."""
        self._timeline.mark_late(period_ms)
        return SystemReport(
            name=self._system.name,
            description=self._system.description,
            counts=frame_counts(self._timeline),
            latency_ms=latency_report(self._timeline),
            slow_track=_slow_track_report(self._lane) if self._lane else None,
            scores=self._scores.report(),
            agreement=None if self._is_full_network else agreement_report(self._timeline, self._against_full),
            temporal_consistency=known(self._consistency.mean_iou()),
            timeline=self._timeline.to_mapping(),
        )

    def _record(self, frame: ReplayFrame, available: int, labelled: Labelled, agreement: float) -> FrameRecord:
        time_s = self._seconds(frame)
        latency_ms = (available - frame.arrival) / NANOSECONDS_A_MILLISECOND
        result = labelled.result
        if result is None:
            return FrameRecord(time_s, "labelled", latency_ms=latency_ms, agreement=agreement)
        return FrameRecord(
            time_s,
            "labelled",
            is_first=labelled.key_distance is None,
            latency_ms=latency_ms,
            agreement=agreement,
            is_key_frame=result.is_key_frame,
            key_reason=result.key_reason,
            deviation=result.deviation,
            threshold=result.threshold,
            key_age_frames=labelled.key_distance,
            key_is_accurate=result.key_is_accurate,
            slow_track_busy=result.slow_track.busy,
        )

    def _agreement(self, frame: ReplayFrame, labelled: Labelled) -> float:
        """The fraction of pixels that the full network gives the same label."""
        self._against_full.add(labelled.labels, frame.full_labels)
        agreement = float(np.mean(labelled.labels == frame.full_labels))
        if self._disagreements is not None:
            self._disagreements.offer(frame, labelled.labels, agreement, labelled.key_distance or 0)
        return agreement

    def _seconds(self, frame: ReplayFrame) -> float:
        return (frame.arrival - (self._first_arrival or 0)) / NANOSECONDS_A_SECOND


def _slow_track_report(lane: SlowTrackFigures) -> SlowTrackReport:
    counts = lane.counts()
    # Its own count of done includes Sh where key frames waited for it, which the caller's thread ran.
    return SlowTrackReport(
        done=counts.done,
        failed=counts.failed,
        discarded=counts.discarded,
        delay_ms=spread_of([delay / NANOSECONDS_A_MILLISECOND for delay in lane.delays]),
    )
