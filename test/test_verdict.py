"""The sentence that a replay's report opens with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from example_report import example_report, write_example_page

from lowlat_seg_ros.replay.verdict import verdict


def camera_with(missed: int, **changes: Any) -> dict[str, Any]:
    camera: dict[str, Any] = example_report(frames=200, **changes).to_mapping()["cameras"][0]
    camera["systems"][0]["counts"]["deadline_misses"] = missed
    return camera


@pytest.mark.parametrize(
    ("missed", "answer", "beginning"),
    [
        (0, "Yes", "all 200 frames had their labels before the next frame came. Labelling took "),
        (2, "Almost", "2 of 200 frames (1.0\N{NARROW NO-BREAK SPACE}%) did not have their labels before "),
        (3, "No", "3 of 200 frames (1.5\N{NARROW NO-BREAK SPACE}%) did not have their labels before "),
    ],
)
def test_the_answer_is_by_the_frames_without_labels_in_time(missed: int, answer: str, beginning: str) -> None:
    found = verdict(camera_with(missed))
    assert found.answer == answer
    assert found.sentences[0].startswith(beginning)


def test_a_drive_without_a_rate_is_not_judged() -> None:
    camera = camera_with(0)
    camera["period_ms"] = None
    found = verdict(camera)
    assert found.answer == "Not known" and found.sentences[0].startswith("the time from frame to frame is not known")
    assert len(found.sentences) == 2 and "(mIoU)" in found.sentences[1]


def test_accuracy_is_by_truth_where_there_is_one_and_else_by_agreement() -> None:
    assert "(mIoU); with the full network on every frame they score" in verdict(camera_with(0)).sentences[2]
    assert verdict(camera_with(0, with_truth=False)).sentences[2].endswith("are labelled as the full network does.")


def test_a_camera_without_the_full_network_or_any_label_has_one_sentence() -> None:
    camera = camera_with(200)
    camera["systems"] = camera["systems"][:1]
    camera["systems"][0]["latency_ms"]["all_frames"] = dict.fromkeys(("p50", "p95", "p99", "max"), None)
    assert verdict(camera).sentences == ("none of 200 frames had labels.",)


def test_the_page_opens_with_it_and_a_picture(tmp_path: Path) -> None:
    page = write_example_page(tmp_path, example_report(frames=40, disagreements=1)).read_text()
    assert "<title>example_drive</title>" in page
    assert (
        '<video src="data:video/webm;base64,' in page
        and "The drive as the two tracks label it, one frame in 4." in page
    )
    assert page.index('class="verdict') < page.index('class="labelled"') < page.index('class="cards"')
