"""Options that say what labels hold, the same of every command that reads some."""

from __future__ import annotations

import argparse

from lowlat_seg_ros.data.known_labels import KNOWN_LABELS
from lowlat_seg_ros.data.label_classes import LabelClasses
from lowlat_seg_ros.slow.label_description import read_label_classes


def add_label_options(parser: argparse._ActionsContainer, default: str) -> None:
    """Add ``--classes`` and ``--void``; ``default`` ends the sentence "the default is ..."."""
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help=f"what the labels hold: {', '.join(KNOWN_LABELS)}, or a YAML; the default is {default}",
    )
    parser.add_argument("--void", type=int, metavar="ID", help="an id in them that means no class, besides 255")


def given_classes(options: argparse.Namespace, default: LabelClasses) -> LabelClasses:
    """What ``--classes`` names, else the default, and in either ``--void``; raises Error."""
    classes = default if options.classes is None else read_label_classes(options.classes)
    return classes.with_void(options.void)
