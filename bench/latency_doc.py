"""Puts the figures and the picture of a run into docs/latency.md.

    .venv/bin/python -m bench.latency_doc bench/results/<machine>.json

A table stands between `<!-- bench: NAME -->` and `<!-- /bench -->`; what is around it is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2

from bench.environment import CHECKOUT
from bench.markdown import (
    asked_table,
    environment_sentence,
    kernel_table,
    key_frames_table,
    modules_table,
    node_table,
    overhead_table,
    scale_table,
    stages_table,
    tracks_table,
)
from bench.timeline import draw_timeline
from lowlat_seg_ros.data.atomic_write import atomic_write

DOCUMENT: Final = CHECKOUT / "docs" / "latency.md"
PICTURE: Final = "latency_timeline.png"

TABLES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "environment": lambda results: environment_sentence(results["environment"]),
    "modules": lambda results: "\n\n".join(map(modules_table, results["modules"])),
    "tracks": lambda results: tracks_table(results["tracks"]),
    "key frames": lambda results: key_frames_table(results["tracks"]),
    "stages": stages_table,
    "node": lambda results: node_table(results["node"]["rows"]),
    "overhead": lambda results: overhead_table(results["node"]["rows"]),
    "kernel": lambda results: kernel_table(results["kernel"]),
    "scale": lambda results: scale_table(results["scale"]),
    "asked": asked_table,
}
PLACE: Final = re.compile(r"(<!-- bench: (?P<name>[a-z ]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


class DocumentError(Exception):
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
            picture = draw_timeline(results["tracks"]["timeline"])
            encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
            atomic_write(options.document.parent / PICTURE, encoded.tobytes())
        atomic_write(options.document, text.encode())
    except (DocumentError, OSError, ValueError) as error:
        print(f"bench.latency_doc: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
