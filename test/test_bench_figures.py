"""The bench's arithmetic: spreads, turns, pacing, what was asked and reached, and the tables."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from bench.clip import Pacer
from bench.environment import environment, machine_name
from bench.measuring import growth, in_turn, rounded, spread_mapping
from bench.report import Asked, asked_and_reached, asked_table, report, table

MILLISECOND = 1_000_000


def test_a_spread_is_over_all_frames_and_between_the_medians_of_turns() -> None:
    spread = spread_mapping([[1.0, 2.0, 9.0], [], [4.0, 4.0, 5.0]])
    assert spread is not None
    assert (spread["count"], spread["p50"], spread["max"]) == (6, 4.0, 9.0)
    assert (spread["lowest_turn"], spread["highest_turn"]) == (2.0, 4.0)
    assert spread["p50"] <= spread["p95"] <= spread["p99"] <= spread["max"]


def test_a_spread_of_nothing_is_none() -> None:
    assert spread_mapping([[], []]) is None


def test_percentiles_of_a_hundred_frames_are_where_they_should_be() -> None:
    spread = spread_mapping([[float(value) for value in range(101)]])
    assert spread is not None
    assert tuple(spread[name] for name in ("p50", "p95", "p99", "max")) == (50, 95, 99, 100)


def test_results_hold_microseconds_and_no_nan() -> None:
    assert rounded({"a": [1.23456, math.nan], "b": 3, "c": "word"}) == {"a": [1.235, None], "b": 3, "c": "word"}


def test_cases_take_turns_a_b_a_b() -> None:
    order: list[tuple[str, int]] = []

    def case(name: str) -> Any:
        def call(number: int) -> int:
            order.append((name, number))
            return number

        return call

    results = in_turn({"a": case("a"), "b": case("b")}, rounds=3)
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert results == {"a": [0, 1, 2], "b": [0, 1, 2]}


class FakeTime:
    """A clock that only sleeping and working move."""

    def __init__(self) -> None:
        self.now = 5_000 * MILLISECOND
        self.start = self.now

    def clock(self) -> int:
        return self.now

    def pass_by(self, nanoseconds: int) -> None:
        self.now += nanoseconds

    def played(self, pacer: Pacer, work: list[int]) -> list[tuple[int, int, int]]:
        """(index, due, handed in) of each frame, milliseconds since the start, with this work after each."""
        seen = []
        for (index, due), milliseconds in zip(pacer, work, strict=False):
            seen.append((index, (due - self.start) // MILLISECOND, (self.now - self.start) // MILLISECOND))
            self.pass_by(milliseconds * MILLISECOND)
        return seen


def pacer_of(time: FakeTime, count: int) -> Pacer:
    return Pacer(100 * MILLISECOND, count, time.clock, time.pass_by)


def test_no_frame_is_handed_in_before_its_time() -> None:
    time = FakeTime()
    pacer = pacer_of(time, 4)
    assert time.played(pacer, [10, 99, 1, 1]) == [(0, 0, 0), (1, 100, 100), (2, 200, 200), (3, 300, 300)]
    assert pacer.skipped == 0


def test_who_is_late_gets_the_newest_frame_and_no_queue() -> None:
    time = FakeTime()
    pacer = pacer_of(time, 8)
    # 250 ms late over frames 1 and 2: at 250 the newest is 2; 1 is skipped. Then 450: 4, and 3 is skipped.
    assert time.played(pacer, [250, 200, 10, 1]) == [(0, 0, 0), (2, 200, 250), (4, 400, 450), (5, 500, 500)]
    assert pacer.skipped == 2


def test_a_frame_late_by_less_than_a_period_is_handed_in_at_once() -> None:
    time = FakeTime()
    assert time.played(pacer_of(time, 3), [150, 10, 1]) == [(0, 0, 0), (1, 100, 150), (2, 200, 200)]


def test_who_is_late_at_the_end_gets_the_last_frame() -> None:
    time = FakeTime()
    pacer = pacer_of(time, 3)
    assert time.played(pacer, [1_000, 1]) == [(0, 0, 0), (2, 200, 1_000)]
    assert pacer.skipped == 1
    assert list(pacer_of(time, 0)) == []


def fake_spread(p50: float, p99: float, maximum: float) -> dict[str, float]:
    turns = {"lowest_turn": p50, "highest_turn": p50}
    return {"count": 9, "p50": p50, "p95": p99, "p99": p99, "max": maximum, **turns}


def kernel_row(height: int, width: int, channels: int, times_reference: float) -> dict[str, Any]:
    times = {"milliseconds": 5.0, "p10": 4.0, "p90": 6.0, "times_reference": times_reference}
    size = {"height": height, "width": width, "channels": channels, "threads": 1}
    return {"body": "C++", **size, **times, "extra_mib": 9.0}


def scale_row(cameras: int, labelled_hz: float) -> dict[str, Any]:
    spreads = dict.fromkeys(("callback_ms", "end_to_end_ms", "sh_ms"), fake_spread(10, 12, 15))
    counts = {"offered_hz": 60.0, "labelled_hz": labelled_hz, "lost": 0, "cpu_share": 1.5, "resident_mebibytes": 500}
    return {"cameras": cameras, "input_size": [480, 360], **counts, **spreads}


def fake_results() -> dict[str, Any]:
    """A run whose every ratio is known."""
    calm, wild = fake_spread(10, 12, 15), fake_spread(20, 30, 40)
    track = {"age_ms": calm, "sh_ms": None, "frames_late": None, "key_frames": 0, "skipped": 0}

    def of(system: str, slow_track: str, latency: dict[str, float]) -> dict[str, Any]:
        return {"system": system, "slow_track": slow_track, "latency_ms": latency, **track}

    def chain(name: str, end_to_end: float, overhead: float) -> dict[str, Any]:
        spreads = dict.fromkeys(("to_callback_ms", "callback_ms"), calm)
        return {
            "chain": name,
            "size": [1280, 720],
            "sent": 100,
            "lost": 7,
            "counted_as_lost": 6,
            "end_to_end_ms": fake_spread(end_to_end, 90, 95),
            "overhead_ms": fake_spread(overhead, 90, 95),
            "last_quarter_over_first": 1.05,
            "stages_ms": {"age": 3.0, "decode": 1.0, "low": 6.0},
            **spreads,
        }

    return {
        "environment": environment("default"),
        "tracks": {
            "clip": "a made-up clip",
            "rounds": 2,
            "frames_a_turn": 9,
            "rows": [
                of("full network", "idle", fake_spread(50, 60, 70)),
                of("two tracks, low latency", "idle", calm),
                of("two tracks, low latency", "busy", wild),
                {**of("two tracks, low latency", "as scheduled", calm), "sh_ms": fake_spread(61, 62, 63)},
                of("two tracks, low latency, adaptive", "as scheduled", fake_spread(11, 15, 16)),
                {**of("two tracks, low latency", "no idle key frames", calm), "cpu_ms": 34.0},
            ],
            "key_frames": {"key": fake_spread(10.4, 12, 15), "other": calm},
            "first_frame": {"first_ms": 60.0, "later_first_frames": fake_spread(50, 51, 52)},
        },
        "node": {
            "rate_hz": 30.0,
            "rounds": 2,
            "seconds_a_turn": 4,
            "small_input": [240, 180],
            "rows": [chain("floor", 4.0, 3.9), chain("small_input", 20.0, 6.2), chain("as_shipped", 50.0, 9.0)],
            "without_loss": {"seconds": 60, **chain("small_input", 20.0, 6.2), "lost": 0, "sent": 1800},
        },
        "kernel": {"rounds": 3, "rows": [kernel_row(64, 128, 256, 4.0), kernel_row(45, 60, 96, 0.9)]},
        "scale": {"rate_hz": 15.0, "rounds": 2, "seconds_a_turn": 4, "rows": [scale_row(4, 57.0), scale_row(8, 60.0)]},
        "soak": {"growth_mebibytes": 0.5, "frames": 5000},
    }


def reached() -> dict[str, Asked]:
    return {asked.what: asked for asked in asked_and_reached(fake_results())}


def test_what_is_lost_is_looked_at_where_most_is_lost() -> None:
    results = fake_results()
    shipped = results["node"]["rows"][-1]
    results["node"]["rows"].append({**shipped, "lost": shipped["lost"] + 5, "last_quarter_over_first": 1.5})
    asked = {asked.what: asked.reached for asked in asked_and_reached(results)}
    assert asked["latency there, last quarter of a turn / first quarter (no queue)"] == 1.5
    assert asked["frames lost and not counted where the network does not keep up"] == 6


@pytest.mark.parametrize(
    ("words", "figure", "is_met"),
    [
        ("longest latency", 15 / 50, True),
        ("the same, the aim", 15 / 50, True),
        ("p99 of the fast track, slow track busy", 30 / 12, False),
        ("p99 of the fast track, just in time", 12 / 15, True),
        ("median of key frames", 1.04, True),
        ("first frame after the warm-up / median of later", 1.2, True),
        ("the same / median of the frames", 6.0, False),
        ("node overhead", 6.2 / 4.0, False),
        ("frames lost in 60 s", 0, True),
        ("frames lost and not counted", 1, False),
        ("latency there", 1.05, True),
        ("convolution: shift", 4.0, True),
        ("the same, 96 channels", 0.9, False),
        ("CPU milliseconds a frame", 34.0, True),
        ("Sh's answer", 61.0, False),
        ("images a second labelled, of 4", 57.0, False),
        ("images a second labelled, of 8", 60.0, True),
        ("memory that the convolution takes", 9 / 8, True),
        ("memory grown", 0.5, True),
    ],
)
def test_each_ratio_asked_is_taken_from_its_rows(words: str, figure: float | None, is_met: bool | None) -> None:
    (asked,) = [asked for what, asked in reached().items() if what.startswith(words)]
    assert asked.reached == (None if figure is None else pytest.approx(figure))
    assert asked.is_met is is_met


def test_a_figure_that_must_be_large_is_met_from_its_limit_on() -> None:
    assert [Asked("speed", 3, value, at_least=True).is_met for value in (2.9, 3.0, 3.1)] == [False, True, True]


def test_without_any_section_nothing_is_met_and_nothing_fails() -> None:
    assert {asked.is_met for asked in asked_and_reached({})} == {None}
    assert "not measured" in asked_table({})


def test_the_report_holds_what_was_measured_and_ends_with_what_was_asked() -> None:
    text = report(fake_results())
    assert "| two tracks, low latency | busy | 20.0 | 30.0 | 30.0 | 40.0 | 20.0 to 20.0 |" in text
    assert "| p99 of the fast track, slow track busy / idle | ≤ 1.15 | 2.50 | **no** |" in text
    assert "## Modules" not in text
    assert "| 64x128 | 256 | 1 | C++ | 5.00 | 4.00 to 6.00 | 4.00 | 9.00 |" in text
    assert text.index("## Tracks") < text.index("## Node") < text.index("## Kernel") < text.index("## Asked")


def test_tables_set_words_left_and_figures_right() -> None:
    assert table(("a", "b"), [("x", "1")]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_a_machine_is_named_by_its_processor_and_cores_alone() -> None:
    assert machine_name("Intel(R) Xeon(R) CPU @ 2.20GHz", 4) == "intel_xeon_cpu_2.20ghz_4_cores"


def test_the_environment_says_what_the_figures_depend_on() -> None:
    facts = environment("default")
    assert json.loads(json.dumps(facts)) == facts
    assert {"date", "commit", "cpu", "cores", "threads", "model", "torch"} <= facts.keys()


def test_memory_that_fills_the_allocator_first_has_not_grown() -> None:
    assert growth([100, 400, 500, 500, 500, 501, 500, 500]) == pytest.approx(0, abs=1)
    assert growth([float(value) for value in range(0, 800, 10)]) == pytest.approx(400)
    with pytest.raises(ValueError, match="there are 3 samples of the memory; expected 4 or more"):
        growth([1.0, 2.0, 3.0])
