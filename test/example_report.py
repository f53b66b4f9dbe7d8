"""A report of a drive that never was, with every kind of thing in it: for tests, and to look at a page.

``scripts/with_ros python test/example_report.py FOLDER`` writes it there.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import CAMVID_CLASSES, CAMVID_COLOURS
from lowlat_seg_ros.data.drawing import colourise
from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.replay.disagreements import file_stem
from lowlat_seg_ros.replay.labelled_video import LabelledVideo
from lowlat_seg_ros.replay.pages import write_page
from lowlat_seg_ros.replay.report import (
    Agreement,
    BagReport,
    CameraReport,
    Disagreement,
    DistanceScore,
    FrameCounts,
    Latency,
    ModelReport,
    Report,
    Scores,
    SlowTrackReport,
    Spread,
    SystemReport,
    Video,
)
from lowlat_seg_ros.replay.timeline import FrameRecord, Status, Timeline
from lowlat_seg_ros.stream.networks import DEFAULT
from lowlat_seg_ros.street.synthetic_street import SyntheticStreet

PERIOD_MS = 1000 / 15


def example_report(frames: int = 300, with_truth: bool = True, disagreements: int = 2, live: bool = False) -> Report:
    """Two cameras, the second without ground truth; the two tracks twice in a live report."""
    cameras = [
        example_camera("/camera_front/image", frames, with_truth, disagreements, live),
        example_camera("/camera_rear/image", frames // 2, False, 0, live),
    ]
    return Report(
        bag=BagReport("example_drive", 64 * "0", ["example_drive_0.mcap is cut short; what is whole of it is read."]),
        model=ModelReport("default", list(CAMVID_CLASSES), list(CAMVID_COLOURS), (480, 360), "0" * 64),
        settings={
            "policy": {"name": "predicted_deviation", "threshold": 0.1, "minimum_interval": 1, "maximum_interval": 10},
            "low_latency": True,
            "slow_track_share": 0.5,
            "cameras": [],
            "propagation": "just_in_time",
            "fast_model": "default",
            **DEFAULT.to_mapping(),
            "truth": None,
            **({"live": {"rate": 0.5, "rounds": 2}} if live else {}),
        },
        profile={
            "name": "an example",
            "fast_ms": 41.0,
            "key_frame_ms": 42.5,
            "slow_ms": 95.0,
            "full_ms": 104.0,
            "single_ms": 31.0,
        },
        cameras=cameras,
        timings={"replay_s": 61.2},
    )


def example_camera(topic: str, frames: int, with_truth: bool, disagreements: int, live: bool = False) -> CameraReport:
    played = [example_system("two tracks, live", 47.0, frames, with_truth, 0.54, has_key_frames=True)] if live else []
    systems = [
        *played,
        example_system("two tracks", 42.0, frames, with_truth, 0.55, has_key_frames=True),
        example_system("full network", 104.0, frames, with_truth, 0.58),
        example_system("fast single-frame network", 31.0, frames, with_truth, 0.49),
    ]
    return CameraReport(
        topic=topic,
        size=(480, 360),
        first_stamp="1700000000.000000000",
        clock="header stamps",
        duration_s=round((frames - 1) * PERIOD_MS / 1000, 6),
        period_ms=PERIOD_MS,
        frames=frames,
        frames_with_truth=frames if with_truth else 0,
        problems=[],
        systems=systems,
        disagreements=[example_disagreement(number, topic) for number in range(disagreements)],
        video=Video(f"pictures/{file_stem(topic)}_labelled.webm", 4) if disagreements else None,
    )


def example_system(
    name: str, cost_ms: float, frames: int, with_truth: bool, iou: float, has_key_frames: bool = False
) -> SystemReport:
    timeline = Timeline(has_key_frames)
    for number in range(frames):
        timeline.add(example_record(number, cost_ms, has_key_frames, is_full=name == "full network"))
    latencies = [value for value in timeline.columns["latency_ms"] if not math.isnan(value)]
    statuses = timeline.columns["status"]
    key_frames = sum(timeline.columns["is_key_frame"])
    spread = Spread(len(latencies), *(float(value) for value in np.percentile(latencies, (50, 95, 99, 100))))
    nothing = Spread(0, None, None, None, None)
    return SystemReport(
        name=name,
        description=f"{name}, as an example",
        counts=FrameCounts(
            frames_in=frames,
            labelled=frames - statuses.count("dropped"),
            dropped=statuses.count("dropped"),
            late=statuses.count("late"),
            deadline_misses=frames - statuses.count("labelled"),
            key_frames=key_frames,
            key_frame_ratio=key_frames / len(latencies) if has_key_frames else None,
        ),
        latency_ms=Latency(spread, spread if has_key_frames else nothing, spread, nothing),
        slow_track=SlowTrackReport(key_frames - 2, 1, 1, spread) if has_key_frames else None,
        scores=example_scores(frames, iou, has_key_frames) if with_truth else None,
        agreement=None if name == "full network" else Agreement(0.93, 0.88, 0.71, 0.8),
        temporal_consistency=iou + 0.2,
        timeline=timeline.to_mapping(),
    )


def example_record(number: int, cost_ms: float, has_key_frames: bool, is_full: bool) -> FrameRecord:
    time_s = number * PERIOD_MS / 1000
    if cost_ms > PERIOD_MS and number % 2:
        return FrameRecord(time_s, "dropped")
    age = number % 7
    is_late = cost_ms > PERIOD_MS or number % 97 == 40
    latency = cost_ms + 2 * math.sin(number) + (40 if number % 97 == 40 else 0)
    agreement = math.nan if is_full else 0.97 - 0.02 * age
    status: Status = "late" if is_late else "labelled"
    if not has_key_frames:
        return FrameRecord(time_s, status, latency_ms=latency, agreement=agreement)
    return FrameRecord(
        time_s,
        status,
        is_first=number == 0,
        latency_ms=latency,
        agreement=agreement,
        is_key_frame=age == 0,
        key_reason="" if age else "deviation" if number else "first frame",
        deviation=0.015 * age + 0.01 * math.sin(number / 9) + 0.012 if number else math.nan,
        threshold=0.1,
        key_age_frames=age or 7,
        key_is_accurate=age > 1,
        slow_track_busy=age < 2,
    )


def example_scores(frames: int, iou: float, has_key_frames: bool) -> Scores:
    classes = len(CAMVID_CLASSES)
    confusion = np.full((classes, classes + 1), 900) + np.eye(classes, classes + 1, dtype=int) * 120_000
    confusion[:, classes] = 0
    return Scores(
        frames=frames,
        mean_iou=iou,
        pixel_accuracy=iou + 0.3,
        class_accuracy=iou + 0.1,
        class_iou=[None if number == 9 else iou - 0.02 * (number - 5) for number in range(classes)],
        streaming_frames=frames,
        streaming_mean_iou=iou - 0.08,
        by_distance=[DistanceScore(number, frames // 8, iou - 0.01 * number) for number in range(8 * has_key_frames)],
        confusion=confusion.tolist(),
    )


def example_disagreement(number: int, topic: str) -> Disagreement:
    stem = f"pictures/{file_stem(topic)}_{number:06d}"
    names = [f"{stem}_{what}" for what in ("picture.jpg", "labels.png", "full_labels.png", "difference.png")]
    return Disagreement(number, round(number * PERIOD_MS / 1000, 6), 0.71 + 0.02 * number, 6, *names)


def write_example(folder: Path, report: Report) -> None:
    """The report and its pictures, as ``lowlat-seg replay`` lays them out."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json_text(report.to_mapping()), encoding="utf-8")
    for worst in (worst for camera in report.cameras for worst in camera.disagreements):
        image, full = street_frame(worst.frame)
        given = np.roll(full, 12, axis=1)
        write_picture(folder / worst.picture, image)
        write_picture(folder / worst.labels, colourise(given, CAMVID_COLOURS))
        write_picture(folder / worst.full_labels, colourise(full, CAMVID_COLOURS))
        difference = colourise(np.where(given == full, 255, given).astype(np.uint8), CAMVID_COLOURS)
        write_picture(folder / worst.difference, difference)
    for camera in report.cameras:
        if camera.video is not None:
            (folder / camera.video.file).write_bytes(street_video())


def write_example_page(folder: Path, report: Report) -> Path:
    """The report, its pictures and its page; returns the page."""
    write_example(folder, report)
    write_page(folder, "lowlat-seg replay example_drive --like orin.json")
    return folder / "index.html"


@lru_cache
def street_frame(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture and its labels; painting one takes a second, and many tests want the same."""
    frame = SyntheticStreet(frame_count=10)[number]
    return frame.image, frame.labels


@lru_cache
def street_video() -> bytes:
    """Three frames of it."""
    video = LabelledVideo(CAMVID_COLOURS)
    for number in range(3):
        video.offer(*street_frame(number))
    content = video.content(15.0)
    assert content is not None
    return content


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    write_example(Path(sys.argv[1]), example_report())
