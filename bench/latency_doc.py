"""Puts the figures and the picture of a run into docs/latency.md.

    .venv/bin/python -m bench.latency_doc bench/results/<machine>.json

A table stands between `<!-- bench: NAME -->` and `<!-- /bench -->`; what is around it is written by hand.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.environment import CHECKOUT
from bench.report import TABLES
from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.errors import Error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCUMENT: Final = CHECKOUT / "docs" / "latency.md"
PICTURE: Final = "latency_timeline.png"

PLACE: Final = re.compile(r"(<!-- bench: (?P<name>[a-z ]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)

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


class DocumentError(Error):
    """A document or results that do not fit each other; the message says what was expected."""


def filled(document: str, results: Mapping[str, Any]) -> str:
    """The document with every table that these results have in its place; the other places stay as they are.

    Raises:
        DocumentError: a place asks for a table that there is not.
    """

    def table(place: re.Match[str]) -> str:
        name = place["name"]
        if name not in TABLES:
            raise DocumentError(f"there is no table {name!r}; expected one of {', '.join(TABLES)}")
        try:
            content = TABLES[name](results)
        except KeyError:  # that section was not measured
            return place[0]
        return f"{place[1]}{content}\n{place[3]}"

    return PLACE.sub(table, document)


def draw_timeline(record: Mapping[str, Any]) -> Figure:
    """Both tracks of a record of `bench.tracks.timeline_record`, milliseconds to the right.

    Raises:
        ValueError: the record holds no frame.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 after one sentence on what was wrong."""
    parser = argparse.ArgumentParser(prog="bench.latency_doc", description="Put a run's figures into docs/latency.md.")
    parser.add_argument("results", type=Path, help="bench/results/<machine>.json")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="(default: docs/latency.md)")
    options = parser.parse_args(arguments)
    try:
        results = json.loads(options.results.read_text(encoding="utf-8"))
        text = filled(options.document.read_text(encoding="utf-8"), results)
        if "tracks" in results:
            picture = io.BytesIO()
            draw_timeline(results["tracks"]["timeline"]).savefig(picture)
            atomic_write(options.document.parent / PICTURE, picture.getvalue())
        atomic_write(options.document, text.encode())
    except ModuleNotFoundError:
        print("bench.latency_doc: the picture needs matplotlib; pip install -r requirements/plots.txt", file=sys.stderr)
        return 1
    except (DocumentError, OSError, ValueError) as error:
        print(f"bench.latency_doc: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
