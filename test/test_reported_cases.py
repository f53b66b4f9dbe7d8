"""Inputs of public reports, where ../shared has them: what other nodes misread is read rightly here, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.image_file import read_rgb
from lowlat_seg_ros.data.label_classes import numbered_classes
from lowlat_seg_ros.evaluation.given_frames import given_frames
from lowlat_seg_ros.replay.bags import open_bag

CASES = Path(__file__).parents[2] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not on this machine")


@pytest.mark.parametrize(("case", "last"), [("binary_labels_1bit", 1), ("palette_labels", 11)])
def test_labels_of_few_bits_and_of_palettes_keep_their_ids(case: str, last: int, tmp_path: Path) -> None:
    folder = CASES / case
    classes = numbered_classes(last + 1)
    (frame,) = given_frames(open_clip(folder / "f"), folder / "l", classes)
    found = np.unique(frame.labels)
    assert found.max() <= last and len(found) > 1 and 255 not in found
    command = ["bag", "make", str(folder / "f"), str(tmp_path / "bag"), "--labels", str(folder / "l"), "--void", "255"]
    assert main(command) == 0
    with open_bag(tmp_path / "bag") as bag:
        (in_bag,) = bag.frames()
    assert in_bag.labels is not None and np.array_equal(in_bag.labels, frame.labels)


@pytest.mark.parametrize("name", ["padded.jpg", "mpo_tail.jpg"])
def test_what_follows_a_jpeg_is_ignored(name: str) -> None:
    assert read_rgb(CASES / "jpeg_trailer" / name).std() > 10


def test_no_frame_of_a_bag_is_left_out_for_what_follows_it() -> None:
    with open_bag(CASES / "jpeg_trailer" / "bag") as bag:
        frames = list(bag.frames())
        assert len(frames) == sum(topic.message_count for topic in bag.topics if topic.name in bag.camera_topics)
        assert not any("left out" in problem for problem in bag.problems)
