"""What is damaged, lost or turned in pictures and videos is told, refused or put right by each command alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bag_parts import compressed, write_bag_of
from data_trees import ID_OF_TRAIN_ID, write_labels, write_picture
from PIL import Image
from test_damaged_jpegs import jpeg, lost_in_transit, without_last_scan
from test_rare_videos import CUT_SHORT, DAMAGED, MATRICES, moving, with_matrix
from test_read_by_commands import evaluated, labelled, made_bag, model, one_thread, surveyed
from written_files import numbered_frame, png, write_video

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data import jpeg as jpegs
from lowlat_seg_ros.data.cityscapes import IMAGE_END, LABEL_IDS_END, TRAIN_IDS_END
from lowlat_seg_ros.replay.bags import open_bag

__all__ = ["model", "one_thread"]  # fixtures


def commands(frames: Path, labels: Path, classes: str, model: Path, out: Path) -> list[list[str]]:
    """One of each that reads frames and labels."""
    both = ["--labels", str(labels), "--classes", classes]
    survey = ["--consecutive", "--model", str(model / "model.yaml"), "--out", str(out / "run")]
    return [
        ["label", str(frames), "--model", str(model), "--out", str(out / "out"), "--labels", "--propagation", "copy"],
        ["evaluate", "--frames", str(frames), *both, "--model", str(model), "--rows", "per-frame", "--stills"],
        ["train", "survey", "--frames", str(frames), *both, *survey],
        ["bag", "make", str(frames), str(out / "bag"), *both],
    ]


def require_told(
    sentences: Sequence[str], given: list[list[str]], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in given:
        assert main(command) == status, command
        said = "".join(capsys.readouterr())
        for sentence in sentences:
            assert sentence in said, command
        assert "Traceback" not in said


def labels_for(folder: Path, count: int, shape: tuple[int, int]) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"f{number + 1}.png").write_bytes(png(np.full(shape, 3)))
    return folder


@pytest.mark.parametrize(
    ("content", "note"),
    [(without_last_scan(jpeg("progressive")), jpegs.LACKS_SCANS), (lost_in_transit(jpeg("baseline")), jpegs.DAMAGED)],
    ids=["scan", "data"],
)
def test_jpegs_that_lost_something(
    content: bytes, note: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, each in enumerate([jpeg("baseline"), content, jpeg("progressive")]):
        (frames / f"f{number + 1}.jpg").write_bytes(each)
    labels = labels_for(tmp_path / "labels", 3, (96, 128))
    require_told([f"f2.jpg {note}"], commands(frames, labels, "camvid", model, tmp_path), 0, capsys)
    drive = [compressed(number, jpeg("baseline") if number != 1 else content, "jpeg") for number in range(3)]
    bag = write_bag_of(tmp_path / "drive", drive)
    replay = ["replay", str(bag), "--model", str(model), "--out", str(tmp_path / "replay")]
    label = ["label", str(bag), "--model", str(model), "--out", str(tmp_path / "labelled"), "--labels"]
    require_told([f"has a picture that {note}"], [replay, label], 0, capsys)


def test_videos_that_are_damaged_or_cut(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "drive.ts"
    write_video(video, moving(12), [40 * number for number in range(12)], "libx264")
    content = video.read_bytes()
    third = len(content) // 188 // 3 * 188
    video.write_bytes(content[:third] + content[third + 2 * 188 : -100])
    labels = labels_for(tmp_path / "labels", 12, (240, 320))
    given = commands(video, labels, "camvid", model, tmp_path)
    require_told([f"drive.ts {CUT_SHORT}", f"drive.ts {DAMAGED}"], given, 0, capsys)


def test_videos_that_change_their_size(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = []
    for size in ((64, 48), (128, 96)):
        frames = [numbered_frame(number, size) for number in range(6)]
        write_video(tmp_path / "part.ts", frames, [40 * number for number in range(6)], "libx264")
        parts.append((tmp_path / "part.ts").read_bytes())
    (tmp_path / "drive.ts").write_bytes(b"".join(parts))
    labels = labels_for(tmp_path / "labels", 12, (48, 64))
    sentence = "drive.ts are 64 x 48, and from frame 6 on 128 x 96; expected one camera's frames"
    require_told([sentence], commands(tmp_path / "drive.ts", labels, "camvid", model, tmp_path), 1, capsys)


@pytest.mark.parametrize("what", ["mirrored", "transposed"])
def test_mirrored_videos_are_as_their_mirrored_frames(what: str, model: Path, tmp_path: Path) -> None:
    matrix, turn = MATRICES[what]
    numbers, times = [5, 9, 33], [0, 40, 80]
    videos = {}
    for name in ("stored", "turned"):
        videos[name] = tmp_path / f"{name}.mp4"
        write_video(videos[name], [numbered_frame(number) for number in numbers], times, "libx264")
    videos["turned"].write_bytes(with_matrix(videos["turned"].read_bytes(), matrix))
    plain = tmp_path / "plain"
    plain.mkdir()
    stored = made_bag(videos["stored"], labels_for(tmp_path / "stored labels", 3, (48, 64)), tmp_path / "stored bag")
    for place, (_, picture, _) in enumerate(stored):
        Image.fromarray(np.ascontiguousarray(turn(picture))).save(plain / f"f{place + 1}.png")
    labels = labels_for(tmp_path / "labels", 3, turn(numbered_frame(0)).shape[:2])
    ways = []
    for name, given in (("video", videos["turned"]), ("pictures", plain)):
        out = tmp_path / f"out of {name}"
        out.mkdir()
        ways.append(
            (
                [picture.tolist() for _, picture, _ in made_bag(given, labels, out / "bag")],
                [found.tolist() for found in labelled(given, model, out / "labels")[1]],
                evaluated(given, labels, model, out / "scores.json"),
                surveyed(given, labels, model, out / "survey"),
            )
        )
    assert ways[0] == ways[1]


@pytest.mark.parametrize("ending", [TRAIN_IDS_END, LABEL_IDS_END])
@pytest.mark.parametrize("classes", ["cityscapes", "cityscapes-train-ids"])
def test_cityscapes_own_names(ending: str, classes: str, model: Path, tmp_path: Path) -> None:
    train_ids = np.random.default_rng(0).integers(0, 19, (48, 64))
    stored = train_ids if ending == TRAIN_IDS_END else np.array(ID_OF_TRAIN_ID)[train_ids]
    for number in range(3):
        name = f"bonn_000000_{number:06d}"
        write_picture(tmp_path / "frames" / (name + IMAGE_END), numbered_frame(number))
        write_labels(tmp_path / "labels" / (name + ending), stored)
    _, evaluate, _, make = commands(tmp_path / "frames", tmp_path / "labels", classes, model, tmp_path)
    assert main([*evaluate, "--json", str(tmp_path / "scores.json")]) == 0
    assert main(make) == 0
    with open_bag(tmp_path / "bag") as bag:
        found = [frame.labels for frame in bag.frames()]
    assert len(found) == 3 and all(labels is not None and np.array_equal(labels, train_ids) for labels in found)
