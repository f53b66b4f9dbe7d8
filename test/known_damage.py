"""Damaged bags that are the same bytes on every machine, and what a reader makes of one, in eight digits."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bag_parts import chunk_record, definitions, image, labels, mcap, message_record, record

COUNT = 200
SEED = 240


def damaged_bags(folder: Path) -> Iterator[Path]:
    """MCAP files, with and without chunks, of flipped, cut and repeated bytes."""
    whole = (_in_chunks(), _loose())
    chance = random.Random(SEED)
    for number in range(COUNT):
        content = bytearray(whole[number % 2])
        for _ in range(chance.choice((1, 1, 2, 5))):
            place = chance.randrange(len(content))
            match chance.randrange(4):
                case 0:
                    content[place] = chance.randrange(256)
                case 1:
                    del content[place : place + chance.choice((1, 8, 200))]
                case 2:
                    content[place:place] = content[place : place + chance.choice((1, 9, 300))]
                case 3 if chance.random() < 0.5:
                    del content[place:]
        path = folder / f"{number:03}.mcap"
        path.write_bytes(content)
        yield path


def _messages() -> list[bytes]:
    drive = [(channel, make(number)) for number in range(4) for channel, make in ((1, image), (2, labels))]
    return [message_record(channel, message) for channel, message in drive]


def _loose() -> bytes:
    return mcap(definitions(["/image", "/labels_truth"]) + b"".join(_messages()))


def _in_chunks() -> bytes:
    content = definitions(["/image", "/labels_truth"])
    for start in range(0, 8, 4):
        messages = _messages()[start : start + 4]
        content += chunk_record(b"".join(messages))
        for channel in (1, 2):
            entries = b"".join(
                message[15:23] + struct.pack("<Q", sum(map(len, messages[:number])))
                for number, message in enumerate(messages)
                if message[9] == channel
            )
            content += record(7, struct.pack("<HI", channel, len(entries)) + entries)
    return mcap(content)


def digest(open_bag: Any, path: Path) -> str:
    """Of every message, and of every frame with its labels; of a bag that is refused, "refused"."""
    found = hashlib.sha256()
    try:
        with open_bag(path) as bag:
            for message in bag.messages():
                found.update(f"{message.topic} {message.type} {message.received}\n".encode() + message.data)
            for camera in bag.camera_topics:
                for frame in bag.frames(camera):
                    found.update(
                        f"{frame.received} {frame.stamp} {frame.frame_id!r}\n".encode() + frame.image.tobytes()
                    )
                    found.update(b"" if frame.labels is None else frame.labels.tobytes())
    except Exception as error:
        if type(error).__name__ != "BagError":
            raise
        return "refused"
    return found.hexdigest()[:8]
