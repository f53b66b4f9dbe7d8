"""Every conversion between ROS messages and arrays."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from lowlat_seg_ros.msg import KeyFrameDiagnostics

if TYPE_CHECKING:  # players convert images, too, and need no torch
    from lowlat_seg_ros.stream.engine import SegmentationResult

NANOSECONDS_A_SECOND: Final = 1_000_000_000
EARLIEST_STAMP: Final = -(2**31) * NANOSECONDS_A_SECOND
LONGEST_AGE: Final = 3600.0
"""Seconds beyond which stamp and clock are not of one time."""
LATEST_STAMP: Final = 2**31 * NANOSECONDS_A_SECOND - 1


def image_message(pixels: NDArray[np.uint8], encoding: str, header: Header) -> Image:
    """`pixels`, (H, W) or (H, W, channels), which already are in `encoding`, as a message with that header."""
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels[0].size
    set_data(message, np.ascontiguousarray(pixels))
    return message


@dataclass(frozen=True)
class ChainTimes:
    """Seconds of one image's way through the node, outside the stream engine and in all."""

    age: float  # from the image's stamp to the callback's entry, by the node's clock; nan where that is not known
    decode: float
    publish: float
    total: float  # callback entry to the return of the labels' publish call


def key_frame_message(
    result: SegmentationResult, header: Header, times: ChainTimes, frames_dropped: int | None
) -> KeyFrameDiagnostics:
    """What the two tracks did with the image of that header."""
    return KeyFrameDiagnostics(
        header=header,
        sequence=result.sequence,
        is_key_frame=result.is_key_frame,
        key_reason=result.key_reason,
        predicted_deviation=result.deviation,
        threshold=result.threshold,
        key_stamp=stamp_of(result.key_stamp),
        key_age_frames=result.key_age_frames,
        key_is_accurate=result.key_is_accurate,
        propagation=result.propagation,
        unlabelled_reason=result.unlabelled_reason,
        confidence=result.mean_confidence,
        classifier_agreement=result.classifier_agreement,
        classifier_age_ms=result.classifier_age_ms,
        waited_for_slow_track=result.waited_for_slow_track,
        slow_track_busy=result.slow_track.busy,
        slow_track_done=result.slow_track.done,
        slow_track_failed=result.slow_track.failed,
        age_ms=times.age * 1000,
        decode_ms=times.decode * 1000,
        low_ms=result.milliseconds.low,
        schedule_ms=result.milliseconds.schedule,
        propagate_ms=result.milliseconds.propagate,
        labels_ms=result.milliseconds.labels,
        publish_ms=times.publish * 1000,
        total_ms=times.total * 1000,
        slow_track_ms=result.slow_track.last_milliseconds,
        frames_dropped=KeyFrameDiagnostics.FRAMES_DROPPED_NOT_KNOWN if frames_dropped is None else frames_dropped,
    )


def nanoseconds(stamp: Time) -> int:
    """A message's stamp in nanoseconds."""
    return int(stamp.sec) * NANOSECONDS_A_SECOND + int(stamp.nanosec)


def age_seconds(stamp: int, now: int) -> float:
    """How old a stamp is, both in nanoseconds; nan where they do not say: a stamp or a clock that was never set.

    A stamp of the time since boot, or of an old drive beside a clock of today, is more than LONGEST_AGE away from now.
    """
    age = (now - stamp) / NANOSECONDS_A_SECOND
    return age if stamp > 0 and now > 0 and abs(age) <= LONGEST_AGE else math.nan


def stamp_of(stamp_nanoseconds: int) -> Time:
    """The stamp of a message; the reverse of `nanoseconds`, as far as a message's 32 bits of seconds reach."""
    seconds, rest = divmod(min(max(stamp_nanoseconds, EARLIEST_STAMP), LATEST_STAMP), NANOSECONDS_A_SECOND)
    return Time(sec=seconds, nanosec=rest)


def set_data(message: Image | CompressedImage, pixels: NDArray[np.uint8]) -> None:
    """`message.data = pixels` would check byte by byte: 400 ms for a colour image of 720p, where this takes 0.4 ms."""
    data = array("B")
    data.frombytes(pixels.data)
    message.data = data
