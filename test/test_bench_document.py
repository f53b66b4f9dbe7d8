"""The figures' way into docs/latency.md, and the picture of both tracks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.latency_doc import DOCUMENT, PICTURE, PLACE, TABLES, DocumentError, filled, main
from bench.timeline import HEIGHT, SH_COLOUR, SLOW_TOP, STAGES, WIDTH, TimeScale, draw_timeline
from lowlat_seg_ros.data.drawing import KEY_FRAME_COLOUR, Colour, Picture

TEXT = "Before.\n<!-- bench: asked -->\nold\n<!-- /bench -->\nBetween.\n<!-- bench: scale -->\nolder\n<!-- /bench -->\n"


def record() -> dict[str, Any]:
    stages = {"low": 8.0, "schedule": 1.0, "high": 0.0, "propagate": 6.0, "labels": 4.0, "total": 20.0}
    frames = [
        {"due": 50.0 * i, "began": 50.0 * i, "ended": 50.0 * i + 20, "is_key_frame": i == 1, "stages": stages}
        for i in range(4)
    ]
    return {"frames": frames, "sh_runs": [[-5.0, 10.0], [72.0, 140.0]]}


def columns_of(picture: Picture, colour: Colour, row: int) -> np.ndarray:
    return np.flatnonzero((picture[row] == colour).all(axis=1))


def test_bars_lie_where_their_times_are() -> None:
    picture = draw_timeline(record())
    scale = TimeScale(170.0)
    assert picture.shape[0] > HEIGHT and picture.shape[1:] == (WIDTH, 3)
    sh = columns_of(picture, SH_COLOUR, SLOW_TOP + 5)
    assert (sh.min(), sh.max() + 1) == (scale.column(0.0), scale.column(140.0))
    assert not ((sh > scale.column(10.0)) & (sh < scale.column(72.0))).any()
    low = columns_of(picture, STAGES["low"][1], 60)
    assert low.min() == scale.column(0.0)
    key = columns_of(picture, KEY_FRAME_COLOUR, 60)
    assert scale.column(50.0) - 4 <= key.min() and key.max() <= scale.column(70.0) + 4


def test_ticks_are_round_and_about_ten() -> None:
    assert list(TimeScale(170.0).ticks()) == list(range(0, 171, 20))
    assert list(TimeScale(1340.0).ticks()) == list(range(0, 1341, 200))
    assert list(TimeScale(4.0).ticks()) == [0, 1, 2, 3, 4]


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
