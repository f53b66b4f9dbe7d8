"""Would it have worked? A camera's figures in the sentences that the report opens with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lowlat_seg_ros.replay.page_tables import count, milliseconds, percent
from lowlat_seg_ros.replay.report import System, figure

FEW: Final = 0.01
"""Of the frames: up to so many without labels in time are told as a few."""

Answer = Literal["Yes", "Almost", "No", "Not known"]


@dataclass(frozen=True)
class Verdict:
    """The answer, and what it rests on."""

    answer: Answer
    sentences: tuple[str, ...]


def verdict(camera: Mapping[str, Any]) -> Verdict:
    """Of the first system, beside the full network where that was replayed."""
    two_tracks, *others = camera["systems"]
    full_network = next((system for system in others if system["name"] == "full network"), None)
    if camera["period_ms"] is None:
        no_rate = "the time from frame to frame is not known, so that no label can be said to be late."
        return Verdict("Not known", (no_rate, *([] if full_network is None else _accuracy(two_tracks, full_network))))
    frames, missed = camera["frames"], two_tracks["counts"]["deadline_misses"]
    answer: Answer = "Yes" if missed == 0 else "Almost" if missed <= FEW * frames else "No"
    sentences = [_in_time(frames, missed, two_tracks)]
    if full_network is not None:
        sentences += [_full_network_in_time(frames, full_network), *_accuracy(two_tracks, full_network)]
    return Verdict(answer, tuple(sentences))


def _in_time(frames: int, missed: int, system: System) -> str:
    latency = system["latency_ms"]["all_frames"]
    if latency["max"] is None:
        return f"none of {count(frames)} frames had labels."
    which = f"all {count(frames)} frames had their labels" if missed == 0 else _missed(frames, missed)
    median, longest = milliseconds(latency["p50"]), milliseconds(latency["max"])
    at_worst = "" if median == longest else f" in the median and {longest} at worst"
    return f"{which} before the next frame came. Labelling took {median} a frame{at_worst}."


def _missed(frames: int, missed: int) -> str:
    return f"{count(missed)} of {count(frames)} frames ({percent(missed / frames)}) did not have their labels"


def _full_network_in_time(frames: int, full_network: System) -> str:
    missed = full_network["counts"]["deadline_misses"]
    if missed == 0:
        return "The full network would have labelled every frame in time, too."
    return f"With the full network on every frame, {_missed(frames, missed)} in time."


def _accuracy(two_tracks: System, full_network: System) -> list[str]:
    ours, theirs = (figure(system, "scores.streaming_mean_iou") for system in (two_tracks, full_network))
    if ours is not None and theirs is not None:
        return [
            f"At the moment each frame comes, the newest labels at hand score {percent(ours)} (mIoU); with the full "
            f"network on every frame they score {percent(theirs)}."
        ]
    agreement = figure(two_tracks, "agreement.mean")
    return [] if agreement is None else [f"{percent(agreement)} of the pixels are labelled as the full network does."]
