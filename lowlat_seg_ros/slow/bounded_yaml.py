"""YAML from strangers: of bounded size and depth, without anchors, so that a few bytes cannot unfold into gigabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lowlat_seg_ros.errors import Error

MOST_BYTES = 64 * 1024  # 255 classes with their colours take a fifth of it
MOST_LEVELS = 4  # a mapping of lists of lists, and one to spare


class YamlError(Error):
    """A text that is not read; the message names it and says why."""


def read_yaml(path: Path) -> Any:
    """What a file holds; raises YamlError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return parse_yaml(data.decode(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise YamlError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def parse_yaml(text: str, source: str) -> Any:
    """What a text says, in lists, mappings, words and numbers.

    Raises:
        YamlError: it is no YAML, or exceeds what a description needs; ``source`` is named.
    """
    if len(text) > MOST_BYTES:
        raise YamlError(f"{source} is longer than the {MOST_BYTES // 1024} KiB that a description may have")
    try:
        _check_structure(text, source)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or number out of range
        raise YamlError(f"{source} is no YAML: {' '.join(str(error).split())}") from error


def _check_structure(text: str, source: str) -> None:
    """Looks at the parser's events, before anything is built of them."""
    levels = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise YamlError(f"{source} uses a YAML alias (*{event.anchor}); write out what it stands for")
        levels += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if levels > MOST_LEVELS:
            raise YamlError(f"{source} is nested more than {MOST_LEVELS} levels deep")
