"""Many bags: found, replayed by the command in processes of its own and on a cluster, stopped and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bag_parts import image, labels, small_bag, stamp_of, write_bag_of
from small_networks import small_network
from stream_setup import stream_network

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.models.checkpoint import save_checkpoint
from lowlat_seg_ros.replay.fleet import Fleet, find_bags, report_folders
from lowlat_seg_ros.replay.jobs import Job
from lowlat_seg_ros.replay.profile import reference_profile
from lowlat_seg_ros.replay.replay import Model, replay_bag
from lowlat_seg_ros.replay.report_files import finished_report, write_outcome
from lowlat_seg_ros.replay.settings import ReplaySettings

CHECKOUT = Path(__file__).parents[1]
FINISHED = {"index.html", "pictures", "report.json", "report.md"}
PATIENCE = 150.0  # seconds until a test that waits for a condition fails


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(small_network(input_size=(64, 48)), folder, "For tests.")
    return folder


def run_replay(model: Path, *arguments: str | Path) -> int:
    return main(["replay", "--model", str(model), *map(str, arguments)])


def document(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def without_timings(report: Path) -> dict[str, Any]:
    return {name: value for name, value in document(report).items() if name != "timings"}


def test_bags_are_found_in_folders_of_folders_and_named_by_their_folders(tmp_path: Path) -> None:
    drives = tmp_path / "drives"
    monday = small_bag(drives / "monday" / "front")
    tuesday = small_bag(drives / "tuesday" / "front")
    (drives / "notes").mkdir()
    (drives / "notes" / "read.me").write_text("no bag", encoding="utf-8")
    bags = find_bags([drives, monday])
    assert [bag for bag in bags if bag.name == "front"] == [monday, tuesday]
    assert report_folders([monday, tuesday], Path("out")) == [Path("out/front"), Path("out/front_2")]
    assert report_folders([monday], Path("out")) == [Path("out")]
    assert find_bags([tmp_path / "missing"]) == [tmp_path / "missing"]


def test_links_that_lead_back_or_to_one_bag_add_none(tmp_path: Path) -> None:
    drives = tmp_path / "drives"
    monday = small_bag(drives / "monday")
    for link, target in (("again", monday), ("round", drives), ("nowhere", tmp_path / "missing")):
        (drives / link).symlink_to(target)
    assert find_bags([drives]) == [drives / "again"]
    assert find_bags([monday, drives, drives]) == [monday]


def test_files_that_are_no_bags_do_not_become_ones(tmp_path: Path) -> None:
    bag = small_bag(tmp_path / "drives" / "monday")
    (tmp_path / "drives" / "notes.txt").write_text("no bag", encoding="utf-8")
    assert find_bags([tmp_path / "drives"]) == [bag]


def test_a_bag_is_replayed_compared_and_refused_where_it_got_worse(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, out, old = small_bag(tmp_path / "bag", frames=6), tmp_path / "out", tmp_path / "old.json"
    assert run_replay(model, bag, "--out", out) == 0
    assert {entry.name for entry in out.iterdir()} == FINISHED
    assert f"the report is {out / 'index.html'}" in capsys.readouterr().out
    (out / "report.json").rename(old)
    assert run_replay(model, bag, "--out", out, "--compare", old) == 0
    assert "Nothing changed." in capsys.readouterr().out
    assert without_timings(out / "report.json") == without_timings(old)
    slower = {**document(old)["profile"], "name": "slower", "fast_ms": 130.0, "key_frame_ms": 130.0}
    (tmp_path / "slower.json").write_text(json.dumps(slower), encoding="utf-8")
    assert run_replay(model, bag, "--out", out, "--compare", old, "--like", tmp_path / "slower.json") == 1
    captured = capsys.readouterr()
    assert "WORSE" in captured.out
    assert "figures are worse than before by more than 0.01" in captured.err


def test_a_fleet_has_a_report_a_bag_and_a_table_with_the_failed_one(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drives, out = tmp_path / "drives", tmp_path / "out"
    for name in ("monday", "tuesday"):
        small_bag(drives / name)
    (drives / "broken.mcap.d").mkdir()
    (drives / "broken.mcap.d" / "broken.mcap").write_bytes(b"nothing")
    assert run_replay(model, drives, "--out", out, "--workers", "2") == 0
    fleet = document(out / "fleet.json")
    assert [bag["name"] for bag in fleet["bags"]] == ["broken.mcap.d", "monday", "tuesday"]
    assert fleet["bags"][0]["error"] is not None
    assert fleet["bags"][1]["report"] == "monday/report.json"
    assert fleet["bags"][1]["cameras"][0]["systems"][0]["figures"]["mean_iou"] is not None
    assert {entry.name for entry in out.iterdir()} == {"fleet.json", "fleet.md", "index.html", "monday", "tuesday"}
    assert {entry.name for entry in (out / "monday").iterdir()} == FINISHED
    assert "| broken.mcap.d | failed |" in capsys.readouterr().out


def test_a_bag_that_cannot_be_replayed_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_replay(model, tmp_path / "missing", "--out", tmp_path / "out") == 1
    assert capsys.readouterr().err == (
        f"lowlat-seg: {tmp_path / 'missing'}: The bag {tmp_path / 'missing'} does not exist.\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workers", "0"], "--workers is 0; expected 1 or more"),
        (["--threads", "0"], "--threads is 0; expected 1 or more"),
        (["--tolerance", "nan"], "--tolerance is nan"),
        (["--rate", "2"], "--rate is of live replays; expected --live beside it"),
        (["--loop", "2"], "--loop is of live replays; expected --live beside it"),
        (["--live", "--rate", "0"], "--rate is 0.0; expected a number above 0"),
        (["--live", "--loop", "0"], "--loop is 0; expected 1 or more"),
        (["--live", "--resume"], "expected neither --resume nor --cluster"),
        (["--threshold", "-1"], "threshold is -1.0"),
        (["--like", "nowhere.json"], "nowhere.json cannot be read as a profile"),
        (["--compare", "nowhere.json"], "nowhere.json cannot be read"),
        (["--cluster", "tcp://127.0.0.1:1"], "no Dask scheduler answers at tcp://127.0.0.1:1"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_sentence(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr("lowlat_seg_ros.replay.jobs.CONNECT_SECONDS", 0.5)
    assert run_replay(model, small_bag(tmp_path / "bag"), "--out", tmp_path / "out", *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("lowlat-seg: ")
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_stopped_fleet_leaves_whole_reports_and_goes_on_where_it_was(tmp_path: Path, model: Path) -> None:
    drives, out = tmp_path / "drives", tmp_path / "out"
    small_bag(drives / "a")
    small_bag(drives / "b", frames=1000)  # far more than pass until it is stopped
    command = [sys.executable, "-m", "lowlat_seg_ros.cli", "replay", "--model", str(model), str(drives)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}
    running = subprocess.Popen(
        [*command, "--out", str(out), "--workers", "1"],
        env=environment,
        start_new_session=True,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        # Where the tests run in the background of a shell without job control, they were told to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for(out / "a" / "index.html", running)
        os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C does
        _, errors = running.communicate(timeout=PATIENCE)
        assert running.returncode == 130
        assert b"Traceback" not in errors
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert [entry.name for entry in out.iterdir()] == ["a"]
    assert {entry.name for entry in (out / "a").iterdir()} == FINISHED
    assert_group_ends(running.pid)

    written = (out / "a" / "report.json").stat().st_mtime_ns
    for entry in (drives / "b").iterdir():
        entry.unlink()
    (drives / "b").rmdir()
    small_bag(drives / "b")
    assert run_replay(model, drives, "--out", out, "--resume") == 0
    assert (out / "a" / "report.json").stat().st_mtime_ns == written
    assert [bag["name"] for bag in document(out / "fleet.json")["bags"]] == ["a", "b"]
    # Other settings make another report, so that nothing is taken over.
    assert run_replay(model, drives, "--out", out, "--resume", "--threshold", "0.3") == 0
    assert (out / "a" / "report.json").stat().st_mtime_ns != written


def test_a_report_counts_as_finished_with_its_page_and_for_its_own_settings_and_weights(tmp_path: Path) -> None:
    job = Job(small_bag(tmp_path / "bag"), "default", ReplaySettings(), reference_profile())
    outcome = replay_bag(job.bag, Model(stream_network(), "weights"), job.settings, job.profile)
    out = tmp_path / "out"
    write_outcome(out, outcome)
    assert finished_report(out, job, "weights") is not None
    assert finished_report(out, job, "other weights") is None
    assert finished_report(out, replace(job, settings=ReplaySettings(cameras=("/image",))), "weights") is None
    assert finished_report(out, replace(job, profile=replace(job.profile, slow_ms=1.0)), "weights") is None
    (out / "index.html").unlink()
    assert finished_report(out, job, "weights") is None


def test_a_report_belongs_to_its_bag_and_not_to_its_name(tmp_path: Path) -> None:
    job = Job(small_bag(tmp_path / "drive"), "default", ReplaySettings(), reference_profile())
    outcome = replay_bag(job.bag, Model(stream_network(), "weights"), job.settings, job.profile)
    out = tmp_path / "out"
    write_outcome(out, outcome)
    job.bag.rename(tmp_path / "renamed")
    assert finished_report(out, replace(job, bag=tmp_path / "renamed"), "weights") is not None
    assert finished_report(out, job, "weights") is None  # there is no bag
    other = [image(number + 100, time=stamp_of(number), stamp=stamp_of(number)) for number in range(3)]
    write_bag_of(job.bag, [*other, *(labels(number) for number in range(3))])
    (old,), (new,) = (tuple(path.glob("*.mcap")) for path in (tmp_path / "renamed", job.bag))
    assert new.stat().st_size == old.stat().st_size
    os.utime(new, ns=(0, old.stat().st_mtime_ns))
    assert finished_report(out, job, "weights") is None  # of the same name, size and time
    report = document(out / "report.json")
    for damage in ({}, {"bag": 3}, {**report, "cameras": [7]}, {**report, "bag": {"fingerprint": [1]}}):
        (out / "report.json").write_text(json.dumps({"format": report["format"], "version": 1, **damage}))
        fleet = Fleet([replace(job, bag=tmp_path / "renamed")], [out])
        assert fleet.take_finished("weights") == 0


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, f"it ended before {path.name} was there"
        assert time.monotonic() < end, f"waited {PATIENCE} s in vain for {path.name}"
        time.sleep(0.02)


def assert_group_ends(group: int) -> None:
    """Every process that was started is gone, or dead and waiting for somebody to ask how it ended."""
    end = time.monotonic() + PATIENCE
    while living_members(group):
        assert time.monotonic() < end, "a process of the replay still runs"
        time.sleep(0.02)


def living_members(group: int) -> list[int]:
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, process_group = entry.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has just ended
        if int(process_group) == group and state not in "ZX":
            members.append(int(entry.parent.name))
    return members
