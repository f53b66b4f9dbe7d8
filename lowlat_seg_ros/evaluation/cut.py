"""A cut: frames of another scene, and then the clip. What are the first labels of the new scene worth?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip, EvaluatedFrame
from lowlat_seg_ros.evaluation.rows import Labeller, ScoreRow, TrackSettings, in_engine, late, scored_against_full
from lowlat_seg_ros.fast.pictures import frame_size, unlabelled_image

CUT: Final = "cut"
FRAMES_BEFORE: Final = 41
FRAMES_AFTER: Final = 6


@torch.inference_mode()
def cut_row(clip: EvaluatedClip, before: Sequence[NDArray[np.uint8]], settings: TrackSettings) -> ScoreRow:
    """The clip's first ``FRAMES_AFTER`` frames against the full network's own labels, the slow track at its latest.

    Args:
        before: pictures of another scene, (H, W, 3) uint8 RGB, brought to the clip's size: one camera shows both.
    """
    delay, size = max(settings.delay_frames), frame_size(clip.frames[0].image)
    label = in_engine(clip, settings, settings.adaptive, delay_frames=delay)
    for index, picture in enumerate(before, start=-len(before)):
        image = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        label(EvaluatedFrame(index, f"{index}", image, unlabelled_image(size)))
    description = f"the first {FRAMES_AFTER} frames after a cut from another scene, {late(delay)}"
    labeller = Labeller(CUT, description, label, clip.propagation_name)
    return scored_against_full(clip, labeller, clip.frames[:FRAMES_AFTER])
