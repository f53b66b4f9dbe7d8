"""`lowlat-seg label`: every kind of input, what is left of it, and one sentence for what cannot be labelled."""

from __future__ import annotations

import csv
import errno
import json
import re
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_parts import image, write_bag_of
from numpy.typing import NDArray
from small_networks import IN_TORCH
from stream_setup import moving_frames, stream_network

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.commands import label_inputs, label_outputs
from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.labelled_clips import LabelledFrame
from lowlat_seg_ros.data.own_folder import own_folder
from lowlat_seg_ros.data.video_writer import VideoWriter
from lowlat_seg_ros.models.checkpoint import save_checkpoint
from lowlat_seg_ros.replay.bag_writer import write_bag

FRAMES = 7
SIZE = (96, 72)
CLOSING = r"p50 \d+\.\d, p99 \d+\.\d, max \d+\.\d ms; \d+% key frames; written to "


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, and the same frames as a folder, a video and a bag."""
    folder = tmp_path_factory.mktemp("material")
    save_checkpoint(stream_network(), folder / "model", "# A network that was never trained\n")
    frames = moving_frames(FRAMES, SIZE)
    (folder / "pictures").mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / "pictures" / f"drive_{number}.png"), frame[..., ::-1])
    with VideoWriter(folder / "drive.mp4", SIZE, 15.0) as video:
        for frame in frames:
            video.write(frame)
    (folder / "sound.wav").write_bytes(b"RIFF")
    (folder / "empty.mp4").touch()
    write_bag(folder / "bag", (LabelledFrame(frame, None) for frame in frames), 15.0)
    return folder


RUNS_IN = "lowlat-seg: the fast track runs in torch fp32\nlowlat-seg: the slow track runs in torch fp32\n"


def label(material: Path, given: Path | str, out: Path, *more: str) -> int:
    return main(["label", str(given), "--out", str(out), "--model", str(material / "model"), *IN_TORCH, *more])


def labels_in(folder: Path) -> dict[str, NDArray[np.uint8]]:
    return {
        str(path.relative_to(folder / "labels")): np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        for path in sorted((folder / "labels").rglob("*.png"))
    }


@pytest.mark.parametrize(
    ("given", "first"), [("pictures", "drive_0.png"), ("pictures/*.png", "drive_0.png"), ("bag", "000000.png")]
)
def test_frames_are_labelled_alike_wherever_they_come_from(
    material: Path, tmp_path: Path, given: str, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(material, material / given, tmp_path) == 0
    printed = capsys.readouterr()
    assert re.search(rf": {FRAMES} frames; {CLOSING}", printed.out) and printed.err == RUNS_IN
    images = labels_in(tmp_path)
    assert len(images) == FRAMES and min(images) == first
    assert all(image.shape == (72, 96) and image.dtype == np.uint8 and image.max() < 11 for image in images.values())
    overlay = open_clip(tmp_path / "overlay.webm")
    assert (overlay.frame_count, overlay.rate_hz) == (FRAMES, pytest.approx(15.0, rel=0.02))
    assert overlay.size[0] == 96 and overlay.size[1] > 72  # the names of the classes stand below
    with (tmp_path / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [f"{row['name']}.png" for row in rows] == list(images)
    assert rows[0]["is_key_frame"] == "1" and all(float(row["milliseconds"]) > 0 for row in rows)
    classes = json.loads((tmp_path / "classes.json").read_text())
    assert [entry["name"] for entry in classes] == list(stream_network().classes)


def test_the_same_video_gives_the_same_labels(material: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        assert label(material, material / "drive.mp4", tmp_path / folder, "--labels") == 0
        assert not list((tmp_path / folder).glob("*.webm"))
    one, two = (labels_in(tmp_path / folder) for folder in ("one", "two"))
    assert one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_side_by_side_is_twice_as_wide(material: Path, tmp_path: Path) -> None:
    assert label(material, material / "drive.mp4", tmp_path, "--side-by-side") == 0
    assert open_clip(tmp_path / "side_by_side.webm").size[0] == 192
    assert not (tmp_path / "labels").exists() and not (tmp_path / "overlay.webm").exists()


def test_one_picture_and_stills_of_several_sizes_get_the_full_network(material: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stills"
    folder.mkdir()
    for number, size in enumerate([(96, 72), (64, 80)]):
        cv2.imwrite(str(folder / f"{number}.png"), moving_frames(1, size)[0])
    assert label(material, folder, tmp_path / "all", "--stills") == 0
    assert label(material, folder / "1.png", tmp_path / "one") == 0
    (one,) = labels_in(tmp_path / "one").values()
    assert one.shape == (80, 64)
    assert np.array_equal(one, labels_in(tmp_path / "all")["1.png"])
    assert (tmp_path / "all" / "overlay" / "0.png").is_file()


def test_several_videos_get_a_folder_each(material: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_bytes((material / "drive.mp4").read_bytes())
    assert label(material, tmp_path / "*.mp4", tmp_path / "out", "--labels") == 0
    assert len(labels_in(tmp_path / "out" / "a")) == len(labels_in(tmp_path / "out" / "b")) == FRAMES


def test_pictures_of_one_name_keep_their_folders(material: Path, tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "0.png"), moving_frames(1, SIZE)[0])
    assert label(material, tmp_path / "*" / "0.png", tmp_path / "out", "--labels") == 0
    assert list(labels_in(tmp_path / "out")) == ["left/0.png", "right/0.png"]


def test_a_later_run_replaces_an_earlier_one_and_nothing_else(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(material, material / "pictures", tmp_path) == 0
    (tmp_path / "notes.txt").write_text("mine")
    assert label(material, material / "drive.mp4", tmp_path, "--labels") == 0
    assert min(labels_in(tmp_path)) == "000000.png" and len(labels_in(tmp_path)) == FRAMES
    assert not (tmp_path / "overlay.webm").exists() and (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "labels" / "truth.png").write_bytes(b"by hand")
    assert label(material, material / "drive.mp4", tmp_path, "--labels") == 1
    assert "labels/truth.png is not of an earlier run" in capsys.readouterr().err
    assert len(list((tmp_path / "labels").iterdir())) == FRAMES + 1


def test_of_a_damaged_input_what_came_before_is_kept(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, frame in enumerate(moving_frames(3, SIZE)):
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    (folder / "3.png").write_bytes(b"no picture")
    assert label(material, folder, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert re.search(r"pictures: 3 frames; ", printed.out)
    assert re.search(r"^lowlat-seg: stopped after 3 frames: .*3\.png", printed.err, re.MULTILINE)
    assert open_clip(tmp_path / "out" / "overlay.webm").frame_count == len(labels_in(tmp_path / "out")) == 3


def test_messages_of_a_bag_that_are_left_out_are_counted(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = SIZE[0] // 2, SIZE[1] // 2
    bag = write_bag_of(tmp_path / "drive", [image(0, size=SIZE), image(1, size=SIZE), image(2, size=size)])
    assert label(material, bag, tmp_path / "out") == 0
    told = capsys.readouterr().err
    assert "carries more than one camera" in told
    assert "WARNING: these figures leave out 1 of 3 messages on /image (33.3%); the problems say why." in told


class FakeCapture:
    """A camera that delivers five frames at 10 Hz and then Ctrl-C: no machine of ours has a camera."""

    def __init__(self, index: int) -> None:
        self.frames = moving_frames(5, SIZE)

    def isOpened(self) -> bool:
        return True

    def set(self, name: int, value: float) -> bool:
        return False

    def get(self, name: int) -> float:
        return 10.0

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        if not self.frames:
            raise KeyboardInterrupt
        return True, self.frames.pop()

    def release(self) -> None:
        pass


def test_a_camera_is_labelled_until_ctrl_c(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(label_inputs.cv2, "VideoCapture", FakeCapture)
    assert label(material, "0", tmp_path, "--labels") == 0
    assert capsys.readouterr().out.startswith("camera 0: 5 frames; ")
    assert len(labels_in(tmp_path)) == 5


@pytest.mark.parametrize(
    ("given", "more", "sentence"),
    [
        ("7", (), "there is no camera 7 that can be opened, and no file of that name"),
        ("20260711101500", (), "20260711101500 does not exist"),
        ("*.nothing", (), "*.nothing matches no picture and no video"),
        ("nowhere.mp4", (), "nowhere.mp4 does not exist"),
        ("", (), "the name of the input is empty"),
        (
            "{material}/sound.wav",
            (),
            "sound.wav is no picture, video or bag by its name; expected one that ends in .avi ",
        ),
        ("{material}/*.wav", (), "*.wav matches no picture and no video, but 1 other file, "),
        ("{material}/empty.mp4", (), "empty.mp4 cannot be opened: it is damaged, cut short or not a video"),
        ("{material}/bag", ("--topic", "/rear"), "has no images on a topic /rear"),
        ("{material}/drive.mp4", ("--delay-frames", "0"), "--delay-frames is 0; expected 1 or more"),
        ("{material}/drive.mp4", ("--device", "tpu"), "device is 'tpu'; expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_what_cannot_be_labelled_is_one_sentence(
    material: Path, tmp_path: Path, given: str, more: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(material, given.format(material=material), tmp_path / "out", *more) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lowlat-seg: ") and sentence in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (500, 3)])
def test_pictures_of_any_shape_are_labelled(material: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    for kind, picture in {
        "rgb": moving_frames(1, SIZE)[0],
        "alpha": np.dstack([moving_frames(1, SIZE)[0], np.full(SIZE[::-1], 9, np.uint8)]),
        "sixteen": moving_frames(1, SIZE)[0].astype(np.uint16) * 257,
        "grey": moving_frames(1, SIZE)[0][..., 0],
    }.items():
        cv2.imwrite(str(tmp_path / f"{kind}.png"), cv2.resize(picture, size))
    assert label(material, tmp_path / "*.png", tmp_path / "out", "--stills") == 0
    shapes = {image.shape for image in labels_in(tmp_path / "out").values()}
    assert shapes == {(height, width)} and len(labels_in(tmp_path / "out")) == 4


def test_a_full_disk_leaves_no_half_file_and_says_where_it_stopped(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, left = Path.write_bytes, [3]

    def full_after_three(path: Path, content: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            write(path, content[:5])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full_after_three)
    assert label(material, material / "drive.mp4", tmp_path) == 1
    printed = capsys.readouterr()
    assert "lowlat-seg: stopped after 4 frames: [Errno 28] No space left on device" in printed.err
    assert len(labels_in(tmp_path)) == 3 and len(list((tmp_path / "labels").iterdir())) == 3
    assert open_clip(tmp_path / "overlay.webm").frame_count == 3


def test_a_disk_that_was_full_before_the_first_line_does_not_keep_a_later_run_out(
    material: Path, tmp_path: Path
) -> None:
    (tmp_path / "frames.csv").touch()
    (tmp_path / ".overlay.part.webm").write_bytes(b"of a run that was killed")
    assert label(material, material / "drive.mp4", tmp_path, "--labels") == 0
    assert labels_in(tmp_path) and not list(tmp_path.glob(".*.webm"))


def test_a_path_that_a_glob_finds_twice_is_labelled_once(material: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "a" / "b" / "one.png"), moving_frames(1, SIZE)[0])
    assert label(material, tmp_path / "a" / "**" / "**" / "*.png", tmp_path / "out") == 0
    assert list(labels_in(tmp_path / "out")) == ["one.png"]


def test_two_runs_cannot_write_into_one_folder(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with own_folder(tmp_path):
        assert label(material, material / "drive.mp4", tmp_path) == 1
    assert capsys.readouterr().err == (
        f"lowlat-seg: another run is writing into {tmp_path}; expected a folder of its own\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_video_leaves_one_that_plays(
    sent: signal.Signals,
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write, left = label_outputs.LabelOutputs.write, [4]

    def interrupted(*arguments: Any) -> None:
        write(*arguments)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(sent)

    monkeypatch.setattr(label_outputs.LabelOutputs, "write", interrupted)
    assert label(material, material / "drive.mp4", tmp_path) == 130
    assert capsys.readouterr().out.startswith("drive.mp4: 4 frames; ")
    assert open_clip(tmp_path / "overlay.webm").frame_count == len(labels_in(tmp_path)) == 4


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"lowlat-seg \d+\.\d+\.\d+\n", capsys.readouterr().out)
