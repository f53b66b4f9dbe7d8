"""The picture of a network on every frame, two tracks, and where they differ."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from foreign_networks import NAMES, segformer

from bench.two_tracks_picture import DIFFERENT, WIDTH, main
from lowlat_seg_ros.data.drawing import legend


def test_a_stranger_is_drawn_beside_its_carried_labels_and_where_they_differ(tmp_path: Path) -> None:
    model, out = segformer(tmp_path / "model"), tmp_path / "picture.png"
    assert main(["--model", str(model), "--frame", "5", "--out", str(out)]) == 0
    written = cv2.imread(str(out))
    assert written is not None
    picture = cv2.cvtColor(written, cv2.COLOR_BGR2RGB)
    least = legend(NAMES[:1], [(0, 0, 0)], 3 * WIDTH, text_height=12).shape[0]
    assert picture.shape[0] >= 300 + least and picture.shape[1] == 3 * WIDTH
    panels = np.split(picture[:300], 3, axis=1)
    assert any((panel == DIFFERENT).all(axis=2).any() for panel in panels[2:])  # it is 3 frames late


def test_a_frame_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--frame", "1000", "--out", str(tmp_path / "picture.png")]) == 1
    assert "street has 150 frames; expected frame 1000 among them" in capsys.readouterr().err
