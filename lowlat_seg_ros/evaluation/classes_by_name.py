"""A foreign model's classes and the truth's: other ids, perhaps the same names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.camvid import LabelledImage
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.errors import Error


class ClassesError(Error):
    """A model whose classes cannot be matched with the truth's."""


@dataclass(frozen=True, eq=False)
class ClassesByName:
    """The model's id of each id of the truth, 255 where the model has no class of that name."""

    ids: NDArray[np.uint8]  # (256,)
    scored: tuple[int, ...]  # the model's ids that the truth may hold
    left_out: tuple[str, ...]  # names that the model does not have: their pixels are not scored
    extra: tuple[str, ...]  # names that the truth does not have: wrong wherever the model gives them

    @classmethod
    def match(cls, model: tuple[str, ...], truth: tuple[str, ...]) -> ClassesByName:
        """Names are the same but for case and surrounding blanks.

        Raises:
            ClassesError: not one is, or two of the model's are.
        """
        known = {plain(name): index for index, name in enumerate(model)}
        if len(known) < len(model):
            twins = tuple(name for index, name in enumerate(model) if known[plain(name)] != index)
            raise ClassesError(f"the model has {in_words(twins)} twice but for case; expected `merge` to join them")
        ids = np.full(256, UNLABELLED, np.uint8)
        for index, name in enumerate(truth):
            ids[index] = known.get(plain(name), UNLABELLED)
        scored = tuple(int(label) for label in ids[: len(truth)] if label != UNLABELLED)
        if not scored:
            raise ClassesError(
                f"none of the model's classes ({in_words(model)}) is among the labels' ({in_words(truth)}); expected "
                "the same names, by `merge` and `ignore` of a YAML that describes the model"
            )
        left_out = tuple(name for name in truth if plain(name) not in known)
        extra = tuple(name for index, name in enumerate(model) if index not in scored)
        return cls(ids, scored, left_out, extra)

    def renamed(self, frames: Iterator[LabelledImage], problems: Problems | None = None) -> Iterator[LabelledImage]:
        """The frames with the model's ids in their labels; how many pixels that leaves out is noted at the end."""
        labelled = kept = 0
        for frame in frames:
            labels = self.ids[frame.labels]
            labelled += np.count_nonzero(frame.labels != UNLABELLED)
            kept += np.count_nonzero(labels != UNLABELLED)
            yield frame._replace(labels=labels)
        if problems is not None:
            problems.leave_out("labelled pixels", labelled - kept, labelled)

    def sentences(self) -> list[str]:
        """What a reader of the scores has to know."""
        told = []
        if self.left_out:
            told.append(f"The model has no class {in_words(self.left_out)}: these pixels of the truth are left out.")
        if self.extra:
            told.append(f"The truth has no class {in_words(self.extra)}: wrong where it is given, and not averaged.")
        return told


def plain(name: str) -> str:
    return name.strip().casefold()


def in_words(names: tuple[str, ...], most: int = 12) -> str:
    """The first of the names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
