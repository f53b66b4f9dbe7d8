"""What got better and worse between two replays, and what a fleet's table holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from example_report import example_report

from lowlat_seg_ros.replay.comparison import RegressionError, compare, comparison_text, require_no_worse
from lowlat_seg_ros.replay.fleet import done_bag, failed_bag, fleet_mapping
from lowlat_seg_ros.replay.markdown import fleet_markdown, report_markdown
from lowlat_seg_ros.replay.report import Report


def with_scores(report: Report, **changes: Any) -> Report:
    """The report with other scores of the two tracks of its first camera."""
    camera = report.cameras[0]
    two_tracks = camera.systems[0]
    assert two_tracks.scores is not None
    system = replace(two_tracks, scores=replace(two_tracks.scores, **changes))
    return replace(report, cameras=[replace(camera, systems=[system, *camera.systems[1:]]), *report.cameras[1:]])


def with_p99(report: Report, milliseconds: float) -> Report:
    camera = report.cameras[0]
    two_tracks = camera.systems[0]
    latency = replace(two_tracks.latency_ms, all_frames=replace(two_tracks.latency_ms.all_frames, p99=milliseconds))
    systems = [replace(two_tracks, latency_ms=latency), *camera.systems[1:]]
    return replace(report, cameras=[replace(camera, systems=systems), *report.cameras[1:]])


OLD = example_report(frames=30)


def changes_to(new: Report, old: Report = OLD) -> list[Any]:
    return compare(old.to_mapping(), new.to_mapping())


def test_the_same_report_is_no_worse() -> None:
    changes = changes_to(OLD)
    assert len(changes) > 50
    require_no_worse(changes, 0.0)
    assert comparison_text(changes, 0.0) == "Nothing changed."


def test_a_score_that_falls_by_more_than_the_tolerance_fails_and_is_named() -> None:
    changes = changes_to(with_scores(OLD, mean_iou=0.53))  # it was 0.55
    require_no_worse(changes, 0.021)
    with pytest.raises(
        RegressionError, match=r"1 of \d+ figures .* by more than 0.019, most of all mIoU of /camera_front/image"
    ):
        require_no_worse(changes, 0.019)
    text = comparison_text(changes, 0.019)
    assert "| /camera_front/image two tracks | mIoU | 0.5500 | 0.5300 | WORSE |" in text
    assert len(text.splitlines()) == 3


def test_a_score_that_rises_is_better_and_never_fails() -> None:
    changes = changes_to(with_scores(OLD, streaming_mean_iou=0.9))
    require_no_worse(changes, 0.0)
    assert "| better |" in comparison_text(changes, 0.0)


def test_a_latency_counts_by_its_share_and_rises_for_the_worse() -> None:
    old, new = with_p99(OLD, 50.0), with_p99(OLD, 52.0)  # 4 % more
    require_no_worse(changes_to(new, old), 0.041)
    with pytest.raises(RegressionError, match="latency p99"):
        require_no_worse(changes_to(new, old), 0.039)
    require_no_worse(changes_to(old, new), 0.0)


def test_a_figure_a_system_or_a_camera_that_is_gone_is_worse_than_any_tolerance() -> None:
    without_truth = with_scores(OLD, mean_iou=None)
    without_camera = replace(OLD, cameras=OLD.cameras[:1])
    for new in (without_truth, without_camera):
        with pytest.raises(RegressionError):
            require_no_worse(changes_to(new), 1000.0)
    require_no_worse(changes_to(OLD, old=without_camera), 0.0)  # a new camera is no worse


def test_more_key_frames_are_neither_better_nor_worse() -> None:
    camera = OLD.cameras[0]
    two_tracks = camera.systems[0]
    more = replace(two_tracks, counts=replace(two_tracks.counts, key_frame_ratio=0.9))
    changes = changes_to(replace(OLD, cameras=[replace(camera, systems=[more, *camera.systems[1:]]), OLD.cameras[1]]))
    require_no_worse(changes, 0.0)
    assert "| key frames |" in comparison_text(changes, 0.0)


def test_a_bag_that_fails_now_is_worse_in_a_fleet() -> None:
    report = OLD.to_mapping()
    old = fleet_mapping([done_bag("monday", report), done_bag("tuesday", report)])
    new = fleet_mapping([done_bag("monday", report), failed_bag("tuesday", "it is cut short.")])
    require_no_worse(compare(old, old), 0.0)
    with pytest.raises(RegressionError, match="of tuesday"):
        require_no_worse(compare(old, new), 1.0)


def test_a_fleet_s_table_has_a_row_a_system_and_names_the_failed_bags() -> None:
    fleet = fleet_mapping([done_bag("monday", OLD.to_mapping()), failed_bag("tuesday", "It is no bag.")])
    lines = fleet_markdown(fleet).splitlines()
    assert sum(line.startswith("| monday |") for line in lines) == 6  # two cameras, three systems
    assert "1 evaluated, 1 failed." in lines
    assert "- tuesday: It is no bag." in lines


def test_a_report_in_markdown_names_problems_and_all_systems() -> None:
    text = report_markdown(OLD.to_mapping())
    assert "- example_drive_0.mcap is cut short; what is whole of it is read." in text
    assert "|  | two tracks | full network | fast single-frame network |" in text
    assert "| mIoU | 0.5500 | 0.5800 | 0.4900 |" in text
    assert "## /camera_rear/image" in text
    assert "Live" not in text


def test_a_live_report_in_markdown_says_how_far_live_is_from_simulated() -> None:
    text = report_markdown(example_report(live=True).to_mapping())
    assert "Live, played at rate 0.5" in text
    assert "|  | two tracks, live | two tracks | full network | fast single-frame network |" in text
    assert (
        text.count("Live and simulated, the mIoU of the two tracks differs by 0.0100.") == 1
    )  # one camera has a truth


def test_an_offline_replay_is_compared_with_the_simulation_of_a_live_one() -> None:
    changes = compare(OLD.to_mapping(), example_report(frames=30, live=True).to_mapping())
    require_no_worse(changes, 0.0)
