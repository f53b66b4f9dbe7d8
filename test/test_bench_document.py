"""The figures' way into docs/latency.md, and the picture of both tracks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle

from bench.latency_doc import DOCUMENT, PICTURE, PLACE, STAGES, DocumentError, draw_timeline, filled, main
from bench.report import TABLES

TEXT = "Before.\n<!-- bench: asked -->\nold\n<!-- /bench -->\nBetween.\n<!-- bench: scale -->\nolder\n<!-- /bench -->\n"


def record() -> dict[str, Any]:
    stages = {"low": 8.0, "schedule": 1.0, "high": 0.0, "propagate": 6.0, "labels": 4.0, "total": 20.0}
    frames = [
        {"due": 50.0 * i, "began": 50.0 * i, "ended": 50.0 * i + 20, "is_key_frame": i == 1, "stages": stages}
        for i in range(4)
    ]
    return {"frames": frames, "sh_runs": [[-5.0, 10.0], [72.0, 140.0]]}


def bars(colour: str) -> list[tuple[float, float]]:
    """Where the record's bars of a colour begin and end, in milliseconds."""
    (axes,) = draw_timeline(record()).axes
    drawn = [bar for bar in axes.patches if isinstance(bar, Rectangle) and same_color(bar.get_facecolor(), colour)]
    return [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in drawn if bar.get_width() > 0]


def test_bars_lie_where_their_times_are() -> None:
    assert bars(STAGES["high"][1]) == [(0.0, 10.0), (72.0, 140.0)]
    assert bars(STAGES["low"][1]) == [(50.0 * number, 50.0 * number + 8) for number in range(4)]


def test_key_frames_are_framed() -> None:
    (axes,) = draw_timeline(record()).axes
    framed = [bar for bar in axes.patches if isinstance(bar, Rectangle) and not bar.get_fill()]
    assert [(bar.get_x(), bar.get_width()) for bar in framed] == [(50.0, 20.0)]


def test_a_record_without_frames_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="holds no frame; expected one or more"):
        draw_timeline({"frames": [], "sh_runs": []})


def test_tables_go_to_their_places_and_what_was_not_measured_stays() -> None:
    text = filled(TEXT, {})
    assert text.startswith("Before.\n<!-- bench: asked -->\n| asked | limit | reached | met |\n")
    assert "old\n" not in text.partition("Between.")[0]
    assert text.endswith("Between.\n<!-- bench: scale -->\nolder\n<!-- /bench -->\n")
    assert filled(text, {}) == text


def test_a_place_for_an_unknown_table_is_one_sentence() -> None:
    with pytest.raises(DocumentError, match="there is no table 'fortune'; expected one of environment, modules"):
        filled("<!-- bench: fortune -->\n<!-- /bench -->", {})


def test_the_command_writes_document_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, document = tmp_path / "results.json", tmp_path / "latency.md"
    results.write_text(json.dumps({"asked": 1}))
    assert main([str(results), "--document", str(document)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench.latency_doc: ") and "latency.md" in line
    document.write_text(TEXT)
    assert main([str(results), "--document", str(document)]) == 0
    assert "| asked |" in document.read_text()
    assert not (tmp_path / PICTURE).exists()


def test_the_document_has_a_place_for_every_table() -> None:
    places = [place["name"] for place in PLACE.finditer(DOCUMENT.read_text(encoding="utf-8"))]
    assert sorted(places) == sorted(TABLES)
