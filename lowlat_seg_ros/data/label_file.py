"""Reading one file of labels: its own samples, never what a viewer makes of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.image_file import EXIF_ORIENTATION, UPRIGHT, ImageFileError, read_bytes
from lowlat_seg_ros.data.known_labels import as_named
from lowlat_seg_ros.data.label_classes import RGB, LabelClasses
from lowlat_seg_ros.data.picture_bounds import has_too_many_pixels
from lowlat_seg_ros.data.png import PNG_START, lacks_samples, palette_of
from lowlat_seg_ros.data.problems import DataError, Problems

_BIT_DEPTH_AT, _COLOUR_TYPE_AT = 24, 25  # in the header of a PNG
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_OPAQUE: Final = 255
MASK_VALUES: Final = frozenset({0, UNLABELLED})


class LabelFile(NamedTuple):
    """A file of labels, and what its numbers mean."""

    path: Path
    classes: LabelClasses


class ReadLabels(NamedTuple):
    """The class ids of one file, (H, W) uint8 with 255 where unlabelled, and which ids were stored in it."""

    labels: NDArray[np.uint8]
    stored: frozenset[int]  # empty for labels in colours


def read_label_file(path: Path, classes: LabelClasses, problems: Problems | None = None) -> ReadLabels:
    """The class ids in a PNG of 1, 2, 4, 8 or 16 bits of grey, of a palette's indices, or of RGB by `classes.colours`.

    Of Cityscapes' two numberings the file's name says which it is. A palette whose colours are the classes' at other
    indices than their ids is noted in `problems`.

    Raises:
        DataError: the file cannot be read, is no such PNG, or holds an id or a colour that `classes` has not.
    """
    classes = as_named(path.name, classes)
    content = _content_of(path)
    samples = _samples_in(path, content)
    if samples.ndim == 3:
        return ReadLabels(_by_colour(path, samples, classes), frozenset())
    stored = np.flatnonzero(counts_of(samples))
    unknown = [int(number) for number in stored if int(number) not in classes.ids]
    if unknown:
        raise DataError(f"The labels {path} hold the id {unknown[-1]}, but {classes.expected}.")
    if problems is not None and _is_sorted_otherwise(palette_of(content), stored.tolist(), classes):
        problems.add(
            "palette",
            f"The labels {path} have a palette of the classes' colours, but not at their ids; its indices are read",
            path,
        )
    table = np.full(int(stored[-1]) + 1, UNLABELLED, np.uint8)
    for number in stored:
        table[number] = classes.ids[int(number)]
    return ReadLabels(table[samples], frozenset(stored.tolist()))


def _is_sorted_otherwise(palette: list[RGB], stored: list[int], classes: LabelClasses) -> bool:
    """Whether by its colours a palette means other classes, as of masks that a tool has made smaller."""
    meant = [classes.colours.get(palette[number]) if number < len(palette) else None for number in stored]
    given = [classes.ids[number] for number in stored]
    return None not in meant and any(one not in (UNLABELLED, other) for one, other in zip(meant, given, strict=True))


def counts_of(ids: NDArray[Any]) -> NDArray[np.int64]:
    """How often each value that ids, (H, W) uint8 or uint16, may have occurs."""
    blocks = np.array_split(ids.ravel(), 1 + (ids.size >> 20))  # each is widened to eight bytes a pixel
    return np.sum([np.bincount(block, minlength=1 << 8 * ids.itemsize) for block in blocks], axis=0)


def read_labels(path: Path, classes: LabelClasses) -> NDArray[np.uint8]:
    """The class ids alone; see read_label_file."""
    return read_label_file(path, classes).labels


def read_samples(path: Path) -> NDArray[Any]:
    """What a PNG stores: (H, W) uint8 or uint16 of grey values or palette indices, or (H, W, 3) uint8 RGB.

    Raises:
        DataError: it is no PNG, is damaged, has transparent pixels or 16 bits a colour.
    """
    return _samples_in(path, _content_of(path))


def _content_of(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except ImageFileError as error:
        raise DataError(str(error)) from error


def _samples_in(path: Path, content: bytes) -> NDArray[Any]:
    if not content.startswith(PNG_START) or len(content) <= _COLOUR_TYPE_AT:
        raise DataError(f"The labels {path} are no PNG; expected class ids in PNG, which loses none of them.")
    bit_depth, colour_type = content[_BIT_DEPTH_AT], content[_COLOUR_TYPE_AT]
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            size = image.size
            if has_too_many_pixels(*size, len(content)):
                raise DataError(f"The labels {path} claim {size[0]} x {size[1]} pixels in {len(content)} bytes.")
            samples = np.asarray(image)
            is_turned = image.getexif().get(EXIF_ORIENTATION, UPRIGHT) != UPRIGHT
            pictures = getattr(image, "n_frames", 1)
        is_cut = lacks_samples(content)
    except DataError:
        raise
    except Exception as error:  # Pillow has a dozen kinds for damaged files
        raise DataError(f"The image {path} cannot be decoded: it is damaged or not an image.") from error
    if is_cut:
        raise DataError(f"The image {path} cannot be decoded: it ends before its last row.")
    if is_turned or pictures > 1:
        what = "are turned by EXIF" if is_turned else f"hold {pictures} pictures"
        raise DataError(f"The labels {path} {what}; expected one picture, stored upright.")
    if colour_type == _GREY:
        return _unstretched(samples, bit_depth)
    if colour_type == _PALETTE:
        return samples
    return _without_alpha(path, samples, bit_depth, colour_type)


def _unstretched(samples: NDArray[Any], bit_depth: int) -> NDArray[Any]:
    """Grey of 2 or 4 bits comes from the decoder as a picture, with its largest value at 255."""
    if samples.dtype == bool:
        return samples.astype(np.uint8)
    if bit_depth == 16:
        return samples.astype(np.uint16)
    return samples // (255 // ((1 << bit_depth) - 1))


def _without_alpha(path: Path, samples: NDArray[Any], bit_depth: int, colour_type: int) -> NDArray[Any]:
    if bit_depth != 8:
        raise DataError(f"The labels {path} have {bit_depth} bits a channel; expected 8, or class ids in one channel.")
    if colour_type in (_GREY_ALPHA, _RGB_ALPHA):
        if (samples[..., -1] != _OPAQUE).any():
            raise DataError(f"The labels {path} have transparent pixels; expected class ids or opaque colours.")
        samples = samples[..., :-1]
    return samples[..., 0] if colour_type == _GREY_ALPHA else samples


def _by_colour(path: Path, rgb: NDArray[np.uint8], classes: LabelClasses) -> NDArray[np.uint8]:
    if not classes.colours:
        raise DataError(
            f"The labels {path} are a picture in RGB; expected class ids, or --classes with the colours of the classes "
            "(camvid, cityscapes, voc, or a YAML)."
        )
    codes = (rgb[..., 0].astype(np.uint32) << 16) | (rgb[..., 1].astype(np.uint32) << 8) | rgb[..., 2]
    used, places = np.unique(codes, return_inverse=True)
    table = np.empty(len(used), np.uint8)
    for number, code in enumerate(used.tolist()):
        colour = code >> 16, code >> 8 & 255, code & 255
        if colour not in classes.colours:
            raise DataError(f"The labels {path} have the colour {list(colour)}, which is no class's of those expected.")
        table[number] = classes.colours[colour]
    return table[places.reshape(codes.shape)]


class LabelCensus:
    """How often each class occurs in the labels that were read, and which files look like masks."""

    def __init__(self, classes: LabelClasses) -> None:
        self.classes = classes
        self.pixels = np.zeros(256, np.int64)  # by class id
        self.files = 0
        self._masks: list[object] = []
        self._in_colours: list[object] = []

    def add(self, source: object, read: ReadLabels) -> None:
        """Count one file, or whatever `source` names."""
        self.files += 1
        self.pixels += counts_of(read.labels)
        if not read.stored:
            self._in_colours.append(source)
        if is_mask(read.stored, self.classes):
            self._masks.append(source)

    def require_ids(self) -> None:
        """Raises DataError where all files are masks, so that their second class would be void."""
        require_ids(len(self._masks), self.files, next(iter(self._masks), None))

    def tell(self, problems: Problems, where: object) -> None:
        """Note classes without a pixel and masks in `problems`."""
        for mask in self._masks:
            problems.add((where, "mask"), mask_in_words(mask), mask)
        for source in self._in_colours:
            problems.add((where, "colours"), f"The labels {source} are in RGB, read by the classes' colours", source)
        if self.files and self.classes.names:
            note_missing_classes(self.pixels, self.classes, problems, where)


def is_mask(stored: frozenset[int], classes: LabelClasses) -> bool:
    """Whether a file holds 0 and 255 alone, as masks do whose ones were stretched into white."""
    return stored == MASK_VALUES and not classes.has_void_255


def mask_in_words(path: object) -> str:
    return f"The labels {path} hold only 0 and 255, and 255 is read as unlabelled"


def require_ids(masks: int, files: int, example: object) -> None:
    """Raises DataError where every file is a mask."""
    if masks and masks == files:
        raise DataError(
            f"The labels {example} hold only 0 and 255, and so do all {files} label files: these are masks; expected "
            "the class ids 0, 1, ..., or --void 255 where 255 is unlabelled."
        )


def note_missing_classes(pixels: NDArray[np.int64], classes: LabelClasses, problems: Problems, where: object) -> None:
    """Note the classes that no pixel of the labels has."""
    known = sorted(set(classes.ids.values()) - {UNLABELLED})
    missing = [classes.name_of(number) for number in known if not pixels[number]]
    if missing:
        shown = ", ".join(missing[:12]) + (f" and {len(missing) - 12} more" if len(missing) > 12 else "")
        problems.add((where, "missing"), f"No pixel of the labels in {where} has the class {shown}")
