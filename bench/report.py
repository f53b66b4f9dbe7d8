"""The results as Markdown: tables by name, all of them as a report, and what was asked and reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bench.measuring import MEBIBYTE
from bench.tracks import ADAPTIVE, FULL, LOW_LATENCY

SPREAD_HEADINGS = ("p50", "p95", "p99", "max", "turns' p50")
SPREAD_NOTE = (
    "Milliseconds. Turns follow each other A B A B; the last figures of a row are the lowest and the highest median of "
    "its turns, so that what differs less from row to row than these do is noise."
)
CHAINS = {"floor": "floor: memory copy", "small_input": "node, small input", "as_shipped": "node as shipped"}
STAGE_NAMES = {
    "age": "camera → callback (DDS, waiting)",
    "decode": "message → RGB",
    "low": "resize, normalise, Sl",
    "schedule": "deviation, decision",
    "propagate": "kernels, convolution, just-in-time classifier, optical flow",
    "labels": "enlarging, largest logit",
    "publish": "publish labels",
    "back": "labels → listener (DDS)",
}

Results = Mapping[str, Any]
Column = tuple[str, Callable[[Any], str]]


def at(mapping: Any, *path: str) -> Any:
    """What lies at a path of keys; None where a key is missing or leads to nothing."""
    for key in path:
        mapping = mapping.get(key) if isinstance(mapping, Mapping) else None
    return mapping


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A Markdown table whose first ``texts`` columns are words and whose others are figures, set to the right."""
    rule = ["---" if number < texts else "---:" for number in range(len(headings))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows))


def spread_cells(spread: Results | None) -> tuple[str, ...]:
    percentiles = (_figure(at(spread, name)) for name in ("p50", "p95", "p99", "max"))
    turns = "" if spread is None else f"{_figure(spread['lowest_turn'])} to {_figure(spread['highest_turn'])}"
    return (*percentiles, turns)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table_of(rows: Iterable[Any], texts: int, *columns: Column) -> str:
    cells = ([render(row) for _, render in columns] for row in rows)
    return table([heading for heading, _ in columns], cells, texts)


def _word(key: str) -> Callable[[Any], str]:
    return lambda row: str(row[key])


def _ms(*path: str) -> Callable[[Any], str]:
    return lambda row: _figure(at(row, *path))


def _range(low: str, high: str) -> Callable[[Any], str]:
    return lambda row: f"{_figure(row[low])} to {_figure(row[high])}"


def _size(key: str) -> Callable[[Any], str]:
    return lambda row: "x".join(map(str, row[key]))


def _spread(key: str, p50: str = "p50") -> list[Column]:
    headings = (p50, *SPREAD_HEADINGS[1:])
    return [(heading, lambda row, i=i: spread_cells(row[key])[i]) for i, heading in enumerate(headings)]  # type: ignore[misc]


def environment_sentence(results: Results) -> str:
    """What the figures were measured on."""
    facts = results["environment"]
    threads = ", ".join(f"{track} {count}" for track, count in facts["threads"].items())
    instructions = f" ({facts['instruction_sets']})" if "instruction_sets" in facts else ""
    runtimes = "".join(f" {sentence[0].upper()}{sentence[1:]}." for sentence in facts.get("runtimes", []))
    return (
        f"`make bench` on {facts['date']}, {facts['cpu']}{instructions} with {facts['cores']} cores, "
        f"commit {facts['commit']}, model {facts['model']}, PyTorch {facts['torch']}, "
        f"Python {facts['python']}. Threads: {threads}. "
        f"Load average at the start: {facts['load_average_at_start']:.2f}.{runtimes}"
    )


def modules_tables(results: Results) -> str:
    columns: list[Column] = [
        ("module", _word("module")),
        ("ms", _ms("median_ms")),
        ("p10 to p90", _range("p10_ms", "p90_ms")),
        ("share", lambda row: f"{row['share']:.0%}"),
        ("the paper's share", lambda row: "" if row["paper_share"] is None else f"{row['paper_share']:.0%}"),
    ]
    return "\n\n".join(
        f"Model {one['model']}, {_size('size')(one)}, {one['threads']} threads, median of {one['rounds']} rounds.\n\n"
        + _table_of(one["rows"], 1, *columns)
        for one in results["modules"]
    )


def tracks_table(results: Results) -> str:
    words: list[Column] = [("system", _word("system")), ("slow track", _word("slow_track"))]
    counts: list[Column] = [("skipped", _word("skipped")), ("key frames", _word("key_frames"))]
    ages: list[Column] = [("p99 since due", _ms("age_ms", "p99"))]
    rows = results["tracks"]["rows"]
    ends: list[Column] = [
        ("Sh p50", _ms("sh_ms", "p50")),
        ("frames late p50", _ms("frames_late", "p50")),
        ("CPU a frame", _ms("cpu_ms")),
    ]
    return _table_of(rows, 2, *words, *_spread("latency_ms"), *ages, *counts, *ends)


def key_frames_table(results: Results) -> str:
    keys, first = results["tracks"]["key_frames"], results["tracks"]["first_frame"]
    rows = [
        ("key frames, low latency", *spread_cells(keys["key"])),
        ("other frames, low latency", *spread_cells(keys["other"])),
        ("first frame after the warm-up", _figure(first["first_ms"]), "", "", "", ""),
        ("first frames of later streams", *spread_cells(first["later_first_frames"])),
    ]
    return table(("frames", *SPREAD_HEADINGS), rows)


_CHAIN: list[Column] = [("image", _size("size")), ("chain", lambda row: CHAINS[row["chain"]])]


def node_table(results: Results) -> str:
    counts: list[Column] = [("sent", _word("sent")), ("lost", _word("lost")), ("counted", _word("counted_as_lost"))]
    there: list[Column] = [("to callback p50", _ms("to_callback_ms", "p50"))]
    rows = results["node"]["rows"]
    return _table_of(rows, 2, *_CHAIN, *counts, *there, *_spread("end_to_end_ms", "end to end p50"))


def overhead_table(results: Results) -> str:
    return _table_of(results["node"]["rows"], 2, *_CHAIN, *_spread("overhead_ms"))


def stages_table(results: Results) -> str:
    """Where each millisecond goes: a shipped node's frame at the smaller image size, stage by stage."""
    stages = next(row for row in results["node"]["rows"] if row["chain"] == "as_shipped")["stages_ms"]
    whole = sum(stages.values())
    rows = [(STAGE_NAMES[name], _figure(value), f"{value / whole:.0%}") for name, value in stages.items()]
    return table(("stage, medians", "ms", "share"), [*rows, ("sum", _figure(whole), "100%")])


def kernel_table(results: Results) -> str:
    return _table_of(
        results["kernel"]["rows"],
        4,
        ("grid", lambda row: f"{row['height']}x{row['width']}"),
        ("channels", _word("channels")),
        ("threads", _word("threads")),
        ("body", _word("body")),
        ("ms", _ms("milliseconds")),
        ("p10 to p90", _range("p10", "p90")),
        ("times as fast as the loop", lambda row: f"{row['times_reference']:.2f}"),
        ("MiB taken", _ms("extra_mib")),
    )


def scale_table(results: Results) -> str:
    return _table_of(
        results["scale"]["rows"],
        0,
        ("cameras", _word("cameras")),
        ("input", _size("input_size")),
        ("offered Hz", lambda row: f"{row['offered_hz']:.0f}"),
        ("labelled Hz", lambda row: f"{row['labelled_hz']:.1f}"),
        ("lost", _word("lost")),
        ("callback p50", _ms("callback_ms", "p50")),
        ("p99", _ms("callback_ms", "p99")),
        ("end to end p50", _ms("end_to_end_ms", "p50")),
        ("p99", _ms("end_to_end_ms", "p99")),
        _spread("end_to_end_ms")[-1],
        ("Sh p50", _ms("sh_ms", "p50")),
        ("cores in use", lambda row: f"{row['cpu_share']:.2f}"),
        ("MiB in RAM", _word("resident_mebibytes")),
    )


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


def asked_and_reached(results: Results) -> list[Asked]:
    """All that issues 4, 13 and 14 ask for on two cores, of one run; what was not measured is None."""

    def row(section: str, **wanted: Any) -> Any:
        return next((one for one in at(results, section, "rows") or [] if wanted.items() <= one.items()), None)

    def ratio(above: float | None, below: float | None) -> float | None:
        return None if above is None or not below else above / below

    def track(system: str, condition: str, figure: str) -> float | None:
        return at(row("tracks", system=system, slow_track=condition), "latency_ms", figure)

    longest = ratio(track(LOW_LATENCY, "as scheduled", "max"), track(FULL, "idle", "p50"))
    keys, first = at(results, "tracks", "key_frames"), at(results, "tracks", "first_frame")
    first_ms, ordinary = at(first, "first_ms"), at(keys, "other", "p50")
    small, floor = (row("node", chain=chain, size=[1280, 720]) for chain in ("small_input", "floor"))
    long_play = at(results, "node", "without_loss")
    # The node as shipped where it keeps up least. A network that is only just too slow waits a little longer from image
    # to image until one is lost: over a turn of some seconds that looks like a queue and is none.
    shipped = [one for one in at(results, "node", "rows") or [] if one["chain"] == "as_shipped"]
    overloaded = max(shipped, key=lambda one: one["lost"], default=None)
    uncounted = None if overloaded is None else abs(overloaded["lost"] - overloaded["counted_as_lost"])
    large = row("kernel", body="C++", height=64, width=128, channels=256)
    default = row("kernel", body="C++", height=45, width=60, channels=96)
    taken = ratio(at(large, "extra_mib"), 4 * 64 * 128 * 256 / MEBIBYTE)
    return [
        Asked("longest latency with low latency scheduling / median of the full network, all cores", 0.45, longest),
        Asked("the same, the aim", 0.33, longest),
        Asked(
            "CPU milliseconds a frame, both tracks, without idle key frames",
            35,
            at(row("tracks", system=LOW_LATENCY, slow_track="no idle key frames"), "cpu_ms"),
        ),
        Asked(
            "Sh's answer beside the fast track, milliseconds",
            60,
            at(row("tracks", system=LOW_LATENCY, slow_track="as scheduled"), "sh_ms", "p50"),
        ),
        *(
            Asked(f"images a second labelled, of {cameras} cameras' 60", 60, at(shown, "labelled_hz"), at_least=True)
            for cameras, shown in ((4, row("scale", cameras=4)), (8, row("scale", cameras=8)))
        ),
        Asked(
            "p99 of the fast track, slow track busy / idle",
            1.15,
            ratio(track(LOW_LATENCY, "busy", "p99"), track(LOW_LATENCY, "idle", "p99")),
        ),
        Asked(
            "p99 of the fast track, just in time / adaptive, as scheduled",
            1.1,
            ratio(track(LOW_LATENCY, "as scheduled", "p99"), track(ADAPTIVE, "as scheduled", "p99")),
        ),
        Asked("median of key frames / of other frames", 1.05, ratio(at(keys, "key", "p50"), ordinary)),
        Asked(
            "first frame after the warm-up / median of later streams' first frames",
            1.5,
            ratio(first_ms, at(first, "later_first_frames", "p50")),
        ),
        Asked("the same / median of the frames that follow", 1.5, ratio(first_ms, ordinary)),
        Asked(
            "node overhead at 1280x720 / the floor's, medians",
            1.5,
            ratio(at(small, "overhead_ms", "p50"), at(floor, "end_to_end_ms", "p50")),
        ),
        Asked(
            f"frames lost in {at(long_play, 'seconds') or 60} s at 30 Hz where the network keeps up",
            0,
            at(long_play, "lost"),
        ),
        Asked("frames lost and not counted where the network does not keep up", 0, uncounted),
        Asked(
            "latency there, last quarter of a turn / first quarter (no queue)",
            1.2,
            at(overloaded, "last_quarter_over_first"),
        ),
        Asked("convolution: shift-and-add loop / C++, 256 channels at 64x128", 3, at(large, "times_reference"), True),
        Asked("the same, 96 channels at 45x60, the shipped model's", 1, at(default, "times_reference"), True),
        Asked("memory that the convolution takes / the feature's own (unfolding: 81)", 3, taken),
        Asked("memory grown over 5000 frames, in MiB (`make bench-soak`)", 8, at(results, "soak", "growth_mebibytes")),
    ]


def asked_table(results: Results) -> str:
    rows = []
    for asked in asked_and_reached(results):
        verdict = {True: "yes", False: "**no**", None: "not measured"}[asked.is_met]
        reached = "" if asked.reached is None else f"{asked.reached:.2f}"
        rows.append((asked.what, f"{'≥' if asked.at_least else '≤'} {asked.limit:g}", reached, verdict))
    return table(("asked", "limit", "reached", "met"), rows)


TABLES: Mapping[str, Callable[[Results], str]] = {
    "environment": environment_sentence,
    "modules": modules_tables,
    "tracks": tracks_table,
    "key frames": key_frames_table,
    "stages": stages_table,
    "node": node_table,
    "overhead": overhead_table,
    "kernel": kernel_table,
    "scale": scale_table,
    "asked": asked_table,
}


def report(results: Results) -> str:
    """Every table whose section was measured; docs/latency.md says what the figures are."""
    facts = results["environment"]
    parts = [f"# Latency on {facts['cpu']}, {facts['cores']} cores", environment_sentence(results), SPREAD_NOTE]
    for name, render in TABLES.items():
        with suppress(KeyError):  # that section was not measured
            if render is not environment_sentence:
                parts.append(f"## {name.capitalize()}\n\n{render(results)}")
    return "\n\n".join(parts) + "\n"
