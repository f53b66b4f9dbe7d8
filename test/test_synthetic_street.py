"""The synthetic street is the same every time, labels exactly what it shows, and moves as a real drive does."""

import itertools
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from street_ray_caster import UNSEEN, cast

from lowlat_seg_ros.data.camvid import LabelledFolder
from lowlat_seg_ros.data.classes import (
    BICYCLIST,
    BUILDING,
    CAMVID_CLASSES,
    PAVEMENT,
    PEDESTRIAN,
    POLE,
    ROAD,
    SIGN_SYMBOL,
    SKY,
)
from lowlat_seg_ros.data.clips import FOLDER_RATE_HZ, open_clip
from lowlat_seg_ros.street.ground import Ground
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

SMALL = (160, 120)
THIN = (POLE, SIGN_SYMBOL, PEDESTRIAN, BICYCLIST)


@pytest.fixture(scope="module")
def street() -> SyntheticStreet:
    return SyntheticStreet(size=SMALL)


@pytest.fixture(scope="module")
def full_size() -> SyntheticStreet:
    return SyntheticStreet()


def test_same_seed_gives_the_same_frames_in_any_order(street: SyntheticStreet) -> None:
    in_order = [street[index] for index in range(6)]
    other = SyntheticStreet(size=SMALL)
    for index in (5, 0, 3, 3):
        again = other[index]
        assert np.array_equal(again.image, in_order[index].image)
        assert np.array_equal(again.labels, in_order[index].labels)


def test_frames_are_the_pictures_in_order(street: SyntheticStreet) -> None:
    for index, frame in zip(range(3), street.frames(), strict=False):
        assert np.array_equal(frame, street[index].image)
    assert sum(1 for _ in SyntheticStreet(size=(16, 16), frame_count=4).frames()) == 4


def test_another_seed_is_another_street(street: SyntheticStreet) -> None:
    other = SyntheticStreet(size=SMALL, seed=1)
    assert (other[0].labels != street[0].labels).mean() > 0.05


def test_longer_clip_begins_as_the_shorter_one(street: SyntheticStreet) -> None:
    longer = SyntheticStreet(size=SMALL, frame_count=1000)
    for index in (0, 149):
        assert np.array_equal(longer[index].image, street[index].image)


def test_time_not_the_frame_number_moves_the_street(street: SyntheticStreet) -> None:
    twice_as_fast = SyntheticStreet(size=SMALL, frame_count=300, rate_hz=30.0)
    assert np.array_equal(twice_as_fast[60].labels, street[30].labels)


def test_every_class_is_there_and_none_else(full_size: SyntheticStreet) -> None:
    shares = np.zeros(256)
    for index in range(0, full_size.frame_count, 15):
        shares += np.bincount(full_size[index].labels.ravel(), minlength=256)
    shares /= shares.sum()
    assert not shares[len(CAMVID_CLASSES) :].any()
    assert (shares[: len(CAMVID_CLASSES)] > 0.002).all()
    assert min(shares[SKY], shares[BUILDING], shares[ROAD]) > 0.1
    assert max(shares) < 0.5


@pytest.mark.parametrize(
    ("seed", "index"),
    [(0, 0), pytest.param(1, 149, marks=pytest.mark.slow), pytest.param(7, 40, marks=pytest.mark.slow)],
)
def test_labels_are_what_a_ray_caster_finds(seed: int, index: int) -> None:
    """Each painted label must be among those that 9 x 9 rays find in its own pixel and the ones around it.

    Posts and limbs thinner than a pixel are painted a pixel wide, which rays may miss; nothing else may differ.
    """
    street = SyntheticStreet(size=SMALL, seed=seed)
    painted = street[index].labels
    found = cast(*street.scene(index), finer=3)
    assert not (found == UNSEEN).any()
    height, width = painted.shape
    around = np.pad(found, 3, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, (9, 9))[::3, ::3]
    explained = (windows == painted[..., None, None]).any(axis=(2, 3))
    assert explained.shape == (height, width)
    assert set(painted[~explained].tolist()) <= set(THIN)
    assert (~explained).sum() <= 0.03 * np.isin(painted, THIN).sum()
    assert lies_best_where_it_is(painted, found[1::3, 1::3])


def lies_best_where_it_is(labels: NDArray[np.uint8], expected: NDArray[np.uint8]) -> bool:
    """Whether labels agree better with what is expected than if they were moved by a pixel to any side."""
    inner = expected[1:-1, 1:-1]
    height, width = inner.shape
    agreement = {
        (row, column): float((labels[row : row + height, column : column + width] == inner).mean())
        for row, column in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    }
    return max(agreement, key=agreement.__getitem__) == (1, 1)


def test_border_of_road_and_pavement_is_exact_to_the_pixel(full_size: SyntheticStreet) -> None:
    camera, surfaces = full_size.scene(33)
    ground = [surface for surface in surfaces if isinstance(surface, Ground)]
    canvas = np.full((360, 480, 4), UNSEEN, np.uint8)
    ground[0].paint(canvas, camera)
    different = canvas[..., 3] != cast(camera, [*ground], finer=1)
    # A border through a pixel's very centre is rounded to either side: of each row's four borders a few may.
    assert different.sum() <= 0.05 * 360


def test_picture_has_its_edges_where_the_labels_change(full_size: SyntheticStreet) -> None:
    """Across a border between the sky and anything else the picture's brightness jumps, within one pixel of it."""
    frame = full_size[20]
    grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY).astype(int)
    is_sky = frame.labels == SKY
    border = is_sky[:-1] & ~is_sky[1:]
    jumps = (grey[:-2] - grey[2:])[border[:-1]]
    assert len(jumps) > 200
    assert np.median(jumps) > 60


@pytest.mark.parametrize("size", [(481, 361), (33, 17), (300, 16), (16, 300), (1280, 720)])
def test_any_size_gives_uint8_frames_and_labels_of_that_size(size: tuple[int, int]) -> None:
    frame = SyntheticStreet(size=size, frame_count=3)[2]
    assert frame.image.shape == (size[1], size[0], 3)
    assert frame.labels.shape == (size[1], size[0])
    assert frame.image.dtype == frame.labels.dtype == np.uint8
    assert frame.image.flags.c_contiguous and frame.labels.flags.c_contiguous
    assert frame.labels.max() < len(CAMVID_CLASSES)


def test_larger_picture_shows_the_same_street(street: SyntheticStreet, full_size: SyntheticStreet) -> None:
    small, large = street[50].labels, full_size[50].labels
    assert lies_best_where_it_is(small, large[1::3, 1::3])


def test_road_is_ahead_between_the_pavements(full_size: SyntheticStreet) -> None:
    labels = full_size[0].labels
    assert (labels[300:, 200:280] == ROAD).all()
    assert (labels[280, :20] == PAVEMENT).all()
    assert (labels[:20, 200:280] == SKY).mean() > 0.5


def test_camera_moves_as_a_drive_does(full_size: SyntheticStreet) -> None:
    """As in CamVid's clip: a dozen pixels a frame at the bottom, several at the sides, almost none straight ahead."""
    greys = [cv2.cvtColor(full_size[index].image, cv2.COLOR_RGB2GRAY) for index in (10, 11, 40, 41)]
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    for before, after in ((greys[0], greys[1]), (greys[2], greys[3])):
        flow = np.linalg.norm(flow_of.calc(before, after, np.zeros((*before.shape, 2), np.float32)), axis=2)
        assert 4 < np.median(flow[-45:]) < 20
        assert 1 < np.median(flow[180:, :60]) < 20
        assert np.median(flow[150:220, 200:280]) < 3


def test_everybody_moves(street: SyntheticStreet) -> None:
    """Each kind of traveller changes place from frame to frame against the camera's own motion."""
    speeds = {who.lane: who.speed for who in street.travellers}
    assert len(speeds) == 6
    assert all(speeds.values())


def test_street_is_a_clip(full_size: SyntheticStreet) -> None:
    clip = open_clip("street")
    assert (clip.name, clip.size, clip.rate_hz, clip.frame_count) == ("street", (480, 360), FOLDER_RATE_HZ, 150)
    assert np.array_equal(next(clip.frames()), full_size[0].image)
    assert open_clip("street", rate_hz=5).rate_hz == 5


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"size": (15, 100)}, r"width and height must be 16 to 4096 pixels, not \(15, 100\)"),
        ({"size": (100, 5000)}, r"width and height must be 16 to 4096 pixels"),
        ({"seed": -1}, r"seed must not be negative, but is -1"),
        ({"frame_count": 0}, r"at least one frame, not 0"),
        ({"rate_hz": 0.0}, r"rate must be more than 0 Hz"),
        ({"rate_hz": float("nan")}, r"rate must be more than 0 Hz, not nan"),
    ],
)
def test_bad_parameter_is_named(parameters: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SyntheticStreet(**parameters)


@pytest.mark.parametrize("index", [-1, 150])
def test_frame_outside_the_clip_is_named(street: SyntheticStreet, index: int) -> None:
    with pytest.raises(IndexError, match=f"frames 0 to 149, not {index}"):
        street[index]


@pytest.mark.parametrize("options", [(), ("--stop-and-go",)])
def test_a_street_can_be_written_as_folders_to_evaluate(options: tuple[str, ...], tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "scripts" / "write_street.py"
    subprocess.run([sys.executable, script, tmp_path, "--seed", "100", "--frames", "70", *options], check=True)
    written = list(LabelledFolder(tmp_path / "frames", tmp_path / "labels"))
    assert len(written) == 70
    street = SyntheticStreet(seed=100, frame_count=1)
    assert np.array_equal(written[0].labels, street[0].labels)
    moves = [not np.array_equal(one.labels, other.labels) for one, other in itertools.pairwise(written)]
    assert all(moves) if not options else 30 < sum(moves) < 60, "what stops stands still, and goes on"
    assert not any(np.array_equal(one.image, other.image) for one, other in itertools.pairwise(written)), "a sensor"
