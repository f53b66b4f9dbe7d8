"""The demo from the clip to the table."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.clips import Clip, open_clip
from lowlat_seg_ros.demo import DemoError, DemoRun
from lowlat_seg_ros.demo.full_network import full_network_milliseconds
from lowlat_seg_ros.demo.pictures import write_pictures
from lowlat_seg_ros.demo.report import environment, latency_report, percentiles, table
from lowlat_seg_ros.evaluation.scores import ConfusionMatrix
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.runtime.machine import usable_cores
from lowlat_seg_ros.stream.networks import Wishes, load_networks
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

MOST_BYTES_IN_MEMORY: Final = 512 << 20  # of a clip's frames, before they are read one by one as they are sent


def run_demo(
    clip_name: str, rate_hz: float | None, model: str, wishes: Wishes, node_parameters: tuple[str, ...], folder: Path
) -> None:
    """Play the clip into the node, write pictures and figures into `folder` and print the table.

    Raises:
        CheckpointError, ClipError, DemoError, HarnessError, ParameterError, VideoError, OSError: in one
            sentence, what went wrong.
    """
    from lowlat_seg_ros.runtime.device import choose_device

    clip = open_clip(clip_name, rate_hz=rate_hz)
    folder.mkdir(parents=True, exist_ok=True)
    rate = [] if rate_hz is None else ["--rate", str(rate_hz)]
    where = (f"{name}:={value}" for name, value in wishes.to_mapping().items())
    run = _play(clip, [clip_name, *rate], (f"model:={model}", *where, *node_parameters), folder)
    if not any(run.answers):
        raise DemoError(f"{len(run.stamps)} frames went in and no labels came out")

    device = choose_device(run.device.partition(" ")[0])
    networks = load_networks(load_checkpoint(model, device), model, device, wishes)
    network = networks.slow
    assert isinstance(network, SegmentationNetwork)
    threads, full_network = full_network_milliseconds(network, device, clip, sorted({1, usable_cores()}))
    report = {
        "clip": clip.name,
        "size": list(clip.size),
        "rate_hz": clip.rate_hz,
        "model": network.config.name,
        "environment": {**environment(run), "runtimes": networks.in_words()},
        "full_network_ms": {**percentiles(full_network), "threads": threads},
        **latency_report(run),
    }
    if isinstance(clip, SyntheticStreet):
        report["scores"] = _scores(clip, run, network.config.class_count)
    write_pictures(clip, run, network.config, folder)
    atomic_write(folder / "latency.json", json.dumps(report, indent=1).encode())
    print(table(report))
    print("\n".join(networks.in_words()))
    print(f"written to {folder}: overlay.webm, contact_sheet.png, latency.json")
    _require_account(report)


def _play(clip: Clip, arguments: list[str], parameters: tuple[str, ...], folder: Path) -> DemoRun:
    """Play the clip into the node once."""
    from lowlat_seg_ros.ros.harness import NODE, Harness
    from lowlat_seg_ros.ros.recorder import Recording

    # The camera has its frames before it sends the first: drawing or reading them takes no core then.
    if clip.frame_count * clip.size[0] * clip.size[1] * 3 <= MOST_BYTES_IN_MEMORY:
        arguments = [*arguments, "--in-memory"]
    recording = Recording()
    with Harness("demo", folder) as harness:
        harness.start(NODE, "seg_node", parameters)
        recorder = harness.record("image", "lowlat_seg", recording)
        camera = harness.start_player("lowlat_seg_ros.ros.camera_player", "camera_player", arguments)
        print("loading the model ...", file=sys.stderr)
        harness.wait_until_connected()
        with tqdm(total=clip.frame_count, unit="frame", desc="playing", disable=None) as bar:
            played = harness.play(camera, lambda count: bar.update(count - bar.n))
        stamps = played.stamps
        harness.wait_for_answers(lambda: bool(stamps) and recording.has_answered(stamps[-1]))
        harness.finish()
    threads = {track: int(recorder.diagnostics[f"{track}-track threads"]) for track in ("fast", "slow")}
    return DemoRun(stamps, recording.answers(stamps), recording.dropped_count, recorder.device, threads)


def _require_account(report: Mapping[str, Any]) -> None:
    """Every frame has its labels, or the node has said that it never got it."""
    unaccounted = report["frames_in"] - report["labels_out"] - report["dropped"]
    if unaccounted != 0:
        raise DemoError(
            f"{report['frames_in']} frames went in, {report['labels_out']} labels came out and {report['dropped']} "
            f"were reported as dropped: {abs(unaccounted)} {'too many' if unaccounted < 0 else 'are missing'}"
        )


def _scores(street: SyntheticStreet, run: DemoRun, class_count: int) -> dict[str, float]:
    """Of the labels that were published against the street's exact ones."""
    confusion = ConfusionMatrix(class_count)
    for index, answer in enumerate(run.answers):
        if answer is not None:
            confusion.add(answer.labels(), street[index].labels)
    return {"pixel_accuracy": confusion.pixel_accuracy(), "mean_iou": confusion.mean_iou()}
