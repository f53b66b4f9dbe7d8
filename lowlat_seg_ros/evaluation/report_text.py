"""Figures as text: tables in Markdown, documents in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lowlat_seg_ros.errors import printable

NO_VALUE: Final = "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; whatever the cells hold, it is shown as it is."""
    cells = [[markdown_text(cell).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    divider = "|" + "---|" * len(head)
    return [_row(cells[0]), divider, *map(_row, cells[1:])]


def markdown_text(text: str, longest: int = 600) -> str:
    """Text from outside as a line of Markdown shows it: no HTML, no link, no picture, no control characters."""
    line = printable(text, longest).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\[\]`\\])", r"\\\1", line)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def json_text(document: Mapping[str, Any]) -> str:
    """A document as a file holds it: long lists of plain values, such as a timeline's columns, take one line each."""
    text = _indented(document, "") + "\n"
    return text.encode("utf-8", "backslashreplace").decode()  # half characters, of file names that are no UTF-8


def _indented(value: Any, indent: str) -> str:
    if isinstance(value, Mapping) and value:
        inner = indent + "  "
        lines = (f"{inner}{json.dumps(key)}: {_indented(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value):
        inner = indent + "  "
        return "[\n" + ",\n".join(inner + _indented(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
