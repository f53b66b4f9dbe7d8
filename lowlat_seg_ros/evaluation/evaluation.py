"""Everything that ``lowlat-seg evaluate`` finds out about a model on one clip. Read ``evaluate`` first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from lowlat_seg_ros.data.corruptions import Corruption
from lowlat_seg_ros.evaluation.corruptions import STANDARD, Corrupted, corruption_scores
from lowlat_seg_ros.evaluation.deviations import DeviationPair, deviation_pairs, driven_deviations
from lowlat_seg_ros.evaluation.distances import DistanceCurve, distance_curve
from lowlat_seg_ros.evaluation.evaluated_clip import EvaluatedClip
from lowlat_seg_ros.evaluation.latency import LatencyReport
from lowlat_seg_ros.evaluation.pair_scores import PairScores
from lowlat_seg_ros.evaluation.paper_tables import PaperTable
from lowlat_seg_ros.evaluation.policy_curves import PolicyPoint, policy_curves
from lowlat_seg_ros.evaluation.propagation_ways import PropagationScore, propagation_scores
from lowlat_seg_ros.evaluation.reliability import ReliabilityCurve, reliability_curves
from lowlat_seg_ros.evaluation.rows import SINGLE_FRAME_ROWS, ScoreRow, SettingsError, TrackSettings, evaluate_rows

DISTANCES: Final = "distances"
RELIABILITY: Final = "reliability"
CORRUPTIONS: Final = "corruptions"
OF_ANY_NETWORK: Final = (DISTANCES, RELIABILITY, CORRUPTIONS)
"""Analyses that need no fast track of the model's own. Those without labels are made unless others are named."""

ANALYSES: Final = (DISTANCES, "propagation_ways", "deviations", "policies", RELIABILITY, CORRUPTIONS)
ON_DEMAND: Final = (CORRUPTIONS,)
"""Those that take minutes, and are made only where they are asked for by name."""


@dataclass(frozen=True)
class EvaluationPlan:
    """What to find out."""

    rows: tuple[str, ...]  # of rows.ROWS
    analyses: tuple[str, ...]  # of ANALYSES; they take a video
    settings: TrackSettings
    corruptions: tuple[Corruption, ...] = STANDARD  # of the analysis of that name
    is_video: bool = True  # the frames follow each other; otherwise they are stills

    def __post_init__(self) -> None:
        if self.is_video:
            return
        for name in (*self.rows, *self.analyses):
            if name not in SINGLE_FRAME_ROWS:
                raise SettingsError(
                    f"{name!r} takes a video; expected of stills no analyses and only the rows "
                    f"{', '.join(SINGLE_FRAME_ROWS)}"
                )


@dataclass
class Evaluation:
    """All figures about one model on one clip; None where an analysis was not asked for. Fractions of one."""

    model: str  # its folder's name
    clip: str  # likewise
    classes: tuple[str, ...]
    frames: int
    plan: EvaluationPlan
    full_rows: tuple[str, ...]  # of the full network on every frame, as the model has them
    rows: list[ScoreRow] = field(default_factory=list)
    distances: DistanceCurve | None = None
    propagation_ways: list[PropagationScore] | None = None
    deviations: list[DeviationPair] | None = None
    driven_deviations: list[DeviationPair] | None = None  # of the adaptive policy's key frames alone, as it saw them
    policies: list[PolicyPoint] | None = None
    reliability: list[ReliabilityCurve] | None = None
    corrupted: Corrupted | None = None
    latency: LatencyReport | None = None
    table: PaperTable | None = None  # of the paper, in the place of all the others but ``rows`` and ``latency``
    cut: ScoreRow | None = None  # agreement with the full network after one
    problems: list[str] = field(default_factory=list)  # what was left out or assumed of what was given
    warning: str | None = None  # where the figures leave out more than a hundredth of it
    seconds: dict[str, float] = field(default_factory=dict)  # that each part took

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - started


def evaluate(clip: EvaluatedClip, plan: EvaluationPlan, model: str, clip_name: str) -> Evaluation:
    """All that is deterministic: two runs on one machine give the same but for ``seconds``. Latency is not part of it.

    Raises:
        DataError: the frames of a video differ in size.
        FloatingPointError: the network's deviations are nan or infinite.
    """
    if plan.is_video:
        clip.require_one_size()
    found = Evaluation(model, clip_name, clip.classes, len(clip), plan, clip.full_rows)
    with found.timing("rows"):
        found.rows = evaluate_rows(clip, plan.rows, plan.settings, is_video=plan.is_video)
    pairs = PairScores(clip)
    if DISTANCES in plan.analyses:
        with found.timing("distances"):
            found.distances = distance_curve(clip, pairs)
    if "propagation_ways" in plan.analyses:
        with found.timing("propagation_ways"):
            found.propagation_ways = propagation_scores(clip)
    if "deviations" in plan.analyses:
        with found.timing("deviations"):
            found.deviations = deviation_pairs(clip)
            found.driven_deviations = driven_deviations(clip, plan.settings.adaptive)
    if "policies" in plan.analyses:
        with found.timing("policies"):
            found.policies = policy_curves(clip, pairs)
    if RELIABILITY in plan.analyses:
        with found.timing("reliability"):
            found.reliability = reliability_curves(clip, plan.settings)
    if CORRUPTIONS in plan.analyses:
        with found.timing(CORRUPTIONS):
            found.corrupted = corruption_scores(clip, plan.corruptions, plan.rows, plan.settings)
    return found
