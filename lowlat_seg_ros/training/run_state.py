"""What a stage has reached, on disk: written after every epoch, whole or not at all, and read to go on from."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.errors import Error, shown, turning_all_into
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.processes import Processes, done_by_leader

STATE_FILE = "last.pt"
HISTORY_FILE = "epochs.csv"

Recipe = Mapping[str, Any]  # nested mappings of plain values: all that decides what is learnt


class RunError(Error):
    """A training run that cannot go on; the message says why and what can be done."""


@dataclass
class RunState:
    """All that changes while a stage trains."""

    network: SegmentationNetwork
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    recipe: Recipe
    history: list[dict[str, float]] = field(default_factory=list)  # one entry a finished epoch
    seconds: float = 0.0  # that these epochs took

    @property
    def finished_epochs(self) -> int:
        return len(self.history)

    def save(self, folder: Path) -> None:
        """Replace the folder's state. A kill at any moment leaves the old one or the new one.

        Raises:
            RunError: the disk is full, or the folder cannot be written; the old state is still there.
        """
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "recipe": self.recipe,
            "history": self.history,
            "seconds": self.seconds,
        }
        content = io.BytesIO()
        torch.save(state, content)
        try:
            atomic_write(folder / STATE_FILE, content.getvalue())
            atomic_write(folder / HISTORY_FILE, history_table(self.history).encode())
        except OSError as error:
            raise RunError(
                f"epoch {self.finished_epochs} cannot be saved in {folder} ({error.strerror or error}); "
                f"{self._what_is_left(folder)}"
            ) from error

    def _what_is_left(self, folder: Path) -> str:
        if not (folder / STATE_FILE).exists():
            return "make room and begin again"
        return "what was saved before is still there: make room and go on with --resume"

    def take_up(self, folder: Path, processes: Processes) -> None:
        """Go on from the folder's state, which process 0 reads for all; begin where there is none.

        Raises:
            RunError: the state is damaged, or of another recipe.
        """
        saved = done_by_leader(processes, lambda: read_state(folder, self.recipe))
        if saved:
            with turning_all_into(RunError, f"{folder / STATE_FILE} does not fit the network that it is of"):
                self.network.load_state_dict(saved["network"])
                self.optimiser.load_state_dict(saved["optimiser"])
                self.schedule.load_state_dict(saved["schedule"])
                self.scaler.load_state_dict(saved["scaler"])
            self.history, self.seconds = saved["history"], saved["seconds"]


def read_state(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """What the folder holds, on the CPU; empty where it holds nothing. Raises what ``RunState.take_up`` does."""
    path = folder / STATE_FILE
    if not path.exists():
        return {}
    try:
        _check_archive(path)
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        difference = first_difference(saved["recipe"], recipe)
        _check_parts(saved)
    except Exception as error:  # whatever a damaged or hostile file leads torch to
        raise RunError(
            f"{path} cannot be gone on from ({type(error).__name__}): it is damaged or of another version; expected "
            "another --out"
        ) from error
    if difference is not None:
        raise RunError(
            f"{folder} belongs to another run: {difference}; expected the recipe, model and data that it was begun "
            "with, or another --out"
        )
    return saved


def _check_archive(path: Path) -> None:
    """Raises unless it is a ZIP file that unpacks to no more than itself, as torch writes it."""
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ValueError("it is compressed")


def _check_parts(saved: Any) -> None:
    """Raises unless all parts are there, each of its kind."""
    kinds = dict.fromkeys(("network", "optimiser", "schedule", "scaler"), dict) | {"history": list, "seconds": float}
    for name, kind in kinds.items():
        if not isinstance(saved[name], kind):
            raise TypeError(name)
    for row in saved["history"]:
        if not all(isinstance(name, str) and isinstance(value, (int, float)) for name, value in row.items()):
            raise TypeError("history")


def first_difference(saved: Any, given: Any, name: str = "") -> str | None:
    """In words, the first entry in which two recipes differ; None where they are the same."""
    if isinstance(saved, Mapping) and isinstance(given, Mapping):
        for key in [*given, *(key for key in saved if key not in given)]:
            inner = first_difference(saved.get(key), given.get(key), f"{name}.{key}" if name else str(key))
            if inner is not None:
                return inner
        return None
    return None if saved == given else f"its {name} is {shown(saved)}, not {shown(given)}"


def history_table(history: list[dict[str, float]]) -> str:
    """One line an epoch, comma separated, under the names of the figures."""
    if not history:
        return ""
    lines = [",".join(["epoch", *history[0]])]
    lines += [
        ",".join([str(epoch), *(f"{value:.5f}" for value in row.values())]) for epoch, row in enumerate(history, 1)
    ]
    return "\n".join(lines) + "\n"
