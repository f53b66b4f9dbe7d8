"""What label files hold, as ``--classes`` says it: a known data set's name, or a YAML as describes networks too."""

from __future__ import annotations

from pathlib import Path

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.known_labels import KNOWN_LABELS
from lowlat_seg_ros.data.label_classes import RGB, LabelClasses, label_classes
from lowlat_seg_ros.slow.description import Description, DescriptionError, Grouping, group_classes, read_description


def read_label_classes(name_or_path: str | Path) -> LabelClasses:
    """The classes of labels by a name of ``data.known_labels.KNOWN_LABELS``, or by a YAML file.

    In the YAML, ``classes`` are in the order of their ids; ``merge`` and ``ignore`` make published ids of them, as of a
    network's channels; ``colours`` are those of labels in RGB, one for each of ``classes`` or for each published class.

    Raises:
        Error: the file cannot be read, or says of no classes, or colours that do not fit them.
    """
    known = KNOWN_LABELS.get(str(name_or_path))
    if known is not None:
        return known
    path = Path(name_or_path)
    if not path.is_file():
        raise DescriptionError(
            f"--classes is {name_or_path}, which is no file; expected a YAML, or one of {', '.join(KNOWN_LABELS)}"
        )
    return label_classes_from(read_description(path), str(path))


def label_classes_from(description: Description, source: str) -> LabelClasses:
    """``source`` is what the messages name; raises DescriptionError."""
    names = description.classes
    if not names:
        raise DescriptionError(f"{source} has no `classes`; expected the names of the labels' ids, from 0")
    grouping = group_classes(names, description, source)
    ids = dict.fromkeys(grouping.ignored, UNLABELLED)
    ids.update({stored: number for number, members in enumerate(grouping.members) for stored in members})
    colours = _by_colour(description, grouping, ids, source)
    return label_classes(ids, f"the ids in {source} end at {len(names) - 1}", grouping.classes, colours)


def _by_colour(description: Description, grouping: Grouping, ids: dict[int, int], source: str) -> dict[RGB, int]:
    colours, source_count, published = description.colours or (), len(ids), len(grouping.classes)
    if len(colours) not in (0, source_count, published):
        raise DescriptionError(
            f"{source} has {len(colours)} colours; expected {source_count}, one for each of its classes"
            + (f", or {published}, one for each that is published" if published != source_count else "")
        )
    found: dict[RGB, int] = {}
    for number, colour in enumerate(colours):
        class_id = ids[number] if len(colours) == source_count else number
        if found.setdefault(colour, class_id) != class_id:
            raise DescriptionError(f"{source} gives the colour {list(colour)} to two classes; expected one for each")
    return found
