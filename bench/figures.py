"""The pictures and tables of the documents, made anew from the shipped weights on this machine. `make figures` runs it.

    .venv/bin/python -m bench.figures [--only pictures accuracy comparison latency] [--camvid ../shared/camvid]

What it measures it keeps in docs/figures.json, with the weights' hash and the machine, and it fills every place between
`<!-- figures: NAME -->` and `<!-- /figures -->` from there. A test compares the README with that file, and that file's
hash with the weights that ship.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bench import latency_doc, two_tracks_picture
from bench.environment import CAMVID, CHECKOUT, RESULTS, environment, machine_name, short_hash
from bench.tracks import FULL, LOW_LATENCY, SMALL, Case
from lowlat_seg_ros.cli import main as lowlat_seg
from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.drawing import legend, overlay
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.models.checkpoint import SHIPPED_MODELS
from lowlat_seg_ros.segmenter import Segmenter
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

FIGURES: Final = CHECKOUT / "docs" / "figures.json"
STREET: Final = CHECKOUT / "docs" / "street.webp"
COMPARISON: Final = CHECKOUT / "docs" / "accuracy_latency.png"
DOCUMENTS: Final = (
    CHECKOUT / "README.md",
    CHECKOUT / "docs" / "evaluation.md",
    SHIPPED_MODELS / "default" / "MODEL_CARD.md",
)
PARTS: Final = ("pictures", "accuracy", "comparison", "latency")
PLACE: Final = re.compile(r"(<!-- figures: (?P<name>[a-z -]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)

AS_IN_THE_NODE: Final = Case(LOW_LATENCY, "as scheduled")
FULL_NETWORK: Final = Case(FULL, "idle")
SMALL_NETWORK: Final = Case(SMALL, "idle")

CLIP_RATE_HZ: Final = 15.0  # CamVid's labelled clip

SCORES: Final = ("mean_iou", "pixel_accuracy", "class_accuracy")

STREET_FRAMES: Final = range(20, 65)
STREET_MILLISECONDS: Final = 100  # a frame
STREET_WIDTH: Final = 400  # of each half

# What is scored, and with which options; the rest are the command's own defaults.
AT_A_QUARTER: Final = ("--delay-frames", "1", "2", "3", "--idle-threshold", "1", "--analyses", "none")
AT_A_QUARTER_ROWS: Final = ("per-frame", "per-frame-fused", "single-frame", "low-latency")
AS_THE_NODE: Final = ("--analyses", "none", "--rows", "low-latency")


class FiguresError(Error):
    """Figures that cannot be made or do not fit; the message says what was expected."""


# --- What is measured ------------------------------------------------------------------------------------------------


def accuracy(camvid: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of the README's table, by `lowlat-seg evaluate` on CamVid's clip.

    The full network's answers come as late as they did where the milliseconds were measured.
    """
    late = measured_lateness(results)
    rows = _evaluate(camvid, *AT_A_QUARTER, "--rows", ",".join(AT_A_QUARTER_ROWS))["rows"]
    (defaults,) = _evaluate(camvid, *AS_THE_NODE, "--delay-frames", str(late))["rows"]
    return {**_made(), "frames_late": late, "rows": [*rows, {**defaults, "name": "defaults"}]}


def measured_lateness(results: Mapping[str, Any]) -> int:
    """Frames, of the two tracks as they run in the node: nineteen of twenty answers come no later.

    The median falls on either side of a whole frame from one run to the next.
    """
    return round(_systems(results)[AS_IN_THE_NODE]["frames_late"]["p95"])


def comparison(camvid: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy against latency in one run, and its picture."""
    with tempfile.TemporaryDirectory() as folder:
        timing = ("--rows", "per-frame", "--analyses", "none", "--latency", "--out", folder)
        found = _evaluate(camvid, *timing)
        atomic_write(COMPARISON, Path(folder, "latency.png").read_bytes())
    return {**_made(), **found["latency"]}


def _evaluate(camvid: Path, *options: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "evaluation.json")
        clip = ("--frames", str(camvid / "val"), "--labels", str(camvid / "valannot"))
        if lowlat_seg(["evaluate", *clip, "--json", str(file), *options]) != 0:
            raise FiguresError("the evaluation failed; its sentence stands above")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


def _made() -> dict[str, Any]:
    return {"weights": short_hash("default"), "environment": environment("default")}


def draw_street() -> None:
    """The README's moving picture: the synthetic street beside the labels that the shipped model gives it."""
    street = SyntheticStreet(frame_count=STREET_FRAMES.stop)
    animation = cv2.Animation()
    with Segmenter("default") as segmenter:
        stamped = ((frame, round(number * 1e9 / street.rate_hz)) for number, frame in enumerate(street.frames()))
        labelled = [
            _street_picture(frame, result.labels, segmenter)
            for number, (frame, result) in enumerate(segmenter.frames(stamped))
            if number in STREET_FRAMES
        ]
    animation.frames = [cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) for picture in labelled]
    animation.durations = [STREET_MILLISECONDS] * len(labelled)
    written, content = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, 55])
    if not written:
        raise FiguresError(f"this OpenCV cannot write {STREET}")
    atomic_write(STREET, content.tobytes())


def _street_picture(frame: NDArray[np.uint8], labels: NDArray[np.uint8], segmenter: Segmenter) -> NDArray[np.uint8]:
    height = round(frame.shape[0] * STREET_WIDTH / frame.shape[1])
    halves = [
        cv2.resize(half, (STREET_WIDTH, height), interpolation=cv2.INTER_AREA)
        for half in (frame, overlay(frame, labels, segmenter.colours, 0.55))
    ]
    names = legend(segmenter.classes, segmenter.colours, 2 * STREET_WIDTH, text_height=12)
    return np.vstack([np.hstack(halves), names]).astype(np.uint8, copy=False)


# --- What is written -------------------------------------------------------------------------------------------------


def filled(document: str, figures: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The document with every place filled; raises FiguresError for one that nothing fills."""

    def content(place: re.Match[str]) -> str:
        if place["name"] not in TABLES:
            raise FiguresError(f"there is no table {place['name']!r}; expected one of {', '.join(TABLES)}")
        return f"{place[1]}{TABLES[place['name']](figures, results)}\n{place[3]}"

    return PLACE.sub(content, document)


def _sentence(figures: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """What it does, with its numbers."""
    rows = {row["name"]: row for row in figures["accuracy"]["rows"]}
    share = rows["defaults"]["mean_iou"] / rows["per-frame"]["mean_iou"]
    tracks, network = (_latency(results, case) for case in (AS_IN_THE_NODE, FULL_NETWORK))
    network_ms = f"{network['p50']:.0f} ms and up to {network['max']:.0f}"
    return (
        f"**On {_cores(results)} half of the frames have their labels within {tracks['p50']:.0f} ms "
        f"and the slowest within {tracks['max']:.0f}, with {share:.0%} of the accuracy (mIoU) "
        f"of a network that takes {network_ms}.**"
    )


def _cores(results: Mapping[str, Any]) -> str:
    count = results["environment"]["cores"]
    return f"{ {1: 'one', 2: 'two', 4: 'four', 8: 'eight'}.get(count, count) } CPU core{'s' if count > 1 else ''}"


def _latency(results: Mapping[str, Any], case: Case) -> Mapping[str, float]:
    latency: Mapping[str, float] = _systems(results)[case]["latency_ms"]
    return latency


def _systems(results: Mapping[str, Any]) -> dict[Case, Mapping[str, Any]]:
    return {Case(row["system"], row["slow_track"]): row for row in results["tracks"]["rows"]}


def _front_table(figures: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """What a stranger compares: labels and milliseconds of the three ways to label a camera's frames."""
    rows = {row["name"]: row for row in figures["accuracy"]["rows"]}
    full, defaults, alone = rows["per-frame"], rows["defaults"], rows["single-frame"]
    full_ms, tracks_ms, alone_ms = (
        _times(_latency(results, case)) for case in (FULL_NETWORK, AS_IN_THE_NODE, SMALL_NETWORK)
    )
    return "\n".join(
        [
            f"| at 480x360 on {_cores(results)} | mIoU | of the full network's | p50 | p99 | longest frame |",
            "|---|---:|---:|---:|---:|---:|",
            f"| full network on every frame, all cores | {full['mean_iou']:.3f} | | {full_ms} |",
            f"| **two tracks, the node's defaults** | **{defaults['mean_iou']:.3f}** | "
            f"{defaults['mean_iou'] / full['mean_iou']:.1%} | {tracks_ms} |",
            f"| its small network alone, all cores | {alone['mean_iou']:.3f} | "
            f"{alone['mean_iou'] / full['mean_iou']:.1%} | {alone_ms} |",
            "",
            f"Labels: {_source(figures['accuracy'])}, the full network's answers {figures['accuracy']['frames_late']} "
            "frames late (19 of 20 came no later when the latencies were measured), "
            f"{defaults['key_frame_ratio']:.2f} of the frames key frames. Milliseconds: `make bench`, "
            f"from a frame's being handed in to its labels, {_key_frame_share(results):.2f} of the frames key frames, "
            f"{_where(results['environment'])}: "
            f"{'; '.join(results['environment']['runtimes'])}. Through the node, with DDS both ways, it is more: "
            "[latency](docs/latency.md#the-node).",
            *_where_the_full_network_is_better(results),
        ]
    )


def _key_frame_share(results: Mapping[str, Any]) -> float:
    """Where the milliseconds were measured, of the two tracks as they run in the node."""
    row = _systems(results)[AS_IN_THE_NODE]
    return float(row["key_frames"] / row["latency_ms"]["count"])


def _where_the_full_network_is_better(results: Mapping[str, Any]) -> list[str]:
    """A sentence where that computer runs it on every frame of the clip in time."""
    if _latency(results, FULL_NETWORK)["max"] >= 1000 / CLIP_RATE_HZ:
        return []
    return [
        "",
        f"At this clip's {CLIP_RATE_HZ:g} Hz that computer runs the full network on every frame in time: with nothing "
        "else to do, that is the better choice there. The two tracks are for networks, cameras and computers where it "
        "is not so.",
    ]


def _times(latency: Mapping[str, float]) -> str:
    return " | ".join(f"{latency[name]:.1f} ms" for name in ("p50", "p99", "max"))


def _accuracy_table(figures: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    rows = figures["accuracy"]["rows"]
    best = max(row["mean_iou"] for row in rows if row["name"].startswith("per-frame"))
    lines = ["| row | mIoU | of full | PA | CA | key frames |  |", "|---|---:|---:|---:|---:|---:|---|"]
    for row in rows:
        share = f"{row['mean_iou'] / best:.1%}" if row["propagation"] else ""
        scores = " | ".join(f"{row[name]:.3f}" for name in SCORES[1:])
        lines.append(
            f"| {row['name']} | {row['mean_iou']:.3f} | {share} | {scores} | {row['key_frame_ratio']:.2f} | "
            f"{row['description']} |"
        )
    return "\n".join([*lines, "", f"{_source(figures['accuracy'])}."])


def _test_split(figures: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The maintainers' scores on pictures that nobody here has seen, where they are of these weights."""
    split = figures["test_split"]
    if split["weights"] != short_hash("default"):
        return (
            f"The maintainers have not scored these weights on CamVid's test split, but earlier ones "
            f"({split['weights']}: `docs/figures.json`)."
        )
    lines = ["| CamVid's test split, 233 stills | mIoU | PA | CA |", "|---|---:|---:|---:|"]
    for name, row in split["rows"].items():
        cells = [
            f"{row[score]:.3f}" if score in row else "" for score in ("mean_iou", "pixel_accuracy", "class_accuracy")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Scored by the maintainers, {split['date']}; weights {split['weights']}."])


def _comparison_table(figures: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    found = figures["comparison"]
    lines = ["| | mIoU | median ms | p99 ms | max ms | threads |", "|---|---:|---:|---:|---:|---|"]
    lines += [
        f"| {row['name']} | {row['mean_iou']:.3f} | {row['median_ms']:.1f} | {row['p99_ms']:.1f} | "
        f"{row['max_ms']:.1f} | {row['threads']} |"
        for row in found["rows"]
    ]
    return "\n".join([*lines, "", f"{_source(found)}, load average before it {found['load']:.1f}."])


def _source(part: Mapping[str, Any]) -> str:
    return f"CamVid's labelled clip, weights {part['weights']}, {_runtimes(part)}{_where(part['environment'])}"


def _runtimes(part: Mapping[str, Any]) -> str:
    """Where the last row's networks ran, which is where those of all did."""
    row = part["rows"][-1]
    ran = [
        (row[f"{track}_runtime"], row[f"{track}_precision"]) for track in ("fast", "slow") if f"{track}_runtime" in row
    ]
    return "".join(f"{' '.join(place)}, " for place in dict.fromkeys(place for place in ran if None not in place))


def _where(place: Mapping[str, Any]) -> str:
    return f"{place['cpu']} with {place['cores']} cores, {place['date']}"


TABLES: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]]] = {
    "sentence": _sentence,
    "front": _front_table,
    "accuracy": _accuracy_table,
    "test split": _test_split,
    "comparison": _comparison_table,
}


def bench_results(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What the milliseconds are of: the results that the figures name."""
    found: dict[str, Any] = json.loads((RESULTS / figures["bench"]).read_text(encoding="utf-8"))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 after one sentence on what was wrong."""
    parser = argparse.ArgumentParser(prog="bench.figures", description="Make the documents' pictures and tables anew.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="(default: all)")
    parser.add_argument("--camvid", type=Path, default=CAMVID.parent, help="folder with val/ and valannot/")
    options = parser.parse_args(arguments)
    try:
        make(options.only, options.camvid)
    except (Error, OSError, KeyError) as error:
        print(f"bench.figures: {error}", file=sys.stderr)
        return 1
    return 0


def make(parts: Sequence[str], camvid: Path) -> None:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    here = RESULTS / f"{machine_name()}.json"
    # One table has both: milliseconds of this machine go with labels that its slow network's lateness gives.
    if here.is_file() and "accuracy" in parts and (camvid / "val").is_dir():
        figures["bench"] = here.name
    results = bench_results(figures)
    if "pictures" in parts:
        draw_street()
        if two_tracks_picture.main([]) != 0:
            raise FiguresError("docs/two_tracks.webp could not be drawn; its sentence stands above")
    for name, measure in (("accuracy", accuracy), ("comparison", comparison)):
        if name not in parts:
            continue
        if (camvid / "val").is_dir():
            figures[name] = measure(camvid, results)
        else:
            print(f"{name}: left as it was, {camvid / 'val'} is not there (docs/data.md says how to get it)")
    if "latency" in parts and latency_doc.main([str(RESULTS / figures["bench"])]) != 0:
        raise FiguresError("docs/latency.md could not be filled; its sentence stands above")
    atomic_write(FIGURES, (json.dumps(figures, indent=1) + "\n").encode())
    for document in DOCUMENTS:
        atomic_write(document, filled(document.read_text(encoding="utf-8"), figures, results).encode())


if __name__ == "__main__":
    sys.exit(main())
