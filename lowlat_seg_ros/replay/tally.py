"""Counts and scores what one system makes of one camera's frames. In memory stay numbers, and the last frames."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.evaluation.optical_flow import FlowField, TemporalConsistency
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.fast.pictures import unlabelled_image
from lowlat_seg_ros.replay.disagreements import Disagreements
from lowlat_seg_ros.replay.frames import ReplayFrame
from lowlat_seg_ros.replay.labelled_video import LabelledVideo
from lowlat_seg_ros.replay.messages import NANOSECONDS_A_SECOND
from lowlat_seg_ros.replay.profile import NANOSECONDS_A_MILLISECOND
from lowlat_seg_ros.replay.report import (
    Agreement,
    DistanceScore,
    FrameCounts,
    Latency,
    Scores,
    SlowTrackReport,
    Spread,
    SystemReport,
    known,
)
from lowlat_seg_ros.replay.systems import Labelled, SlowTrackFigures, System
from lowlat_seg_ros.replay.timeline import FrameRecord, Timeline

QUANTILES: Final = (50, 95, 99, 100)  # per cent
LOW_QUANTILE: Final = 5


def spread_of(values: Sequence[float]) -> Spread:
    if not values:
        return Spread(0, None, None, None, None)
    return Spread(len(values), *(float(value) for value in np.percentile(values, QUANTILES)))


def frame_counts(timeline: Timeline) -> FrameCounts:
    """What became of the frames, once the late ones are marked."""
    statuses = timeline.columns["status"]
    dropped, late = statuses.count("dropped"), statuses.count("late")
    labelled, key_frames = len(statuses) - dropped, sum(timeline.columns["is_key_frame"])
    return FrameCounts(
        frames_in=len(statuses),
        labelled=labelled,
        dropped=dropped,
        late=late,
        deadline_misses=late + dropped,
        key_frames=key_frames,
        key_frame_ratio=key_frames / labelled if timeline.has_key_frames and labelled else None,
    )


def latency_report(timeline: Timeline) -> Latency:
    """Latencies of the labelled frames: all, and the first, key and other frames apart."""
    columns = timeline.columns
    by_kind: dict[str, list[float]] = {"first": [], "key": [], "other": []}
    for latency, is_first, is_key in zip(
        columns["latency_ms"], columns["is_first"], columns["is_key_frame"], strict=True
    ):
        if not math.isnan(latency):
            by_kind["first" if is_first else "key" if is_key else "other"].append(latency)
    return Latency(
        all_frames=spread_of([latency for latencies in by_kind.values() for latency in latencies]),
        key_frames=spread_of(by_kind["key"]),
        other_frames=spread_of(by_kind["other"]),
        first_frames=spread_of(by_kind["first"]),
    )


def agreement_report(timeline: Timeline, against_full: ConfusionMatrix) -> Agreement:
    """``against_full``: the system's labels with the full network's as truth."""
    agreements = [value for value in timeline.columns["agreement"] if not math.isnan(value)]
    if not agreements:
        return Agreement(None, None, None, None)
    return Agreement(
        mean=float(np.mean(agreements)),
        p5=float(np.percentile(agreements, LOW_QUANTILE)),
        min=min(agreements),
        mean_iou=known(against_full.mean_iou()),
    )


class TruthScores:
    """The scores of one system on one camera's frames that have a truth."""

    def __init__(self, class_count: int) -> None:
        self.streaming = StreamingScore(class_count)
        self._all = CountedMatrix(class_count)
        self._by_distance: dict[int, CountedMatrix] = {}

    def add(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8], distance: int | None) -> None:
        """A frame's labels and truth, both (H, W); ``distance`` in camera frames from its key frame, if it has one."""
        self._all.add(labels, truth)
        if distance is not None:
            matrix = self._by_distance.setdefault(distance, CountedMatrix(self._all.class_count))
            matrix.add(labels, truth)

    def report(self) -> Scores | None:
        """None where no frame had a truth."""
        if self.streaming.matrix.frames == 0:
            return None
        return Scores(
            frames=self._all.frames,
            mean_iou=known(self._all.mean_iou()),
            pixel_accuracy=known(self._all.pixel_accuracy()),
            class_accuracy=known(self._all.class_accuracy()),
            class_iou=[known(iou) for iou in self._all.class_iou().tolist()],
            streaming_frames=self.streaming.matrix.frames,
            streaming_mean_iou=known(self.streaming.matrix.mean_iou()),
            by_distance=[
                DistanceScore(distance, matrix.frames, known(matrix.mean_iou()))
                for distance, matrix in sorted(self._by_distance.items())
            ],
            confusion=self._all.counts.tolist(),
        )


class StreamingScore:
    """Streaming accuracy: the labels available at a time against the truth of that time (Li et al., ECCV 2020).

    A late answer costs what it costs a vehicle: the world has moved on.
    """

    def __init__(self, class_count: int) -> None:
        self.matrix = CountedMatrix(class_count)
        self._newest: NDArray[np.uint8] | None = None
        self._coming: deque[tuple[int, NDArray[np.uint8]]] = deque()

    def labels_available_at(self, time: int, labels: NDArray[np.uint8]) -> None:
        """Labels, (H, W), that can be read from ``time`` on, in nanoseconds; never before the last ones."""
        self._coming.append((time, labels))
        # Without a truth to score, the newest that are surely there are all that has to be kept.
        if len(self._coming) > 2:
            self._newest = self._coming.popleft()[1]

    def truth_at(self, time: int, truth: NDArray[np.uint8]) -> None:
        """Score what is available at ``time`` against ``truth``, (H, W); before the first labels all of it is wrong."""
        while self._coming and self._coming[0][0] <= time:
            self._newest = self._coming.popleft()[1]
        labels = self._newest
        if labels is None or labels.shape != truth.shape:
            labels = unlabelled_image((truth.shape[1], truth.shape[0]))
        self.matrix.add(labels, truth)


class CountedMatrix(ConfusionMatrix):
    """A confusion matrix that knows how many frames are in it."""

    def __init__(self, class_count: int) -> None:
        super().__init__(class_count)
        self.frames = 0

    def add(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        super().add(labels, truth)
        self.frames += 1


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
        video: LabelledVideo | None = None,
        is_full_network: bool = False,
    ) -> None:
        """
        Args:
            system: whose labels these are.
            class_count: the model's.
            flow: of this camera, shared by its systems.
            lane: this camera's place at the slow track, where the system has one.
            disagreements: keeps the frames that differ most from the full network's.
            video: takes the labelled frames.
            is_full_network: the system is the one that others are compared with.
        """
        self._system = system
        self._lane = lane
        self._disagreements = disagreements
        self._video = video
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
        if self._video is not None:
            self._video.offer(frame.image, labelled.labels)
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
