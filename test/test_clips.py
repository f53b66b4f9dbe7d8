"""Folders and videos play as they are stored; what cannot be played says why in one sentence."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lowlat_seg_ros.data.clips import FOLDER_RATE_HZ, ClipError, open_clip

SHARED = Path(__file__).parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is not on this machine")


def write_picture(path: Path, blue: int, size: tuple[int, int] = (8, 6)) -> None:
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), (blue, 0, 0), np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures img1 .. img12 whose blue is their number, and things that are no pictures."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(12, 0, -1):
        write_picture(pictures / f"img{number}.png", blue=number)
    (pictures / "README.txt").write_text("not a picture")
    (pictures / "._img1.png").write_bytes(b"what macOS leaves behind")
    (pictures / "img0.png").mkdir()
    return pictures


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twenty frames at 12.5 Hz that get brighter; MJPEG in AVI is in every OpenCV and decodes frame by frame."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
    return path


def test_folder_plays_in_natural_order_as_rgb(folder: Path) -> None:
    clip = open_clip(folder)
    frames = list(clip.frames())
    assert [frame[0, 0].tolist() for frame in frames] == [[0, 0, number] for number in range(1, 13)]
    assert (clip.name, clip.size, clip.rate_hz, clip.frame_count) == ("pictures", (8, 6), FOLDER_RATE_HZ, 12)


def test_video_plays_at_its_own_rate(video: Path) -> None:
    clip = open_clip(video)
    brightness = [frame.mean() for frame in clip.frames()]
    assert np.allclose(brightness, [10 * number for number in range(20)], atol=4)
    assert (clip.name, clip.size, clip.rate_hz, clip.frame_count) == ("clip.avi", (64, 48), 12.5, 20)


def test_rate_can_be_given(folder: Path, video: Path) -> None:
    assert open_clip(folder, rate_hz=5).rate_hz == open_clip(video, rate_hz=5).rate_hz == 5


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), float("inf"), 90000])
def test_impossible_rate_is_refused(folder: Path, rate_hz: float) -> None:
    with pytest.raises(ClipError, match="rate of a clip must be more than 0"):
        open_clip(folder, rate_hz=rate_hz)


def test_every_iteration_starts_at_the_first_frame(folder: Path, video: Path) -> None:
    for path in (folder, video):
        clip = open_clip(path)
        abandoned = clip.frames()
        first = next(abandoned)
        next(abandoned)
        assert np.array_equal(next(clip.frames()), first)


def open_files() -> list[str]:
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_video_is_closed_when_its_iterator_is(video: Path) -> None:
    clip = open_clip(video)
    assert str(video) not in open_files()
    frames = clip.frames()
    next(frames)
    assert str(video) in open_files()
    frames.close()
    assert str(video) not in open_files()


def test_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"nowhere does not exist"):
        open_clip(tmp_path / "nowhere")


def test_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(ClipError, match=r"holds no pictures"):
        open_clip(tmp_path)


def test_single_picture_asks_for_its_folder(folder: Path) -> None:
    with pytest.raises(ClipError, match=r"img1\.png is a single picture; give the folder"):
        open_clip(folder / "img1.png")


def test_text_file_is_no_clip(folder: Path) -> None:
    with pytest.raises(ClipError, match=r"README\.txt is no clip"):
        open_clip(folder / "README.txt")


def test_text_named_like_a_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fake.mp4").write_text("not a video\n" * 100)
    with pytest.raises(ClipError, match=r"fake\.mp4 is a text"):
        open_clip(tmp_path / "fake.mp4")


def test_empty_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ClipError, match=r"empty\.mp4 cannot be opened"):
        open_clip(tmp_path / "empty.mp4")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n no more", "half"])
def test_damaged_picture_is_named_when_its_turn_comes(folder: Path, content: bytes | str) -> None:
    picture = folder / "img3.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    frames = open_clip(folder).frames()
    assert [next(frames)[0, 0, 2] for _ in range(2)] == [1, 2]
    with pytest.raises(ClipError, match=r"img3\.png (is empty|cannot be decoded)"):
        next(frames)


def test_jpeg_cut_short_is_not_played_half_grey(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    with pytest.raises(ClipError, match=r"cut\.jpg is cut short"):
        open_clip(tmp_path)


def test_picture_of_another_size_is_named(folder: Path) -> None:
    write_picture(folder / "img2.png", blue=2, size=(10, 6))
    frames = open_clip(folder).frames()
    next(frames)
    with pytest.raises(ClipError, match=r"img2\.png is 10 x 6 but the clip began with 8 x 6"):
        next(frames)


def test_video_without_a_rate_asks_for_one(video: Path) -> None:
    content = bytearray(video.read_bytes())
    header = content.index(b"vids")
    for scale in (content.index(b"avih") + 8, header + 20):
        content[scale : scale + 4] = (1).to_bytes(4, "little")
    rate = header + 24
    content[rate : rate + 4] = (90000).to_bytes(4, "little")
    video.write_bytes(content)
    with pytest.raises(ClipError, match=r"reports no frame rate \(90000 Hz\); give its rate"):
        open_clip(video)
    assert open_clip(video, rate_hz=10).rate_hz == 10


@needs_shared
def test_real_video_cut_short_plays_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = (SHARED / "clips" / "highway_960x540_25hz.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    frames = []
    with pytest.raises(ClipError, match=r"half\.mp4 is cut short: \d+ of its 221 frames decode"):
        for frame in open_clip(tmp_path / "half.mp4").frames():
            frames.append(frame.shape)
    assert len(frames) > 50


@needs_shared
def test_real_clips_play_whole() -> None:
    highway = open_clip(SHARED / "clips" / "highway_960x540_25hz.mp4")
    assert (highway.size, highway.rate_hz, highway.frame_count) == ((960, 540), 25.0, 221)
    assert sum(1 for _ in highway.frames()) == 221
    camvid = open_clip(SHARED / "camvid" / "val")
    assert (camvid.size, camvid.rate_hz, camvid.frame_count) == ((480, 360), 15.0, 101)
