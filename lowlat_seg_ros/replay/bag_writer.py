"""Making a rosbag2 bag of frames and their labels: what `ros2 bag info` lists and `ros2 bag play` sends.

Topics: `/image` (bgr8) and, where there are labels, `/labels_truth` (mono8 class ids, 255 = unlabelled) with the same
stamps. Stamps and receive times are equal, the clip's own times from START on, so that the same frames make one bag.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

import cv2
import numpy as np
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from lowlat_seg_ros.data.labelled_clips import LabelledFrame
from lowlat_seg_ros.replay.bags import truth_topic
from lowlat_seg_ros.replay.messages import IMAGE, NANOSECONDS_A_SECOND, Header, serialized_image, typestore
from lowlat_seg_ros.replay.problems import BagError

Storage = Literal["mcap", "sqlite3"]
Compression = Literal["none", "zstd"]

IMAGE_TOPIC: Final = "/image"
TRUTH_TOPIC: Final = truth_topic(IMAGE_TOPIC)

COMPRESSION_MODES: Final[dict[Storage, CompressionMode]] = {
    "mcap": CompressionMode.STORAGE,
    "sqlite3": CompressionMode.MESSAGE,
}

START: Final = 1_000_000_000 * NANOSECONDS_A_SECOND
"""When every bag begins, 9 September 2001: a stamp of 0 would mean "no time" to ROS."""

METADATA_VERSION: Final = 9  # as Jazzy and Kilted write it

FOREVER: Final = QosTime(9223372036, 854775807)  # RMW_DURATION_INFINITE

OFFERED: Final = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    FOREVER,
    FOREVER,
    QosLiveliness.AUTOMATIC,
    FOREVER,
    False,
)
"""What `ros2 bag play` publishes with; reliable, so that best-effort and reliable subscribers both connect."""


class WrittenBag(NamedTuple):
    """How much a new bag holds."""

    frames: int
    labelled: int


def write_bag(
    target: str | Path,
    frames: Iterable[LabelledFrame],
    rate_hz: float,
    *,
    storage: Storage = "mcap",
    compression: Compression = "none",
    frame_id: str = "camera",
) -> WrittenBag:
    """Write a bag folder `target`, which appears under that name only when it is whole.

    zstd compresses an MCAP file by chunk, which every player of such files understands, and an SQLite file by message.
    Until the bag is whole it lies in a hidden neighbour `.NAME.part`, which is removed at an exception, and by the next
    run for the same name after a kill.

    Raises:
        BagError: `target` exists, its folder does not, there is no frame, or the disk is full.
        Exception: whatever `frames` raises.
    """
    target = Path(target)
    if target.exists() or target.is_symlink():
        raise BagError(f"{target} exists already; give another name, or remove it first.")
    if not target.absolute().parent.is_dir():
        raise BagError(f"The folder of the bag {target} does not exist.")
    try:
        with _part_folder(target) as part:
            bag = part / target.name
            writer = Writer(bag, version=METADATA_VERSION, storage_plugin=StoragePlugin[storage.upper()])
            if compression == "zstd":
                writer.set_compression(COMPRESSION_MODES[storage], CompressionFormat.ZSTD)
            written = _write(writer, frames, rate_hz, frame_id)
            os.rename(bag, target)
    except (OSError, sqlite3.Error) as error:
        raise BagError(f"The bag {target} cannot be written: {error}.") from error
    return written


def _write(writer: Writer, frames: Iterable[LabelledFrame], rate_hz: float, frame_id: str) -> WrittenBag:
    with writer:
        image_topic = _add_topic(writer, IMAGE_TOPIC)
        truth: Connection | None = None
        count = labelled = 0
        for image, labels, time in frames:
            stamp = START + (round(count * NANOSECONDS_A_SECOND / rate_hz) if time is None else time)
            header = Header(stamp, frame_id)
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
            writer.write(image_topic, stamp, serialized_image(bgr, "bgr8", header))
            count += 1
            if labels is not None:
                truth = truth or _add_topic(writer, TRUTH_TOPIC)
                writer.write(truth, stamp, serialized_image(labels, "mono8", header))
                labelled += 1
        if count == 0:
            raise BagError(f"The bag {writer.path.name} was given no frame.")
    return WrittenBag(count, labelled)


def _add_topic(writer: Writer, name: str) -> Connection:
    return writer.add_connection(name, IMAGE, typestore=typestore(), offered_qos_profiles=[OFFERED])


@contextmanager
def _part_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` for what is not whole yet; it is gone afterwards."""
    part = target.absolute().with_name(f".{target.name}.part")
    part.mkdir(exist_ok=True)
    lock = os.open(part, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BagError(f"Another program is writing {target} at this moment.") from error
        try:
            _empty(part)
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)
    finally:
        os.close(lock)


def _empty(folder: Path) -> None:
    for left_over in folder.iterdir():
        shutil.rmtree(left_over)
