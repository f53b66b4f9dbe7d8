"""The two tracks as the node ran them, in the place of those that an offline replay simulates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from lowlat_seg_ros.replay.frames import ReplayFrame
from lowlat_seg_ros.replay.problems import Problems
from lowlat_seg_ros.replay.profile import NANOSECONDS_A_MILLISECOND, Profile
from lowlat_seg_ros.replay.systems import Labelled, Observer, System
from lowlat_seg_ros.stream.key_frames import KeyReason
from lowlat_seg_ros.stream.result import SegmentationResult, StageTimes, has_key
from lowlat_seg_ros.stream.slow_lane import SlowTrackCounts

if TYPE_CHECKING:
    from lowlat_seg_ros.msg import KeyFrameDiagnostics
    from lowlat_seg_ros.ros.recorder import Answer

DECIMALS: Final = 3  # of a profile's milliseconds


@dataclass(frozen=True)
class LiveOptions:
    """How a bag is played."""

    rate: float = 1.0  # seconds of the drive played in one second
    rounds: int = 1


class SentFrame(NamedTuple):
    """A picture that went out, by the bag player's word."""

    stamp: int  # nanoseconds, of its header
    sent: int  # nanoseconds on the monotonic clock, which all processes of a machine share


@dataclass(frozen=True)
class LivePlay:
    """What was sent and what came back, by camera topic, in the order of sending."""

    sent: dict[str, list[SentFrame]]
    answers: dict[str, list[Answer | None]]
    dropped: dict[str, int]  # pictures that the node said were lost on their way to it
    device: str
    longest_delay: int  # nanoseconds: how late the player was at most
    put_off: int  # nanoseconds: how much longer than the drive the play took
    left_out: int  # nanoseconds of the drive's pauses that were not played


class LiveTwoTracks:
    """Knows what the node answered to every frame."""

    name = "two tracks, live"

    def __init__(self, play: LivePlay, options: LiveOptions) -> None:
        self.description = (
            f"the node in a process of its own, over DDS, on {play.device}, the bag played at rate "
            f"{options.rate:g}; the slow track's delays are its own run times, the other systems are simulated"
        )
        self._answers = play.answers
        self._indexes = {camera: _indexes(answers) for camera, answers in play.answers.items()}
        self.lanes = {camera: LiveLane(_messages(answers)) for camera, answers in play.answers.items()}
        self.problems = {camera: _problems(play, camera) for camera in play.answers}

    def profile(self, other: Profile) -> Profile:
        """How long each thing took in the node, as medians; ``other``'s where the run does not tell."""
        messages = [message for answers in self._answers.values() for message in _messages(answers)]
        waited = [message.total_ms for message in messages if message.waited_for_slow_track]
        followed = [message for message in messages if not message.waited_for_slow_track]
        return replace(
            other,
            name="this run of the node",
            fast_ms=_median((each.total_ms for each in followed if not each.is_key_frame), other.fast_ms),
            key_frame_ms=_median((each.total_ms for each in followed if each.is_key_frame), other.key_frame_ms),
            slow_ms=_median((ms for lane in self.lanes.values() for ms in lane.run_times), other.slow_ms),
            full_ms=_median(waited, other.full_ms),
        )

    def answer(self, frame: ReplayFrame) -> Answer | None:
        """The node's answer to a frame; None if it never came through."""
        return self._answers[frame.camera][frame.index]

    def label(self, frame: ReplayFrame, now: int) -> Labelled:
        """What came back for a frame that was answered, and when, counted from ``now``."""
        answer = self.answer(frame)
        if answer is None:
            raise ValueError(f"frame {frame.index} of {frame.camera} was not answered")
        result = result_of(answer)
        key = self._indexes[frame.camera].get(result.sequence - result.key_age_frames, frame.index)
        distance = frame.index - key if has_key(result) else None
        return Labelled(result.labels, answer.image.arrived - now, result, distance)

    def finish(self) -> None:
        """All has ended."""


class LiveWorker:
    """Tells the observers what the node did, frame by frame."""

    def __init__(self, system: System, observers: dict[str, Observer]) -> None:
        """``system``: a LiveTwoTracks."""
        if not isinstance(system, LiveTwoTracks):
            raise TypeError(f"a live worker works for the live two tracks, not for {system.name}")
        self._system = system
        self._observers = observers

    def arrive(self, frame: ReplayFrame) -> None:
        """A frame was sent at its ``arrival``."""
        observer = self._observers[frame.camera]
        observer.frame_arrives(frame)
        answer = self._system.answer(frame)
        if answer is None:
            observer.frame_dropped(frame)
        else:
            observer.frame_labelled(frame, answer.image.arrived, self._system.label(frame, frame.arrival))

    def finish(self) -> None:
        """All has ended."""


class LiveLane:
    """What the key frame messages of one camera tell of the slow track."""

    def __init__(self, messages: list[KeyFrameDiagnostics]) -> None:
        self._messages = messages
        self.run_times = [  # of Sh in the slow track, milliseconds
            later.slow_track_ms
            for earlier, later in pairwise(messages)
            if later.slow_track_done > earlier.slow_track_done and not later.waited_for_slow_track
        ]
        self.delays = [round(ms * NANOSECONDS_A_MILLISECOND) for ms in self.run_times]

    def counts(self) -> SlowTrackCounts:
        """As of the last message. Key frames without any other fate were discarded, or still wait at the end."""
        if not self._messages:
            return SlowTrackCounts(False, False, 0, 0, 0, float("nan"))
        last = self._messages[-1]
        key_frames = sum(message.is_key_frame for message in self._messages)
        left = key_frames - last.slow_track_done - last.slow_track_failed - last.slow_track_busy
        return _counts(last, discarded=max(0, int(left)))


def result_of(answer: Answer) -> SegmentationResult:
    """The engine's result, as far as the node's messages tell."""
    from lowlat_seg_ros.ros.conversions import nanoseconds

    message = answer.key_frame
    return SegmentationResult(
        labels=answer.labels(),
        stamp=nanoseconds(message.header.stamp),
        sequence=message.sequence,
        is_key_frame=message.is_key_frame,
        key_reason=cast(KeyReason, message.key_reason),
        deviation=message.predicted_deviation,
        threshold=message.threshold,
        key_stamp=nanoseconds(message.key_stamp),
        key_age_frames=message.key_age_frames,
        key_is_accurate=message.key_is_accurate,
        waited_for_slow_track=message.waited_for_slow_track,
        milliseconds=StageTimes(
            low=message.low_ms,
            schedule=message.schedule_ms,
            propagate=message.propagate_ms,
            labels=message.labels_ms,
            total=message.total_ms,
        ),
        slow_track=_counts(message),
        propagation=message.propagation,
        classifier_agreement=message.classifier_agreement,
        classifier_age_ms=message.classifier_age_ms,
        evidence=None,  # only its mean is in the message
        unlabelled_reason=message.unlabelled_reason,
        warnings=(),
    )


def _counts(message: KeyFrameDiagnostics, discarded: int = 0) -> SlowTrackCounts:
    return SlowTrackCounts(
        busy=message.slow_track_busy,
        waiting=False,
        done=message.slow_track_done,
        failed=message.slow_track_failed,
        discarded=discarded,
        last_milliseconds=message.slow_track_ms,
    )


def _median(values: Iterable[float], otherwise: float) -> float:
    known = [value for value in values if math.isfinite(value) and value > 0]
    return round(median(known), DECIMALS) if known else otherwise


def _messages(answers: list[Answer | None]) -> list[KeyFrameDiagnostics]:
    return [answer.key_frame for answer in answers if answer is not None]


def _indexes(answers: list[Answer | None]) -> dict[int, int]:
    """The camera's frames by the node's sequence numbers."""
    return {answer.key_frame.sequence: index for index, answer in enumerate(answers) if answer is not None}


def _problems(play: LivePlay, camera: str) -> Problems:
    problems = Problems()
    missing = sum(answer is None for answer in play.answers[camera])
    dropped = play.dropped[camera]
    if missing != dropped:
        problems.add("account", f"{missing} frames have no labels, and the node reported {dropped} as lost")
    restarts = sum(message.key_reason == "first frame" for message in _messages(play.answers[camera])) - 1
    if restarts > 0:
        problems.add("restart", f"the stream began again {restarts} times, as where stamps go back")
    return problems
