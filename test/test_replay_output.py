"""The folder of a replay: nobody else's meanwhile, whole or as it was before."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bag_parts import image, write_bag_of
from stream_setup import stream_network

from lowlat_seg_ros.cli import main
from lowlat_seg_ros.data.own_folder import FolderError, made_folder, own_folder
from lowlat_seg_ros.replay.profile import reference_profile
from lowlat_seg_ros.replay.replay import Model, Outcome, replay_bag
from lowlat_seg_ros.replay.report_files import UNFINISHED_FOLDER, write_outcome
from lowlat_seg_ros.replay.settings import ReplaySettings


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    bag = write_bag_of(tmp_path_factory.mktemp("bag") / "bag", [image(number) for number in range(3)])
    return replay_bag(bag, Model(stream_network(), "weights"), ReplaySettings(), reference_profile())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def files_of_at_most(byte_count: int) -> Iterator[None]:
    """What a full disk does: writing fails in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_report_that_cannot_be_written_leaves_the_older_one_as_it_was(tmp_path: Path, outcome: Outcome) -> None:
    out = tmp_path / "out"
    write_outcome(out, outcome, "the first")
    before = contents(out)
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        write_outcome(out, outcome, "the second")
    assert contents(out) == before
    write_outcome(out, outcome, "the third")
    assert contents(out).keys() == before.keys()
    assert contents(out) != before


def test_a_report_that_cannot_be_written_leaves_no_folder_behind(tmp_path: Path, outcome: Outcome) -> None:
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        write_outcome(tmp_path / "out", outcome)
    assert not (tmp_path / "out").exists()


def test_what_a_killed_replay_left_is_gone_after_the_next(tmp_path: Path, outcome: Outcome) -> None:
    left = tmp_path / "out" / UNFINISHED_FOLDER / "pictures"
    left.mkdir(parents=True)
    (left / "half.png").write_bytes(b"half")
    write_outcome(tmp_path / "out", outcome)
    assert not (tmp_path / "out" / UNFINISHED_FOLDER).exists()


def test_two_replays_cannot_write_into_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    with own_folder(out):
        assert main(["replay", str(tmp_path / "bag"), "--out", str(out)]) == 1
        assert capsys.readouterr().err == (
            f"lowlat-seg: another run is writing into {out}; expected a folder of its own\n"
        )
    with own_folder(out):
        pass


def test_a_folder_that_cannot_be_one_is_refused_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    for out, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "out", "Not a directory")):
        assert main(["replay", str(tmp_path / "bag"), "--out", str(out)]) == 1
        assert capsys.readouterr().err == f"lowlat-seg: {out} cannot be written to: {reason}; expected a folder\n"


def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with (
        pytest.raises(FolderError, match="no right to, or a read-only disk; expected a folder"),
        own_folder(tmp_path),
    ):
        pass


def test_a_folder_made_in_vain_goes_again_and_one_that_was_there_stays(tmp_path: Path) -> None:
    there, made, used = tmp_path / "there", tmp_path / "made", tmp_path / "used"
    there.mkdir()
    for folder in (there, made):
        with made_folder(folder):
            pass
    with made_folder(used):
        (used / "report").write_text("of value")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there", "used"]
