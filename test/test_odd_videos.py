"""Videos whose names or contents lead FFmpeg elsewhere, and whole ones whose headers count too many frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_files import number_of, numbered_frame, write_video

from lowlat_seg_ros.data.clips import ClipError, open_clip

pytest.importorskip("av")
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
