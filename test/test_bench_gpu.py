"""The GPU bench: what it does on the CPU, where all of it but the capture runs, and without a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from stream_setup import INPUT_SIZE, moving_frames, stream_network

from bench.gpu import (
    LEAST_EQUAL,
    GpuSize,
    compare_labels,
    gpu_report,
    main,
    measure_engine,
    measure_memory,
    measure_overlap,
    write_results,
)
from bench.gpu_tracks import Span, overlapping_share

CPU = torch.device("cpu")
FRAMES = moving_frames(4)
SMALL = GpuSize(rounds=2, frames_a_turn=3)
NO_FP16 = (
    "fast_runtime 'torch' with fast_precision 'fp16' cannot serve: not in torch fp16: torch has no fast fp16 on a CPU"
)


def test_labels_that_are_the_cpus_meet_the_tolerance_and_a_precision_that_is_not_there_is_named() -> None:
    rows = compare_labels(stream_network(), FRAMES, CPU)
    assert [(row["propagation"], row["type"]) for row in rows] == [
        (propagation, precision) for propagation in LEAST_EQUAL for precision in ("fp32", "fp16")
    ]
    for row in rows:
        assert row["is_met"] and (row["equal"] == 1.0 if row["type"] == "fp32" else row["problem"] == NO_FP16)


def test_each_way_is_measured_beside_each_slow_track() -> None:
    rows = measure_engine(stream_network(), FRAMES, CPU, "fp32", SMALL)
    assert [(row["how"], row["slow_track"]) for row in rows] == [
        (how, slow_track) for how in ("as it is", "captured") for slow_track in ("idle", "busy", "as scheduled")
    ]
    assert all(row["latency_ms"]["count"] == 6 and row["size"] == list(INPUT_SIZE) for row in rows)


def test_two_tracks_at_once_are_seen_to_overlap() -> None:
    overlap = measure_overlap(stream_network(), FRAMES, CPU, "fp32", count=20)
    assert 0 < overlap["overlapping_share"] <= 1
    assert len(overlap["spans"]["fast"]) == 20


def test_the_overlapping_share_counts_only_common_time() -> None:
    fast = [Span(0, 10), Span(20, 30)]
    assert overlapping_share(fast, [Span(5, 25)]) == pytest.approx(0.5)
    assert overlapping_share(fast, [Span(11, 19)]) == 0
    assert overlapping_share([], [Span(0, 1)]) == 0


def test_what_was_measured_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = stream_network()
    facts = {name: name for name in ("date", "commit", "model", "torch", "cuda", "cpu")}
    facts["card"] = "NVIDIA Fake 9000"
    results = {
        "environment": facts,
        "clip": "moving blocks",
        "labels": compare_labels(network, FRAMES, CPU),
        "overlap": [measure_overlap(network, FRAMES, CPU, precision, count=3) for precision in ("fp32", "fp16")],
        "engine": [
            row for precision in ("fp32", "fp16") for row in measure_engine(network, FRAMES, CPU, precision, SMALL)
        ],
        "memory": measure_memory(network, FRAMES, CPU, count=40),
    }
    write_results(results, tmp_path)
    assert json.loads((tmp_path / "nvidia_fake_9000.json").read_text()) == results
    table = (tmp_path / "nvidia_fake_9000.md").read_text()
    assert table == gpu_report(results)
    assert table.startswith("# Latency on NVIDIA Fake 9000\n") and f"not run: {NO_FP16}" in table
    assert "written to" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench.gpu: PyTorch ") and line.endswith("finds no CUDA GPU on this machine.")
