"""A report's files in its folder: written so that none is ever half there, and found again by a resumed replay."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.documents import read_json
from lowlat_seg_ros.data.own_folder import made_folder
from lowlat_seg_ros.errors import turning_all_into
from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.replay.bag_files import fingerprint
from lowlat_seg_ros.replay.disagreements import PICTURES_FOLDER
from lowlat_seg_ros.replay.jobs import Job
from lowlat_seg_ros.replay.markdown import report_markdown
from lowlat_seg_ros.replay.pages import write_page
from lowlat_seg_ros.replay.replay import Outcome
from lowlat_seg_ros.replay.report import FORMAT, VERSION

REPORT_FILE: Final = "report.json"
MARKDOWN_FILE: Final = "report.md"
PAGE_FILE: Final = "index.html"
UNFINISHED_FOLDER: Final = ".unfinished"
"""Beside a report that is being written; what a killed replay left is removed by the next."""


def write_outcome(folder: Path, outcome: Outcome, command: str = "") -> None:
    """Write report.json, report.md, index.html and pictures/ into ``folder``, made if it is missing.

    All of it is written before an older report is touched: a disk that is full costs neither. The old page then goes
    first and the new one comes last: a folder that has one has everything, and all of one replay.

    Args:
        folder: where an older report may stand.
        outcome: the report and its pictures.
        command: what makes the report again, for the page.

    Raises:
        OSError: it cannot be written. Until all of it has been, the report that was there stays.
    """
    with _unfinished_folder(folder) as unfinished:
        for name, content in outcome.pictures.items():
            atomic_write(unfinished / name, content)
        mapping = outcome.report.to_mapping()
        atomic_write(unfinished / MARKDOWN_FILE, report_markdown(mapping).encode())
        atomic_write(unfinished / REPORT_FILE, json_text(mapping).encode())
        write_page(unfinished, command)
        (folder / PAGE_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder / PICTURES_FOLDER, ignore_errors=True)
        for name in (PICTURES_FOLDER, MARKDOWN_FILE, REPORT_FILE, PAGE_FILE):
            if (unfinished / name).exists():
                os.replace(unfinished / name, folder / name)


@contextmanager
def _unfinished_folder(folder: Path) -> Iterator[Path]:
    """An empty folder within ``folder``, which is made if it is missing. Neither stays if nothing is put there."""
    unfinished = folder / UNFINISHED_FOLDER
    with made_folder(folder):
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def finished_report(folder: Path, job: Job, weights_sha256: str) -> dict[str, Any] | None:
    """The report in ``folder`` if it is what the job would make; None if there is none, or another one."""
    if not (folder / PAGE_FILE).is_file():
        return None
    try:
        with turning_all_into(SettingsError, "it is another version's or damaged"):
            report = read_document(folder / REPORT_FILE, (FORMAT,))
            is_this_job = (
                report["bag"]["fingerprint"] == fingerprint(job.bag)
                and report["settings"] == job.settings.to_mapping()
                and report["profile"] == job.profile.to_mapping()
                and report["model"]["weights_sha256"] == weights_sha256
            )
    except SettingsError:
        return None
    return report if is_this_job else None


def read_document(path: Path, formats: tuple[str, ...]) -> dict[str, Any]:
    """A JSON file that says it is of one of these formats; raises SettingsError for anything else."""
    with turning_all_into(SettingsError, f"{path} cannot be read"):
        document = read_json(path)
        if not isinstance(document, Mapping):
            raise SettingsError(f"{path} holds no JSON object")
        if document.get("format") not in formats or document.get("version") != VERSION:
            raise SettingsError(f"{path} is no {' nor '.join(formats)} of version {VERSION}")
    return dict(document)
