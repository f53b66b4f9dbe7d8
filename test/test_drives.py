"""A folder of several drives: each is taken once with its own labels, and whatever is left out is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from written_files import png

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.drives import drives_in
from lowlat_seg_ros.data.problems import DataError, Problems
from lowlat_seg_ros.training.data_plan import DataPlan
from lowlat_seg_ros.training.data_set import find_data


def drive(root: Path, name: str) -> None:
    for kind in ("frames", "labels"):
        (root / kind / name).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "frames" / name / "1.jpg")
    (root / "labels" / name / "1.png").write_bytes(png(np.zeros((8, 8), int)))


def test_what_is_no_drive_and_labels_of_none_are_named(tmp_path: Path) -> None:
    drive(tmp_path, "monday")
    drive(tmp_path, "tuesday")
    (tmp_path / "frames" / "phone").mkdir()
    (tmp_path / "frames" / "phone" / "1.heic").write_bytes(b"a phone's")
    (tmp_path / "frames" / "drive.mp5").write_bytes(b"no video")
    (tmp_path / "frames" / ".DS_Store").write_bytes(b"a Mac's")
    (tmp_path / "labels" / "wednesday").mkdir()
    data = find_data(DataPlan(frames=tmp_path / "frames", labels=tmp_path / "labels", consecutive=True), 3)
    assert [frame.name for frame in data.trained] == ["monday/1", "tuesday/1"] and data.problems == []
    assert data.notes.report_lines() == [
        f"{tmp_path}/frames/drive.mp5 is no drive: no video or folder of pictures; it is left out (2 times in all).",
        f"{tmp_path}/labels/wednesday has labels of no drive; it is left out.",
        "WARNING: these figures leave out 1 of 3 drives of frames (33.3%) and 1 of 3 folders of labels (33.3%); the "
        "problems say why.",
    ]


@pytest.mark.parametrize("others", [["a.mp4", "a.mkv"], ["a.mp4", "a/"]])
def test_two_drives_of_one_name_would_share_their_labels(others: list[str], tmp_path: Path) -> None:
    for name in others:
        if name.endswith("/"):
            drive(tmp_path, name)
        else:
            (tmp_path / "frames").mkdir(exist_ok=True)
            (tmp_path / "frames" / name).write_bytes(b"")
    (tmp_path / "labels").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=r"has two drives of one name: a.* and a.*; expected one of them"):
        drives_in(tmp_path / "frames", tmp_path / "labels", Problems())


def test_links_that_lead_nowhere_or_back_are_no_drives(tmp_path: Path) -> None:
    drive(tmp_path, "monday")
    (tmp_path / "frames" / "round").symlink_to(tmp_path / "frames")
    (tmp_path / "frames" / "itself").symlink_to(tmp_path / "frames" / "itself")
    found = drives_in(tmp_path / "frames", tmp_path / "labels", problems := Problems())
    assert [each.frames.name for each in found] == ["monday"]
    assert "itself is no drive" in problems.lines()[0] and "(2 times in all)" in problems.lines()[0]


def test_a_line_break_in_a_name_makes_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "a\nlowlat-seg: all is well"
    drive(root, "monday")
    drive(root, "tuesday")
    given = ["train", "survey", "--frames", str(root / "frames"), "--labels", str(root / "labels"), "--out"]
    for spoilt in ("monday", "tuesday"):
        (root / "labels" / spoilt / "1.png").write_bytes(b"no labels")
        assert main([*given, str(tmp_path / "run")]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert not any(line.startswith("lowlat-seg: all is well") for line in lines)
        assert len(lines) == (1 if spoilt == "monday" else 3)  # how many there are, and each
