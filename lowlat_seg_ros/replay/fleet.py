"""Many bags replayed: found, done in parallel, resumed, and gathered into one table."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.errors import Error, turning_all_into
from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.replay.bag_files import is_bag
from lowlat_seg_ros.replay.jobs import Ending, Endings, Failure, Job
from lowlat_seg_ros.replay.markdown import fleet_markdown
from lowlat_seg_ros.replay.pages import write_fleet_page
from lowlat_seg_ros.replay.report import VERSION, figures_of
from lowlat_seg_ros.replay.report_files import finished_report, write_outcome

FLEET_FORMAT: Final = "lowlat_seg_ros replay fleet"
FLEET_FILE: Final = "fleet.json"
FLEET_MARKDOWN_FILE: Final = "fleet.md"


def fleet_mapping(bags: list[dict[str, Any]]) -> dict[str, Any]:
    """A fleet of bags as ``done_bag`` and ``failed_bag`` make them."""
    return {"format": FLEET_FORMAT, "version": VERSION, "bags": bags}


def done_bag(folder: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """A bag with a report, as ``report.json`` holds it; ``folder`` is the report's, beside fleet.json."""
    return {
        "name": folder,
        "report": f"{folder}/report.json",
        "error": None,
        "problems": [
            *report["bag"]["problems"],
            *(line for camera in report["cameras"] for line in camera["problems"]),
        ],
        "cameras": [
            {
                "topic": camera["topic"],
                "frames": camera["frames"],
                "duration_s": camera["duration_s"],
                "systems": [{"name": system["name"], "figures": figures_of(system)} for system in camera["systems"]],
            }
            for camera in report["cameras"]
        ],
    }


def failed_bag(folder: str, reason: str) -> dict[str, Any]:
    """A bag without a report, and why."""
    return {"name": folder, "report": None, "error": reason, "problems": [], "cameras": []}


Runner = Callable[[Sequence[Job]], Endings]


def find_bags(paths: Iterable[Path]) -> list[Path]:
    """Every path that is a bag, and the bags in every folder that is none, at any depth, in the order of their names.

    A bag that several links lead to is one. A path that neither is a bag nor holds one stays in the list, so that its
    replay can say what is wrong with it.
    """
    by_place: dict[str, Path] = {}
    for bag in (bag for path in paths for bag in (_bags_in(path, set()) or [path])):
        by_place.setdefault(os.path.realpath(bag), bag)
    return list(by_place.values())


def report_folders(bags: Sequence[Path], out: Path) -> list[Path]:
    """Where each bag's report goes: a single one into ``out``, several into folders of their names in it."""
    if len(bags) == 1:
        return [out]
    taken: set[str] = set()
    folders = []
    for bag in bags:
        name = wanted = bag.resolve().name
        number = 2
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        taken.add(name)
        folders.append(out / name)
    return folders


class Fleet:
    """Jobs, the folders that their reports go to, and what became of them so far."""

    def __init__(self, jobs: Sequence[Job], folders: Sequence[Path], command: str = "") -> None:
        self._jobs = jobs
        self._folders = folders
        self._command = command
        self._bags: dict[int, dict[str, Any]] = {}

    def take_finished(self, weights_sha256: str) -> int:
        """Take over the reports that an earlier run has finished with the same settings; returns how many."""
        for number, (job, folder) in enumerate(zip(self._jobs, self._folders, strict=True)):
            report = finished_report(folder, job, weights_sha256)
            with suppress(Error), turning_all_into(Error, "the report lacks a part"):
                if report is not None:
                    self._bags[number] = done_bag(folder.name, report)
        return len(self._bags)

    def run(self, runner: Runner) -> Generator[tuple[Job, Ending], None, None]:
        """Run what is not finished; every report is written as soon as it is there. Closing it ends what runs."""
        open_numbers = [number for number in range(len(self._jobs)) if number not in self._bags]
        with closing(runner([self._jobs[number] for number in open_numbers])) as endings:
            for position, ending in endings:
                yield self._jobs[open_numbers[position]], self._keep(open_numbers[position], ending)

    def write(self, out: Path) -> dict[str, Any]:
        """Write fleet.json, fleet.md and index.html, and return what the first holds."""
        mapping = fleet_mapping([self._bags[number] for number in sorted(self._bags)])
        atomic_write(out / FLEET_FILE, json_text(mapping).encode())
        atomic_write(out / FLEET_MARKDOWN_FILE, fleet_markdown(mapping).encode())
        write_fleet_page(out, self._command)
        return mapping

    def _keep(self, number: int, ending: Ending) -> Ending:
        """Write a report; returns how the job ended with that."""
        folder = self._folders[number]
        if not isinstance(ending, Failure):
            try:
                write_outcome(folder, ending, self._command)
            except OSError as error:
                ending = Failure(f"its report cannot be written: {error}")
        if isinstance(ending, Failure):
            self._bags[number] = failed_bag(folder.name, ending.reason)
        else:
            self._bags[number] = done_bag(folder.name, ending.report.to_mapping())
        return ending


def _bags_in(path: Path, seen: set[str]) -> list[Path]:
    """The bags at a path or below it, but not in folders ``seen`` already: links may lead back to them."""
    try:
        if not path.is_dir() or is_bag(path):
            return [path]
        place = os.path.realpath(path)
        entries = [] if place in seen else sorted(path.iterdir())
        seen.add(place)
        return [bag for entry in entries if entry.is_dir() for bag in _bags_in(entry, seen)]
    except OSError:
        return [path]  # its replay says what is wrong with it
