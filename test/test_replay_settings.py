"""What a replay runs with, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from example_report import example_report
from stream_setup import stream_network

from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.evaluation.rows import SettingsError
from lowlat_seg_ros.replay.profile import Profile, load_profile, measure_profile, reference_profile
from lowlat_seg_ros.replay.settings import PolicySettings, ReplaySettings
from lowlat_seg_ros.slow.registry import Tracks
from lowlat_seg_ros.stream.key_frames import FeatureDifference, FixedInterval, PredictedDeviation


def test_the_policies_are_the_node_s_with_its_defaults() -> None:
    node = yaml.safe_load((Path(__file__).parents[1] / "config" / "seg.yaml").read_text(encoding="utf-8"))
    defaults = node["/**"]["ros__parameters"]
    names = ("minimum_interval", "maximum_interval", "minimum_key_period", "maximum_key_period", "idle_threshold")
    limits = [defaults[name] for name in names]
    assert PolicySettings().name == defaults["policy"]
    assert PolicySettings().policy() == PredictedDeviation(defaults["deviation_threshold"], *limits)
    difference = PolicySettings("feature_difference")
    assert difference.policy() == FeatureDifference(defaults["feature_difference_threshold"], *limits)
    assert PolicySettings("fixed_interval").policy() == FixedInterval(defaults["interval"])


def test_settings_tell_what_counts_for_the_policy() -> None:
    assert PolicySettings("fixed_interval", interval=7).to_mapping() == {"name": "fixed_interval", "interval": 7}
    limits: dict[str, Any] = {
        "minimum_interval": 2,
        "maximum_interval": 9,
        "minimum_key_period": 0.1,
        "maximum_key_period": 1.0,
        "idle_threshold": 0.2,
    }
    mapping = PolicySettings(threshold=0.3, **limits).to_mapping()
    assert mapping == {"name": "predicted_deviation", "threshold": 0.3, **limits}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "luck"}, "there is no policy 'luck'"),
        ({"threshold": -1.0}, "deviation threshold is -1.0"),
        ({"minimum_interval": 3, "maximum_interval": 2}, "interval limits are 3 and 2"),
        ({"idle_threshold": 1.5}, "idle threshold is 1.5; expected 0 to 1"),
        ({"maximum_key_period": 0.1}, "period limits are 0.25 and 0.1 seconds"),
        ({"name": "fixed_interval", "interval": 0}, "interval is 0"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        PolicySettings(**changes)


def test_a_share_of_the_time_that_cannot_be_is_refused() -> None:
    with pytest.raises(SettingsError, match="the slow track's share of the time is 2; expected 0 to 1"):
        ReplaySettings(slow_track_share=2)


def test_a_profile_is_read_as_it_was_written_and_from_a_report(tmp_path: Path) -> None:
    profile = Profile("orin", 10.5, 11, 30, 25, 8)
    (tmp_path / "orin.json").write_text(json_text(profile.to_mapping()), encoding="utf-8")
    assert load_profile(tmp_path / "orin.json") == profile
    report = replace(example_report(frames=2), profile=profile.to_mapping())
    (tmp_path / "report.json").write_text(json_text(report.to_mapping()), encoding="utf-8")
    assert load_profile(tmp_path / "report.json") == profile


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "cannot be read as a profile"),
        ("[1]", "holds no profile; expected a JSON object with fast_ms, "),
        ('{"name": "x"}', "holds no profile"),
        (json.dumps({**reference_profile().to_mapping(), "slow_ms": 0}), "slow_ms is 0; expected milliseconds above 0"),
        (json.dumps({**reference_profile().to_mapping(), "fast_ms": "4"}), "fast_ms is '4'"),
        (json.dumps({**reference_profile().to_mapping(), "full_ms": float("nan")}), "full_ms is nan"),
        (json.dumps({**reference_profile().to_mapping(), "name": ""}), "name is ''"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=sentence) as refusal:
        load_profile(path)
    assert str(path) in str(refusal.value)


def test_simulated_time_is_whole_nanoseconds() -> None:
    assert Profile("x", 0.1, 1, 1, 1, 1).nanoseconds("fast_ms") == 100_000


def test_this_machine_is_measured_with_both_tracks_running() -> None:
    profile = measure_profile(Tracks(stream_network(), stream_network()), frames=12, timed_calls=2, slow_runs=2)
    assert "measured" in profile.name
    assert min(profile.fast_ms, profile.key_frame_ms, profile.slow_ms, profile.full_ms, profile.single_ms) > 0
