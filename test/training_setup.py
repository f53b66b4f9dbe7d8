"""A network and a recipe so small that a whole training run takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_trees import SIZE, camvid_tree
from small_networks import small_config

RECIPE: dict[str, Any] = {
    "epochs": 2, "batch_size": 2, "learning_rate": 0.001, "backbone_learning_rate": 0.001, "weight_decay": 0.0001,
    "crop": [64, 48], "scales": [1.0, 1.2], "seed": 3, "workers": 0,
}  # fmt: skip
STAGES = ("base", "propagation", "schedule")  # of the small model, whose Sh goes on where its Sl ends
ONE_STAGE_OR_ALL = [  # for code that the stages share: `make test` tries one of them, `make test-all` the others, too
    pytest.param(stage, marks=() if stage == "propagation" else (pytest.mark.slow,)) for stage in STAGES
]


def write_setup(folder: Path, **recipe: Any) -> list[str]:
    """Four labelled stills, a recipe and a small model in `folder`; returns the options that name them."""
    camvid_tree(folder / "camvid")
    write_yaml(folder / "model.yaml", small_config(input_size=SIZE).to_mapping())
    # A worker process for one of them, as real runs have.
    stages = {stage: {**RECIPE, **recipe, "workers": int(stage == "base")} for stage in (*STAGES, "small", "tables")}
    write_yaml(folder / "recipe.yaml", stages)
    return [
        *("--data", str(folder / "camvid"), "--model", str(folder / "model.yaml")),
        *("--config", str(folder / "recipe.yaml"), "--from", "nothing"),
    ]


def write_yaml(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))  # which is YAML, without aliases for what stands in it twice
