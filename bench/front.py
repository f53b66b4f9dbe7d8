"""Is a single-frame network as quick as the two tracks, and as good? `make front-networks`, then `make bench-front`.

Trained once, from the shipped weights, is Sh on smaller pictures; the full network at 320x240 and Sl alone are
there. Each is timed on a paced clip in every runtime, on both cores, in turn with the two tracks as the node has
them. In the front are those whose longest frame (the median of the rounds' longest ones) takes no longer than the two
tracks'; the nearest one outside is printed, too. Twenty minutes for each of three conditions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from bench.environment import CAMVID, CHECKOUT
from bench.figures import CLIP_RATE_HZ
from lowlat_seg_ros.cli import main as lowlat_seg
from lowlat_seg_ros.errors import Error
from lowlat_seg_ros.evaluation.latency import TWO_TRACKS
from lowlat_seg_ros.evaluation.report_text import table
from lowlat_seg_ros.models.checkpoint import SHIPPED_MODELS
from lowlat_seg_ros.models.shipped_files import shipped_config
from lowlat_seg_ros.runtime.runtime import lacks_instructions
from lowlat_seg_ros.training.run import CHECKPOINT_FOLDER

NETWORKS: Final = CHECKOUT / "runs" / "front"
SCALES: Final = (0.5, 0.75, 1.0)  # of the picture, that Sh's network is trained on
EPOCHS: Final = 8
SMALL_SIZE: Final = [320, 240]
ROUNDS: Final = 5
SMALL: Final = "'s Sl"  # behind a network's name: its small one alone


class Conditions(NamedTuple):
    """What is played, and how fast."""

    name: str
    clip: tuple[str, ...]  # options of `lowlat-seg evaluate`
    every: int = 1  # of its frames, which divides the rate


class FrontRow(NamedTuple):
    """One way to label the clip."""

    name: str
    mean_iou: float
    longest_ms: float  # median of the rounds' longest frames


class FrontError(Error):
    """No networks to compare with, or they could not be trained or timed."""


def conditions(camvid: Path) -> list[Conditions]:
    """The labelled clip, the street, and the clip at half its rate."""
    clip = ("--frames", str(camvid), "--labels", str(camvid.parent / "valannot"))
    return [
        Conditions("the labelled clip", clip),
        Conditions("the street", ("--frames", "street")),
        Conditions("the labelled clip", clip, every=2),
    ]


def train(data: Path) -> None:
    """Train what is not there yet; an interrupted training goes on. Raises FrontError."""
    begun = time.monotonic()
    description = yaml.safe_load(shipped_config("models/default.yaml").read_text(encoding="utf-8"))
    NETWORKS.mkdir(parents=True, exist_ok=True)
    for scale in SCALES:
        description["tracks"]["high_scale"] = scale
        model = NETWORKS / f"sh-{scale}.yaml"
        model.write_text(yaml.safe_dump(description), encoding="utf-8")
        run = ("--data", data, "--from", "default", "--epochs", EPOCHS, "--out", model.with_suffix(""), "--resume")
        if lowlat_seg(["train", "base", "--model", str(model), *map(str, run)]) != 0:
            raise FrontError(f"{model.stem} was not trained; the sentence above says why")
        make_ready_for_int8(model.with_suffix("") / "base" / CHECKPOINT_FOLDER, data)
    small = NETWORKS / "full-320x240"
    shutil.copytree(SHIPPED_MODELS / "default", small, dirs_exist_ok=True)
    description = yaml.safe_load((small / "model.yaml").read_text(encoding="utf-8"))
    (small / "model.yaml").write_text(yaml.safe_dump({**description, "input_size": SMALL_SIZE}), encoding="utf-8")
    make_ready_for_int8(small, data)
    print(f"the networks are in {NETWORKS}, after {(time.monotonic() - begun) / 60:.0f} minutes")


def make_ready_for_int8(checkpoint: Path, data: Path) -> None:
    """As the shipped model is, so that each runs in the precision that is fastest here. Raises FrontError."""
    if lacks_instructions("int8"):
        return
    if lowlat_seg(["export", str(checkpoint), "--calibrate", str(data / "train")]) != 0:
        raise FrontError(f"{checkpoint} was not calibrated; the sentence above says why")


def measure(each: Conditions) -> list[FrontRow]:
    """Every way, the two tracks first; of a network the runtime in which its longest frame is shortest."""
    networks = sorted(path for path in NETWORKS.glob("*") if path.is_dir())
    if not networks:
        raise FrontError(f"there are no networks in {NETWORKS}; expected `make front-networks` first")
    checkpoints = {
        str(folder if folder.name.startswith("full") else folder / "base" / CHECKPOINT_FOLDER): folder.name
        for folder in networks
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "evaluation.json")
        pace = ("--rate", CLIP_RATE_HZ, "--every", each.every, "--rounds", ROUNDS)
        timing = ("--rows", "per-frame", "--analyses", "none", "--latency", "--json", file)
        command = ["evaluate", *each.clip, *map(str, (*pace, *timing)), "--compare", *checkpoints]
        if lowlat_seg(command) != 0:
            raise FrontError("they were not timed; the sentence above says why")
        return quickest(json.loads(file.read_text(encoding="utf-8"))["latency"]["rows"], checkpoints)


def quickest(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[FrontRow]:
    """The two tracks, and each network in the runtime in which its longest frame is shortest, the quickest first.

    ``names``: by the checkpoint that a row is named after. Of the small networks the shipped one's alone is shown.
    """
    found: dict[str, FrontRow] = {}
    most_frames = max(row["frames"] for row in rows)
    for row in rows:
        if row["frames"] < most_frames:
            continue  # much slower than elsewhere in the first round, and not timed in the others
        network, _, place = row["name"].partition(" in ")
        is_anothers_small = network.endswith(SMALL) and network.removesuffix(SMALL) in names
        if network != TWO_TRACKS and (not place or is_anothers_small):
            continue
        shown = f"{names.get(network, network)} in {place}" if place else network
        here = FrontRow(shown, row["mean_iou"], row["usual_max_ms"])
        if network not in found or here.longest_ms < found[network].longest_ms:
            found[network] = here
    ours = found.pop(TWO_TRACKS)
    return [ours, *sorted(found.values(), key=lambda row: row.longest_ms)]


def front_table(rows: Sequence[FrontRow]) -> str:
    """Ours, the front, and the nearest network outside it."""
    ours, *others = rows
    inside = [row for row in others if row.longest_ms <= ours.longest_ms]
    lines = [[ours.name, f"{ours.mean_iou:.3f}", f"{ours.longest_ms:.1f}", ""]]
    for row in [*inside, *others[len(inside) : len(inside) + 1]]:
        name = row.name if row in inside else f"outside: {row.name}"
        lines.append([name, f"{row.mean_iou:.3f}", f"{row.longest_ms:.1f}", f"{ours.mean_iou - row.mean_iou:+.3f}"])
    return "\n".join(table(["", "mIoU", "longest frame, ms", "two tracks above it"], lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 after one sentence on what was wrong."""
    parser = argparse.ArgumentParser(prog="bench.front", description="Compare with single-frame networks as quick.")
    parser.add_argument("--train", action="store_true", help="train the networks to compare with")
    parser.add_argument("--camvid", type=Path, default=CAMVID.parent, help="CamVid's folder")
    options = parser.parse_args(arguments)
    try:
        if options.train:
            train(options.camvid)
            return 0
        for each in conditions(options.camvid / "val"):
            print(f"{each.name} at {CLIP_RATE_HZ / each.every:g} Hz\n\n{front_table(measure(each))}\n", flush=True)
    except Error as error:
        print(f"bench.front: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
