"""YAML and JSON from strangers: of bounded size and depth, in plain values, so that few bytes cannot cost much."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from lowlat_seg_ros.errors import Error, in_one_line, shown, turning_all_into

MOST_BYTES: Final = 64 * 1024
"""Of a YAML that a user writes: 255 classes with their colours take a fifth of it."""

MOST_LEVELS: Final = 8
"""Of lists and mappings in each other; the deepest of ours, a bag's metadata, has six."""

MOST_JSON_BYTES: Final = 1 << 30
MOST_JSON_LEVELS: Final = 20
"""A report has eight."""

MOST_VALUES: Final = 100_000
"""Words and numbers of a YAML: a second's work, and ten thousand files of a bag."""

LONGEST_NUMBER: Final = 100  # characters

NO_WORDS: Final = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null"))
TAGS: Final = (None, "!", *NO_WORDS, *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map", "python/tuple")))
"""The last is of a sequence, as ros2 launch writes lists."""

Parser: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast

Found = TypeVar("Found")


class DocumentError(Error):
    """A text that is not read; the message names it and says why."""


def read_yaml(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """What a YAML file says, in lists, mappings, words and numbers; raises DocumentError."""
    return _read(path, most_bytes, lambda text: parse_yaml(text, str(path), most_bytes))


def parse_yaml(text: str, source: str, most_bytes: int = MOST_BYTES) -> Any:
    """What a text says.

    Raises:
        DocumentError: it is no YAML, has aliases, or is larger or deeper than allowed; ``source`` is named.
    """
    _check_size(text, source, most_bytes)
    with turning_all_into(DocumentError, f"{source} is no YAML"):
        return _built(yaml.parse(text, Parser), source)


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """What a JSON file says; raises DocumentError."""
    return _read(path, most_bytes, lambda text: parse_json(text, str(path), most_bytes))


def parse_json(text: str, source: str, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """What a text says; raises DocumentError, which names ``source``."""
    _check_size(text, source, most_bytes)
    with turning_all_into(DocumentError, f"{source} is no JSON"):
        document = json.loads(text, object_pairs_hook=_without_doubles)
    _check_depth(document, source)
    return document


def is_number(value: object) -> bool:
    """Whether it is one that a float can hold. YAML's true and false are ints to Python, but no number a user meant."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _read(path: Path, most_bytes: int, parse: Callable[[str], Found]) -> Found:
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise _too_long(str(path), most_bytes)
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise DocumentError(f"{path} cannot be read: {in_one_line(error)}") from error
    return parse(text)


def _too_long(source: str, most_bytes: int) -> DocumentError:
    return DocumentError(f"{source} is longer than the {most_bytes // 1024} KiB that it may have")


def _check_size(text: str, source: str, most_bytes: int) -> None:
    if len(text) > most_bytes:
        raise _too_long(source, most_bytes)


class _Scalars(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """What a YAML scalar stands for; dates stay words."""

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    def value(self, event: yaml.ScalarEvent) -> Any:
        implied = event.tag in (None, "!")
        tag = self.resolve(yaml.ScalarNode, event.value, event.implicit) if implied else event.tag
        if tag not in NO_WORDS:
            return event.value
        if len(event.value) > LONGEST_NUMBER:
            raise ValueError(f"a number of {len(event.value)} digits")
        return self.construct_object(yaml.ScalarNode(tag, event.value))


def _built(events: Iterable[Any], source: str) -> Any:
    """Of the parser's events, one by one, so that nothing large is built before it is refused."""
    scalars = _Scalars()
    found: list[Any] = []
    open_collections: list[tuple[list[Any], bool]] = [(found, False)]  # members, and whether they are keys and values
    values = 0
    for event in events:
        values += isinstance(event, yaml.ScalarEvent)
        if values > MOST_VALUES:
            raise DocumentError(f"{source} holds more than {MOST_VALUES} values")
        if isinstance(event, yaml.AliasEvent):
            raise DocumentError(f"{source} uses a YAML alias (*{str(event.anchor)[:40]}); write out what it stands for")
        if getattr(event, "tag", None) not in TAGS:
            raise DocumentError(f"{source} uses the YAML tag {shown(event.tag)}; expected lists, words and numbers")
        if isinstance(event, yaml.ScalarEvent):
            open_collections[-1][0].append(scalars.value(event))
        elif isinstance(event, yaml.CollectionStartEvent):
            open_collections.append(([], isinstance(event, yaml.MappingStartEvent)))
            if len(open_collections) > MOST_LEVELS + 1:
                raise DocumentError(f"{source} is nested more than {MOST_LEVELS} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            members, is_mapping = open_collections.pop()
            pairs = zip(members[::2], members[1::2], strict=True)
            open_collections[-1][0].append(_without_doubles(list(pairs)) if is_mapping else members)
    if len(found) > 1:
        raise DocumentError(f"{source} holds {len(found)} documents; expected one")
    return found[0] if found else None


def _without_doubles(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {shown(next(key for key in mapping if keys.count(key) > 1))} stands twice")
    return mapping


def _check_depth(document: Any, source: str) -> None:
    level = [document]
    for _ in range(MOST_JSON_LEVELS):
        level = [
            inner
            for outer in level
            if isinstance(outer, (Mapping, list))
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
        if not level:
            return
    raise DocumentError(f"{source} is nested more than {MOST_JSON_LEVELS} levels deep")
