"""What ``make fuzz`` reads: of each kind of input some good files, what may become of them, and how they are read.

A kind's ``read`` raises an Error for what it refuses, and ``Misread`` for values that another reader contradicts.
"""

from __future__ import annotations

import functools
import io
import json
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import yaml
from bag_parts import compressed, encoded, image, labels, write_bag_of
from example_report import example_report
from foreign_networks import onnx_network
from known_damage import damaged_bags, digest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps
from rosbags.rosbag2 import Reader
from small_networks import small_network
from written_files import GREY, PALETTE, RGB, RGB_ALPHA, interlaced_png, picture_bytes, png, write_video

from lowlat_seg_ros.commands.bag import bag_info
from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.documents import DocumentError, parse_yaml
from lowlat_seg_ros.data.image_file import read_rgb
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.label_file import read_label_file
from lowlat_seg_ros.data.png import PNG_START
from lowlat_seg_ros.data.problems import Problems
from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.models.checkpoint import load_checkpoint, save_checkpoint
from lowlat_seg_ros.models.config import load_config
from lowlat_seg_ros.replay.bags import open_bag
from lowlat_seg_ros.replay.comparison import compare, comparison_text
from lowlat_seg_ros.replay.fleet import FLEET_FORMAT, done_bag, fleet_mapping
from lowlat_seg_ros.replay.messages import CAMERA_TYPES, IMAGE, deserialize, frame_of, header_at_start, header_of
from lowlat_seg_ros.replay.problems import DamagedMessage
from lowlat_seg_ros.replay.profile import load_profile, reference_profile
from lowlat_seg_ros.replay.report import FORMAT
from lowlat_seg_ros.replay.report_files import read_document
from lowlat_seg_ros.slow.description import group_classes, read_description
from lowlat_seg_ros.slow.registry import load_model
from lowlat_seg_ros.training.data_plan import load_data_plan
from lowlat_seg_ros.training.plan import load_plan
from lowlat_seg_ros.training.run_state import STATE_FILE, read_state

ROOT = Path(__file__).parents[1]
FRAMES = 4
STORED = (("mcap", "none"), ("mcap", "storage"), ("mcap", "file"), ("sqlite3", "none"), ("sqlite3", "message"))

Rng = random.Random


class Misread(Exception):
    """Values that another reader, or the file before it was damaged, contradicts."""


class Kind(NamedTuple):
    """One kind of input."""

    make: Callable[[Path], dict[str, bytes]]  # good files by name, made once
    read: Callable[[Path, str], None]  # a damaged file, and which good one it was
    hostile: tuple[str | bytes, ...] = ()  # what is put in the place of a value
    share: int = 1  # how many of the inputs are of this kind
    is_damaged: bool = False  # already, as made: nothing more happens to it


# --- Damage -----------------------------------------------------------------------------------------------------------

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
HOSTILE_TEXT = (
    ".inf", "-.inf", ".nan", "1e400", "9" * 5000, "-1", "0", "1.5", "true", "~", "''", "{}", "[]", "[[[[]]]]",
    "[" * 3000, "{a: " * 500, "&a [*a]", "*x", "!!python/object/apply:os.system ['true']", "2001-01-01", "2001-99-99",
    "0x" + "f" * 3000, "\x1b[31m", "'<script>alert(1)</script>'", "a" * 3000, "\ud7ff", "[1, 2, 3]", "99999999999",
    '"\\ud800"', "1:2:3:4", "NaN", "null", "Infinity", '"\\u0000"', "- - - a", "? a", "[null]",
    '{"a": {"a": {"a": 1}}}',
)  # fmt: skip


def damaged(rng: Rng, content: bytes, others: list[bytes], hostile: tuple[str | bytes, ...]) -> bytes:
    """The content after one to six accidents."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if hostile and rng.random() < 0.7:
            data = bytearray(with_hostile_value(rng, bytes(data), rng.choice(hostile)))
        else:
            ACCIDENTS[rng.randrange(len(ACCIDENTS))](rng, data, others)
    return bytes(data)


def damaged_inside(rng: Rng, content: bytes) -> bytes:
    """A PNG of one chunk of samples after accidents to its header, palette or samples: all checksums are right."""
    chunks, place = [], len(PNG_START)
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += length + 12
    victim = rng.randrange(len(chunks))
    packed = []
    for number, (kind, data) in enumerate(chunks):
        inside = bytearray(zlib.decompress(data) if kind == b"IDAT" else data)
        if number == victim:
            rng.choice((_flip, _overwrite_number, _remove, _cut))(rng, inside, [])
        data = zlib.compress(inside) if kind == b"IDAT" else bytes(inside)
        packed.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return PNG_START + b"".join(packed)


def with_hostile_value(rng: Rng, text: bytes, value: str | bytes) -> bytes:
    """Another value in the place of one, or of a line."""
    new = value.encode(errors="surrogatepass") if isinstance(value, str) else value
    ends = [place for place, letter in enumerate(text) if letter in b":,[]{}\n"]
    if len(ends) < 2:
        return new
    number = rng.randrange(len(ends) - 1)
    return text[: ends[number] + 1] + b" " + new + text[ends[number + 1] :]


def _flip(rng: Rng, data: bytearray, others: list[bytes]) -> None:
    for _ in range(rng.choice((1, 4, 30))):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)


def _cut(rng: Rng, data: bytearray, others: list[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _overwrite_number(rng: Rng, data: bytearray, others: list[bytes]) -> None:
    form = rng.choice("BHIQ")
    size = struct.calcsize(form)
    if len(data) >= size:
        number = rng.choice(NUMBERS) % (1 << (8 * size))
        # The first kilobytes are where sizes stand.
        place = rng.randrange(min(len(data), rng.choice((200, len(data)))) - size + 1 or 1)
        data[place : place + size] = struct.pack(rng.choice("<>") + form, number)


def _repeat(rng: Rng, data: bytearray, others: list[bytes]) -> None:
    if data:
        start = rng.randrange(len(data))
        part = bytes(data[start : start + rng.choice((1, 16, 300))])
        data[start:start] = part * rng.choice((1, 2, 50))


def _remove(rng: Rng, data: bytearray, others: list[bytes]) -> None:
    if data:
        start = rng.randrange(len(data))
        del data[start : start + rng.choice((1, 4, 100))]


def _splice(rng: Rng, data: bytearray, others: list[bytes]) -> None:
    other = rng.choice(others)
    start = rng.randrange(len(other) + 1)
    place = rng.randrange(len(data) + 1)
    data[place : place + rng.choice((0, 100))] = other[start : start + rng.choice((8, 100, 1000))]


def _fill(rng: Rng, data: bytearray, others: list[bytes]) -> None:
    if data:
        start = rng.randrange(len(data))
        length = min(len(data) - start, rng.choice((4, 64, 4096)))
        data[start : start + length] = bytes([rng.choice((0, 255, 0x5B, 0x22))]) * length


ACCIDENTS = (_flip, _flip, _cut, _overwrite_number, _overwrite_number, _repeat, _remove, _splice, _fill)


# --- Bags -------------------------------------------------------------------------------------------------------------


def _bags(folder: Path) -> dict[str, bytes]:
    made = {}
    drive = [each for number in range(FRAMES) for each in (image(number), labels(number))]
    drive += [compressed(number, encoded(_smooth(), ".png"), "png") for number in range(FRAMES)]
    for storage, compression in STORED:
        bag = write_bag_of(folder / f"{storage}_{compression}", drive, storage, compression)
        for file in bag.iterdir():
            made[f"{storage}_{compression}/{file.name}"] = file.read_bytes()
    return made


@functools.cache
def _good_messages(folder: Path) -> frozenset[tuple[str, int, bytes]]:
    bag = next(each for each in folder.iterdir() if each.name.endswith("mcap_none"))
    with Reader(bag) as reader:
        return frozenset((connection.topic, time, bytes(data)) for connection, time, data in reader.messages())


def read_bag(path: Path, name: str) -> None:
    """``path`` lies in a folder with the bag's other files. All that rosbags reads of it must be read alike."""
    for target in (path.parent,) if name == "metadata.yaml" else (path.parent, path):
        with open_bag(target) as bag:
            lines = bag_info(bag)
            for camera in bag.camera_topics:
                for frame in bag.frames(camera):
                    assert frame.image.ndim == 3 and frame.image.dtype == np.uint8
            found = {(message.topic, message.received, message.data) for message in bag.messages()}
            lines += bag.problems
            require_clean(lines)
        if target is path.parent:
            _compare_with_rosbags(target, found, bag.problems)


def _compare_with_rosbags(folder: Path, found: set[tuple[str, int, bytes]], problems: list[str]) -> None:
    try:
        with Reader(folder) as reader:
            theirs = {(connection.topic, time, bytes(data)) for connection, time, data in reader.messages()}
    except Exception:  # it gives up at any damage
        return
    missing = {each for each in theirs - found if each in _good_messages(_FOLDERS["bags"])}
    if missing and not problems:
        raise Misread(f"{len(missing)} messages that rosbags reads are missing without a word")
    stale = found - theirs - _good_messages(_FOLDERS["bags"])
    if stale and len(found) <= len(theirs) and not problems:
        raise Misread(f"{len(stale)} messages are not as rosbags reads them, without a word")


def _known_bags(folder: Path) -> dict[str, bytes]:
    return {f"{path.stem}/{path.name}": path.read_bytes() for path in damaged_bags(folder)}


@functools.cache
def _known_values() -> dict[str, str]:
    return dict(json.loads((ROOT / "test" / "damaged_bag_values.json").read_text()))


def read_known_bag(path: Path, name: str) -> None:
    """What the reader of commit 240b7a4 gave of the same damaged bag."""
    if digest(open_bag, path) != _known_values()[path.stem]:
        raise Misread(f"{name} is not read as the reader of commit 240b7a4 did")


# --- Messages ---------------------------------------------------------------------------------------------------------


def _progressive() -> bytes:
    return picture_bytes(Image.fromarray(_smooth()), "JPEG", progressive=True)


LARGEST_COMPARED = 12 << 20  # samples: Pillow's copies of a few bytes that claim more would count as the reader's


def _messages(folder: Path) -> dict[str, bytes]:
    return {
        "image": image(0).data,
        "labels": labels(0).data,
        "png": compressed(0, encoded(_smooth(), ".png"), "png").data,
        "jpeg": compressed(0, encoded(_smooth(), ".jpg"), "jpeg").data,
        "progressive": compressed(0, _progressive(), "jpeg").data,
    }


def read_message(path: Path, name: str) -> None:
    kind = IMAGE if name in ("image", "labels") else CAMERA_TYPES[1]
    data = path.read_bytes()
    try:
        message = deserialize(data, kind)
        if header_at_start(data).stamp != header_of(message).stamp:
            raise Misread("the stamp at the start is not that of the message")
        frame = frame_of(message, kind)
    except DamagedMessage as error:
        require_clean([str(error)])
        return
    if kind != IMAGE and message.format in ("png", "jpeg"):
        _compare_with_pillow(message.data.tobytes(), frame)


def _compare_with_pillow(content: bytes, frame: NDArray[np.uint8]) -> None:
    if frame.size > LARGEST_COMPARED:
        return
    try:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        theirs = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
    except Exception:  # stricter than OpenCV about what is no pixel
        return
    if theirs.shape != frame.shape:
        raise Misread(f"Pillow reads {theirs.shape}, not {frame.shape}")
    if cv2.norm(theirs, frame, cv2.NORM_L1) > 8 * frame.size:  # in bytes: some damage claims 65 000 pixels a line
        raise Misread("Pillow reads other pixels")


# --- Pictures and videos ----------------------------------------------------------------------------------------------

PICTURES: dict[str, tuple[str, str, dict[str, Any]]] = {  # name: Pillow's format, mode, options
    "rgb.png": ("PNG", "RGB", {}),
    "palette.png": ("PNG", "P", {}),
    "alpha.png": ("PNG", "RGBA", {}),
    "plain.jpg": ("JPEG", "RGB", {}),
    "progressive.jpg": ("JPEG", "RGB", {"progressive": True}),
    "restarts.jpg": ("JPEG", "RGB", {"restart_marker_blocks": 2}),
    "grey.jpg": ("JPEG", "L", {}),
    "cmyk.jpg": ("JPEG", "CMYK", {}),
    "a.webp": ("WEBP", "RGB", {"lossless": True}),
    "a.bmp": ("BMP", "RGB", {}),
    "palette.bmp": ("BMP", "P", {}),
    "a.tif": ("TIFF", "RGB", {}),
    "lzw.tif": ("TIFF", "L", {"compression": "tiff_lzw"}),
    "a.ppm": ("PPM", "RGB", {}),
    "grey.pgm": ("PPM", "L", {}),
    "a.jp2": ("JPEG2000", "RGB", {}),
}


def _smooth() -> NDArray[np.uint8]:
    return np.dstack([*np.meshgrid(np.arange(48), np.arange(32)), np.full((32, 48), 200)]).astype(np.uint8)


def _pictures(folder: Path) -> dict[str, bytes]:
    return {
        f"{name}/{name}": picture_bytes(Image.fromarray(_smooth()).convert(mode), form, _turn_of(form), **options)
        for name, (form, mode, options) in PICTURES.items()
    }


def _turn_of(form: str) -> int:
    """An EXIF orientation: JPEGs lie on their side."""
    return 6 if form == "JPEG" else 1


def read_picture(path: Path, name: str) -> None:
    problems = Problems()
    frame = read_rgb(path, problems)
    require_clean(problems.report_lines())
    if "16 bits a channel" not in " ".join(problems.lines()):  # of which Pillow keeps the upper byte
        _compare_with_pillow(path.read_bytes(), frame)


VIDEOS = (("a.ts", "libx264"), ("b.mkv", "libx264"), ("b.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mkv", "ffv1"))


def _videos(folder: Path) -> dict[str, bytes]:
    made = {}
    for name, codec in VIDEOS:
        frames = [_smooth() + np.uint8(10 * number) for number in range(FRAMES)]
        write_video(folder / name, frames, [40 * number for number in range(FRAMES)], codec)
        made[f"{name}/{name}"] = (folder / name).read_bytes()
    for name, codec in (("a.avi", "MJPG"), ("a.mp4", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*codec), 10, (48, 32))
        for number in range(FRAMES):
            writer.write(_smooth() + np.uint8(10 * number))
        writer.release()
        made[f"{name}/{name}"] = (folder / name).read_bytes()
    return made


def read_video(path: Path, name: str) -> None:
    clip = open_clip(path)
    last, count = -1, 0
    for time, frame in clip.timed_frames():
        if time <= last or frame.shape != (clip.size[1], clip.size[0], 3) or frame.dtype != np.uint8:
            raise Misread(f"a frame of {frame.shape} at {time} after one at {last}")
        last = time
        count += 1
    lines = clip.problems.report_lines()
    require_clean(lines)
    if count < FRAMES and not lines and path.suffix != ".ts":  # of which nothing says how many there were
        raise Misread(f"{count} of {FRAMES} frames, and nothing is said")


# --- Labels -----------------------------------------------------------------------------------------------------------


def _labels(folder: Path) -> dict[str, bytes]:
    ids = np.random.default_rng(3).integers(0, 11, (24, 32)).astype(np.uint8)
    rgb = np.array(list(CAMVID_LABELS.colours)[:11], np.uint8)[ids]
    alpha = np.dstack([rgb, np.full(ids.shape, 255)])
    return {
        "grey.png": png(ids),
        "nibble.png": png(ids, 4),
        "bit.png": png(ids % 2, 1),
        "deep.png": png(ids, 16),
        "palette.png": png(ids, 8, PALETTE),
        "interlaced.png": interlaced_png(ids, 4, PALETTE, b"\0\xff"),
        "colours.png": png(rgb, 8, RGB),
        "alpha.png": png(alpha, 8, RGB_ALPHA),
    }


def read_labels(path: Path, name: str) -> None:
    found = read_label_file(path, CAMVID_LABELS).labels
    try:
        theirs = np.asarray(Image.open(path))
    except Exception:
        return
    bit_depth, colour_type = path.read_bytes()[24:26]
    if colour_type == GREY and bit_depth in (2, 4):  # which Pillow stretches
        theirs = theirs // (255 // (2**bit_depth - 1))
    if theirs.ndim == 3:
        colours = {**CAMVID_LABELS.colours}
        flat = [colours[tuple(pixel)] for pixel in theirs[..., :3].reshape(-1, 3).tolist()]
        theirs = np.array(flat, np.uint8).reshape(theirs.shape[:2])
    if theirs.shape != found.shape:
        raise Misread(f"Pillow reads {theirs.shape}, not {found.shape}")
    if not np.array_equal(theirs[found != 255], found[found != 255]):
        raise Misread("Pillow reads other ids")


# --- Models, descriptions, states -------------------------------------------------------------------------------------


def _checkpoint(folder: Path) -> dict[str, bytes]:
    save_checkpoint(small_network(input_size=(64, 48)), folder / "model", "For tests.")
    return {name: (folder / "model" / name).read_bytes() for name in ("model.yaml", "weights.safetensors")}


def read_checkpoint(path: Path, name: str) -> None:
    load_checkpoint(path.parent)


def _onnx(folder: Path) -> dict[str, bytes]:
    return {"net.onnx": onnx_network(folder / "net.onnx", {"classes": ["a", "b", "c"]}, classes=3).read_bytes()}


def read_onnx(path: Path, name: str) -> None:
    network = load_model(str(path))
    assert len(network.classes) > 0


def _descriptions(folder: Path) -> dict[str, bytes]:
    text = """source: net.onnx
input_size: [640, 480]
mean: [123.6, 116.3, 103.5]
std: [58.4, 57.1, 57.4]
layout: nchw
channels: rgb
scales: [1.0, 0.5]
flip: false
classes: [road, car, person, sky]
merge: {car: thing, person: thing}
ignore: [sky]
colours: [[128, 64, 128], [0, 0, 142]]
"""
    return {
        "foreign.yaml": text.encode(),
        "config.yaml": (ROOT / "config" / "models" / "default.yaml").read_bytes(),
        "recipe.yaml": (next((ROOT / "config" / "training").glob("*.yaml"))).read_bytes(),
    }


def read_a_description(path: Path, name: str) -> None:
    compare_with_pyyaml(path)
    if name == "foreign.yaml":
        description = read_description(path)
        if description.classes:
            group_classes(description.classes, description, str(path))
    elif name == "config.yaml":
        load_config(path)
    else:
        load_plan(path, "base")
        load_data_plan(path)


def compare_with_pyyaml(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        ours = parse_yaml(text, "it")
    except (DocumentError, ValueError):
        return
    try:
        theirs = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return
    if repr(ours) != repr(theirs) and "-" not in repr(theirs) and "date" not in repr(theirs):
        raise Misread(f"PyYAML reads {theirs!r:.100}, not {ours!r:.100}")


def _states(folder: Path) -> dict[str, bytes]:
    content = io.BytesIO()
    parts: dict[str, Any] = {name: {"a": torch.zeros(3)} for name in ("network", "optimiser", "schedule", "scaler")}
    torch.save({**parts, "recipe": {"seed": 1}, "history": [{"loss": 1.0}], "seconds": 2.0}, content)
    return {"state": content.getvalue()}


def read_a_state(path: Path, name: str) -> None:
    path.rename(path.with_name(STATE_FILE))
    read_state(path.parent, {"seed": 1})


# --- Reports ----------------------------------------------------------------------------------------------------------


def _reports(folder: Path) -> dict[str, bytes]:
    report = json.loads(json_text(example_report(frames=4).to_mapping()))
    return {
        "report.json": json_text(report).encode(),
        "fleet.json": json_text(fleet_mapping([done_bag("a", report)])).encode(),
        "profile.json": json_text(reference_profile().to_mapping()).encode(),
    }


def read_report(path: Path, name: str) -> None:
    if name == "profile.json":
        load_profile(path)
        return
    document = read_document(path, (FORMAT, FLEET_FORMAT))
    text = comparison_text(compare(document, document), 0.01)
    require_clean(text.split("\n"))


# --- What every answer must be ----------------------------------------------------------------------------------------


def require_clean(lines: list[str]) -> None:
    """Lines that a terminal can show: without control characters, of bounded length."""
    for line in lines:
        if any(not letter.isprintable() for letter in line):
            raise Misread(f"a control character in {line!r:.200}")
        if len(line) > 3000:
            raise Misread(f"a line of {len(line)} characters")


KINDS = {
    "bags": Kind(_bags, read_bag, share=4),
    "known bags": Kind(_known_bags, read_known_bag, share=1, is_damaged=True),
    "messages": Kind(_messages, read_message, share=6),
    "pictures": Kind(_pictures, read_picture, share=4),
    "videos": Kind(_videos, read_video, share=1),
    "labels": Kind(_labels, read_labels, share=4),
    "checkpoints": Kind(_checkpoint, read_checkpoint, share=1),
    "onnx": Kind(_onnx, read_onnx, share=1),
    "descriptions": Kind(_descriptions, read_a_description, HOSTILE_TEXT, share=4),
    "reports": Kind(_reports, read_report, HOSTILE_TEXT, share=2),
    "states": Kind(_states, read_a_state, share=2),
}
_FOLDERS: dict[str, Path] = {}


class Inputs:
    """All kinds' good files, and the damaged one of each number."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._good: dict[str, dict[str, bytes]] = {}
        for name, kind in KINDS.items():
            _FOLDERS[name] = folder / name
            (folder / name).mkdir(parents=True)
            self._good[name] = kind.make(folder / name)
        self._read_all_good(folder / "warm")
        self._turns = [name for name, kind in KINDS.items() for _ in range(kind.share)]

    def _read_all_good(self, work: Path) -> None:
        """So that no input pays for what is loaded once; and what is whole must be read."""
        Image.init()
        for name, good in self._good.items():
            for victim in good:
                work.mkdir()
                self._read(KINDS[name], good, victim, good[victim], work)
                shutil.rmtree(work)

    def kind_of(self, number: int) -> str:
        return self._turns[number % len(self._turns)]

    def read(self, number: int, work: Path) -> None:
        """Damage the file of that number and read it; raises what its kind does."""
        rng = random.Random(f"{self._seed} {number}")
        name = self.kind_of(number)
        kind, good = KINDS[name], self._good[name]
        victim = rng.choice(sorted(good))
        hostile = HOSTILE_TEXT if victim.endswith((".yaml", ".json")) else kind.hostile
        if kind.is_damaged:
            content = good[victim]
        elif victim.endswith(".png") and rng.random() < 0.7:  # else nearly all damage ends at the first checksum
            content = damaged_inside(rng, good[victim])
        else:
            content = damaged(rng, good[victim], list(good.values()), hostile)
        self._read(kind, good, victim, content, work)

    @staticmethod
    def _read(kind: Kind, good: dict[str, bytes], victim: str, content: bytes, work: Path) -> None:
        for other, others_content in good.items():  # a bag's and a checkpoint's others lie beside it
            if Path(other).parent == Path(victim).parent:
                place = work / Path(other).name
                place.write_bytes(content if other == victim else others_content)
        kind.read(work / Path(victim).name, Path(victim).name)
