"""How far labels fall at night, in fog, rain and glare, and with a bad camera: rows on corrupted pictures."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tqdm import tqdm

from lowlat_seg_ros.data.corruptions import KINDS, Corruption
from lowlat_seg_ros.data.drawing import contact_sheet, encoded_png
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.rows import ScoreRow, TrackSettings, evaluate_rows

STANDARD: Final = tuple(Corruption(kind, strength) for kind in KINDS for strength in (1, 3, 5))
"""Unless others are asked for: seven kinds at three of their strengths."""

TILE_WIDTH: Final = 320
TILES_A_LINE: Final = 3


@dataclass(frozen=True)
class CorruptionScore:
    """What the rows are worth on corrupted pictures, against the truth of the pictures as they were."""

    kind: str
    strength: int
    rows: tuple[ScoreRow, ...]


@dataclass(frozen=True)
class Corrupted:
    """The scores, and what a frame in the middle of the clip looked like."""

    scores: list[CorruptionScore]
    sheet: bytes  # PNG


def corruption_scores(
    clip: EvaluatedClip, corruptions: Sequence[Corruption], rows: Sequence[str], settings: TrackSettings
) -> Corrupted:
    """Each row on each corrupted clip. Deterministic; takes as long as the rows took, for each corruption again."""
    middle, scores, tiles = clip.frames[len(clip) // 2], [], []
    for corruption in tqdm(corruptions, desc="corruptions", leave=False, disable=None):
        pictures = [corruption(frame.image, clip.stamp(frame.index)) for frame in clip.frames]
        seen = evaluate_rows(clip.with_pictures(pictures), rows, settings, is_video=False)
        scores.append(CorruptionScore(corruption.kind, corruption.strength, tuple(seen)))
        tiles.append((pictures[middle.index], str(corruption)))
        gc.collect()  # engines and their lanes know each other, and every frame's features
    return Corrupted(scores, encoded_png(contact_sheet(tiles, TILES_A_LINE, TILE_WIDTH)))
