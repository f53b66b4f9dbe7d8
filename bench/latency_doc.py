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
from typing import Any, Final

from bench.environment import CHECKOUT
from bench.report import TABLES
from bench.timeline import draw_timeline
from lowlat_seg_ros.data.atomic_write import atomic_write

DOCUMENT: Final = CHECKOUT / "docs" / "latency.md"
PICTURE: Final = "latency_timeline.png"

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
            picture = io.BytesIO()
            draw_timeline(results["tracks"]["timeline"]).savefig(picture)
            atomic_write(options.document.parent / PICTURE, picture.getvalue())
        atomic_write(options.document, text.encode())
    except (DocumentError, OSError, ValueError) as error:
        print(f"bench.latency_doc: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
