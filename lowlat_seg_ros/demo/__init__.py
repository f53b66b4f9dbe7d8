"""The demo: a clip played as a camera into the node, and pictures of what came out of it.

python -m lowlat_seg_ros.demo --clip street --out demo_out
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowlat_seg_ros.errors import Error

if TYPE_CHECKING:
    from lowlat_seg_ros.ros.recorder import Answer


class DemoError(Error):
    """The demo could not do what it promises; the message is one sentence."""


@dataclass(frozen=True)
class DemoRun:
    """What was sent and what came of it."""

    stamps: list[int]  # nanoseconds, in order of sending
    answers: list[Answer | None]  # to each of them; None to those that were lost
    dropped: int  # images that the node said were lost on their way to it
    device: str
    threads: dict[str, int]  # of each track
