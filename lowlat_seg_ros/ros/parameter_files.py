"""Parameter files that say nothing to this node: ROS leaves out the sections of other nodes without a word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from lowlat_seg_ros.data.documents import DocumentError, read_yaml
from lowlat_seg_ros.errors import printable, shown

MOST_BYTES: Final = 1 << 20
"""One file may hold a whole vehicle's parameters."""

MOST_NAMED: Final = 5


def unheard_files(arguments: Sequence[str], node: str) -> list[str]:
    """A sentence on each parameter file that has no section for a node.

    Args:
        arguments: the program's name, then what was typed.
        node: its name with its namespace.
    """
    files = [Path(value) for option, value in pairwise(arguments) if option == "--params-file"]
    return [sentence for file in files if (sentence := _trouble(file, node))]


def _trouble(file: Path, node: str) -> str:
    try:
        names = [name for name, _ in _sections(read_yaml(file, MOST_BYTES))]
    except DocumentError as error:
        return f"whether the parameter file is for this node is not known: {error}"
    if any(_pattern(name).fullmatch(node) for name in names):
        return ""
    more = ", …" if len(names) > MOST_NAMED else ""
    there = f"its sections are for {', '.join(map(shown, names[:MOST_NAMED]))}{more}" if names else "it has no section"
    return f"nothing of the parameter file {printable(str(file))} is used: {there}; expected one for /** or {node}"


def sections_for(document: Any, node: str) -> list[Any]:
    """The parameters of each section of a parameter file, read, that is for a node (its name with its namespace)."""
    return [parameters for name, parameters in _sections(document) if _pattern(name).fullmatch(node)]


def _sections(document: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each section's parameters by the node's name, which may be spread over several levels."""
    for key, value in document.items() if isinstance(document, dict) else ():
        if key == "ros__parameters":
            yield name, value
        else:
            yield from _sections(value, f"{name}/{str(key).strip('/')}")


def _pattern(name: str) -> re.Pattern[str]:
    """Of the nodes that a section is for: * stands for one part of a name, ** for any number."""
    wildcards = {"**": "(/[^/]+)*", "*": "/[^/]+"}
    return re.compile("".join(wildcards.get(part) or f"/{re.escape(part)}" for part in name.split("/") if part))
