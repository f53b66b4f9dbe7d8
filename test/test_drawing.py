"""What is drawn over a picture shows the labels it was given, and nothing where there are none."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lowlat_seg_ros.data.classes import CAMVID_CLASSES, CAMVID_COLOURS, CAR, ROAD, UNLABELLED
from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.drawing import KEY_FRAME_COLOUR, colourise, contact_sheet, legend, mark_key_frame, overlay
from lowlat_seg_ros.data.video_writer import VideoError, VideoWriter


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, 11, (30, 41), np.uint8)
    labels[:5] = UNLABELLED
    return labels


def test_colourise_paints_each_class_and_leaves_unlabelled_black(labels: np.ndarray) -> None:
    expected = np.zeros((30, 41, 3), np.uint8)
    for class_id, colour in enumerate(CAMVID_COLOURS):
        expected[labels == class_id] = colour
    assert np.array_equal(colourise(labels, CAMVID_COLOURS), expected)


@pytest.mark.parametrize("opacity", [0.0, 0.35, 1.0])
def test_overlay_is_the_blend_of_the_formula(frame: np.ndarray, opacity: float) -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 3)[:, None].repeat(41, axis=1)
    labels[labels == 9] = UNLABELLED
    blend = (1 - opacity) * frame.astype(float) + opacity * colourise(labels, CAMVID_COLOURS)
    expected = np.where((labels == UNLABELLED)[..., None], frame, blend)
    drawn = overlay(frame, labels, CAMVID_COLOURS, opacity)
    assert drawn.dtype == np.uint8
    within = slice(1, None, 3)  # of the stripes of three rows, those that touch no other class
    assert np.abs(drawn - expected)[within].max() <= 0.51
    if opacity > 0:  # a line in the classes' full colours where two meet
        assert np.array_equal(drawn[2:24:3], colourise(labels, CAMVID_COLOURS)[2:24:3])
        assert np.array_equal(drawn[3:25:3], colourise(labels, CAMVID_COLOURS)[3:25:3])


def test_overlay_changes_neither_of_its_inputs(frame: np.ndarray, labels: np.ndarray) -> None:
    frame_before, labels_before = frame.copy(), labels.copy()
    overlay(frame, labels, CAMVID_COLOURS, 0.5)
    assert np.array_equal(frame, frame_before)
    assert np.array_equal(labels, labels_before)


def test_overlay_keeps_the_picture_where_an_id_has_no_colour(frame: np.ndarray) -> None:
    labels = np.full((30, 41), CAR, np.uint8)
    assert np.array_equal(overlay(frame, labels, CAMVID_COLOURS[:CAR], 1.0), frame)


def test_overlay_takes_labels_that_are_a_view(frame: np.ndarray, labels: np.ndarray) -> None:
    mirrored = labels[:, ::-1]
    drawn = overlay(frame, mirrored, CAMVID_COLOURS, 1.0)
    assert np.array_equal(drawn, overlay(frame, mirrored.copy(), CAMVID_COLOURS, 1.0))


def test_bad_arguments_of_an_overlay_are_named(frame: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"frame must be \(30, 41, 3\)"):
        overlay(frame[1:], labels, CAMVID_COLOURS, 0.5)
    with pytest.raises(ValueError, match=r"Labels must be \(H, W\) uint8"):
        overlay(frame, labels.astype(np.int64), CAMVID_COLOURS, 0.5)
    with pytest.raises(ValueError, match=r"opacity must be between 0 and 1, not 1\.5"):
        overlay(frame, labels, CAMVID_COLOURS, 1.5)
    with pytest.raises(ValueError, match="1 to 255 colours, not 0"):
        overlay(frame, labels, (), 0.5)


@pytest.mark.parametrize("size", [(480, 360), (1280, 720), (33, 17), (2, 1)])
def test_key_frame_marker_frames_the_picture_and_leaves_its_middle(size: tuple[int, int]) -> None:
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    marked = mark_key_frame(picture, "deviation")
    assert marked.shape == picture.shape
    assert not picture.any()
    assert marked[-1, -1].tolist() == list(KEY_FRAME_COLOUR)
    if size[1] > 100:
        assert not marked[size[1] // 2, size[0] // 2].any()
        assert not np.array_equal(marked, mark_key_frame(picture, "interval"))


def test_legend_shows_every_colour_once_in_order() -> None:
    strip = legend(CAMVID_CLASSES, CAMVID_COLOURS, width=2000)
    assert strip.shape[1] == 2000
    middle = strip[strip.shape[0] // 2]
    firsts = [np.flatnonzero((middle == colour).all(axis=1))[0] for colour in CAMVID_COLOURS]
    assert firsts == sorted(firsts)


def test_legend_wraps_when_narrow() -> None:
    wide, narrow = (legend(CAMVID_CLASSES, CAMVID_COLOURS, width) for width in (2000, 300))
    assert narrow.shape[1] == 300
    assert narrow.shape[0] > wide.shape[0]
    for colour in CAMVID_COLOURS:
        assert (narrow == colour).all(axis=2).any()


def test_legend_needs_a_colour_for_every_class() -> None:
    with pytest.raises(ValueError, match="one colour a class, not 10 colours for 11 classes"):
        legend(CAMVID_CLASSES, CAMVID_COLOURS[:10], 400)


def test_contact_sheet_holds_every_picture_in_reading_order() -> None:
    pictures = [np.full((60, 80, 3), 20 * number, np.uint8) for number in range(1, 6)]
    sheet = contact_sheet([(picture, f"frame {number}") for number, picture in enumerate(pictures)], 3, tile_width=160)
    tile_height, tile_width = sheet.shape[0] // 2, sheet.shape[1] // 3
    for number, picture in enumerate(pictures):
        row, column = divmod(number, 3)
        centre = sheet[row * tile_height + tile_height * 2 // 3, column * tile_width + tile_width // 2]
        assert np.array_equal(centre, picture[0, 0])
    assert (sheet[-tile_height:, -tile_width:] == 255).all()


def test_contact_sheet_writes_its_captions() -> None:
    picture = np.full((60, 80, 3), 128, np.uint8)
    plain, captioned = (
        contact_sheet([(picture, caption)], 1) for caption in ("", "a caption, longer than its tile" * 9)
    )
    assert plain.shape == captioned.shape
    assert (captioned < 100).any()
    assert not (plain < 100).any()


def test_contact_sheet_refuses_nothing_and_mixed_sizes() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([], 3)
    with pytest.raises(ValueError, match="pictures of one size"):
        contact_sheet([(np.zeros((4, 4, 3), np.uint8), ""), (np.zeros((4, 5, 3), np.uint8), "")], 2)


@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
@pytest.mark.parametrize(("size", "rate_hz"), [((64, 48), 15.0), ((65, 49), 30000 / 1001)])
def test_video_reads_back_whole_and_in_colour(tmp_path: Path, size: tuple[int, int], rate_hz: float, name: str) -> None:
    path = tmp_path / name
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200)] * 7
    with VideoWriter(path, size, rate_hz) as video:
        for colour in colours:
            video.write(np.full((size[1], size[0], 3), colour, np.uint8))
        assert not path.exists()
    clip = open_clip(path)
    frames = list(clip.frames())
    assert (len(frames), clip.frame_count) == (21, 21)
    assert clip.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert clip.rate_hz == pytest.approx(rate_hz, rel=1e-3)
    assert np.abs([frame.mean(axis=(0, 1)) - colour for frame, colour in zip(frames, colours, strict=True)]).max() < 12
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_video_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the video of an earlier run")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, (64, 48), 15) as video:
        video.write(np.zeros((48, 64, 3), np.uint8))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"the video of an earlier run"


def test_video_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"out\.gif must end in \.mp4 or \.webm"):
        VideoWriter(tmp_path / "out.gif", (64, 48), 15)
    with pytest.raises(VideoError, match=r"The folder of the video .*out\.mp4 does not exist"):
        VideoWriter(tmp_path / "nowhere" / "out.mp4", (64, 48), 15)
    with pytest.raises(VideoError, match=r"cannot write .*out\.mp4 \(mp4v, 0 x 48 at 15 Hz\)"):
        VideoWriter(tmp_path / "out.mp4", (0, 48), 15)
    with pytest.raises(VideoError, match=r"was given no frame"), VideoWriter(tmp_path / "out.mp4", (64, 48), 15):
        pass
    with (
        pytest.raises(VideoError, match=r"takes frames \(48, 64, 3\) uint8, not \(48, 60, 3\) uint8"),
        VideoWriter(tmp_path / "out.mp4", (64, 48), 15) as video,
    ):
        video.write(np.zeros((48, 60, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_road_is_the_customary_colour() -> None:
    road = colourise(np.array([[ROAD]], np.uint8), CAMVID_COLOURS)
    assert cv2.cvtColor(road, cv2.COLOR_RGB2BGR)[0, 0].tolist() == [128, 64, 128]
