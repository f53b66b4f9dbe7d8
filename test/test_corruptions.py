"""Corrupted pictures: as strong as they say, the same again, and of one piece from frame to frame."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lowlat_seg_ros.data.corruptions import KINDS, STRENGTHS, Corruption, CorruptionError, parse_corruption
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

PERIOD = 66_666_667  # nanoseconds
STREET = SyntheticStreet(seed=100, frame_count=4)
PICTURE = STREET[0].image


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Root mean square, grey levels."""
    return float(np.sqrt(((one.astype(np.float64) - other) ** 2).mean()))


@pytest.mark.parametrize("kind", KINDS)
def test_each_strength_is_worse_than_the_one_below_and_leaves_the_picture_it_was_given(kind: str) -> None:
    before = PICTURE.copy()
    corrupted = [Corruption(kind, strength)(PICTURE, 0) for strength in STRENGTHS]
    for picture in corrupted:
        assert picture.shape == PICTURE.shape and picture.dtype == np.uint8 and picture.flags.c_contiguous
    differences = [difference(picture, PICTURE) for picture in corrupted]
    assert differences == sorted(differences) and differences[0] > 1
    assert all(stronger > 1.05 * weaker for weaker, stronger in itertools.pairwise(differences))
    assert np.array_equal(PICTURE, before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_the_same_again_and_another_one_by_another_seed(kind: str) -> None:
    one, again = (Corruption(kind, 3)(PICTURE, 5 * PERIOD) for _ in range(2))
    assert np.array_equal(one, again)
    if kind not in ("defocus", "jpeg"):  # which leave nothing to chance
        assert not np.array_equal(one, Corruption(kind, 3, seed=7)(PICTURE, 5 * PERIOD))


def seen_on_grey(kind: str, time: int) -> NDArray[np.uint8]:
    return Corruption(kind, 4)(np.full((360, 480, 3), 110, np.uint8), time)


@pytest.mark.parametrize("kind", ["fog", "glare", "motion-blur"])
def test_what_hangs_in_the_air_is_still_there_a_frame_later(kind: str) -> None:
    first, next_one, later = (seen_on_grey(kind, time) for time in (0, PERIOD, 40 * PERIOD))
    assert difference(first, next_one) < 4
    if kind == "fog":
        assert difference(first, later) > 4 * difference(first, next_one), "it drifts"


def test_rain_falls() -> None:
    """The next frame's streaks are this one's, moved down: better matched there than where they were."""
    first, next_one = (streaks(seen_on_grey("rain", time)) for time in (0, PERIOD // 10))
    matches = {
        (down, right): float(
            (first[100:200, 100:300] * next_one[100 + down : 200 + down, 100 + right : 300 + right]).sum()
        )
        for down in range(-9, 10)
        for right in range(-3, 4)
    }
    down, right = max(matches, key=lambda way: matches[way])
    assert 3 <= down <= 7 and right == -1, "near drops fall 6 pixels, farther ones less, and all of them aslant"


def streaks(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What is narrow in a picture, (H, W)."""
    grey = picture[..., 0].astype(np.float64)
    return np.asarray(grey - cv2.blur(grey, (31, 1)), np.float64)


def test_a_sensors_noise_is_another_one_in_every_frame() -> None:
    first, next_one = (seen_on_grey("night", time).astype(np.float64) for time in (0, PERIOD))
    assert abs(np.corrcoef(first.ravel(), next_one.ravel())[0, 1]) < 0.02
    assert first.std() > 2


def test_fog_hides_what_is_far_and_not_the_road_ahead() -> None:
    fog = seen_on_grey("fog", 0)[..., 0]
    assert fog[170, 240] > 190 > 150 > fog[355, 240], "the horizon, and the road before the bonnet"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("night", "jpeg")])
def test_a_picture_of_twice_the_size_is_hurt_as_much(kind: str) -> None:
    """Lengths are shares of the picture's width; what belongs to single pixels, noise and blocks, is not."""
    large = np.asarray(cv2.resize(PICTURE, (960, 720), interpolation=cv2.INTER_CUBIC), np.uint8)
    shrunk = cv2.resize(Corruption(kind, 3)(large, 0), (480, 360), interpolation=cv2.INTER_AREA)
    small = difference(Corruption(kind, 3)(PICTURE, 0), PICTURE)
    assert difference(np.asarray(shrunk, np.uint8), PICTURE) == pytest.approx(small, rel=0.3)


@pytest.mark.parametrize("shape", [(360, 480), (17, 33), (1080, 1920)])
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_any_size_and_time_can_be_corrupted(kind: str, shape: tuple[int, int]) -> None:
    for time in (-PERIOD, 10**18):
        assert Corruption(kind, 5)(np.zeros((*shape, 3), np.uint8), time).shape == (*shape, 3)


@pytest.mark.parametrize("text", ["fog", "fog:0", "fog:6", "fog:03", "snow:1", ":3", "fog:3:1", ""])
def test_what_is_no_corruption_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(CorruptionError, match="expected KIND:STRENGTH, one of night, fog"):
        parse_corruption(text)


def test_a_corruption_is_read_as_it_is_written() -> None:
    make: Callable[[str], Corruption] = parse_corruption
    for kind, strength in itertools.product(KINDS, STRENGTHS):
        assert make(str(Corruption(kind, strength))) == Corruption(kind, strength)
