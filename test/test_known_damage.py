"""Damaged bags are read as they were read by the reader of commit 240b7a4."""

from __future__ import annotations

import json
from pathlib import Path

from known_damage import damaged_bags, digest

from lowlat_seg_ros.replay.bags import open_bag

VALUES = Path(__file__).with_name("damaged_bag_values.json")
"""What that commit's ``open_bag`` gave, by ``known_damage.digest``."""


def test_damaged_bags_are_read_as_before(tmp_path: Path) -> None:
    known = json.loads(VALUES.read_text())
    found = {path.stem: digest(open_bag, path) for path in damaged_bags(tmp_path)}
    assert len(found) == 200 and found == known
