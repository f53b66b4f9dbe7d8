"""Two tracks are never worse than Sl's own classifier, nor than the just-in-time one alone: at low rates, after a gap,
at a cut. On CamVid's labelled clip where it is at hand, on the synthetic street otherwise.

As they propagate by default: ``adaptive`` falls below at 1.9 Hz (docs/evaluation.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from stream_setup import moving_frames

from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip, EvaluatedFrame
from lowlat_seg_ros.evaluation.given_frames import given_frames
from lowlat_seg_ros.evaluation.rows import LabelledFrame, TrackSettings, in_engine
from lowlat_seg_ros.fast import just_in_time
from lowlat_seg_ros.fast.classifier import Learner
from lowlat_seg_ros.fast.just_in_time import JustInTimeAlone
from lowlat_seg_ros.fast.pictures import frame_size, unlabelled_image
from lowlat_seg_ros.fast.registry import AUTO, PropagationKind
from lowlat_seg_ros.models.checkpoint import load_checkpoint
from lowlat_seg_ros.stream.key_frames import DEFAULT_POLICY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CAMVID = Path(__file__).parents[2] / "shared" / "camvid"
HZ = 15.0
SEEDS = (0, 1, 2)  # of the classifier's random numbers; what they make of a difference is no difference
GAP = slice(30, 75)  # frames that never came
FRAMES_AFTER = 6  # that are scored after a gap or a cut

Label = Callable[[EvaluatedFrame], LabelledFrame]


@pytest.fixture(scope="module")
def clip() -> EvaluatedClip:
    has_camvid = (CAMVID / "val").is_dir()
    given = open_clip(str(CAMVID / "val") if has_camvid else "street", rate_hz=HZ)
    frames = given_frames(given, CAMVID / "valannot" if has_camvid else None, CAMVID_LABELS)
    return EvaluatedClip(load_checkpoint("default"), itertools.islice(frames, 101), rate_hz=HZ)


def two_tracks(clip: EvaluatedClip, propagation: str | PropagationKind) -> Label:
    settings = TrackSettings(1, DEFAULT_POLICY, (1,))
    return in_engine(clip, settings, DEFAULT_POLICY, propagation=propagation)


def single(clip: EvaluatedClip, frame: EvaluatedFrame) -> LabelledFrame:
    logits = clip.network.classify_low(clip.low(frame.index).low)
    return LabelledFrame(clip.labels_of_logits(logits, frame.index), False)


@torch.inference_mode()
def mean_iou(
    clip: EvaluatedClip, label: Label, before: Iterable[EvaluatedFrame], frames: Sequence[EvaluatedFrame]
) -> float:
    """Of the last ``frames``, those before them having been seen."""
    matrix = clip.new_matrix()
    for frame in before:
        label(frame)
    for frame in frames:
        matrix.add(label(frame).labels, frame.truth)
    return matrix.mean_iou()


def assert_no_worse_than_the_floor(
    clip: EvaluatedClip, before: Sequence[EvaluatedFrame], frames: Sequence[EvaluatedFrame]
) -> None:
    def score(label: Label) -> float:
        return mean_iou(clip, label, before, frames)

    alone = []
    with pytest.MonkeyPatch.context() as patch:
        for seed in SEEDS:
            patch.setattr(just_in_time, "Learner", partial(Learner, seed))
            alone.append(score(two_tracks(clip, JustInTimeAlone)))
    spread = max(alone) - min(alone)
    floor = max(score(partial(single, clip)), float(np.mean(alone)))
    assert score(two_tracks(clip, AUTO)) >= floor - spread, f"the floor {floor:.4f}, the spread {spread:.4f}"


@pytest.mark.parametrize("every", [1, 2, 3, 5, 8], ids=["15 Hz", "7.5 Hz", "5 Hz", "3 Hz", "1.9 Hz"])
def test_at_any_rate(clip: EvaluatedClip, every: int) -> None:
    assert_no_worse_than_the_floor(clip, [], clip.frames[::every])


def test_after_a_gap(clip: EvaluatedClip) -> None:
    after = clip.frames[GAP.stop : GAP.stop + FRAMES_AFTER]
    assert_no_worse_than_the_floor(clip, clip.frames[: GAP.start], after)


def test_at_a_cut(clip: EvaluatedClip) -> None:
    size = frame_size(clip.frames[0].image)
    pictures = (np.asarray(cv2.resize(picture, size), np.uint8) for picture in moving_frames(20))
    before = [
        EvaluatedFrame(index, f"{index}", picture, unlabelled_image(size))
        for index, picture in enumerate(pictures, start=-20)
    ]
    assert_no_worse_than_the_floor(clip, before, clip.frames[:FRAMES_AFTER])
