"""The report's data classes and the schema that documents its file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from example_report import example_report
from json_schema import violations

from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.replay.report import known

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "replay_report.schema.json").read_text(encoding="utf-8"))


def test_a_report_is_as_its_schema_says() -> None:
    document = json.loads(json_text(example_report(frames=30).to_mapping()))
    assert list(violations(document, SCHEMA, SCHEMA)) == []


def test_the_schema_finds_what_is_missing_unknown_or_of_the_wrong_kind() -> None:
    document = json.loads(json_text(example_report(frames=30).to_mapping()))
    del document["model"]["classes"]
    document["cameras"][0]["systems"][0]["counts"]["late"] = True
    document["cameras"][0]["systems"][0]["timeline"]["status"][3] = "lost"
    document["bag"]["colour"] = "red"
    assert sorted(violations(document, SCHEMA, SCHEMA)) == [
        ".bag has an unknown colour",
        ".cameras[0].systems[0].counts.late is True; expected integer",
        ".cameras[0].systems[0].timeline.status[3] is 'lost'",
        ".model lacks classes",
    ]


def test_a_report_never_holds_nan() -> None:
    report = replace(example_report(frames=2), timings={"replay_s": math.nan})
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(report.to_mapping())
    assert known(math.nan) is None
    assert known(0.5) == 0.5


def test_a_column_of_a_timeline_takes_one_line() -> None:
    lines = json_text(example_report(frames=30).to_mapping()).splitlines()
    assert sum(line.strip().startswith('"latency_ms": [') for line in lines) == 6
