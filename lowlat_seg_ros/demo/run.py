"""The demo from the clip to the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.demo import DemoError
from lowlat_seg_ros.demo.full_network import full_network_milliseconds
from lowlat_seg_ros.demo.performance import Performance, PerformanceOptions, perform
from lowlat_seg_ros.demo.pictures import write_pictures
from lowlat_seg_ros.demo.report import environment, latency_report, percentiles, table
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.ros.device import choose_device
from lowlat_seg_ros.runtime.machine import usable_cores
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

MOST_BYTES_IN_MEMORY: Final = 512 << 20  # of a clip's frames, before they are read one by one as they are sent


def run_demo(clip_name: str, rate_hz: float | None, model: str, node_parameters: tuple[str, ...], folder: Path) -> None:
    """Play the clip into the node, write pictures and figures into `folder` and print the table.

    Raises:
        CheckpointError, ClipError, DemoError, ParameterError, VideoError, OSError: in one sentence, what went wrong.
    """
    clip = open_clip(clip_name, rate_hz=rate_hz)
    folder.mkdir(parents=True, exist_ok=True)
    in_memory = clip.frame_count * clip.size[0] * clip.size[1] * 3 <= MOST_BYTES_IN_MEMORY
    options = PerformanceOptions(clip_name, rate_hz, model, node_parameters, folder, in_memory)
    performance = perform(options, clip.frame_count)
    _require_labels(performance)

    device = choose_device(performance.device.partition(" ")[0])
    network = load_checkpoint(model, device)
    threads, full_network = full_network_milliseconds(network, device, clip, sorted({1, usable_cores()}))
    report = {
        "clip": clip.name,
        "size": list(clip.size),
        "rate_hz": clip.rate_hz,
        "model": network.config.name,
        "environment": environment(performance),
        "full_network_ms": {**percentiles(full_network), "threads": threads},
        **latency_report(performance),
    }
    if isinstance(clip, SyntheticStreet):
        report["scores"] = _scores(clip, performance, network.config.class_count)
    write_pictures(clip, performance, network.config, folder)
    atomic_write(folder / "latency.json", json.dumps(report, indent=1).encode())
    print(table(report))
    print(f"written to {folder}: overlay.mp4, contact_sheet.png, latency.json")
    _require_account(report)


def _require_labels(performance: Performance) -> None:
    if performance.recording.labelled_count == 0:
        raise DemoError(f"{len(performance.sent_stamps)} frames went in and no labels came out")


def _require_account(report: Mapping[str, Any]) -> None:
    """Every frame has its labels, or the node has said that it never got it."""
    unaccounted = report["frames_in"] - report["labels_out"] - report["dropped"]
    if unaccounted != 0:
        raise DemoError(
            f"{report['frames_in']} frames went in, {report['labels_out']} labels came out and {report['dropped']} "
            f"were reported as dropped: {abs(unaccounted)} {'too many' if unaccounted < 0 else 'are missing'}"
        )


def _scores(street: SyntheticStreet, performance: Performance, class_count: int) -> dict[str, float]:
    """Of the labels that were published against the street's exact ones."""
    confusion = ConfusionMatrix(class_count)
    for index, stamp in enumerate(performance.sent_stamps):
        labels = performance.recording.labels(stamp)
        if labels is not None:
            confusion.add(labels, street[index].labels)
    return {"pixel_accuracy": confusion.pixel_accuracy(), "mean_iou": confusion.mean_iou()}
