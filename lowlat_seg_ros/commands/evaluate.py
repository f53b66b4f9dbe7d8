"""``lowlat-seg evaluate``: the network's scores on a labelled clip, row by row."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lowlat_seg_ros.data.camvid import LabelledFolder
from lowlat_seg_ros.evaluation.rows import ROWS, TrackSettings, class_table, evaluate_rows, markdown_table
from lowlat_seg_ros.network.checkpoint import load_checkpoint
from lowlat_seg_ros.network.config import ConfigError


def add_evaluate_command(commands: Any) -> None:
    """``commands`` is what argparse's add_subparsers returned."""
    parser = commands.add_parser("evaluate", help="score the network on a labelled clip")
    parser.add_argument("--frames", type=Path, required=True, help="folder with the clip's pictures")
    parser.add_argument("--labels", type=Path, required=True, help="folder with CamVid labels of the same names")
    parser.add_argument("--model", default="default", help="a shipped model's name or a checkpoint's folder")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {','.join(ROWS)}")
    parser.add_argument("--interval", type=int, default=5, help="frames between key frames in the row 'fixed'")
    parser.add_argument("--threshold", type=float, default=0.1, help="predicted deviation that makes a key frame")
    parser.add_argument("--maximum-interval", type=int, default=5, help="frames after which a key frame is due anyway")
    parser.add_argument("--delay-frames", type=int, default=2, help="by how many frames the slow track is late")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.set_defaults(run_command=evaluate_command)


def evaluate_command(options: argparse.Namespace) -> None:
    network = load_checkpoint(options.model)
    settings = TrackSettings(options.interval, options.threshold, options.maximum_interval, options.delay_frames)
    clip = LabelledFolder(options.frames, options.labels)
    rows = evaluate_rows(network, clip, chosen_rows(options.rows), settings)
    print(markdown_table(rows) + "\n\n" + class_table(rows, network.config.classes))
    if options.json:
        figures = {"settings": asdict(settings), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def chosen_rows(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in ROWS:
            raise ConfigError(f"--rows names {name!r}; expected some of {', '.join(ROWS)}")
    return names
