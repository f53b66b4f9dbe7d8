"""The command ``lowlat-seg``."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

from lowlat_seg_ros.errors import NEXT, Error, printable
from lowlat_seg_ros.runtime.threads import let_threads_sleep

LONGEST_LINE = 2000  # characters of an error

# Name: help and module. Only the module of the command that is asked for is imported: each needs other libraries.
COMMANDS = {
    "bag": ("make a ROS 2 bag of frames and labels, or say what is in one", "lowlat_seg_ros.commands.bag"),
    "evaluate": ("score a model on a labelled clip", "lowlat_seg_ros.commands.evaluate"),
    "export": ("write a full network as ONNX or for OpenVINO, or calibrate it", "lowlat_seg_ros.commands.export"),
    "label": ("label a video, pictures, a bag or a camera", "lowlat_seg_ros.commands.label"),
    "replay": ("report what the node would have done on recorded drives", "lowlat_seg_ros.commands.replay"),
    "train": ("train the network, stage by stage", "lowlat_seg_ros.commands.train"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, 1 after one sentence on what was wrong, or 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] != "train":  # which has the cores to itself, and was timed so
        let_threads_sleep()  # before a command's module loads torch
    options = build_parser(arguments[0] if arguments else "").parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no UTF-8
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of pictures that our one sentence names
    try:
        options.run_command(options)
    except (Error, OSError) as error:
        sentences = [printable(sentence, LONGEST_LINE) for sentence in str(error).split(NEXT)]
        print("lowlat-seg:", NEXT.join(sentences), file=sys.stderr)
        return 1
    except MemoryError:
        print("lowlat-seg: there is not enough memory for this", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lowlat-seg: stopped", file=sys.stderr)
        return 130
    return 0


class _Version(argparse.Action):
    """Prints the version: in the checkout what package.xml says, installed what pip recorded."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: object) -> None:
        print(f"lowlat-seg {version()}")
        parser.exit()


def version() -> str:
    package_xml = Path(__file__).parents[1] / "package.xml"
    if package_xml.is_file():
        return ElementTree.parse(package_xml).findtext("version") or "unknown"
    try:
        return metadata.version("lowlat-seg-ros")
    except metadata.PackageNotFoundError:
        return "unknown"


def build_parser(command: str) -> argparse.ArgumentParser:
    """A parser that lists all commands and knows the arguments of this one."""
    parser = argparse.ArgumentParser(prog="lowlat-seg", description="Low-latency video semantic segmentation.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (description, module) in COMMANDS.items():
        command_parser = commands.add_parser(name, help=description)
        if name == command:
            importlib.import_module(module).add_arguments(command_parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
