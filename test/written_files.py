"""Files of every kind that readers must know, written without the readers' own libraries where that matters."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types of PNG
ORIENTATION = 0x0112  # EXIF's


def png(samples: NDArray[Any], bit_depth: int = 8, colour_type: int = GREY) -> bytes:
    """A PNG with exactly these samples: (H, W) or (H, W, channels), each less than 2 to the power of `bit_depth`."""
    return _png(samples.shape, bit_depth, colour_type, _rows(samples, bit_depth))


def interlaced_png(samples: NDArray[Any], bit_depth: int, colour_type: int, transparent: bytes = b"") -> bytes:
    """The same in the seven passes of Adam7, with a tRNS chunk of these bytes."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [samples[top::down, left::right] for top, left, down, right in passes]
    rows = b"".join(_rows(part, bit_depth) for part in parts if part.size)
    return _png(samples.shape, bit_depth, colour_type, rows, 1, transparent)


def png_with(content: bytes, name: bytes, data: bytes) -> bytes:
    """A PNG with other data in its chunk of that name, and the right checksum."""
    start = content.index(name) - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    return content[:start] + _chunk(name, data) + content[end:]


def _png(
    shape: tuple[int, ...],
    bit_depth: int,
    colour_type: int,
    rows: bytes,
    interlacing: int = 0,
    transparent: bytes = b"",
) -> bytes:
    header = struct.pack(">IIBBBBB", shape[1], shape[0], bit_depth, colour_type, 0, 0, interlacing)
    palette = bytes(value for number in range(1 << min(bit_depth, 8)) for value in (number, 255 - number, number // 2))
    chunks = [(b"IHDR", header)] + ([(b"PLTE", palette)] if colour_type == PALETTE else [])
    chunks += [(b"tRNS", transparent)] if transparent else []
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _rows(samples: NDArray[Any], bit_depth: int) -> bytes:
    return b"".join(b"\0" + _packed(row.reshape(-1), bit_depth) for row in samples)


def _packed(values: NDArray[Any], bit_depth: int) -> bytes:
    if bit_depth == 16:
        return values.astype(">u2").tobytes()
    bits = (values[:, None].astype(np.uint8) >> np.arange(bit_depth - 1, -1, -1)) & 1
    return np.packbits(bits.reshape(-1)).tobytes()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def picture_bytes(image: Image.Image, form: str, orientation: int = 1, **options: Any) -> bytes:
    """A picture in one of Pillow's formats, with that EXIF orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, form, **({"exif": exif} if orientation != 1 else {}), **options)
    return buffer.getvalue()


def with_fill_bytes(jpeg: bytes, count: int) -> bytes:
    """A JPEG with `count` fill bytes before each marker of its header and before its end marker."""
    parts, position = [jpeg[:2]], 2
    while jpeg[position + 1] != 0xDA:
        length = 2 + struct.unpack_from(">H", jpeg, position + 2)[0]
        parts.append(b"\xff" * count + jpeg[position : position + length])
        position += length
    return b"".join([*parts, b"\xff" * count, jpeg[position:-2], b"\xff" * count, jpeg[-2:]])


def write_video(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    times_ms: Sequence[int],
    codec: str,
    tick: Fraction = Fraction(1, 1000),
    **options: str,
) -> None:
    """A video of (H, W, 3) RGB frames at these times, in ticks of seconds, with a key frame every eight; by PyAV."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        stream.codec_context.time_base = tick
        stream.options = options
        stream.codec_context.gop_size = 8
        for image, time in zip(frames, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / 1000 / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def numbered_frame(number: int, size: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    """A picture whose number survives any codec: `number_of` reads it. Its upper left quarter is white."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[: size[1] // 4, : size[0] // 4] = 255
    for bit in range(6):
        left = size[0] * bit // 6
        image[size[1] // 2 :, left : left + size[0] // 6] = 255 * (number >> bit & 1)
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """The number of a `numbered_frame` that has been encoded."""
    height, width = image.shape[:2]
    middles = [image[3 * height // 4, width * bit // 6 + width // 12].mean() for bit in range(6)]
    return sum(int(value > 127) << bit for bit, value in enumerate(middles))


def turned_by_a_quarter(mp4: bytes, height: int) -> bytes:
    """An MP4 of pictures of that height whose track header says that they are to be turned clockwise."""
    matrix_at = mp4.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, height * one, 0, 1 << 30)
    return mp4[:matrix_at] + matrix + mp4[matrix_at + len(matrix) :]


def tiff(samples: NDArray[Any], meaning: int, order: Literal["<", ">"] = "<") -> bytes:
    """A TIFF of one strip, (H, W) or (H, W, 3) uint8 or uint16; `meaning`: 0 for white at 0, 1 for black, 2 for RGB."""
    height, width = samples.shape[:2]
    channels, bits = samples[0, 0].size, 8 * samples.itemsize
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    start = b"II*\0" if order == "<" else b"MM\0*"
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, meaning), (273, 4, 0)]
    tags += [(277, 3, channels), (278, 4, height), (279, 4, len(data))]
    behind = 8 + 2 + 12 * len(tags) + 4
    entries = b""
    for tag, kind, value in tags:
        count = channels if tag == 258 else 1
        if tag == 273:
            value = behind + 6 * (channels > 1)
        if count > 1:
            packed = struct.pack(f"{order}I", behind)
        else:
            packed = struct.pack(f"{order}I" if kind == 4 else f"{order}Hxx", value)
        entries += struct.pack(f"{order}HHI", tag, kind, count) + packed
    depths = struct.pack(f"{order}3H", bits, bits, bits) if channels > 1 else b""
    return start + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4) + depths + data


def pnm(samples: NDArray[Any], white: int, is_text: bool = False) -> bytes:
    """A PGM of (H, W) or a PPM of (H, W, 3), whose white is that number."""
    height, width = samples.shape[:2]
    kind = (3 if is_text else 6) if samples.ndim == 3 else (2 if is_text else 5)
    header = f"P{kind}\n{width} {height}\n{white}\n".encode()
    if is_text:
        return header + " ".join(map(str, samples.ravel().tolist())).encode() + b"\n"
    return header + samples.astype(">u2" if white > 255 else "u1").tobytes()


def bmp(bgr: NDArray[np.uint8], masks: tuple[int, int, int]) -> bytes:
    """A BMP of 32 bits a pixel, (H, W, 4) as stored, that says by masks where red, green and blue are."""
    height, width = bgr.shape[:2]
    data = bgr.tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 32, 3, len(data), 2835, 2835, 0, 0)
    behind = 14 + len(header) + 12
    return b"BM" + struct.pack("<IHHI", behind + len(data), 0, 0, behind) + header + struct.pack("<3I", *masks) + data
