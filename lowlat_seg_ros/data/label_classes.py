"""What the numbers and the colours in label files stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.problems import DataError

LARGEST_ID: Final = 65535
"""What a label file of 16 bits can store."""

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class LabelClasses:
    """The class of each id and each colour that a label file may hold, and in words which ids these are."""

    ids: Mapping[int, int]  # stored id: class id, or UNLABELLED
    expected: str  # ends the sentence "The labels X hold the id 40, but ..."
    names: tuple[str, ...] = ()  # by class id; none where nobody has said them
    colours: Mapping[RGB, int] = field(default_factory=dict)  # of labels in RGB: colour: class id, or UNLABELLED
    has_void_255: bool = False  # it was said that 255 is void; otherwise that is but the custom
    numbering: str = ""  # of Cityscapes' two, and as its files' names call it; none of others

    @property
    def class_count(self) -> int:
        return 1 + max((given for given in self.ids.values() if given != UNLABELLED), default=-1)

    def name_of(self, class_id: int) -> str:
        """As people know the class."""
        return self.names[class_id] if class_id < len(self.names) else f"class {class_id}"

    def renamed(self, names: Sequence[str], new_ids: Sequence[int]) -> LabelClasses:
        """The same with other class ids: `new_ids` has that of each old one, and `names` are by the new ones."""
        table = {**dict(enumerate(new_ids)), UNLABELLED: UNLABELLED}
        return replace(
            self,
            ids={stored: int(table[given]) for stored, given in self.ids.items()},
            names=tuple(names),
            colours={colour: int(table[given]) for colour, given in self.colours.items()},
        )

    def with_void(self, void: int | None) -> LabelClasses:
        """The same where this stored id stands for no class, whatever it meant before; DataError for what is no id."""
        if void is None:
            return self
        if not 0 <= void <= LARGEST_ID:
            raise DataError(f"--void is {void}; expected an id from 0 to {LARGEST_ID}.")
        return replace(
            self,
            ids={**self.ids, void: UNLABELLED},
            expected=f"{self.expected}, and {void} is unlabelled",
            has_void_255=self.has_void_255 or void == UNLABELLED,
        )


def label_classes(
    ids: Mapping[int, int],
    expected: str,
    names: Sequence[str] = (),
    colours: Mapping[RGB, int] | None = None,
    *,
    has_void_255: bool = False,
    numbering: str = "",
) -> LabelClasses:
    """255 stands for "unlabelled" in every data set that has no class of that number."""
    ids = {UNLABELLED: UNLABELLED, **ids}
    return LabelClasses(ids, expected, tuple(names), colours or {}, has_void_255, numbering)


def numbered_classes(
    count: int, void: int | None = None, names: Sequence[str] = (), colours: Sequence[RGB] = ()
) -> LabelClasses:
    """Ids that are classes already, 0 .. count - 1; `void`, where given, is unlabelled, and may be one of them."""
    in_words = f"the model has the classes 0 to {count - 1}"
    by_colour = {colour: number for number, colour in enumerate(colours)} if len(set(colours)) == len(colours) else {}
    return label_classes({stored: stored for stored in range(count)}, in_words, names, by_colour).with_void(void)
