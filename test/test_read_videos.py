"""Videos are read at their frames' own times, turned as they say, and by no other file than the one that is named."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written_files import number_of, numbered_frame, turned_by_a_quarter, write_video

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data import video_reader
from lowlat_seg_ros.data.clips import ClipError, open_clip
from lowlat_seg_ros.data.frame_source import VideoFrame, read_frame
from lowlat_seg_ros.replay.bags import open_bag

QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

CODECS = [("libx264", "mp4"), ("libx264", "mkv"), ("libx264", "mov"), ("libx265", "mp4"), ("libvpx-vp9", "webm"),
          ("ffv1", "mkv"), ("libsvtav1", "mp4"), ("libsvtav1", "webm")]  # fmt: skip


@pytest.mark.slow
@settings(QUICK, max_examples=40)
@given(
    kind=st.sampled_from(CODECS),
    periods=st.lists(st.integers(5, 400), min_size=4, max_size=40),
    sought=st.integers(0, 40),
)
def test_a_video_s_frames_have_their_own_times(
    kind: tuple[str, str], periods: list[int], sought: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    codec, suffix = kind
    times = [0, *np.cumsum(periods).tolist()]
    folder = tmp_path_factory.mktemp("video")
    path = folder / f"drive.{suffix}"
    write_video(path, [numbered_frame(number) for number in range(len(times))], times, codec)
    found = list(open_clip(path).timed_frames())
    assert [number_of(frame.image) for frame in found] == list(range(len(times)))
    assert [round(frame.time / 1e6) for frame in found] == times
    index = min(sought, len(times) - 1)
    assert number_of(read_frame(VideoFrame(path, index, found[index].time))) == index
    assert main(["bag", "make", str(path), str(folder / "bag")]) == 0
    with open_bag(folder / "bag") as bag:
        stamps = [frame.stamp for frame in bag.frames()]
    assert [round((stamp - stamps[0]) / 1e6) for stamp in stamps] == times


def test_a_video_of_variable_rate_is_read_by_its_times_and_evenly_where_a_rate_is_given(tmp_path: Path) -> None:
    times = [0, 33, 66, 400, 433, 900, 1500, 1533]
    write_video(tmp_path / "drive.mkv", [numbered_frame(number) for number in range(8)], times, "libx264")
    assert [round(frame.time / 1e6) for frame in open_clip(tmp_path / "drive.mkv").timed_frames()] == times
    even = open_clip(tmp_path / "drive.mkv", rate_hz=10)
    assert [frame.time // 10**6 for frame in even.timed_frames()] == list(range(0, 800, 100))
    assert [number_of(frame) for frame in even.frames(5)] == [5, 6, 7]


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
def test_a_video_is_turned_as_it_says(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    write_video(path, [numbered_frame(number) for number in range(3)], [0, 33, 66], codec)
    path.write_bytes(turned_by_a_quarter(path.read_bytes(), 48))
    clip = open_clip(path)
    assert clip.size == (48, 64)
    for number, frame in enumerate(clip.frames()):
        upright = cv2.rotate(frame, cv2.ROTATE_90_COUNTERCLOCKWISE)
        assert number_of(np.asarray(upright, np.uint8)) == number
        assert upright[:8, :8].mean() > 200  # its corner


def test_what_reads_videos_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "drive.mp4", [numbered_frame(number) for number in range(3)], [0, 33, 66], "libx264")
    monkeypatch.setitem(sys.modules, "av", None)
    video_reader._library.cache_clear()
    with pytest.raises(ClipError, match="Videos are read by PyAV, which is not installed; pip install av"):
        open_clip(tmp_path / "drive.mp4")


FRAMES = [numbered_frame(number) for number in range(6)]


def numbers_in(path: Path) -> list[int]:
    return [number_of(frame) for frame in open_clip(path).frames()]


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
@pytest.mark.parametrize("name", ["file:drive.mp4", "concat:drive.mp4", "http:drive.mp4", "f%03d?a=1.mp4"])
def test_a_name_is_no_address(name: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes `file:drive.mp4` for drive.mp4."""
    monkeypatch.chdir(tmp_path)
    write_video(Path("drive.mp4"), FRAMES, [0, 33, 66, 99, 132, 165], codec)
    write_video(tmp_path / name, FRAMES[:4], [0, 33, 66, 99], codec)
    assert numbers_in(Path(name)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nhttp://localhost:1/drive.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile drive.mp4\nfile drive.mp4\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nm=video 5004 RTP/AVP 96\n",
        "hello",
    ],
)
def test_a_playlist_is_not_followed(content: str, tmp_path: Path) -> None:
    write_video(tmp_path / "drive.mp4", FRAMES, [0, 33, 66, 99, 132, 165], "libx264")
    (tmp_path / "list.mkv").write_text(content)
    with pytest.raises(ClipError, match=r"list\.mkv is a text; expected a film itself"):
        open_clip(tmp_path / "list.mkv")


def test_a_video_of_a_thousand_ticks_a_second_is_whole(tmp_path: Path) -> None:
    """An AVI with a tick a millisecond counts the empty ones, too."""
    write_video(tmp_path / "drive.avi", FRAMES, [0, 33, 66, 99, 132, 165], "ffv1")
    assert numbers_in(tmp_path / "drive.avi") == list(range(6))


def test_a_video_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "itself.mp4").symlink_to(tmp_path / "itself.mp4")
    with pytest.raises(ClipError, match=r"itself\.mp4"):
        open_clip(tmp_path / "itself.mp4")
