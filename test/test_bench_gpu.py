"""The GPU bench: what it does on the CPU, where all of it but the capture runs, and without a GPU."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_labels import shortfall, upsampling_error
from stream_setup import INPUT_SIZE, moving_frames, stream_network

from bench.gpu import (
    compare_labels,
    gpu_report,
    main,
    measure_engine,
    measure_fast_track,
    measure_memory,
    measure_overlap,
    write_results,
)
from bench.gpu_tracks import FastTrack, Span, busy_slow_track, overlapping_share, step_of
from lowlat_seg_ros.fast.pictures import Preprocessor

CPU = torch.device("cpu")
FRAMES = moving_frames(4)


def test_the_step_on_a_device_gives_the_engines_labels() -> None:
    network = stream_network()
    fast_track = FastTrack(step_of(network, CPU, torch.float32), FRAMES[0], CPU, "eager")
    labels = fast_track(FRAMES[2]).copy()
    preprocess = Preprocessor(INPUT_SIZE, CPU)
    logits = []
    for each in (network, copy.deepcopy(network).double()):
        with torch.inference_mode():
            key_image = preprocess(FRAMES[0])
            key = each.low_features(key_image)
            high = each.high_features(key_image, key.low)
            logits.append(each.classify(each.propagate(high, key, each.low_features(preprocess(FRAMES[2]))).high))
    in_float, exact = logits
    assert len(np.unique(labels)) > 1
    # As much rounding as the same network has by hand, with a margin, in either of the two logits that decide.
    rounding = 4 * float((in_float - exact).abs().max()) + upsampling_error(exact)
    assert shortfall(labels, exact) <= 2 * rounding


def test_labels_that_are_the_cpus_meet_the_tolerance() -> None:
    (row,) = compare_labels(stream_network(), FRAMES, CPU)
    assert row == {"type": "fp32", "equal": 1.0, "least": 0.999, "is_met": True}


def test_a_way_that_cannot_be_prepared_says_why_and_the_others_are_measured() -> None:
    rows = measure_fast_track(stream_network(), FRAMES, CPU, "fp32", ("eager", "captured"), rounds=2, frames_a_turn=3)
    if not torch.cuda.is_available():
        problem = rows.pop(0)
        assert problem["how"] == "captured" and problem["problem"]
    assert [(row["how"], row["slow_track"]) for row in rows[:2]] == [("eager", "idle"), ("eager", "busy")]
    assert [row["latency_ms"]["count"] for row in rows[:2]] == [6, 6]


def test_two_tracks_at_once_are_seen_to_overlap() -> None:
    overlap = measure_overlap(stream_network(), FRAMES, CPU, "fp32", count=20)
    assert 0 < overlap["overlapping_share"] <= 1
    assert len(overlap["spans"]["fast"]) == 20


def test_the_overlapping_share_counts_only_common_time() -> None:
    fast = [Span(0, 10), Span(20, 30)]
    assert overlapping_share(fast, [Span(5, 25)]) == pytest.approx(0.5)
    assert overlapping_share(fast, [Span(11, 19)]) == 0
    assert overlapping_share([], [Span(0, 1)]) == 0


def test_an_error_in_the_busy_slow_track_is_not_swallowed() -> None:
    network = stream_network()
    key = FastTrack(step_of(network, CPU, torch.float32), FRAMES[0], CPU, "eager").key
    broken = key._replace(image=torch.zeros(1), low=key.low._replace(low=torch.zeros(1)))
    with pytest.raises((RuntimeError, ValueError, IndexError)), busy_slow_track(network, broken, CPU):
        pass


def test_engine_and_memory_are_measured_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = stream_network()
    engine = measure_engine(network, FRAMES, CPU, rounds=2, frames_a_turn=4)
    assert [(row["slow_track"], row["latency_ms"]["count"]) for row in engine] == [
        ("idle", 8),
        ("busy", 8),
        ("as scheduled", 8),
    ]
    facts = {name: name for name in ("date", "commit", "model", "torch", "cuda", "cpu")}
    facts["card"] = "NVIDIA Fake 9000"
    own = {"model": "m", "size": [8, 8]}
    ways = measure_fast_track(network, FRAMES, CPU, "fp32", ("eager",), rounds=1, frames_a_turn=2)
    results = {
        "environment": facts,
        "clip": "moving blocks",
        "labels": compare_labels(network, FRAMES, CPU),
        "overlap": [measure_overlap(network, FRAMES, CPU, "fp32", count=3)],
        "fast_track": [{**own, **row} for row in (*ways, {"how": "captured", "type": "fp32", "problem": "none"})],
        "engine": engine,
        "memory": measure_memory(network, FRAMES, CPU, count=40),
    }
    write_results(results, tmp_path)
    assert json.loads((tmp_path / "nvidia_fake_9000.json").read_text()) == results
    table = (tmp_path / "nvidia_fake_9000.md").read_text()
    assert table == gpu_report(results)
    assert table.startswith("# Latency on NVIDIA Fake 9000\n") and "not run: none" in table
    assert "written to" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench.gpu: PyTorch ") and line.endswith("finds no CUDA GPU on this machine.")
