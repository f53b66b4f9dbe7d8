"""Videos that are damaged, mirrored, begin late or change under way are read rightly, told of, or refused."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from written_files import number_of, numbered_frame, write_video

from lowlat_seg_ros.data.clips import ClipError, open_clip
from lowlat_seg_ros.data.frame_source import VideoFrame, read_frame

Picture = NDArray[np.uint8]
FRAMES = [numbered_frame(number) for number in range(12)]
TIMES = [33 * number for number in range(12)]
LATE = [0, 33, 66, 400, 433, 900, 1500, 1533]  # of a variable rate
CUT_SHORT = "ends within a packet: it is cut short"
DAMAGED = "may be damaged, its pictures patched up or missing; FFmpeg says: "


def moving(count: int, width: int = 320, height: int = 240) -> list[Picture]:
    """Noise that moves, so that every part of a stream matters."""
    world = np.random.default_rng(0).integers(0, 256, (height // 8, width // 4, 3), dtype=np.uint8)
    large = world.repeat(8, axis=0).repeat(8, axis=1)
    return [np.ascontiguousarray(large[:, 3 * number : 3 * number + width]) for number in range(count)]


def read(path: Path) -> tuple[list[int], list[int], str]:
    """The frames' numbers, their times in milliseconds, and all that was said."""
    clip = open_clip(path)
    found = [(number_of(frame.image), round(frame.time / 1e6)) for frame in clip.timed_frames()]
    return [number for number, _ in found], [time for _, time in found], "\n".join(clip.problems.lines())


def joined(out: Path, parts: Sequence[Path]) -> Path:
    """The packets of several videos one after the other."""
    with av.open(str(out), "w") as container:
        stream: Any = None
        offset = 0
        for part in parts:
            with av.open(str(part)) as source:
                stream = stream or container.add_stream_from_template(source.streams.video[0])
                packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
                for packet in packets:
                    packet.stream, packet.pts, packet.dts = stream, packet.pts + offset, packet.dts + offset
                    container.mux(packet)
            offset = max(packet.pts for packet in packets) + 33
    return out


@pytest.mark.parametrize("kind", [("libvpx-vp9", "webm"), ("libx264", "ts"), ("mpeg4", "avi")])
def test_pictures_that_change_their_size_are_refused(kind: tuple[str, str], tmp_path: Path) -> None:
    """OpenCV repeats the last one of the first size."""
    codec, suffix = kind
    small, large, both = (tmp_path / f"{name}.{suffix}" for name in ("small", "large", "both"))
    write_video(small, FRAMES, TIMES, codec)
    write_video(large, [numbered_frame(number, (128, 96)) for number in range(12)], TIMES, codec)
    if suffix == "ts":
        both.write_bytes(small.read_bytes() + large.read_bytes())
    else:
        joined(both, [small, large])
    frames = open_clip(both).timed_frames()
    assert [number_of(next(frames).image) for _ in range(12)] == list(range(12))
    with pytest.raises(ClipError, match=r"both\.\w+ are 64 x 48, and from frame 12 on 128 x 96; expected one camera's"):
        next(frames)


# Where a track header's matrix takes (x, y), and the same done with the array; the eight of EXIF, too.
MATRICES: dict[str, tuple[tuple[int, int, int, int], Callable[[Picture], Any]]] = {
    "as it is": ((1, 0, 0, 1), lambda image: image),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "upside down": ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
    "mirrored upside down": ((1, 0, 0, -1), lambda image: image[::-1]),
    "a quarter clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "a quarter counter-clockwise": ((0, -1, 1, 0), np.rot90),
    "transposed": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "transposed the other way": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
}


def with_matrix(mp4: bytes, values: tuple[float, float, float, float]) -> bytes:
    place = mp4.index(b"tkhd") + 4 + 40
    a, b, c, d = (round(value * (1 << 16)) for value in values)
    return mp4[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + mp4[place + 36 :]


@pytest.mark.parametrize("what", MATRICES)
def test_a_video_is_turned_and_mirrored_by_its_matrix(what: str, tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    write_video(path, FRAMES, TIMES, "libx264")
    stored = list(open_clip(path).frames())
    matrix, turn = MATRICES[what]
    path.write_bytes(with_matrix(path.read_bytes(), matrix))
    for before, after in zip(stored, open_clip(path).frames(), strict=True):
        assert np.array_equal(after, turn(before))


def test_a_matrix_may_be_inexact(tmp_path: Path) -> None:
    write_video(tmp_path / "drive.mp4", FRAMES, TIMES, "libx264")
    (tmp_path / "drive.mp4").write_bytes(with_matrix((tmp_path / "drive.mp4").read_bytes(), (2e-5, 1.0, -1.0, -2e-5)))
    assert open_clip(tmp_path / "drive.mp4").size == (48, 64)


def test_a_video_that_is_turned_a_little_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "drive.mp4", FRAMES, TIMES, "libx264")
    (tmp_path / "drive.mp4").write_bytes(with_matrix((tmp_path / "drive.mp4").read_bytes(), (0.8, 0.6, -0.6, 0.8)))
    with pytest.raises(ClipError, match=r"drive\.mp4 is to be turned by an angle that is no quarter"):
        open_clip(tmp_path / "drive.mp4")


@pytest.mark.parametrize("begin", [0, 5000, -66])
@pytest.mark.parametrize("kind", [("libx264", "mkv"), ("libx264", "mp4"), ("libx264", "ts"), ("libvpx-vp9", "webm")])
def test_a_video_may_begin_at_any_time(kind: tuple[str, str], begin: int, tmp_path: Path) -> None:
    """Matroska states the end; a reader that takes it for the length finds most of the frames missing."""
    path = tmp_path / f"drive.{kind[1]}"
    write_video(path, FRAMES[: len(LATE)], [begin + time for time in LATE], kind[0])
    if begin < 0 and kind[1] == "mp4":  # it begins at 0, and an edit list leaves out what is before
        numbers, _, said = read(path)
        assert numbers == list(range(2, len(LATE)))
        assert "has 8 frames by its header and gives 6: others are lost, or left out by its edit list" in said
    else:
        assert read(path) == (list(range(len(LATE))), LATE, "")


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mkv"), ("libvpx-vp9", "webm"), ("mpeg4", "avi")])
def test_a_film_cut_short_is_refused_or_told_of_wherever_it_begins(codec: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"drive.{suffix}"
    for begin in (0,) if suffix == "avi" else (0, 5000):  # where an AVI begins late it is full of empty frames
        write_video(path, moving(30), [begin + 40 * number for number in range(30)], codec, Fraction(1, 25))
        whole = path.read_bytes()
        assert read(path)[2] == ""
        for share in (0.4, 0.7, 0.95):
            path.write_bytes(whole[: int(len(whole) * share)])
            assert is_told_of(path), share


def is_told_of(path: Path) -> bool:
    try:
        return DAMAGED in (said := read(path)[2]) or "others are lost" in said
    except ClipError as error:
        return "is cut short" in str(error)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_a_transport_stream_that_is_cut_or_lost_packets_is_told_of(codec: str, tmp_path: Path) -> None:
    """Nothing in it says how long it was: the last picture does, which is not whole, or a packet that is not."""
    path = tmp_path / "drive.ts"
    write_video(path, moving(30), [40 * number for number in range(30)], codec, Fraction(1, 25))
    whole = path.read_bytes()
    assert read(path)[2] == ""
    packets = len(whole) // 188
    path.write_bytes(whole[: packets * 94 // 188 * 188 + 100])
    assert CUT_SHORT in read(path)[2]
    told = []
    for last in range(packets // 2, packets // 2 + 12):
        path.write_bytes(whole[: last * 188])
        told.append(is_told_of(path))
    assert sum(told) >= 8  # the others end between two pictures, as a recording does
    for first in range(packets // 3, 2 * packets // 3, packets // 9):
        path.write_bytes(whole[: first * 188] + whole[(first + 3) * 188 :])
        assert is_told_of(path)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_a_transport_stream_that_begins_between_two_key_frames_is_told_of(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "drive.ts"
    write_video(path, moving(30), [40 * number for number in range(30)], codec, Fraction(1, 25))
    whole = path.read_bytes()
    path.write_bytes(whole[len(whole) // 188 // 6 * 188 :])
    assert is_told_of(path)


def test_threads_hear_of_their_own_videos_alone(tmp_path: Path) -> None:
    """PyAV keeps FFmpeg's log for each thread apart."""
    paths = [tmp_path / f"{number}.mkv" for number in range(4)]
    for path in paths:
        write_video(path, moving(20), [40 * number for number in range(20)], "libx264")
    for path in paths[::2]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :: 97] = bytes(len(content[len(content) // 2 :: 97]))
        path.write_bytes(content)
    with ThreadPoolExecutor(4) as threads:
        told = list(threads.map(is_told_of, paths * 8))
    assert told == [True, False] * 16


@pytest.mark.parametrize("kind", [("libx264", "mp4"), ("libx264", "mkv"), ("ffv1", "mkv"), ("mpeg4", "avi")])
def test_a_video_damaged_within_is_told_of(kind: tuple[str, str], tmp_path: Path) -> None:
    """But for what decodes all the same, to other pictures."""
    path = tmp_path / f"drive.{kind[1]}"
    write_video(path, moving(30), [40 * number for number in range(30)], kind[0])
    whole, noise = path.read_bytes(), np.random.default_rng(1).integers(0, 256, 400, dtype=np.uint8).tobytes()
    told = []
    for tenth in range(1, 9):
        place = len(whole) * tenth // 10
        path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
        told.append(is_told_of(path))
    assert sum(told) >= 6, told


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_of_an_avi_that_are_stored_out_of_order_keep_their_times(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    write_video(path, FRAMES, [40 * number for number in range(12)], codec, Fraction(1, 25), bf="2")
    assert read(path) == (list(range(12)), [40 * number for number in range(12)], "")


def test_stamps_that_stand_still_are_told_of(tmp_path: Path) -> None:
    write_video(tmp_path / "a.ts", FRAMES, TIMES, "libx264")
    (tmp_path / "twice.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    numbers, times, said = read(tmp_path / "twice.ts")
    assert numbers == [*range(12), *range(12)] and (np.diff(times) > 0).all()
    assert "has frames whose times do not advance; they are taken to follow at" in said


COLOURS = [(200, 30, 30), (30, 180, 30), (30, 30, 200), (220, 200, 40), (128, 128, 128)]
WEIGHTS = {"BT.601": (0.299, 0.114, 5), "BT.709": (0.2126, 0.0722, 1), "BT.2020": (0.2627, 0.0593, 9)}


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("space", WEIGHTS)
def test_colours_are_what_the_video_says_they_are(space: str, is_full: bool, tmp_path: Path) -> None:
    """OpenCV takes all for BT.601 of limited range."""
    rgb = np.array(COLOURS, float).repeat(32, axis=0)[None].repeat(64, axis=0)
    red, blue, number = WEIGHTS[space]
    luma = rgb @ [red, 1 - red - blue, blue]
    chroma = [(rgb[..., 2] - luma) / (2 * (1 - blue)), (rgb[..., 0] - luma) / (2 * (1 - red))]
    scale = (1.0, 1.0, 0) if is_full else (219 / 255, 224 / 255, 16)
    planes = [luma * scale[0] + scale[2], *(each[::2, ::2] * scale[1] + 128 for each in chroma)]
    rounded = [np.round(plane).clip(0, 255).astype(np.uint8) for plane in planes]
    write_planes(tmp_path / "drive.mkv", rounded, number, is_full)
    (frame,) = open_clip(tmp_path / "drive.mkv").frames()
    assert np.abs(frame[32, 16::32].astype(int) - COLOURS).max() <= 4


def write_planes(path: Path, planes: Sequence[Picture], colour_space: int, is_full: bool) -> None:
    """A film of one frame in YUV 4:2:0, as it is."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=30)
        height, width = planes[0].shape
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = colour_space, 2 if is_full else 1
        frame: Any = av.VideoFrame(width, height, "yuv420p")
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.zeros((values.shape[0], plane.line_size), np.uint8)
            rows[:, : values.shape[1]] = values
            plane.update(rows.tobytes())
        frame.colorspace, frame.color_range, frame.pts = colour_space, 2 if is_full else 1, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_high_definition_that_does_not_name_its_colours_is_told_of(tmp_path: Path) -> None:
    for name, size in (("high", (1280, 720)), ("low", (640, 480))):
        write_video(tmp_path / f"{name}.mkv", [numbered_frame(3, size)], [0], "libx264")
    assert "does not say how its colours are coded; they are read by BT.601" in read(tmp_path / "high.mkv")[2]
    assert read(tmp_path / "low.mkv")[2] == ""


FACTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "oblong pixels": ("libx264", {"sample_aspect_ratio": Fraction(16, 11)}, "has pixels that are not square"),
    "ten bits": ("ffv1", {"pix_fmt": "yuv420p10le"}, "has 10 bits a channel, which are scaled to 8"),
    "HDR": ("libx264", {"color_trc": 16}, "is HDR"),
    "alpha": ("ffv1", {"pix_fmt": "yuva420p"}, "has an alpha channel, which is ignored"),
}


@pytest.mark.parametrize("what", FACTS)
def test_what_is_assumed_or_left_out_of_a_video_is_said(what: str, tmp_path: Path) -> None:
    codec, attributes, sentence = FACTS[what]
    path = tmp_path / "drive.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for name, value in attributes.items():
            setattr(stream if name == "pix_fmt" else stream.codec_context, name, value)
        for image in FRAMES:
            frame: Any = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    numbers, _, said = read(path)
    assert numbers == list(range(12)) and sentence in said


def test_interlaced_pictures_are_told_of(tmp_path: Path) -> None:
    times = [40 * number for number in range(6)]
    write_video(tmp_path / "drive.ts", moving(6), times, "mpeg2video", Fraction(1, 25), flags="+ildct+ilme")
    assert "is interlaced: what moves is torn into two combs" in read(tmp_path / "drive.ts")[2]


def test_a_second_track_of_pictures_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams: list[Any] = [container.add_stream("ffv1", rate=30) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in FRAMES:
            for stream in streams:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    assert "holds 2 tracks of pictures, of which one is taken" in read(path)[2]


def test_a_codec_that_nobody_knows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "drive.webm"
    write_video(path, FRAMES, TIMES, "libvpx-vp9")
    path.write_bytes(path.read_bytes().replace(b"V_VP9", b"V_QQQ"))
    with pytest.raises(ClipError, match=r"drive\.webm is in a codec that FFmpeg does not know; convert it to H\.264"):
        open_clip(path)


def test_a_film_of_sound_alone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "drive.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        silence: Any = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
    with pytest.raises(ClipError, match=r"drive\.mkv holds no pictures"):
        open_clip(path)


@pytest.mark.parametrize("kind", [("libx264", "mp4"), ("libx264", "mkv"), ("libx264", "ts"), ("mpeg4", "avi")])
def test_a_frame_is_found_by_its_time_and_number(kind: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / f"drive.{kind[1]}"
    write_video(path, [numbered_frame(number) for number in range(40)], [40 * number for number in range(40)], kind[0])
    sources = [VideoFrame(path, index, frame.time) for index, frame in enumerate(open_clip(path).timed_frames())]
    for index in (39, 0, 17, 16, 8, 25):
        assert number_of(read_frame(sources[index])) == index
