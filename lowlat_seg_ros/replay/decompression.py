"""Decompressing within bounds: a small hostile file could otherwise unpack into all of the memory, or of the disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Final, NamedTuple

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_START: Final = b"\x28\xb5\x2f\xfd"

BLOCK_BYTES: Final = 1 << 20

FREE_BYTES: Final = 1 << 26
TIMES_PACKED: Final = 100
"""What compressed data may unpack to: 64 MiB, and a hundred times themselves. Pictures of a real world take a tenth."""


def allowed_bytes(packed: int) -> int:
    """The most that so many compressed bytes may unpack to."""
    return FREE_BYTES + TIMES_PACKED * packed


class Decompressed(NamedTuple):
    """What came out of compressed data, and whether that is all that was in."""

    data: bytes
    is_whole: bool


class CompressionError(Exception):
    """Compressed data that cannot be decompressed; says why, in half a sentence."""


def decompress(data: bytes, compression: str, limit: int) -> Decompressed:
    """Decompress `data` by "zstd", "lz4" or "" (none); of data that is cut short, as much as there is.

    Raises CompressionError for damaged data, an unknown compression, or more than `limit` bytes or than data of that
    length may unpack to.
    """
    limit = min(limit, allowed_bytes(len(data)))
    if compression == "":
        unpacked = Decompressed(data, True)
    elif compression in ("zstd", "lz4"):
        try:
            unpacked = _decompress_frames(data, compression, limit)
        except (zstd.ZstdError, RuntimeError, EOFError) as error:  # lz4 raises RuntimeError
            raise CompressionError(f"its {compression} data are damaged") from error
    else:
        raise CompressionError(f"it is compressed by {compression!r}; expected zstd, lz4 or nothing")
    if len(unpacked.data) > limit:
        raise CompressionError(f"it unpacks to more than {limit} bytes")
    return unpacked


def _decompress_frames(data: bytes, compression: str, limit: int) -> Decompressed:
    frames: list[bytes] = []
    room = limit + 1
    is_whole = True
    while data and room > 0 and is_whole:
        decompressor = zstd.ZstdDecompressor() if compression == "zstd" else lz4.frame.LZ4FrameDecompressor()
        frames.append(decompressor.decompress(data, room))
        room -= len(frames[-1])
        is_whole = decompressor.eof
        data = decompressor.unused_data or b""
    return Decompressed(b"".join(frames), is_whole)


def unpack_file(path: Path, target: IO[bytes], limit: int) -> bool:
    """Decompress the zstd file `path` into `target`, at most `limit` bytes; returns whether the file was whole.

    `limit` is lowered to what a file of that length may unpack to.

    Of a file that is cut short or damaged, what comes before that is unpacked. Raises CompressionError for more.
    """
    written = 0
    limit = min(limit, allowed_bytes(path.stat().st_size))
    try:
        with zstd.open(path, "rb") as source:
            while block := source.read(BLOCK_BYTES):
                written += len(block)
                if written > limit:
                    raise CompressionError(f"it unpacks to more than {limit} bytes")
                target.write(block)
    except (zstd.ZstdError, EOFError):
        return False
    return True
