"""Pictures, labels, videos and bags of every kind, through each command: what was written is what it works with.

Hypothesis writes a drive in some kind and the same drive as plain PNGs and in a plain bag; a command must come to the
same of both. What a command must not work with, each refuses by name.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from bag_parts import Recorded, write_bag_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from rosbags.rosbag2 import Reader
from small_networks import small_network
from written_files import GREY, PALETTE, RGB, interlaced_png, numbered_frame, picture_bytes, png, png_with, write_video

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.models.checkpoint import save_checkpoint
from lowlat_seg_ros.replay.jobs import Job, run_job
from lowlat_seg_ros.replay.messages import IMAGE, Header, deserialize, frame_of, labels_of, serialized_image
from lowlat_seg_ros.replay.profile import reference_profile
from lowlat_seg_ros.replay.replay import Outcome
from lowlat_seg_ros.replay.settings import ReplaySettings

# Without shrinking: an example takes a second or more.
QUICK = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
SHAPE = 48, 64
START = 1_600_000_000_000_000_000
STORED = [
    ("mcap", "none"),
    ("mcap", "storage"),
    ("mcap", "file"),
    ("sqlite3", "none"),
    ("sqlite3", "message"),
    ("sqlite3", "file"),
]
LOSSLESS: list[tuple[str, str, dict[str, Any]]] = [
    ("PNG", ".png", {}), ("PNG", ".PNG", {"interlace": 1}), ("BMP", ".bmp", {}), ("TIFF", ".tif", {}),
    ("TIFF", ".TIFF", {"compression": "tiff_lzw"}), ("WEBP", ".webp", {"lossless": True}), ("PPM", ".ppm", {}),
]  # fmt: skip
TURNED = {1: 0, 3: 2, 6: 1, 8: -1}  # EXIF's orientation: quarters by which what is stored is turned to the left
few_and_many = pytest.mark.parametrize(
    "examples", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)


def for_all(check: Callable[..., None], examples: int, **strategies: Any) -> None:
    settings(QUICK, max_examples=examples)(given(**strategies)(check))()


class Drive(NamedTuple):
    """Frames by their numbers, when each was taken, and the ids of those that have labels."""

    numbers: list[int]
    times_ms: list[int]
    ids: list[NDArray[np.int64] | None]

    @property
    def classes(self) -> list[NDArray[np.uint8] | None]:
        return [None if each is None else np.where(each == 11, UNLABELLED, each).astype(np.uint8) for each in self.ids]


@st.composite
def drives(draw: Any, largest_id: int = 11) -> Drive:
    numbers = draw(st.lists(st.integers(0, 63), min_size=3, max_size=5, unique=True))
    periods = draw(st.lists(st.integers(30, 150), min_size=len(numbers), max_size=len(numbers)))
    seeds = draw(st.lists(st.integers(0, 99), min_size=len(numbers), max_size=len(numbers)))
    unlabelled = draw(st.sets(st.integers(1, len(numbers) - 1), max_size=1))
    ids = [
        None if place in unlabelled else np.random.default_rng(seed).integers(0, largest_id + 1, SHAPE)
        for place, seed in enumerate(seeds)
    ]
    return Drive(numbers, [0, *np.cumsum(periods[1:]).tolist()], ids)


# --- Writing ----------------------------------------------------------------------------------------------------------


def write_labels(folder: Path, drive: Drive, kind: str) -> Path:
    folder.mkdir(parents=True)
    for place, ids in enumerate(drive.ids):
        if ids is not None:
            (folder / f"f{place + 1}.png").write_bytes(label_bytes(ids, kind))
    return folder


def label_bytes(ids: NDArray[Any], kind: str) -> bytes:
    if kind == "colours":
        colours = {given: colour for colour, given in CAMVID_LABELS.colours.items()}
        colours[11] = colours[UNLABELLED]
        return png(np.array([colours[number] for number in range(12)])[ids], 8, RGB)
    name, bits = kind.split()
    if name == "interlaced":
        return interlaced_png(ids, int(bits), PALETTE, b"\0\xff")
    return png(ids, int(bits), GREY if name == "grey" else PALETTE)


LABEL_KINDS = [
    "grey 1",
    "grey 2",
    "grey 4",
    "grey 8",
    "grey 16",
    "palette 1",
    "palette 4",
    "palette 8",
    "interlaced 4",
    "colours",
]


def largest_in(kind: str) -> int:
    return 11 if kind == "colours" else min(11, 2 ** int(kind.split()[1]) - 1)


def write_pictures(folder: Path, drive: Drive, kinds: list[tuple[str, str, dict[str, Any]]], turn: int) -> Path:
    folder.mkdir(parents=True)
    for place, (number, (form, suffix, options)) in enumerate(zip(drive.numbers, kinds, strict=False)):
        orientation = turn if form in ("PNG", "WEBP") else 1
        stored = np.rot90(numbered_frame(number), TURNED[orientation])
        content = picture_bytes(Image.fromarray(np.ascontiguousarray(stored)), form, orientation, **options)
        (folder / f"f{place + 1}{suffix}").write_bytes(content)
    return folder


def write_plain(folder: Path, drive: Drive) -> Path:
    return write_pictures(folder, drive, [LOSSLESS[0]] * len(drive.numbers), 1)


def write_drive_bag(path: Path, drive: Drive, storage: str = "mcap", compression: str = "none", burst: int = 1) -> Path:
    messages = []
    for place, (number, time_ms, classes) in enumerate(zip(drive.numbers, drive.times_ms, drive.classes, strict=True)):
        stamp = START + time_ms * 10**6
        received = START + drive.times_ms[min(place // burst * burst + burst, len(drive.times_ms)) - 1] * 10**6
        header = Header(stamp, "front")
        image = serialized_image(numbered_frame(number), "rgb8", header)
        messages.append(Recorded("/image", IMAGE, received, image))
        if classes is not None:
            messages.append(Recorded("/labels_truth", IMAGE, received, serialized_image(classes, "mono8", header)))
    return write_bag_of(path, messages, storage, compression)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Of which one is up to twenty times as fast as two on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(small_network(input_size=(64, 48)), folder, "For tests.")
    return folder


# --- What each command makes of it ------------------------------------------------------------------------------------


def labelled(given: Path, model: Path, out: Path) -> tuple[list[int], list[NDArray[np.uint8]]]:
    """The stamps, and the label images in their order, that `label` writes."""
    assert (
        main(["label", str(given), "--model", str(model), "--out", str(out), "--labels", "--propagation", "copy"]) == 0
    )
    rows = list(csv.DictReader((out / "frames.csv").read_text().splitlines()))
    images = [cv2.imread(str(out / "labels" / f"{row['name']}.png"), cv2.IMREAD_UNCHANGED) for row in rows]
    return [int(row["stamp_ns"]) for row in rows], [np.asarray(image, np.uint8) for image in images]


def evaluated(frames: Path, labels: Path, model: Path, out: Path) -> Any:
    given = ["evaluate", "--frames", str(frames), "--labels", str(labels), "--classes", "camvid", "--model", str(model)]
    assert main([*given, "--rows", "per-frame", "--stills", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    return found["frames"], [(row["mean_iou"], row["pixel_accuracy"]) for row in found["rows"]]


def surveyed(frames: Path, labels: Path, model: Path, out: Path) -> list[int]:
    given = [
        "train",
        "survey",
        "--frames",
        str(frames),
        "--labels",
        str(labels),
        "--classes",
        "camvid",
        "--consecutive",
    ]
    assert main([*given, "--model", str(model / "model.yaml"), "--out", str(out)]) == 0
    pixels: list[int] = json.loads((out / "survey.json").read_text())["class_pixels"]
    return pixels


def made_bag(frames: Path, labels: Path, out: Path) -> list[tuple[int, NDArray[np.uint8], NDArray[np.uint8] | None]]:
    """Milliseconds from the first frame, picture and truth of each frame of a made bag, by rosbags."""
    assert main(["bag", "make", str(frames), str(out), "--labels", str(labels), "--classes", "camvid"]) == 0
    pictures, truths = {}, {}
    with Reader(out) as reader:
        for connection, time, data in reader.messages():
            message = deserialize(bytes(data), IMAGE)
            if connection.topic == "/labels_truth":
                truths[time] = labels_of(message)
            else:
                pictures[time] = frame_of(message, IMAGE)
    return [(round((time - min(pictures)) / 1e6), pictures[time], truths.get(time)) for time in sorted(pictures)]


def replayed(bag: Path, model: Path) -> Any:
    """The report's cameras, by what each process of `replay` runs."""
    outcome = run_job(Job(bag, str(model), ReplaySettings(), reference_profile()))
    assert isinstance(outcome, Outcome)
    return [replace(camera, problems=[]) for camera in outcome.report.cameras]


def require_same_bag(found: Any, drive: Drive, times_ms: list[int]) -> None:
    assert [time for time, _, _ in found] == times_ms
    for (_, picture, truth), number, classes in zip(found, drive.numbers, drive.classes, strict=True):
        assert np.array_equal(picture, numbered_frame(number))
        assert (truth is None) == (classes is None) and (classes is None or np.array_equal(truth, classes))


def require_same_labels(found: Any, expected: Any) -> None:
    assert all(np.array_equal(*pair) for pair in zip(found[1], expected[1], strict=True))


@few_and_many
def test_pictures_and_labels_of_every_kind(
    examples: int, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def check(data: st.DataObject, label_kind: str, kinds: list[Any], turn: int) -> None:
        drive = data.draw(drives(largest_in(label_kind)))
        folder = tmp_path_factory.mktemp("drive")
        plain, frames = write_plain(folder / "plain", drive), write_pictures(folder / "frames", drive, kinds, turn)
        labels, simple = (
            write_labels(folder / "labels", drive, label_kind),
            write_labels(folder / "ids", drive, "grey 8"),
        )
        require_same_labels(labelled(frames, model, folder / "1"), labelled(plain, model, folder / "2"))
        assert evaluated(frames, labels, model, folder / "1.json") == evaluated(plain, simple, model, folder / "2.json")
        counts = sum(np.bincount(each.ravel(), minlength=256) for each in drive.classes if each is not None)
        assert surveyed(frames, labels, model, folder / "survey") == np.asarray(counts).tolist()
        by_rate = [round(place * 1000 / 15) for place in range(len(drive.numbers))]
        require_same_bag(made_bag(frames, labels, folder / "bag"), drive, by_rate)

    for_all(
        check,
        examples,
        data=st.data(),
        label_kind=st.sampled_from(LABEL_KINDS),
        kinds=st.lists(st.sampled_from(LOSSLESS), min_size=5, max_size=5),
        turn=st.sampled_from(sorted(TURNED)),
    )


@few_and_many
def test_videos_of_any_rate(examples: int, model: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(drive: Drive, suffix: str, begin: int) -> None:
        drive = drive._replace(ids=[np.full(SHAPE, 3) if ids is None else ids for ids in drive.ids])
        folder = tmp_path_factory.mktemp("drive")
        video = folder / f"drive.{suffix}"
        times = [begin + time for time in drive.times_ms]
        write_video(video, [numbered_frame(number) for number in drive.numbers], times, "ffv1")
        plain, labels = write_plain(folder / "plain", drive), write_labels(folder / "labels", drive, "grey 8")
        found = labelled(video, model, folder / "1")
        assert [round(stamp / 1e6) for stamp in found[0]] == drive.times_ms
        assert len(found[1]) == len(drive.numbers)
        assert evaluated(video, labels, model, folder / "1.json") == evaluated(plain, labels, model, folder / "2.json")
        counts = sum(np.bincount(each.ravel(), minlength=256) for each in drive.classes if each is not None)
        assert surveyed(video, labels, model, folder / "survey") == np.asarray(counts).tolist()
        require_same_bag(made_bag(video, labels, folder / "bag"), drive, drive.times_ms)

    for_all(
        check, examples, drive=drives(), suffix=st.sampled_from(["mkv", "MKV"]), begin=st.sampled_from([0, 5000, -40])
    )


@few_and_many
def test_bags_of_every_kind(examples: int, model: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(drive: Drive, stored: tuple[str, str], burst: int) -> None:
        folder = tmp_path_factory.mktemp("drive")
        bag, plain = write_drive_bag(folder / "bag", drive, *stored, burst), write_drive_bag(folder / "plain", drive)
        pictures = write_plain(folder / "pictures", drive)
        found = labelled(bag, model, folder / "1")
        assert [round((stamp - START) / 1e6) for stamp in found[0]] == drive.times_ms
        require_same_labels(found, labelled(plain, model, folder / "2"))
        assert len(found[1]) == len(labelled(pictures, model, folder / "3")[1])
        (camera,) = replayed(bag, model)
        assert [camera] == replayed(plain, model)
        assert (camera.frames, camera.clock) == (len(drive.numbers), "header stamps")
        assert camera.frames_with_truth == sum(ids is not None for ids in drive.ids)

    for_all(check, examples, drive=drives(), stored=st.sampled_from(STORED), burst=st.sampled_from([1, 3]))


def transparent_tiff() -> bytes:
    image = Image.fromarray(numbered_frame(2)).convert("RGBA")
    image.putalpha(100)
    return picture_bytes(image, "TIFF")


IDS = np.full(SHAPE, 3)
WHOLE = png(IDS)
FRAME = picture_bytes(Image.fromarray(numbered_frame(2)), "PNG")
DAMAGES: dict[str, tuple[str, bytes, str]] = {  # what is written where, and what is said of it
    "a frame cut short": ("frames/f2.png", FRAME[: len(FRAME) // 2], "f2.png cannot be decoded"),
    "an empty frame": ("frames/f2.png", b"", "f2.png is empty"),
    "a frame read in two ways": ("frames/f2.png", transparent_tiff(), "f2.png is of a rare kind"),
    "two frames of one name": ("frames/f2.jpg", FRAME, "two pictures of one name: f2.jpg and f2.png"),
    "an id out of range": ("labels/f2.png", png(np.full(SHAPE, 12)), "f2.png hold the id 12"),
    "an unknown colour": ("labels/f2.png", png(np.full((*SHAPE, 3), 1), 8, RGB), "f2.png have the colour [1, 1, 1]"),
    "labels of another size": ("labels/f2.png", png(np.full((24, 32), 3)), "f2.png are 32 x 24"),
    "labels cut short": ("labels/f2.png", WHOLE[:-30], "f2.png cannot be decoded"),
    "labels without their last rows": (
        "labels/f2.png",
        png_with(WHOLE, b"IDAT", zlib.compress(bytes(SHAPE[0] // 2 * (SHAPE[1] + 1)))),
        "f2.png cannot be decoded",
    ),
    "labels that are turned": (
        "labels/f2.png",
        picture_bytes(Image.fromarray(IDS.astype(np.uint8)), "PNG", 6),
        "f2.png are turned by EXIF",
    ),
    "labels in JPEG": ("labels/f2.png", picture_bytes(Image.new("L", (64, 48)), "JPEG"), "f2.png are no PNG"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_every_command_refuses_the_same_by_name(
    what: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = Drive([1, 2, 3], [0, 33, 66], [IDS, IDS, IDS])
    frames, labels = write_plain(tmp_path / "frames", drive), write_labels(tmp_path / "labels", drive, "grey 8")
    place, content, said = DAMAGES[what]
    (tmp_path / place).write_bytes(content)
    both = ["--labels", str(labels), "--classes", "camvid"]
    commands = [
        ["bag", "make", str(frames), str(tmp_path / "bag"), *both],
        ["train", "survey", "--frames", str(frames), "--out", str(tmp_path / "run"), *both],
        ["evaluate", "--frames", str(frames), *both, "--model", str(model), "--rows", "per-frame", "--stills"],
    ]
    if place.startswith("frames"):
        commands.append(["label", str(frames), "--out", str(tmp_path / "out"), "--model", str(model), "--labels"])
    for command in commands:
        given = [*command, "--model", str(model / "model.yaml")] if command[0] == "train" else command
        assert main(given) == 1, command[:2]
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error
        assert error.splitlines()[-1].startswith("lowlat-seg: ")
    assert not (tmp_path / "bag").exists()
