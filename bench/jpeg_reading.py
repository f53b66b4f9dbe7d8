"""What it costs to tell damaged JPEGs, and which are not told: pictures of 1280x720 of the synthetic street.

`python -m bench.jpeg_reading` prints a line for each kind: the least CPU time of some runs of OpenCV's decoder, which
does not tell, of what the node's callback calls for a compressed image, and of the part of it that follows the markers;
and how many of 300 losses of so many bytes, anywhere in the picture's data, nothing is said of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Final

import cv2
import numpy as np

from lowlat_seg_ros.data.compressed_image import compressed_image_to_rgb
from lowlat_seg_ros.data.jpeg import JpegError, decode_jpeg, jpeg_extent
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

SEED: Final = 100  # one that results may be chosen on
SIZE: Final = (1280, 720)
RUNS: Final = 40
LOSSES: Final = 300
BYTES_LOST: Final = (16, 188, 1460)  # a few, a packet of a transport stream, one of a network
KINDS: Final = {
    "baseline": [],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 80],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
}


def cpu_ms(work: Callable[[], object]) -> float:
    """The least CPU time of this thread in RUNS runs, milliseconds."""
    least = float("inf")
    for _ in range(RUNS):
        begin = time.thread_time()
        work()
        least = min(least, time.thread_time() - begin)
    return 1000 * least


def by_opencv(content: bytes) -> object:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(np.asarray(picture), cv2.COLOR_BGR2RGB)


def silent(content: bytes, bytes_lost: int) -> int:
    """How many of LOSSES losses of so many bytes are not told."""
    first = content.index(b"\xff\xda") + 14
    places = np.random.default_rng(bytes_lost).integers(first, len(content) - 2 - bytes_lost, LOSSES)
    return sum(not is_told(content[:place] + content[place + bytes_lost :]) for place in places.tolist())


def is_told(content: bytes) -> bool:
    try:
        return bool(decode_jpeg(content, jpeg_extent(content))[1])
    except JpegError:
        return True


def main() -> None:
    cv2.setNumThreads(1)
    picture = cv2.cvtColor(SyntheticStreet(SIZE, SEED)[0].image, cv2.COLOR_RGB2BGR)
    noise = np.random.default_rng(0).normal(0, 4, picture.shape)  # of a sensor; the street has none
    picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    heads = "".join(f"{f'{count} B':>8}" for count in BYTES_LOST)
    print(f"                kB   ms: OpenCV   told   markers   silent of {LOSSES}:{heads}")
    for name, options in KINDS.items():
        content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()
        message = SimpleNamespace(format="jpeg", data=np.frombuffer(content, np.uint8))
        opencv = cpu_ms(partial(by_opencv, content))
        told = cpu_ms(partial(compressed_image_to_rgb, message))
        markers = cpu_ms(partial(jpeg_extent, content))
        counts = "".join(f"{silent(content, count):8}" for count in BYTES_LOST)
        print(f"{name:11} {len(content) / 1000:6.0f} {opencv:12.2f} {told:6.2f} {markers:9.3f} {'':15}{counts}")


if __name__ == "__main__":
    main()
