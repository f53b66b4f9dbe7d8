"""What Foxglove and RViz are told to show is what the node publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")

from lowlat_seg_ros.msg import KeyFrameDiagnostics

from lowlat_seg_ros.ros.node import NODE_NAME
from lowlat_seg_ros.ros.outputs import TYPES

CHECKOUT = Path(__file__).parents[1]
LAYOUT: dict[str, Any] = json.loads((CHECKOUT / "config" / "foxglove.json").read_text())
KNOWN = {"/image", "/diagnostics", *(f"/{NODE_NAME}/{topic}" for topic in TYPES)}


def values(document: Any) -> Iterator[str]:
    """All texts in a document of lists and mappings."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, (dict, list)):
        for each in document.values() if isinstance(document, dict) else document:
            yield from values(each)


def test_every_panel_of_the_foxglove_layout_has_a_place_and_every_place_a_panel() -> None:
    places = {each for each in values(LAYOUT["layout"]) if each not in ("row", "column")}
    assert places == set(LAYOUT["configById"])


def test_foxglove_shows_topics_and_fields_that_there_are() -> None:
    named = [each for each in values(LAYOUT["configById"]) if each.startswith("/")]
    fields = KeyFrameDiagnostics.get_fields_and_field_types()
    assert any("." in each for each in named)
    for each in named:
        topic, _, field = each.partition(".")
        assert topic in KNOWN, each
        assert not field or re.fullmatch(r"float|double|u?int\d+|boolean", fields[field]), each


def test_rviz_shows_topics_that_there_are() -> None:
    displays = yaml.safe_load((CHECKOUT / "rviz" / "seg.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert topics and topics <= KNOWN
