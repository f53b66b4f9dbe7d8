"""A replay as a job that can be sent to another process or machine, and what comes back."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from lowlat_seg_ros.models.checkpoint import CheckpointError
from lowlat_seg_ros.replay.bags import BagError
from lowlat_seg_ros.replay.profile import Profile
from lowlat_seg_ros.replay.replay import Outcome, Progress, load_model, replay_bag
from lowlat_seg_ros.replay.settings import ReplaySettings


@dataclass(frozen=True)
class Job:
    """One bag to replay. Whoever does it must find the bag and the model at these places."""

    bag: Path
    model: str  # a shipped name or a checkpoint's folder
    settings: ReplaySettings
    profile: Profile


@dataclass(frozen=True)
class Failure:
    """Why a bag has no report, in a sentence."""

    reason: str


Ending = Outcome | Failure
Endings = Generator[tuple[int, Ending], None, None]
"""Jobs' numbers with what became of them, as they end."""


def run_job(job: Job, progress: Progress = lambda done, all: None) -> Ending:
    """Replay the job's bag; whatever goes wrong becomes a Failure, so that it stops no other bag."""
    try:
        return replay_bag(job.bag, load_model(job.model), job.settings, job.profile, progress)
    except (BagError, CheckpointError, OSError) as error:
        return Failure(str(error))
    except Exception as error:
        return unexpected_failure(error)


def unexpected_failure(error: Exception) -> Failure:
    """Of a defect that a hostile bag has found, for instance: it must not cost the fleet's other drives."""
    return Failure(f"{type(error).__name__}: {' '.join(str(error).split())}")
