"""The results as Markdown: a table a section, and what was asked and reached at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.asked import asked_and_reached

SPREAD_HEADINGS = ("p50", "p95", "p99", "max", "turns' p50")
SPREAD_NOTE = (
    "Milliseconds. Turns follow each other A B A B; the last figures of a row are the lowest and the highest median of "
    "its turns, so that what differs less from row to row than these do is noise."
)
CHAINS = {
    "floor": "floor: memory copy",
    "small_input": "node, small input",
    "as_shipped": "node as shipped",
}
STAGE_NAMES = {
    "age": "camera → callback (DDS, waiting)",
    "decode": "message → RGB",
    "low": "resize, normalise, Sl",
    "schedule": "deviation, decision",
    "propagate": "kernels, convolution, AdaptNet, fusion, optical flow",
    "labels": "classifier, enlarging, largest logit",
    "publish": "publish labels",
    "back": "labels → listener (DDS)",
}

Results = Mapping[str, Any]


def report(results: Results) -> str:
    """All sections that were measured."""
    sections = [heading(results["environment"])]
    sections += [render(results) for name, render in SECTIONS.items() if name in results]
    sections.append("## Asked and reached\n\n" + asked_table(results))
    return "\n\n".join(sections) + "\n"


def heading(environment: Results) -> str:
    title = f"# Latency on {environment['cpu']}, {environment['cores']} cores"
    return "\n\n".join([title, environment_sentence(environment), SPREAD_NOTE])


def environment_sentence(environment: Results) -> str:
    """What the figures were measured on."""
    threads = ", ".join(f"{track} {count}" for track, count in environment["threads"].items())
    return (
        f"`make bench` on {environment['date']}, {environment['cpu']} with {environment['cores']} cores, "
        f"commit {environment['commit']}, model {environment['model']}, PyTorch {environment['torch']}, "
        f"Python {environment['python']}. Threads: {threads}. "
        f"Load average at the start: {environment['load_average_at_start']:.2f}."
    )


def modules_section(results: Results) -> str:
    return "## 1. Modules\n\n" + "\n\n".join(modules_table(measured) for measured in results["modules"])


def modules_table(measured: Results) -> str:
    width, height = measured["size"]
    title = (
        f"Model {measured['model']}, {width}x{height}, {measured['threads']} threads, "
        f"median of {measured['rounds']} rounds."
    )
    rows = [
        (
            row["module"],
            _figure(row["median_ms"]),
            f"{_figure(row['p10_ms'])} to {_figure(row['p90_ms'])}",
            f"{row['share']:.0%}",
            "" if row["paper_share"] is None else f"{row['paper_share']:.0%}",
        )
        for row in measured["rows"]
    ]
    return title + "\n\n" + table(("module", "ms", "p10 to p90", "share", "the paper's share"), rows)


def tracks_section(results: Results) -> str:
    tracks = results["tracks"]
    return "\n\n".join(
        [
            "## 2. Tracks",
            f"{tracks['clip'][0].upper()}{tracks['clip'][1:]}, each frame handed in when it is due; "
            f"{tracks['rounds']} turns of {tracks['frames_a_turn']} frames. From hand-in to labels:",
            tracks_table(tracks),
            key_frames_table(tracks),
        ]
    )


def tracks_table(tracks: Results) -> str:
    rows = [
        (
            row["system"],
            row["slow_track"],
            *spread_cells(row["latency_ms"]),
            _figure(_of(row["age_ms"], "p99")),
            str(row["skipped"]),
            str(row["key_frames"]),
            _figure(_of(row["sh_ms"], "p50")),
        )
        for row in tracks["rows"]
    ]
    headings = ("system", "slow track", *SPREAD_HEADINGS, "p99 since due", "skipped", "key frames", "Sh p50")
    return table(headings, rows, texts=2)


def key_frames_table(tracks: Results) -> str:
    first = tracks["first_frame"]
    rows = [
        ("key frames, low latency", *spread_cells(tracks["key_frames"]["key"])),
        ("other frames, low latency", *spread_cells(tracks["key_frames"]["other"])),
        ("first frame after the warm-up", _figure(first["first_ms"]), "", "", "", ""),
        ("first frames of later streams", *spread_cells(first["later_first_frames"])),
    ]
    return table(("frames", *SPREAD_HEADINGS), rows)


def node_section(results: Results) -> str:
    node = results["node"]
    width, height = node["small_input"]
    long_play = node["without_loss"]
    return "\n\n".join(
        [
            "## 3. Node",
            f"Three processes over DDS at {node['rate_hz']:g} Hz, "
            f"{node['rounds']} turns of {node['seconds_a_turn']} s. "
            "An image's stamp is the time it was due. "
            f"The small input is {width}x{height}: a network that keeps up with the camera.",
            node_table(node["rows"]),
            "Overhead: all of end to end that is not the network.",
            overhead_table(node["rows"]),
            f"In {long_play['seconds']} s with the small input, {long_play['sent']} images were sent and "
            f"{long_play['lost']} lost.",
        ]
    )


def node_table(rows: Sequence[Results]) -> str:
    headings = ("image", "chain", "sent", "lost", "counted", "to callback p50", "end to end p50", *SPREAD_HEADINGS[1:])
    return table(
        headings,
        [
            (
                _size(row["size"]),
                CHAINS[row["chain"]],
                str(row["sent"]),
                str(row["lost"]),
                str(row["counted_as_lost"]),
                _figure(_of(row["to_callback_ms"], "p50")),
                *spread_cells(row["end_to_end_ms"]),
            )
            for row in rows
        ],
        texts=2,
    )


def overhead_table(rows: Sequence[Results]) -> str:
    return table(
        ("image", "chain", *SPREAD_HEADINGS),
        [(_size(row["size"]), CHAINS[row["chain"]], *spread_cells(row["overhead_ms"])) for row in rows],
        texts=2,
    )


def stages_table(results: Results) -> str:
    """Where each millisecond goes: a shipped node's frame at the smaller image size, stage by stage."""
    row = next(row for row in results["node"]["rows"] if row["chain"] == "as_shipped")
    stages = row["stages_ms"]
    whole = sum(stages.values())
    rows = [(STAGE_NAMES[name], _figure(value), f"{value / whole:.0%}") for name, value in stages.items()]
    return table(("stage, medians", "ms", "share"), [*rows, ("sum", _figure(whole), "100%")])


def kernel_section(results: Results) -> str:
    note = "The spatially variant convolution, 9x9 kernels, float32, its bodies in turn."
    return f"## 4. Kernel\n\n{note}\n\n{kernel_table(results['kernel'])}"


def kernel_table(kernel: Results) -> str:
    return table(
        ("grid", "channels", "threads", "body", "ms", "p10 to p90", "times as fast as the loop", "MiB taken"),
        [
            (
                f"{row['height']}x{row['width']}",
                str(row["channels"]),
                str(row["threads"]),
                row["body"],
                _figure(row["milliseconds"]),
                f"{_figure(row['p10'])} to {_figure(row['p90'])}",
                f"{row['times_reference']:.2f}",
                _figure(row["extra_mib"]),
            )
            for row in kernel["rows"]
        ],
        texts=4,
    )


def scale_section(results: Results) -> str:
    scale = results["scale"]
    turns = f"{scale['rounds']} turns of {scale['seconds_a_turn']} s"
    note = f"One node for each load, {scale['rate_hz']:g} Hz a camera, {turns}."
    return f"## 5. Scale\n\n{note}\n\n{scale_table(scale)}"


def scale_table(scale: Results) -> str:
    headings = (
        "cameras",
        "input",
        "offered Hz",
        "labelled Hz",
        "lost",
        "callback p50",
        "p99",
        "end to end p50",
        "p99",
        "turns' p50",
        "Sh p50",
        "cores in use",
        "MiB in RAM",
    )
    return table(
        headings,
        [
            (
                str(row["cameras"]),
                _size(row["input_size"]),
                f"{row['offered_hz']:.0f}",
                f"{row['labelled_hz']:.1f}",
                str(row["lost"]),
                _figure(_of(row["callback_ms"], "p50")),
                _figure(_of(row["callback_ms"], "p99")),
                _figure(_of(row["end_to_end_ms"], "p50")),
                _figure(_of(row["end_to_end_ms"], "p99")),
                _turns(row["end_to_end_ms"]),
                _figure(_of(row["sh_ms"], "p50")),
                f"{row['cpu_share']:.2f}",
                str(row["resident_mebibytes"]),
            )
            for row in scale["rows"]
        ],
        texts=0,
    )


def asked_table(results: Results) -> str:
    rows = []
    for asked in asked_and_reached(results):
        sign = "≥" if asked.at_least else "≤"
        verdict = {True: "yes", False: "**no**", None: "not measured"}[asked.is_met]
        reached = "" if asked.reached is None else f"{asked.reached:.2f}"
        rows.append((asked.what, f"{sign} {asked.limit:g}", reached, verdict))
    return table(("asked", "limit", "reached", "met"), rows)


SECTIONS: Mapping[str, Callable[[Results], str]] = {
    "modules": modules_section,
    "tracks": tracks_section,
    "node": node_section,
    "kernel": kernel_section,
    "scale": scale_section,
}


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A Markdown table whose first ``texts`` columns are words and whose others are figures, set to the right."""
    rule = ["---" if number < texts else "---:" for number in range(len(headings))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows))


def spread_cells(spread: Results | None) -> tuple[str, ...]:
    return (*(_figure(_of(spread, name)) for name in ("p50", "p95", "p99", "max")), _turns(spread))


def _turns(spread: Results | None) -> str:
    return "" if spread is None else f"{_figure(spread['lowest_turn'])} to {_figure(spread['highest_turn'])}"


def _of(spread: Results | None, name: str) -> float | None:
    return None if spread is None else spread[name]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _size(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"
