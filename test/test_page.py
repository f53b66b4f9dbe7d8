"""The replay's web page: what is in the file, without a browser (test_page_in_browser.py looks at it in one)."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from example_report import example_report, write_example, write_picture

from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.replay.disagreements import MOST_VIDEO_BYTES, over_dimmed
from lowlat_seg_ros.replay.fleet import done_bag, failed_bag, fleet_mapping
from lowlat_seg_ros.replay.page_tables import UNKNOWN, SummaryRow, confusion_rows, summary_groups
from lowlat_seg_ros.replay.pages import write_fleet_page, write_page
from lowlat_seg_ros.replay.report import Report
from lowlat_seg_ros.replay.timeline import timeline_data

MEGABYTE = 1_000_000
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


class PageReader(HTMLParser):
    """Everything of a page that a test asks about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.raw:
            self.raw[self._inside].append(data)
        else:
            self.text += data

    def attributes(self, *names: str) -> list[str]:
        return [value or "" for _, attributes in self.tags for name, value in attributes.items() if name in names]

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def page_of(folder: Path, report: Report, command: str = "") -> PageReader:
    write_example(folder, report)
    write_page(folder, command)
    return read_page(folder)


def read_page(folder: Path) -> PageReader:
    return PageReader((folder / "index.html").read_text(encoding="utf-8"))


def hostile_report() -> Report:
    report = example_report(frames=20)
    front, rear = report.cameras
    two_tracks = replace(front.systems[0], description=HOSTILE)
    two_tracks.timeline["key_reason"][0] = HOSTILE
    front = replace(front, topic=HOSTILE, problems=[HOSTILE], systems=[two_tracks, *front.systems[1:]])
    return replace(
        report,
        bag=replace(report.bag, name=HOSTILE, problems=[HOSTILE]),
        model=replace(report.model, name=HOSTILE, classes=[HOSTILE, *report.model.classes[1:]]),
        profile=report.profile | {"name": HOSTILE},
        cameras=[front, rear],
    )


# --- One file, closed to the outside ----------------------------------------------------------------------------------


def test_page_refers_to_nothing_outside_itself(tmp_path: Path) -> None:
    page = page_of(tmp_path, example_report(frames=20))
    addresses = page.attributes("src", "href", "action", "srcset", "poster", "data", "background")
    assert any(address.startswith("data:image/jpeg") for address in addresses)
    assert [address[:60] for address in addresses if not address.startswith(("#", "data:"))] == []
    assert not any(word in style for style in page.raw["style"] for word in ("url(", "@import"))


def test_policy_lets_in_only_the_style_and_the_script_of_the_page(tmp_path: Path) -> None:
    page = page_of(tmp_path, example_report(frames=20))
    [policy] = [attributes["content"] or "" for _, attributes in page.tags if "http-equiv" in attributes]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    [style], script = page.raw["style"], page.raw["script"][-1]
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == f"'sha256-{sha256_of(style)}'"
    assert rules["script-src"] == f"'sha256-{sha256_of(script)}'"
    assert rules["img-src"] == rules["media-src"] == "data:"


def sha256_of(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    harmless = page_of(tmp_path / "harmless", example_report(frames=20), "lowlat-seg")
    hostile = page_of(tmp_path / "hostile", hostile_report(), HOSTILE)
    assert hostile.count("script") == harmless.count("script")
    assert hostile.count("img") == harmless.count("img")
    assert not any(name.startswith("on") for _, attributes in hostile.tags for name in attributes)
    # the heading, the title, the topic, the problems, a class, the profile and the command
    assert hostile.text.count(HOSTILE) >= 7


def test_timeline_data_of_a_hostile_report_is_whole(tmp_path: Path) -> None:
    page = page_of(tmp_path, hostile_report())
    assert HOSTILE in json.loads(page.raw["script"][0])["reasons"]


def test_large_pictures_leave_the_page_small_and_say_so(tmp_path: Path) -> None:
    report = example_report(frames=20, disagreements=6)
    write_example(tmp_path, report)
    noise = tmp_path / "noise.png"
    write_picture(noise, np.random.default_rng(0).integers(0, 255, (360, 640, 3), np.uint8))
    for worst in report.cameras[0].disagreements:
        shutil.copy(noise, tmp_path / worst.labels)
    write_page(tmp_path)
    assert (tmp_path / "index.html").stat().st_size < 4 * MEGABYTE
    page = read_page(tmp_path)
    assert 0 < page.count("img") < 4 * 6
    assert page.text.count("would make this page too large") == 6 - page.count("img") // 4


def test_large_picture_is_made_smaller_without_blending_classes(tmp_path: Path) -> None:
    report = example_report(frames=20, disagreements=1)
    write_example(tmp_path, report)
    stripes = np.zeros((720, 1280, 3), np.uint8)
    stripes[:, ::3] = (128, 64, 128)
    write_picture(tmp_path / report.cameras[0].disagreements[0].labels, stripes)
    write_page(tmp_path)
    [labels, _] = [uri for uri in read_page(tmp_path).attributes("src") if uri.startswith("data:image/png;base64,")]
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(labels.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (360, 640, 3)
    assert {tuple(colour) for colour in shown.reshape(-1, 3).tolist()} == {(0, 0, 0), (128, 64, 128)}


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "cannot be opened"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "is cut short"),
        (lambda path: path.write_bytes(b"GIF"), "cannot be decoded"),
    ],
)
def test_picture_that_cannot_be_read_is_named(tmp_path: Path, damage: Any, sentence: str) -> None:
    report = example_report(frames=20)
    write_example(tmp_path, report)
    name = report.cameras[0].disagreements[0].picture
    damage(tmp_path / name)
    write_page(tmp_path)
    page = read_page(tmp_path)
    assert page.count("img") == 4 and page.count("video") == 1  # both of the other frame
    assert name in page.text and sentence in page.text


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "cannot be shown: [Errno 2]"),
        (lambda path: path.write_bytes(bytes(MOST_VIDEO_BYTES + 1)), "lies beside this page, which it would make too"),
    ],
)
def test_a_video_that_the_page_does_not_hold_is_named(tmp_path: Path, damage: Any, sentence: str) -> None:
    """Also where there is no picture of the camera beside which it could be said."""
    report = example_report(frames=20)
    write_example(tmp_path, report)
    assert report.cameras[0].video is not None
    damage(tmp_path / report.cameras[0].video.file)
    for kept in report.cameras[0].disagreements:
        (tmp_path / kept.picture).unlink()
    write_page(tmp_path)
    page = read_page(tmp_path)
    assert page.count("video") == 0
    assert f"The video {report.cameras[0].video.file} {sentence}" in page.text


def test_report_cannot_fetch_pictures_from_outside_its_folder(tmp_path: Path) -> None:
    report = example_report(frames=20)
    write_example(tmp_path / "report", report)
    (tmp_path / "report" / report.cameras[0].disagreements[0].picture).rename(tmp_path / "secret.jpg")
    text = (tmp_path / "report" / "report.json").read_text(encoding="utf-8")
    text = text.replace(report.cameras[0].disagreements[0].picture, "../secret.jpg")
    (tmp_path / "report" / "report.json").write_text(text, encoding="utf-8")
    write_page(tmp_path / "report")
    page = read_page(tmp_path / "report")
    assert page.count("img") == 4 and page.count("video") == 1  # both of the other frame
    assert "The picture ../secret.jpg is not in the report's folder." in page.text


def test_failed_page_leaves_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page_of(tmp_path, example_report(frames=20))
    old = (tmp_path / "index.html").read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_page(tmp_path, "another command")
    assert (tmp_path / "index.html").read_bytes() == old
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "report.json", "pictures"}


# --- What it says -----------------------------------------------------------------------------------------------------


def summary_rows(report: Report, camera: int = 0) -> dict[str, SummaryRow]:
    groups = summary_groups(report.to_mapping()["cameras"][camera])
    return {row.name: row for group in groups for row in group.rows}


def test_summary_marks_the_best_of_a_row() -> None:
    rows = summary_rows(example_report())
    assert [cell.is_best for cell in rows["p50"].cells] == [False, False, True]
    assert [cell.is_best for cell in rows["mIoU"].cells] == [False, True, False]
    assert [cell.is_best for cell in rows["Deadline misses"].cells] == [True, False, True]
    assert not any(cell.is_best for cell in rows["Key frames"].cells)


def test_summary_shows_counts_with_their_share_and_unknown_figures_as_a_dash() -> None:
    rows = summary_rows(example_report(frames=300))
    assert [cell.text.replace("\N{NARROW NO-BREAK SPACE}", " ") for cell in rows["Dropped"].cells] == [
        "0 (0 %)",
        "150 (50.0 %)",
        "0 (0 %)",
    ]
    assert [cell.text for cell in rows["Agreement, mean"].cells][1] == UNKNOWN


def test_every_row_of_the_summary_says_what_it_means() -> None:
    assert all(row.hint.endswith(".") for row in summary_rows(example_report()).values())


def test_camera_without_ground_truth_has_no_scores_on_the_page(tmp_path: Path) -> None:
    assert "mIoU" not in summary_rows(example_report(), camera=1)
    page = page_of(tmp_path, example_report(with_truth=False))
    assert "no ground truth" in page.text
    assert "Streaming mIoU" not in page.text
    assert "Confusion matrix" not in page.text
    assert "Agreement, mean" in page.text


def test_drive_of_one_frame_has_a_page(tmp_path: Path) -> None:
    report = example_report(frames=2)  # one of the second camera
    cameras = [replace(camera, period_ms=None) for camera in report.cameras]
    page = page_of(tmp_path, replace(report, cameras=cameras))
    assert json.loads(page.raw["script"][1])["duration"] > 0


def test_bag_without_cameras_has_a_page_with_its_problems(tmp_path: Path) -> None:
    report = replace(example_report(frames=2), cameras=[])
    page = page_of(tmp_path, report)
    assert "No camera of this bag could be evaluated." in page.text
    assert report.bag.problems[0] in page.text


def test_timeline_has_the_figures_of_every_frame() -> None:
    camera = example_report(frames=30).to_mapping()["cameras"][0]
    data = timeline_data(camera)
    two_tracks, full_network, _ = data["systems"]
    given = camera["systems"][0]["timeline"]
    assert data["time"] == pytest.approx(given["time_s"], abs=0.001)
    assert two_tracks["latency"] == pytest.approx(given["latency_ms"], abs=0.05)
    assert two_tracks["difference"] == pytest.approx([100 - 100 * value for value in given["agreement"]], abs=0.05)
    assert [data["reasons"][number] for number in two_tracks["reason"]] == given["key_reason"]
    assert full_network["latency"][1] is None
    assert full_network["difference"] is None


def test_long_drive_is_shown_in_part_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lowlat_seg_ros.replay.pages.MOST_FRAMES", 100)
    page = page_of(tmp_path, example_report(frames=60))
    front, rear = (json.loads(script) for script in page.raw["script"][:2])
    assert (len(front["time"]), front["hidden_frames"]) == (50, 10)
    assert (len(rear["time"]), rear["hidden_frames"]) == (30, 0)
    assert page.text.count("the timeline shows its first 50 frames") == 1


def test_confusion_is_in_per_cent_of_the_true_class() -> None:
    sky, road = confusion_rows([[75, 20, 5, 0], [0, 0, 0, 0], [0, 1, 999, 0]], ["Sky", "Building", "Road"])
    assert (sky.true_class, road.true_class) == ("Sky", "Road")
    assert [cell.text for cell in sky.cells] == ["75", "20", "5", ""]
    assert [cell.is_right for cell in road.cells] == [False, False, True, False]
    assert [cell.heat for cell in road.cells] == [0, 0, 10, 0]


def test_difference_lies_over_the_dimmed_picture() -> None:
    picture = np.full((2, 2, 3), 200, np.uint8)
    difference = np.zeros((2, 2, 3), np.uint8)
    difference[0, 0] = (128, 0, 0)
    shown = over_dimmed(picture, difference)
    assert shown[0, 0].tolist() == [128, 0, 0]
    assert shown[1, 1].tolist() == [80, 80, 80]


def test_command_is_on_the_page_only_if_there_is_one(tmp_path: Path) -> None:
    command = "lowlat-seg replay drive.mcap --like orin.json"
    assert command in page_of(tmp_path, example_report(frames=20), command).text
    assert page_of(tmp_path, example_report(frames=20)).count("pre") == 0


def test_a_live_report_says_how_it_was_played(tmp_path: Path) -> None:
    page = page_of(tmp_path, example_report(frames=20, live=True))
    assert "Played into the node" in page.text
    assert "2 times in a row, 0.5 seconds of the drive a second" in page.text
    assert page.text.count("Accuracy by distance from the key frame") == 1


# --- A fleet ----------------------------------------------------------------------------------------------------------


def write_fleet(folder: Path, bags: list[dict[str, Any]]) -> PageReader:
    (folder / "fleet.json").write_text(json_text(fleet_mapping(bags)), encoding="utf-8")
    write_fleet_page(folder)
    return read_page(folder)


def test_fleet_links_every_bag_and_names_the_failed_one(tmp_path: Path) -> None:
    report = example_report(frames=20).to_mapping()
    page = write_fleet(tmp_path, [done_bag("drive 1?#", report), failed_bag("drive 2", "the bag is empty")])
    assert page.attributes("href").count("./drive%201%3F%23/index.html") == 2
    assert "the bag is empty" in page.text
    assert "1 failed" in page.text


def test_fleet_shows_no_column_without_figures(tmp_path: Path) -> None:
    with_truth = done_bag("a", example_report(frames=20).to_mapping())
    without = done_bag("b", example_report(frames=20, with_truth=False).to_mapping())
    assert "Streaming mIoU" in write_fleet(tmp_path, [with_truth, without]).text
    assert "Streaming mIoU" not in write_fleet(tmp_path, [without]).text


def test_fleet_of_hostile_names_stays_text(tmp_path: Path) -> None:
    bags = [done_bag(HOSTILE, hostile_report().to_mapping()), failed_bag("javascript:alert(1)", HOSTILE)]
    page = write_fleet(tmp_path, bags)
    assert (page.count("script"), page.count("img")) == (1, 0)
    assert all(address.startswith(("./", "#", "data:,")) for address in page.attributes("href", "src"))
