"""Small objects of the diagnostics, on a clock of the test's own."""

from __future__ import annotations

import math

import pytest

from lowlat_seg_ros.ros.diagnostics import (
    ERROR,
    OK,
    STALE,
    WARN,
    CameraHealth,
    Health,
    LatencyWindow,
    Limits,
    Load,
    SlowTrackHealth,
)
from lowlat_seg_ros.ros.losses import Arrival
from lowlat_seg_ros.ros.repeated_warnings import REMEMBERED_KINDS, RepeatedWarnings

CAMERA = b"front camera"
NOBODY = {"image publishers": 0}
TIMEOUT = 2.0


def test_percentiles_are_over_the_last_frames_only() -> None:
    window = LatencyWindow(frames=4)
    for milliseconds in (1000.0, 1.0, 2.0, 3.0, 4.0):
        window.add(milliseconds)
    latency = window.percentiles()
    assert (latency.p50, latency.maximum) == (2.5, 4.0)
    assert 3.9 < latency.p99 < 4.0


def test_before_the_first_frame_there_is_no_latency() -> None:
    assert math.isnan(LatencyWindow().percentiles().p99)


def report(health: CameraHealth, now: float) -> Health:
    return health.report(now, NOBODY, Limits(TIMEOUT))


def test_a_camera_that_works_is_healthy() -> None:
    health = CameraHealth("/image", now=0.0)
    for number in range(1, 11):
        health.image_arrived(number / 10, Arrival(0, CAMERA, number), 1)
        health.image_segmented(number / 10, milliseconds=float(number), slow_track_failed=0)
    healthy = report(health, now=1.0)
    assert healthy.troubles == ()
    assert healthy.summary == "segmenting at 10.0 Hz"
    assert healthy.values["rate (Hz)"] == "10.0"
    assert healthy.values["latency max (ms)"] == "10.0"
    assert healthy.values["image publishers"] == "0"


def test_the_rate_is_over_the_time_since_the_last_report() -> None:
    health = CameraHealth("/image", now=0.0)
    health.image_segmented(0.5, 1.0, 0)
    report(health, now=1.0)
    assert report(health, now=2.0).values["rate (Hz)"] == "0.0"


def test_no_time_between_two_reports_is_no_division_by_zero() -> None:
    health = CameraHealth("/image", now=1.0)
    assert report(health, now=1.0).values["rate (Hz)"] == "0.0"


@pytest.mark.parametrize("silent_seconds", [TIMEOUT, 100.0])
def test_silence_is_a_trouble(silent_seconds: float) -> None:
    health = CameraHealth("/front/image", now=0.0)
    health.image_arrived(5.0, Arrival(0, CAMERA, 1), 1)
    assert report(health, now=5.0 + TIMEOUT - 0.1).troubles == ()
    assert report(health, now=5.0 + silent_seconds).troubles == (
        f"no image on /front/image for {silent_seconds:.0f} s",
    )


LIMITS = Limits(TIMEOUT, warn_key_age=2.0, error_key_age=10.0)


@pytest.mark.parametrize(
    ("silent_seconds", "level"),
    [(0.0, OK), (TIMEOUT - 0.1, OK), (TIMEOUT, WARN), (5 * TIMEOUT - 0.1, WARN), (5 * TIMEOUT, STALE), (1e6, STALE)],
)
def test_silence_is_a_warning_and_then_stale(silent_seconds: float, level: int) -> None:
    health = CameraHealth("/image", now=0.0)
    health.image_arrived(1.0, Arrival(0, CAMERA, 1), 1)
    health.image_segmented(1.0, 1.0, 0)
    health.report(1.0, NOBODY, LIMITS)
    told = health.report(1.0 + silent_seconds, NOBODY, LIMITS)
    assert told.level == level and told.is_silent == (level != OK)


def test_before_the_first_image_a_camera_is_waited_for() -> None:
    told = CameraHealth("/image", now=0.0).report(1.0, NOBODY, LIMITS)
    assert (told.level, told.summary) == (OK, "waiting for the first image on /image")


@pytest.mark.parametrize("kind", ["lost", "refused", "failed", "out of order"])
def test_images_of_which_none_is_labelled_are_an_error(kind: str) -> None:
    health = CameraHealth("/image", now=0.0)
    for second in range(4):
        if kind == "lost":
            health.image_arrived(float(second), Arrival(0, CAMERA, 1 + 5 * second), 1)
        else:
            health.image_arrived(float(second), Arrival(0, CAMERA, 1 + second), 1)
        if kind == "refused":
            health.image_refused()
        if kind == "failed":
            health.image_failed(float(second))
        if kind == "out of order":
            health.image_out_of_order()
        told = health.report(second + 0.5, NOBODY, LIMITS)
        assert told.level == (ERROR if second + 0.5 >= TIMEOUT else WARN if told.troubles else OK)
    assert "images was labelled for" in told.summary
    health.image_segmented(4.0, 1.0, 0)
    health.report(4.1, NOBODY, LIMITS)
    assert health.report(4.5, NOBODY, LIMITS).level == OK


@pytest.mark.parametrize(("overdue", "level"), [(0.0, OK), (1.9, OK), (2.0, WARN), (9.9, WARN), (10.0, ERROR)])
def test_an_answer_that_is_due_is_a_warning_and_then_an_error(overdue: float, level: int) -> None:
    health = CameraHealth("/image", now=0.0)
    told = health.report(0.1, NOBODY, LIMITS, SlowTrackHealth(key_age=overdue + 0.5, overdue=overdue))
    assert told.level == level
    assert (f"the newest is {overdue + 0.5:.1f} s old" in told.summary) == (level != OK)


def test_a_slow_track_that_is_given_up_is_an_error() -> None:
    health = CameraHealth("/image", now=0.0)
    told = health.report(0.1, NOBODY, LIMITS, SlowTrackHealth(given_up="Sh has hung"))
    assert (told.level, told.summary) == (ERROR, "Sh has hung")


def test_what_is_not_asked_for_is_not_missed() -> None:
    """An inactive node's images are neither lost nor silent, also after it has begun again."""
    health = CameraHealth("/image", now=0.0)
    health.image_arrived(0.1, Arrival(0, CAMERA, 1), 1)
    told = health.report_inactive(100.0, NOBODY, "inactive")
    assert (told.level, told.summary) == (OK, "inactive")
    health.begin(200.0)
    health.image_arrived(200.1, Arrival(0, CAMERA, 2000), 1)
    assert health.report(200.2, NOBODY, LIMITS).troubles == ()


def test_time_in_a_callback_is_no_silence() -> None:
    health = CameraHealth("/image", now=0.0)
    health.image_arrived(0.0, Arrival(0, CAMERA, 1), 1)
    health.image_segmented(now=10.0, milliseconds=10_000.0, slow_track_failed=0)
    assert report(health, now=10.1).troubles == ()


def test_troubles_are_told_once_and_counted_for_ever() -> None:
    health = CameraHealth("/image", now=0.0)
    health.image_arrived(0.1, Arrival(0, CAMERA, 1), 1)
    health.image_arrived(0.2, Arrival(0, CAMERA, 4), 1)
    health.image_refused()
    health.image_damaged()
    health.image_segmented(0.5, 1.0, slow_track_failed=3)
    troubled = report(health, now=1.0)
    assert troubled.summary == (
        "images lost since the last report: 2; images labelled that had lost data since the last report: 1; "
        "images refused since the last report: 1; slow-track failures since the last report: 3"
    )
    calm = report(health, now=1.5)
    assert calm.troubles == ()
    assert (calm.values["images dropped"], calm.values["images refused"]) == ("2", "1")
    assert (calm.values["images damaged"], calm.values["slow-track failures"]) == ("1", "3")
    assert health.frames_dropped == 2


def test_lost_images_come_with_how_busy_the_node_was() -> None:
    """With all of its cameras' images, and whatever it did with them: one thread serves them all."""
    load = Load()
    health = CameraHealth("/image", now=0.0, load=load)
    health.image_arrived(0.1, Arrival(0, CAMERA, 1), 1)
    health.image_arrived(0.9, Arrival(0, CAMERA, 9), 1)
    load.seconds += 0.95
    first = report(health, now=1.0)
    assert (first.dropped, first.busy_share) == (7, 0.95)
    assert report(health, now=2.0).dropped == 0


def test_losses_that_cannot_be_told_for_a_while_are_neither_taken_back_nor_told_twice() -> None:
    """A camera without sequence numbers pauses, and its period has to be found again."""
    health, second = CameraHealth("/image", now=0.0), 1_000_000_000
    for number in (*range(20), *range(30, 50)):  # ten are lost
        health.image_arrived(number / 10, Arrival(stamp=number * second // 10), 1)
    assert report(health, now=5.0).dropped == 10
    health.begin(10.0)
    told = []
    for number in range(40):
        health.image_arrived(10 + number / 10, Arrival(stamp=10 * second + number * second // 10), 1)
        if number % 3 == 0:
            told.append(report(health, now=10 + number / 10))
    assert {each.dropped for each in told} == {0} and not any("lost" in each.summary for each in told)
    assert [told[0].values["images dropped"], told[-1].values["images dropped"]] == ["not known", "10"]


def test_images_that_the_fast_track_fails_on_are_not_labelled_ones() -> None:
    health = CameraHealth("/image", now=0.0)
    for second in range(1, 6):
        health.image_segmented(second, 1.0, 0, restarts=second, has_failed=True)
        told = report(health, now=second)
    assert told.level == ERROR and "none of 5 images was labelled for 5 s" in told.summary
    health.image_segmented(6.0, 1.0, 0, restarts=5)
    assert report(health, now=6.0).level == OK


def test_on_an_rmw_without_sequence_numbers_losses_are_not_known_but_never_zero() -> None:
    health = CameraHealth("/image", now=0.0)
    health.image_arrived(0.1, Arrival(stamp=0, publisher=CAMERA), 1)
    assert health.frames_dropped is None
    assert report(health, now=1.0).values["images dropped"] == "not known"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_trouble_is_logged_at_once_and_its_repetitions_now_and_then() -> None:
    lines: list[str] = []
    clock = Clock()
    warnings = RepeatedWarnings(lines.append, clock, repeat_seconds=10)
    for clock.now in (0.0, 1.0, 2.0, 9.9, 10.0, 11.0):
        warnings.warn(f"the stamp {clock.now} is bad")
    assert lines == ["the stamp 0.0 is bad", "the stamp 10.0 is bad (3 more like it since the last such line)"]


def test_one_kind_of_trouble_hides_no_other() -> None:
    lines: list[str] = []
    warnings = RepeatedWarnings(lines.append, Clock(), repeat_seconds=10)
    for _ in range(3):
        warnings.warn("bad encoding")
        warnings.warn("bad step")
    assert lines == ["bad encoding", "bad step"]


def test_kinds_of_trouble_do_not_pile_up() -> None:
    warnings = RepeatedWarnings(lambda line: None, Clock(), repeat_seconds=10)
    for number in range(1000):
        warnings.warn(f"the encoding {'x' * number} is bad")
    assert len(warnings._kinds) <= REMEMBERED_KINDS


def test_what_a_warning_quotes_is_cut_escaped_and_no_kind_of_its_own() -> None:
    lines: list[str] = []
    warnings = RepeatedWarnings(lines.append, Clock(), repeat_seconds=10)
    for number in range(60):
        warnings.warn(f"the encoding {'x' * 200_000 + str(number)!r} is not known")
        warnings.warn(f"the encoding {chr(97 + number)!r} is not known")
    warnings.warn("a name\nof two \x1b[31mlines")
    assert [len(line) < 600 for line in lines] == [True] * len(lines) and len(lines) <= 3
    assert lines[-1] == "a name\\nof two \\x1b[31mlines"


def test_a_change_of_topic_is_no_loss() -> None:
    """As from raw to compressed images, where an RMW tells no publishers' identities (Jazzy)."""
    health = CameraHealth("/image", now=0.0)
    health.image_arrived(0.1, Arrival(0, None, 1), 1)
    health.topic_changed("/image/compressed")
    assert "/image/compressed" in report(health, now=0.15).summary
    health.image_arrived(0.2, Arrival(0, None, 50), 1)
    assert report(health, now=0.3).values["images dropped"] == "0"
