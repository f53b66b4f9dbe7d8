"""What was sent to the node in a live replay and what it answered, in order: a bag in a loop repeats its stamps."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from lowlat_seg_ros.demo.recorder import FASTEST_COMPRESSION, Recording
from lowlat_seg_ros.msg import KeyFrameDiagnostics
from lowlat_seg_ros.ros.conversions import nanoseconds


class SentFrame(NamedTuple):
    """A picture that went out, by the bag player's word."""

    stamp: int  # nanoseconds, of its header
    sent: int  # nanoseconds on the monotonic clock, which all processes of a machine share


@dataclass(frozen=True)
class Answer:
    """The node's labels of one picture, and what it said about them."""

    arrived: int  # nanoseconds on the monotonic clock
    shape: tuple[int, int]  # height, width
    compressed: bytes
    key_frame: KeyFrameDiagnostics

    def labels(self) -> NDArray[np.uint8]:
        """(H, W) class ids."""
        return np.frombuffer(zlib.decompress(self.compressed), np.uint8).reshape(self.shape)


class _ArrivedLabels(NamedTuple):
    stamp: int
    arrived: int
    shape: tuple[int, int]
    compressed: bytes


@dataclass
class LiveRecording(Recording):
    """One camera's label images and key frame messages in the order in which they came."""

    _labels: list[_ArrivedLabels] = field(default_factory=list)
    _messages: list[KeyFrameDiagnostics] = field(default_factory=list)

    def add_labels(self, message: Image) -> None:
        arrived = time.monotonic_ns()
        compressed = zlib.compress(message.data, FASTEST_COMPRESSION)
        shape = (message.height, message.width)
        self._labels.append(_ArrivedLabels(nanoseconds(message.header.stamp), arrived, shape, compressed))

    def add_key_frame(self, message: KeyFrameDiagnostics) -> None:
        self._messages.append(message)

    @property
    def labelled_count(self) -> int:
        return min(len(self._labels), len(self._messages))

    @property
    def dropped_count(self) -> int:
        return int(self._messages[-1].frames_dropped) if self._messages else 0

    def accounts_for(self, sent_count: int) -> bool:
        """Whether that many pictures have their labels or were reported lost."""
        return len(self._labels) == len(self._messages) and self.labelled_count + self.dropped_count >= sent_count

    def answers(self, sent: list[SentFrame]) -> list[Answer | None]:
        """The answer to each picture, in the order in which they were sent; None to those that never came through."""
        # Publisher and subscriber keep the order, so the next answer belongs to the next picture of its stamp.
        pending = list(zip(self._labels, self._messages, strict=False))[::-1]
        answers: list[Answer | None] = []
        for frame in sent:
            if pending and pending[-1][0].stamp == frame.stamp:
                labels, message = pending.pop()
                answers.append(Answer(labels.arrived, labels.shape, labels.compressed, message))
            else:
                answers.append(None)
        return answers
