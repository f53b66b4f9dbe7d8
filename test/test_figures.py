"""The figures of README, documents and card are those of docs/figures.json, and these are of the weights that ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.environment import short_hash
from bench.figures import (
    DOCUMENTS,
    FIGURES,
    PLACE,
    STREET,
    FiguresError,
    bench_results,
    filled,
    measured_lateness,
)
from bench.two_tracks_picture import OUT as TWO_TRACKS


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


def test_the_figures_are_of_the_weights_that_ship(figures: dict[str, Any]) -> None:
    assert figures["accuracy"]["weights"] == short_hash("default"), "type `make figures`"


def test_labels_and_milliseconds_are_of_one_way_to_run(figures: dict[str, Any]) -> None:
    """The accuracy is that of answers as late as they came where the milliseconds were taken."""
    assert figures["accuracy"]["frames_late"] == measured_lateness(bench_results(figures)), "type `make figures`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_say_what_was_measured(document: Path, figures: dict[str, Any]) -> None:
    text = document.read_text(encoding="utf-8")
    assert PLACE.search(text), "expected a place for figures"
    assert filled(text, figures, bench_results(figures)) == text, "type `make figures`"


def test_a_test_split_of_other_weights_is_not_shown_as_these(figures: dict[str, Any]) -> None:
    place = "<!-- figures: test split -->\nold\n<!-- /figures -->"
    other = {**figures, "test_split": {**figures["test_split"], "weights": "000000000000"}}
    assert "have not scored these weights" in filled(place, other, {})
    with pytest.raises(FiguresError, match="there is no table 'asked'"):
        filled(place.replace("test split", "asked"), other, {})


def test_the_pictures_that_documents_show_are_there() -> None:
    for picture, most in ((STREET, 1_000_000), (TWO_TRACKS, 100_000)):
        assert picture.is_file() and picture.stat().st_size < most
