"""What a user may say of a foreign network: in a YAML file, or in an ONNX file's metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.documents import is_number, parse_yaml, read_yaml
from lowlat_seg_ros.errors import Error, printable, shown
from lowlat_seg_ros.fast.pictures import Size
from lowlat_seg_ros.models.config import Colour

LARGEST_SIDE = 8192  # pixels of an input
MOST_SCALES = 8


class DescriptionError(Error):
    """A description that cannot be used; the message names the entry and what was expected."""


@dataclass(frozen=True)
class Description:
    """None where nothing is said. Sizes are in pixels, ``mean`` and ``std`` of 0 to 255 in the channels' order."""

    source: str | None = None  # directory, hub id or file, relative to the description
    input_size: Size | None = None  # (width, height)
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    layout: str | None = None  # nchw or nhwc, of the input
    channels: str | None = None  # rgb or bgr
    scales: tuple[float, ...] | None = None  # whose answers are averaged
    flip: bool | None = None  # whether a mirrored picture's are, too
    classes: tuple[str, ...] | None = None  # the source's, by channel or id
    merge: Mapping[str, str] | None = None  # source name: published name
    ignore: tuple[str, ...] | None = None  # names that are published as unlabelled
    colours: tuple[Colour, ...] | None = None  # of the published classes


NAMES = tuple(field.name for field in fields(Description))


def read_description(path: Path) -> Description:
    """The description in a YAML file; raises DescriptionError or DocumentError, which name the file."""
    return description_from_mapping(read_yaml(path), str(path))


def completed_by_metadata(description: Description, metadata: Mapping[str, str], source: str) -> Description:
    """With what an ONNX file's metadata say beyond it, each value in YAML.

    Keys that are not ours are other tools', and so may be some that are: what the description says is not read.
    """
    wanted = [name for name in NAMES if name != "source" and name in metadata and getattr(description, name) is None]
    entries = {name: parse_yaml(metadata[name], f"{name} in {source}") for name in wanted}
    added = description_from_mapping(entries, source)
    return replace(description, **{name: getattr(added, name) for name in wanted})


def description_from_mapping(mapping: object, source: str) -> Description:
    """``source`` is what the messages name."""
    if not isinstance(mapping, Mapping):
        raise DescriptionError(f"{source} holds no description; expected a YAML mapping")
    unknown = sorted(printable(str(name), 80) for name in mapping if name not in NAMES)
    if unknown:
        raise DescriptionError(f"{source} has unknown entries: {', '.join(unknown[:5])}; known are {', '.join(NAMES)}")
    for name, value in mapping.items():
        is_right, expected = RULES[name]
        if not is_right(value):
            raise DescriptionError(f"{name} in {source} is {shown(value)}; expected {expected}")
    return Description(**{name: _frozen(value) for name, value in mapping.items()})


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _are(values: object, is_right: Callable[[Any], bool], count: int | None = None) -> bool:
    return isinstance(values, list) and count in (None, len(values)) and all(map(is_right, values))


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_SIDE


def _is_colour(value: object) -> bool:
    return _are(value, lambda part: is_number(part) and isinstance(part, int) and 0 <= part <= 255, 3)


def _are_scales(value: Any) -> bool:
    return _are(value, lambda scale: is_number(scale) and 0.1 <= scale <= 4) and 1 <= len(value) <= MOST_SCALES


def _is_merging(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_is_word, value)) and all(map(_is_word, value.values()))


# Each entry's test and, for whoever fails it, what was expected.
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "source": (_is_word, "a directory, a hub id or a file"),
    "input_size": (lambda value: _are(value, _is_side, 2), f"[width, height], whole numbers from 1 to {LARGEST_SIDE}"),
    "mean": (lambda value: _are(value, is_number, 3), "three numbers"),
    "std": (lambda value: _are(value, lambda part: is_number(part) and part > 0, 3), "three positive numbers"),
    "layout": (lambda value: value in ("nchw", "nhwc"), "nchw or nhwc"),
    "channels": (lambda value: value in ("rgb", "bgr"), "rgb or bgr"),
    "scales": (_are_scales, f"a list of 1 to {MOST_SCALES} numbers from 0.1 to 4"),
    "flip": (lambda value: isinstance(value, bool), "true or false"),
    "classes": (
        lambda value: _are(value, _is_word) and len(value) > 0,
        "a list of names (quote no, on, off and numbers)",
    ),
    "merge": (_is_merging, "a mapping from the source's names to published ones"),
    "ignore": (lambda value: _are(value, _is_word), "a list of the source's class names"),
    "colours": (lambda value: _are(value, _is_colour), "a list of [red, green, blue], whole numbers from 0 to 255"),
}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Grouping:
    """How a network's channels become published classes."""

    classes: tuple[str, ...]  # published, by id
    members: tuple[tuple[int, ...], ...]  # the channels of each of them
    ignored: tuple[int, ...]  # the channels that are published as unlabelled


def group_classes(names: tuple[str, ...], description: Description, source: str) -> Grouping:
    """Published classes in the order in which their members first appear. Names that appear twice are one class.

    Args:
        names: the source's, by channel.

    Raises:
        DescriptionError: ``merge`` or ``ignore`` names what is no class, or there are none or too many left.
    """
    merge, ignore = description.merge or {}, set(description.ignore or ())
    unknown = sorted((set(merge) | ignore) - set(names) - set(merge.values()))
    if unknown:
        raise DescriptionError(f"merge or ignore names {unknown[0]!r}, which is no class of {source}")
    members: dict[str, list[int]] = {}
    ignored = []
    for channel, name in enumerate(names):
        published = merge.get(name, name)
        if name in ignore or published in ignore:
            ignored.append(channel)
        else:
            members.setdefault(published, []).append(channel)
    if not 1 <= len(members) <= UNLABELLED:
        raise DescriptionError(f"{source} has {len(members)} classes; expected 1 to {UNLABELLED} (merge joins classes)")
    return Grouping(tuple(members), tuple(map(tuple, members.values())), tuple(ignored))
