"""A camera, what segments its images, and who hears the labels: processes over DDS, played to when it is their turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from lowlat_seg_ros.msg import KeyFrameDiagnostics

from bench.measuring import cpu_seconds, resident_mebibytes, spread_mapping
from lowlat_seg_ros.ros.harness import Harness, Player
from lowlat_seg_ros.ros.recorder import Answer, Recording
from lowlat_seg_ros.stream.result import has_key

SECONDS_FOR_STRAGGLERS: Final = 1.0
"""What the last frames of a play get to come back; the newest of them may have been lost."""

FLOOR: Final = "bench.floor_node"
STAGES: Final = ("low", "schedule", "propagate", "labels")
"""The network's own, resizing and enlarging included; the rest of a frame's way is overhead."""


class FrameWay(NamedTuple):
    """What became of one image that was sent."""

    stamp: int  # nanoseconds: when it was due
    labels_at: int | None  # nanoseconds; None where no labels came
    message: KeyFrameDiagnostics | None

    @property
    def end_to_end_ms(self) -> float:
        """From the time it was due to its labels' arrival in the listener's callback."""
        assert self.labels_at is not None
        return (self.labels_at - self.stamp) / 1e6

    @property
    def network_ms(self) -> float:
        return float(sum(getattr(self.message, f"{stage}_ms") for stage in STAGES))

    @property
    def overhead_ms(self) -> float:
        """All that is not the network: transport both ways, waiting, decoding, publishing."""
        return self.end_to_end_ms - self.network_ms


@dataclass(frozen=True)
class Play:
    """One turn of a chain: the ways of its images, over all topics, and what the segmenting process took."""

    ways: list[FrameWay]
    counted_as_lost: int  # by the node
    put_off_ms: float  # how much the camera fell behind its own pace
    cpu_share: float  # of one core
    resident_mebibytes: float

    @property
    def answered(self) -> list[FrameWay]:
        return answered(self.ways)


def figures_of(plays: Sequence[Play]) -> dict[str, Any]:
    """What a row of the results says of all turns of a chain."""
    turns = [play.answered for play in plays]
    ways = [way for play in plays for way in play.ways]
    return {
        "lost": sum(way.labels_at is None for way in ways),
        "counted_as_lost": sum(play.counted_as_lost for play in plays),
        "callback_ms": spread_mapping([float(way.message.total_ms) for way in turn if way.message] for turn in turns),
        "end_to_end_ms": spread_mapping([way.end_to_end_ms for way in turn] for turn in turns),
    }


def answered(ways: Sequence[FrameWay]) -> list[FrameWay]:
    """Those with labels, without the first ones, which have no key frame yet: their network is another one."""
    labelled = [way for way in ways if way.labels_at is not None and way.message is not None]
    followed = [way for way in labelled if way.message is not None and has_key(way.message)]
    return followed or labelled  # the floor has no key frames at all


class Chain:
    """The processes of one chain on a harness, in a namespace of their own within it."""

    def __init__(self, harness: Harness, name: str, module: str, parameters: Sequence[str] = (), cameras: int = 1):
        """Start what segments; the players follow, and `Harness.wait_until_connected` before the first play.

        Args:
            harness: on which all chains are.
            name: a ROS name.
            module: harness.NODE or FLOOR.
            parameters: of the node, each "name:=value".
            cameras: how many images there are at a time.
        """
        self.name = name
        self._harness = harness
        self._players: dict[str, Player] = {}
        self._node = "floor" if module == FLOOR else "lowlat_seg"
        self._names = [f"camera_{number}/" for number in range(cameras)] if cameras > 1 else [""]
        if cameras > 1:
            parameters = [*parameters, f"cameras:=[{', '.join(each.rstrip('/') for each in self._names)}]"]
        self._recordings = [Recording(keeps_labels=False) for _ in self._names]
        self._segmenter = harness.start(module, name, parameters, group=name)

    def add_players(self, clips: dict[str, tuple[Path, int]], rate_hz: float) -> None:
        """Start a camera for each clip, by its name; at every turn it plays it so many rounds."""
        topics = [argument for name in self._names for argument in ("--topic", f"{name}image")]
        for clip, (folder, rounds) in clips.items():
            how = ["--rate", str(rate_hz), "--rounds", str(rounds), "--in-memory"]
            self._players[clip] = self._harness.start_player(
                "lowlat_seg_ros.ros.camera_player",
                f"{self.name}_{clip}",
                [str(folder), *topics, *how],
                group=self.name,
            )
        for name, recording in zip(self._names, self._recordings, strict=True):
            outputs = f"{self.name}/{self._node}/{name}".rstrip("/")
            self._harness.record(f"{self.name}/{name}image", outputs, recording, len(self._players))

    def play(self, clip: str, turn: int = 0) -> Play:
        """One turn, whatever its number: the camera plays, the labels are awaited.

        Raises:
            HarnessError: a process ended, or the camera was silent for too long.
        """
        lost_before, cpu_before = self._lost, cpu_seconds(self._segmenter.pid)
        played = self._harness.play(self._players[clip])
        cpu = cpu_seconds(self._segmenter.pid) - cpu_before
        stamps = played.stamps
        last = stamps[-1]
        self._harness.wait_for_answers(
            lambda: all(recording.has_answered(last) for recording in self._recordings), SECONDS_FOR_STRAGGLERS
        )
        assert played.end is not None
        ways = [
            _way(stamp, answer)
            for recording in self._recordings
            for stamp, answer in zip(stamps, recording.answers(stamps), strict=True)
        ]
        return Play(
            ways=ways,
            counted_as_lost=self._lost - lost_before,
            put_off_ms=played.end["put_off"] / 1e6,
            cpu_share=cpu / played.seconds,
            resident_mebibytes=resident_mebibytes(self._segmenter.pid),
        )

    @property
    def _lost(self) -> int:
        return sum(recording.dropped_count for recording in self._recordings)


def _way(stamp: int, answer: Answer | None) -> FrameWay:
    return FrameWay(stamp, None, None) if answer is None else FrameWay(stamp, answer.image.by_clock, answer.key_frame)
