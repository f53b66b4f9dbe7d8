"""``report.md`` and ``fleet.md``: the figures as tables that read well as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from lowlat_seg_ros.evaluation.report_text import NO_VALUE, markdown_text, table
from lowlat_seg_ros.replay.report import FIGURES, FigureKind, figures_of

FLEET_FIGURES: Final = (
    "latency_p99_ms",
    "deadline_misses",
    "key_frames",
    "mean_iou",
    "streaming_mean_iou",
    "agreement",
)


def report_markdown(report: Mapping[str, Any]) -> str:
    """A report, as ``report.json`` holds it, in Markdown."""
    profile = ", ".join(f"{name} {value}" for name, value in report["profile"].items() if name != "name")
    computer = markdown_text(report["profile"]["name"])
    policy = ", ".join(f"{name} {value}" for name, value in report["settings"]["policy"].items())
    lines = [
        f"# Replay of {markdown_text(report['bag']['name'])}",
        "",
        f"{_way_of_replaying(report)}: {computer} ({profile}). Model {markdown_text(report['model']['name'])}, "
        f"policy: {policy}.",
        *_problems(report["bag"]["problems"]),
    ]
    for camera in report["cameras"]:
        lines += ["", *_camera(camera, report["model"]["classes"])]
    return "\n".join(lines) + "\n"


def fleet_markdown(fleet: Mapping[str, Any]) -> str:
    """A fleet, as ``fleet.json`` holds it, in Markdown: a row for each bag, camera and system."""
    kinds = [kind for kind in FIGURES if kind.name in FLEET_FIGURES]
    bags = fleet["bags"]
    failed = [bag for bag in bags if bag["error"] is not None]
    lines = [f"# Replay of {len(bags)} bags", "", f"{len(bags) - len(failed)} evaluated, {len(failed)} failed.", ""]
    lines += table(["bag", "camera", "system", "frames", *(kind.title for kind in kinds)], _fleet_rows(bags, kinds))
    if failed:
        lines += [
            "",
            "## Failed",
            "",
            *(f"- {markdown_text(bag['name'])}: {markdown_text(bag['error'])}" for bag in failed),
        ]
    return "\n".join(lines) + "\n"


def _fleet_rows(bags: Iterable[Mapping[str, Any]], kinds: Sequence[FigureKind]) -> Iterator[list[str]]:
    for bag in bags:
        if bag["error"] is not None:
            yield [bag["name"], "failed", *[NO_VALUE] * (2 + len(kinds))]
        for camera in bag["cameras"]:
            for system in camera["systems"]:
                figures = [kind.in_words(system["figures"][kind.name]) for kind in kinds]
                yield [bag["name"], camera["topic"], system["name"], str(camera["frames"]), *figures]


def _camera(camera: Mapping[str, Any], classes: Sequence[str]) -> Iterator[str]:
    width, height = camera["size"]
    period = "" if camera["period_ms"] is None else f" every {camera['period_ms']:.1f} ms by the {camera['clock']}"
    yield f"## {markdown_text(camera['topic'])}"
    yield ""
    yield (
        f"{camera['frames']} frames of {width}x{height}{period}, {camera['duration_s']:.1f} s, "
        f"{camera['frames_with_truth']} with ground truth."
    )
    yield from _problems(camera["problems"])
    systems = camera["systems"]
    yield ""
    yield from table(["", *(system["name"] for system in systems)], _system_rows(systems))
    yield from _live_agreement(systems)
    scored = [system for system in systems if system["scores"] is not None]
    if scored:
        yield ""
        yield from table(["IoU", *(system["name"] for system in scored)], _class_rows(scored, classes))
        yield from _distances(systems[0])


def _system_rows(systems: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    for name in ("frames_in", "labelled", "late"):
        yield [name.replace("_", " "), *(str(system["counts"][name]) for system in systems)]
    for kind in ("all_frames", "key_frames", "other_frames", "first_frames"):
        spreads = [system["latency_ms"][kind] for system in systems]
        yield [f"latency of {kind.replace('_', ' ')}, p50 / p95 / p99 / max (ms)", *map(_spread, spreads)]
    slow_tracks = [system["slow_track"] for system in systems]
    delays = (NO_VALUE if track is None else _spread(track["delay_ms"]) for track in slow_tracks)
    yield ["slow-track delay, p50 / p95 / p99 / max (ms)", *delays]
    figures = [figures_of(system) for system in systems]
    for figure in FIGURES:
        if not figure.name.startswith("latency"):  # these stand above, with their other quantiles
            yield [figure.title, *(figure.in_words(each[figure.name]) for each in figures)]


def _live_agreement(systems: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Of a live report: how far the real two tracks are from the simulated ones, which offline replays rely on."""
    live, simulated = systems[0], systems[1]
    if simulated["slow_track"] is None or live["scores"] is None or simulated["scores"] is None:
        return
    scores = [system["scores"]["mean_iou"] for system in (live, simulated)]
    if None not in scores:
        yield ""
        yield f"Live and simulated, the mIoU of the two tracks differs by {abs(scores[0] - scores[1]):.4f}."


def _spread(spread: Mapping[str, Any]) -> str:
    if not spread["count"]:
        return NO_VALUE
    return " / ".join(f"{spread[quantile]:.1f}" for quantile in ("p50", "p95", "p99", "max"))


def _class_rows(systems: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Iterator[list[str]]:
    for number, name in enumerate(classes):
        yield [name, *(_fraction(system["scores"]["class_iou"][number]) for system in systems)]


def _distances(system: Mapping[str, Any]) -> Iterator[str]:
    scores = system["scores"]
    if scores is None or not scores["by_distance"]:
        return
    yield ""
    yield from table(
        ["frames from the key frame", "frames", "mIoU"],
        ([str(each["distance"]), str(each["frames"]), _fraction(each["mean_iou"])] for each in scores["by_distance"]),
    )


def _fraction(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.4f}"


def _way_of_replaying(report: Mapping[str, Any]) -> str:
    live = report["settings"].get("live")
    if live is None:
        return "Offline, in simulated time, as on"
    return f"Live, played at rate {live['rate']:g}; the systems beside the node in simulated time, as on"


def _problems(problems: Sequence[str]) -> Iterator[str]:
    if problems:
        yield ""
        yield from (f"- {markdown_text(problem, 2000)}" for problem in problems)
