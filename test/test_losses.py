"""Lost images are counted by what the middleware hands on, and are "not known" where that does not suffice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lowlat_seg_ros.ros.losses import (
    BY_SEQUENCE_NUMBERS,
    BY_STAMPS,
    ENOUGH_GAPS,
    NOT_KNOWN,
    REMEMBERED_PUBLISHERS,
    Arrival,
    LossCounter,
)

CAMERA = b"front camera"
PERIOD = 33_333_333  # nanoseconds
KILTED_FAST_DDS = {
    "source_timestamp": 5,
    "received_timestamp": 6,
    "publication_sequence_number": 7,
    "reception_sequence_number": None,
    "publisher_gid": {"implementation_identifier": "rmw_fastrtps_cpp", "data": CAMERA},
}


@pytest.mark.parametrize(
    ("information", "publisher", "number"),
    [
        (KILTED_FAST_DDS, CAMERA, 7),
        ({name: value for name, value in KILTED_FAST_DDS.items() if name != "publisher_gid"}, None, 7),  # Jazzy
        ({**KILTED_FAST_DDS, "publication_sequence_number": None}, CAMERA, None),  # CycloneDDS
        ({**KILTED_FAST_DDS, "publisher_gid": None}, None, 7),
        (dict.fromkeys(KILTED_FAST_DDS), None, None),
        ({}, None, None),
    ],
)
def test_every_field_of_the_message_info_may_be_missing(
    information: dict[str, Any], publisher: bytes | None, number: int | None
) -> None:
    assert Arrival.of(information, 3) == Arrival(3, publisher, number)


def lost_by_numbers(numbers: list[int], publisher: bytes | None = CAMERA, publisher_count: int = 1) -> list[int]:
    losses = LossCounter()
    arrivals = [Arrival(number * PERIOD, publisher, number) for number in numbers]
    return [losses.received(arrival, publisher_count) for arrival in arrivals]


@pytest.mark.parametrize("publisher", [CAMERA, None])
def test_gaps_between_sequence_numbers_are_losses(publisher: bytes | None) -> None:
    assert lost_by_numbers([1, 2, 5, 6, 10], publisher) == [0, 0, 2, 0, 3]


def test_what_was_sent_before_the_node_started_is_not_counted() -> None:
    assert lost_by_numbers([4711]) == [0]


def test_a_number_that_goes_back_is_no_loss() -> None:
    assert lost_by_numbers([100, 1, 3]) == [0, 0, 1]


def test_every_publisher_counts_on_its_own() -> None:
    losses = LossCounter()
    for number in range(1, 4):
        losses.received(Arrival(number, b"front", number), 2)
        losses.received(Arrival(number, b"rear", 10 * number), 2)
    assert losses.total == 18


def test_publishers_that_come_and_go_do_not_pile_up() -> None:
    losses = LossCounter()
    for publisher in range(10 * REMEMBERED_PUBLISHERS):
        losses.received(Arrival(0, CAMERA, publisher + 1), 2)  # is heard all the time, so it is not forgotten
        losses.received(Arrival(0, publisher.to_bytes(4, "big"), 1), 2)
    assert losses.received(Arrival(0, CAMERA, 10 * REMEMBERED_PUBLISHERS + 2), 2) == 1
    assert len(losses._numbers._last) <= REMEMBERED_PUBLISHERS


def test_numbers_of_two_publishers_that_cannot_be_told_apart_count_nothing() -> None:
    losses = LossCounter()
    for number in (1, 501, 2, 502):
        losses.received(Arrival(0, None, number), publisher_count=2)
    assert (losses.basis, losses.total) == (NOT_KNOWN, None)


def count_by_stamps(stamps: list[int]) -> LossCounter:
    losses = LossCounter()
    for stamp in stamps:
        losses.received(Arrival(stamp, CAMERA), 1)
    return losses


def test_without_sequence_numbers_gaps_between_stamps_are_losses() -> None:
    """A camera at 30 Hz with 3 ms of jitter; those lost before its period was known are counted too."""
    jitter = np.random.default_rng(0).integers(-3_000_000, 3_000_000, 200)
    missing = {2, 50, 51, 52, 120}
    sent = [number * PERIOD + int(jitter[number]) for number in range(200)]
    losses = count_by_stamps([stamp for number, stamp in enumerate(sent) if number not in missing])
    assert (losses.basis, losses.total) == (BY_STAMPS, len(missing))


def test_most_images_may_be_lost() -> None:
    rng = np.random.default_rng(1)
    arrived = np.flatnonzero(rng.random(500) < 0.5)
    losses = count_by_stamps([int(number) * PERIOD for number in arrived])
    assert losses.total == arrived[-1] - arrived[0] + 1 - len(arrived)


@pytest.mark.parametrize(
    "stamps",
    [
        [number * PERIOD for number in range(ENOUGH_GAPS)],  # one gap too few
        [0] * 100,  # a driver without stamps
        [int(stamp) for stamp in np.random.default_rng(2).uniform(0, 100 * PERIOD, 100).cumsum()],  # no period
    ],
)
def test_where_stamps_tell_nothing_losses_are_not_known(stamps: list[int]) -> None:
    losses = count_by_stamps(stamps)
    assert (losses.basis, losses.total) == (NOT_KNOWN, None)


def test_a_pause_of_the_camera_and_a_step_back_are_no_losses() -> None:
    steady = [number * PERIOD for number in range(20)]
    paused = [stamp + 60_000_000_000 for stamp in steady]
    assert count_by_stamps([*steady, *paused, *steady]).total == 0


def test_numbers_count_although_stamps_stand_still() -> None:
    losses = LossCounter()
    for number in (1, 2, 4):
        losses.received(Arrival(0, CAMERA, number), 1)
    assert (losses.basis, losses.total) == (BY_SEQUENCE_NUMBERS, 1)
