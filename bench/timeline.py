"""A picture of both tracks over some frames, from a recorded run: what stands in docs/latency.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import Patch

STAGES: Final[Mapping[str, tuple[str, str]]] = {
    "low": ("resize, Sl", "#568cd6"),
    "schedule": ("deviation, decision", "#ecb250"),
    "high": ("Sh", "#c84646"),  # within the frame's own call only where it waited
    "propagate": ("propagation", "#6eb478"),
    "labels": ("labels", "#aa82c8"),
}
KEY_FRAME: Final = "#00a000"
FAST, SLOW = 1.0, 0.0  # heights of the tracks
BAR: Final = 0.6


def draw_timeline(record: Mapping[str, Any]) -> Figure:
    """Both tracks of a record of `bench.tracks.timeline_record`, milliseconds to the right.

    Raises:
        ValueError: the record holds no frame.
    """
    if not record["frames"]:
        raise ValueError("the recorded run holds no frame; expected one or more")
    figure = Figure(figsize=(16, 3), layout="constrained")
    axes = figure.subplots()
    for frame in record["frames"]:
        at = frame["began"]
        for stage, (_, colour) in STAGES.items():
            took = frame["stages"].get(stage, 0.0)
            axes.barh(FAST, took, BAR, left=at, color=colour)
            at += took
        if frame["is_key_frame"]:
            axes.barh(FAST, frame["ended"] - frame["began"], BAR, left=frame["began"], fill=False, edgecolor=KEY_FRAME)
    axes.vlines([frame["due"] for frame in record["frames"]], FAST + 0.35, FAST + 0.5, "grey")
    for began, ended in record["sh_runs"]:
        axes.barh(SLOW, ended - max(0.0, began), BAR, left=max(0.0, began), color=STAGES["high"][1])
    axes.set(yticks=[FAST, SLOW], yticklabels=["fast track", "slow track"], xlabel="ms")
    patches = [Patch(color=colour, label=name) for name, colour in STAGES.values()]
    due, key = Patch(color="grey", label="due"), Patch(fill=False, edgecolor=KEY_FRAME, label="key frame")
    figure.legend(handles=[*patches, key, due], ncols=len(STAGES) + 2, loc="outside lower center", frameon=False)
    return figure
