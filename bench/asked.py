"""What issue 4 asks for on two cores, as ratios of one run, beside what this run reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.measuring import MEBIBYTE
from bench.tracks import FULL, LOW_LATENCY

FIRST_SIZE: Final = [1280, 720]
LARGE_KERNEL: Final = (64, 128, 256)  # height, width, channels
SHIPPED_KERNEL: Final = (45, 60, 96)


@dataclass(frozen=True)
class Asked:
    """One thing asked, as a limit that a figure must not pass, and the figure; None where it was not measured."""

    what: str
    limit: float
    reached: float | None
    at_least: bool = False  # the figure must be the limit or more; otherwise the limit or less

    @property
    def is_met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.limit if self.at_least else self.reached <= self.limit

    def to_mapping(self) -> dict[str, Any]:
        return {**asdict(self), "is_met": self.is_met}


def asked_and_reached(results: Mapping[str, Any]) -> list[Asked]:
    """Every ratio that the sections in ``results`` allow; a section that is absent leaves its figures None."""
    return [*_of_tracks(results), *_of_node(results), *_of_kernel(results), *_of_soak(results)]


def _of_tracks(results: Mapping[str, Any]) -> list[Asked]:
    scheduled = _track(results, LOW_LATENCY, "as scheduled", "max")
    full = _track(results, FULL, "idle", "p50")
    busy, idle = (_track(results, LOW_LATENCY, condition, "p99") for condition in ("busy", "idle"))
    keys = _at(results, "tracks", "key_frames")
    first = _at(results, "tracks", "first_frame")
    longest = _ratio(scheduled, full)
    first_ms = _at(first, "first_ms")
    ordinary = _at(keys, "other", "p50")
    return [
        Asked("longest latency with low latency scheduling / median of the full network", 0.33, longest),
        Asked("the same, the aim", 0.20, longest),
        Asked("p99 of the fast track, slow track busy / idle", 1.5, _ratio(busy, idle)),
        Asked("median of key frames / of other frames", 1.05, _ratio(_at(keys, "key", "p50"), ordinary)),
        Asked(
            "first frame after the warm-up / median of later streams' first frames",
            1.5,
            _ratio(first_ms, _at(first, "later_first_frames", "p50")),
        ),
        Asked(
            "the same / median of the frames that follow",
            1.5,
            _ratio(first_ms, ordinary),
        ),
    ]


def _of_node(results: Mapping[str, Any]) -> list[Asked]:
    overhead = _chain(results, "small_input", "overhead_ms", "p50")
    floor = _chain(results, "floor", "end_to_end_ms", "p50")
    long_play = _at(results, "node", "without_loss")
    seconds = _at(long_play, "seconds")
    overloaded = _overloaded_row(results)
    uncounted = _difference(_at(overloaded, "lost"), _at(overloaded, "counted_as_lost"))
    return [
        Asked("node overhead at 1280x720 / the floor's, medians", 1.5, _ratio(overhead, floor)),
        Asked(f"frames lost in {seconds or 60} s at 30 Hz where the network keeps up", 0, _at(long_play, "lost")),
        Asked("frames lost and not counted where the network does not keep up", 0, uncounted),
        Asked(
            "latency there, last quarter of a turn / first quarter (no queue)",
            1.2,
            _at(overloaded, "last_quarter_over_first"),
        ),
    ]


def _of_kernel(results: Mapping[str, Any]) -> list[Asked]:
    large, shipped = _kernel_row(results, *LARGE_KERNEL), _kernel_row(results, *SHIPPED_KERNEL)
    height, width, channels = LARGE_KERNEL
    feature_mebibytes = 4 * height * width * channels / MEBIBYTE
    return [
        Asked(
            "convolution: shift-and-add loop / C++, 256 channels at 64x128",
            3,
            _at(large, "times_reference"),
            at_least=True,
        ),
        Asked("the same, 96 channels at 45x60, the shipped model's", 1, _at(shipped, "times_reference"), at_least=True),
        Asked(
            "memory that the convolution takes / the feature's own (unfolding: 81)",
            3,
            _ratio(_at(large, "extra_mib"), feature_mebibytes),
        ),
    ]


def _kernel_row(results: Mapping[str, Any], height: int, width: int, channels: int) -> Mapping[str, Any] | None:
    """Of the C++ body."""
    wanted = {"body": "C++", "height": height, "width": width, "channels": channels}
    rows = _at(results, "kernel", "rows") or []
    return next((row for row in rows if wanted.items() <= row.items()), None)


def _of_soak(results: Mapping[str, Any]) -> list[Asked]:
    growth = _at(results, "soak", "growth_mebibytes")
    return [Asked("memory grown over 5000 frames, in MiB (`make bench-soak`)", 8, growth)]


def _track(results: Mapping[str, Any], system: str, condition: str, figure: str) -> float | None:
    rows = _at(results, "tracks", "rows") or []
    found = [row for row in rows if (row["system"], row["slow_track"]) == (system, condition)]
    return _at(found[0], "latency_ms", figure) if found else None


def _node_row(results: Mapping[str, Any], chain: str, size: Sequence[int] = FIRST_SIZE) -> Mapping[str, Any] | None:
    rows = _at(results, "node", "rows") or []
    return next((row for row in rows if row["chain"] == chain and row["size"] == list(size)), None)


def _overloaded_row(results: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The node as shipped where it keeps up least.

    A network that is only just too slow waits a little longer from image to image until one is lost: over a turn of
    some seconds that looks like a queue and is none.
    """
    rows = [row for row in _at(results, "node", "rows") or [] if row["chain"] == "as_shipped"]
    return max(rows, key=lambda row: row["lost"], default=None)


def _chain(results: Mapping[str, Any], chain: str, *path: str) -> float | None:
    return _at(_node_row(results, chain), *path)


def _at(mapping: Any, *path: str) -> Any:
    """What lies at a path of keys; None where a key is missing or leads to nothing."""
    for key in path:
        mapping = mapping.get(key) if isinstance(mapping, Mapping) else None
    return mapping


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else abs(one - other)
