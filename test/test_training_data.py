"""What training reads: its layouts, what is held out, and every file that is amiss, named before training starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_trees import SIZE, camvid_tree, drive_frame, recorded_drive, write_labels, write_picture
from written_files import write_video

from lowlat_seg_ros.data.camvid import DataError
from lowlat_seg_ros.data.classes import CAMVID_CLASSES
from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.frame_source import VideoFrame, read_frame
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.video_writer import VideoWriter
from lowlat_seg_ros.evaluation.classes_by_name import ClassesByName
from lowlat_seg_ros.training.data_plan import DataPlan, load_data_plan
from lowlat_seg_ros.training.data_set import DataSet, find_data
from lowlat_seg_ros.training.frames import Pictures
from lowlat_seg_ros.training.plan import PlanError
from lowlat_seg_ros.training.run import labels_digest
from lowlat_seg_ros.training.survey import survey

CLASS_COUNT = len(CAMVID_CLASSES)


def found(plan: DataPlan) -> DataSet:
    return find_data(plan, CLASS_COUNT)


def recording(root: Path, **changes: object) -> DataPlan:
    return DataPlan(frames=root / "frames", labels=root / "labels", **changes)  # type: ignore[arg-type]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "drive.mp4"
    with VideoWriter(path, SIZE, 15.0) as writer:
        for index in range(25):
            writer.write(drive_frame(index)[0])
    return path


# --- Where frames are found -------------------------------------------------------------------------------------------


def test_camvid_s_frames_are_stills_in_the_order_of_their_names(tmp_path: Path) -> None:
    data = found(DataPlan(root=camvid_tree(tmp_path)))
    assert [frame.drive for frame in data.trained] == ["0001TP", "0001TP", "0006R0", "0006R0"]
    assert all(frame.earlier == () for frame in data.trained) and not data.held_out
    picture = Pictures(data.trained, SIZE)[0]
    assert np.array_equal(picture.labels, drive_frame(0)[1])


def test_a_recording_s_frames_know_what_came_before_in_the_same_drive(tmp_path: Path) -> None:
    recorded_drive(recorded_drive(tmp_path, "b", 12, 1, labelled_every=6), "a", 4, 0, labelled_every=4)
    data = found(recording(tmp_path, consecutive=True))
    assert [(frame.drive, len(frame.earlier)) for frame in data.trained] == [("a", 3), ("b", 5), ("b", 10)]
    before = [source.name for source in data.trained[1].earlier if isinstance(source, Path)]
    assert before == [f"{index:06d}.png" for index in (4, 3, 2, 1, 0)]


def test_pictures_that_are_not_said_to_be_consecutive_are_stills(tmp_path: Path) -> None:
    recorded_drive(tmp_path, "a", 4, 0)
    assert [frame.earlier for frame in found(recording(tmp_path)).trained] == [()] * 4


def test_a_video_s_labelled_frames_know_what_came_before(tmp_path: Path, video: Path) -> None:
    for index in range(25):
        write_labels(tmp_path / "labels" / f"{index}.png", np.zeros((72, 96)))
    data = found(DataPlan(frames=video, labels=tmp_path / "labels"))
    assert len(data.trained) == 25 and {frame.drive for frame in data.trained} == {"drive"}
    assert data.trained[12].image == VideoFrame(video, 12)
    assert data.trained[12].earlier == tuple(VideoFrame(video, index) for index in range(11, 1, -1))


@pytest.mark.parametrize("first", [0, 1, 7, 24, 25])
def test_a_video_can_be_read_from_the_middle(video: Path, first: int) -> None:
    clip = open_clip(video)
    whole, rest = list(clip.frames()), list(clip.frames(first))
    assert len(rest) == 25 - first
    for ours, theirs in zip(rest, whole[first:], strict=True):
        assert np.array_equal(ours, theirs)


def test_what_is_amiss_with_an_unlabelled_video_or_left_out_of_camvid_is_noted(tmp_path: Path) -> None:
    camvid_tree(tmp_path)
    (tmp_path / "train" / "0001TP_000090.heic").write_bytes(b"a phone's")
    write_labels(tmp_path / "trainannot" / "0001TP_000120.png", np.zeros((72, 96)))
    path = tmp_path / "drive.ts"
    write_video(path, [drive_frame(index)[0] for index in range(25)], [40 * index for index in range(25)], "libx264")
    path.write_bytes(path.read_bytes() + b"G" * 100)
    said = "\n".join(found(DataPlan(root=tmp_path, videos=(path,))).notes.report_lines())
    assert "drive.ts ends within a packet" in said
    assert "0001TP_000090.heic is left out" in said and "0001TP_000120.png belong to no picture" in said


def test_an_unlabelled_video_gives_pairs_without_labels(tmp_path: Path, video: Path) -> None:
    data = found(DataPlan(root=camvid_tree(tmp_path / "camvid"), videos=(video,)))
    assert [frame.image for frame in data.unlabelled] == [VideoFrame(video, 10), VideoFrame(video, 20)]
    picture = Pictures(data.unlabelled, SIZE)[1]
    assert (picture.labels == 255).all() and len(picture.earlier) == 10
    assert np.array_equal(read_frame(picture.earlier[9]), list(open_clip(video).frames())[10])


def test_pictures_are_read_at_the_size_at_which_the_node_shows_them(tmp_path: Path) -> None:
    picture = Pictures(found(DataPlan(root=camvid_tree(tmp_path))).trained, (48, 32))[0]
    assert picture.image.shape == (32, 48, 3) and picture.labels.shape == (32, 48)
    assert set(np.unique(picture.labels)) <= {*range(11), 255}


# --- What is held out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hold_out", "held"), [("every 2", [1, 3]), ("drive 0006R0", [2, 3]), (None, [])])
def test_what_is_held_out_is_not_trained_on(tmp_path: Path, hold_out: str | None, held: list[int]) -> None:
    root = camvid_tree(tmp_path)
    names = [frame.name for frame in found(DataPlan(root=root)).trained]
    data = found(DataPlan(root=root, hold_out=hold_out))
    assert [frame.name for frame in data.held_out] == [names[index] for index in held]
    assert [frame.name for frame in data.trained] == [name for name in names if names.index(name) not in held]


def test_single_frames_of_a_recording_are_not_held_out(tmp_path: Path) -> None:
    recorded_drive(recorded_drive(tmp_path, "a", 4, 0), "b", 4, 1)
    with pytest.raises(DataError, match="these frames follow each other.*expected 'last fifth' or 'drive NAME'"):
        found(recording(tmp_path, consecutive=True, hold_out="every 2"))
    assert len(found(recording(tmp_path, consecutive=True, hold_out="drive b")).held_out) == 4


def test_a_drive_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none of the frames; the drives are 0001TP, 0006R0"):
        found(DataPlan(root=camvid_tree(tmp_path), hold_out="drive 0016E5"))


# --- What is amiss ----------------------------------------------------------------------------------------------------


def remove_labels(root: Path, name: str) -> None:
    (root / "trainannot" / name).unlink()


def write_half_a_picture(root: Path, name: str) -> None:
    content = (root / "train" / name).read_bytes()
    (root / "train" / name).write_bytes(content[: len(content) // 2])


def write_unknown_id(root: Path, name: str) -> None:
    write_labels(root / "trainannot" / name, np.full((72, 96), 12))


def write_smaller_labels(root: Path, name: str) -> None:
    write_labels(root / "trainannot" / name, np.zeros((36, 48)))


def write_colours(root: Path, name: str) -> None:
    write_picture(root / "trainannot" / name, np.full((72, 96, 3), 5))


DAMAGE: list[tuple[Callable[[Path, str], None], str]] = [
    (remove_labels, "trainannot/{} does not exist"),
    (write_half_a_picture, "train/{} cannot be decoded"),
    (write_unknown_id, "trainannot/{} hold the id 12, but CamVid's ids end at 11"),
    (write_smaller_labels, "trainannot/{} are 48 x 36 but their picture is 96 x 72"),
    (write_colours, "trainannot/{} have the colour [5, 5, 5], which is no class's of those expected"),
]


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE)
def test_a_file_that_is_amiss_is_named(tmp_path: Path, damage: Callable[[Path, str], None], sentence: str) -> None:
    root = camvid_tree(tmp_path / "data")
    damage(root, "0001TP_000030.png")
    with pytest.raises(DataError) as raised:
        survey(found(DataPlan(root=root)), tmp_path / "survey.json")
    assert sentence.format("0001TP_000030.png") in str(raised.value) and "\n" not in str(raised.value)


def test_all_files_that_are_amiss_are_named_at_once(tmp_path: Path) -> None:
    root = camvid_tree(tmp_path / "data", count=len(DAMAGE) + 1)
    names = sorted(path.name for path in (root / "train").iterdir())
    for (damage, _), name in zip(DAMAGE, names, strict=False):
        damage(root, name)
    with pytest.raises(DataError) as raised:
        survey(found(DataPlan(root=root)), tmp_path / "survey.json")
    assert f"{len(DAMAGE)} problems in CamVid's training split:" in str(raised.value)
    for (_, sentence), name in zip(DAMAGE, names, strict=False):
        assert sentence.format(name) in str(raised.value)


def test_of_many_problems_the_first_twenty_are_shown(tmp_path: Path) -> None:
    root = camvid_tree(tmp_path / "data", count=26, size=(32, 24))
    for path in sorted((root / "trainannot").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError) as raised:
        survey(found(DataPlan(root=root)), tmp_path / "survey.json")
    lines = str(raised.value).splitlines()
    assert lines[0] == "25 problems in CamVid's training split (the first 20):" and len(lines) == 21


def test_a_damaged_frame_before_a_labelled_one_is_named(tmp_path: Path) -> None:
    recorded_drive(tmp_path, "a", 6, 0, labelled_every=6)
    (tmp_path / "frames" / "a" / "000002.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"000002\.png cannot be decoded"):
        survey(found(recording(tmp_path, consecutive=True)), tmp_path / "survey.json")


def test_labels_of_no_frame_and_stills_without_labels_are_named(tmp_path: Path) -> None:
    recorded_drive(tmp_path, "a", 3, 0, labelled_every=3)
    write_labels(tmp_path / "labels" / "a" / "000007.png", np.zeros((72, 96)))
    with pytest.raises(DataError) as raised:
        survey(found(recording(tmp_path)), tmp_path / "survey.json")
    assert "3 problems" in str(raised.value) and "000007.png belong to no frame" in str(raised.value)
    assert "000000.png has no labels" in str(raised.value)


def test_a_video_and_its_labels_must_be_as_many(tmp_path: Path, video: Path) -> None:
    write_labels(tmp_path / "labels" / "0.png", np.zeros((72, 96)))
    with pytest.raises(DataError, match=r"There are 1 label files in .*, but drive.mp4 has 25 frames"):
        survey(found(DataPlan(frames=video, labels=tmp_path / "labels")), tmp_path / "survey.json")


def test_a_split_without_a_labelled_pixel_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "train" / "a.png", np.zeros((72, 96, 3)))
    write_labels(tmp_path / "trainannot" / "a.png", np.full((72, 96), 11))
    with pytest.raises(DataError, match="No pixel of CamVid's training split has a class"):
        survey(found(DataPlan(root=tmp_path)), tmp_path / "survey.json")


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [((), "is no data set; expected the folders train"), (("train", "trainannot"), "holds no pictures")],
)
def test_an_empty_data_set_is_named(tmp_path: Path, folders: tuple[str, ...], sentence: str) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(DataError, match=sentence):
        found(DataPlan(root=tmp_path))


def test_a_survey_is_kept_until_a_file_changes(tmp_path: Path) -> None:
    root = camvid_tree(tmp_path / "data")
    first = survey(found(DataPlan(root=root)), tmp_path / "survey.json")
    kept = (tmp_path / "survey.json").read_bytes()
    assert np.array_equal(survey(found(DataPlan(root=root)), tmp_path / "survey.json"), first)
    assert (tmp_path / "survey.json").read_bytes() == kept
    write_unknown_id(root, "0001TP_000030.png")
    with pytest.raises(DataError, match="hold the id 12"):
        survey(found(DataPlan(root=root)), tmp_path / "survey.json")


def test_what_was_noted_of_the_data_is_told_once_by_every_command(tmp_path: Path) -> None:
    root = camvid_tree(tmp_path / "data")
    write_labels(root / "trainannot" / "of_no_picture.png", np.zeros((72, 96)))
    for _ in range(2):
        data = found(DataPlan(root=root))
        survey(data, tmp_path / "survey.json")
        assert len([line for line in data.notes.lines() if "belong to no picture" in line]) == 1


def test_the_digest_of_labels_is_of_their_meaning_and_not_of_their_folder(tmp_path: Path) -> None:
    digests = []
    for folder, void in (("a", 0), ("b", 0), ("a", 1)):
        root = tmp_path / folder if (tmp_path / folder).exists() else camvid_tree(tmp_path / folder)
        plan = DataPlan(frames=root / "train", labels=root / "trainannot", void=void)
        digests.append(labels_digest(found(plan)))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [({"void": 3}, "void is 3, but labels is missing"), ({"consecutive": True}, "but frames is missing")],
)
def test_what_explains_frames_and_labels_is_refused_without_them(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence):
        DataPlan(root=Path("camvid"), **given)


# --- How it is asked for ----------------------------------------------------------------------------------------------


def test_the_recipe_s_paths_start_at_its_folder_and_the_command_line_goes_first(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {frames: f, labels: l, void: 0, videos: [v.mp4], hold_out: drive a}\n")
    plan = load_data_plan(recipe)
    assert plan == DataPlan(
        frames=tmp_path / "f", labels=tmp_path / "l", void=0, videos=(tmp_path / "v.mp4",), hold_out="drive a"
    )
    changed = load_data_plan(recipe, root=Path("camvid"), hold_out=None, void=None, consecutive=False, videos=())
    assert changed == DataPlan(root=Path("camvid"), videos=(tmp_path / "v.mp4",), hold_out="drive a")
    assert load_data_plan(recipe, void=0).void == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {folder: x}", "unknown entries: folder"),
        ("data: [x]", "unknown entries"),
        ("data: {frames: x}", "labels is missing"),
        ("data: {labels: x}", "frames is missing"),
        ("data: {frames: x, labels: y, void: 70000}", "void is 70000; expected an id from 0 to 65535"),
        ("data: {frames: x, labels: y, void: true}", "void is True; expected a number"),
        ("data: {root: 3}", "root is 3; expected a path"),
        ("data: {videos: x}", "videos is 'x'; expected a list"),
        ("data: {root: x, hold_out: some}", "hold_out is 'some'; expected 'every N'"),
        ("data: {root: x, hold_out: every 1}", "hold_out is 'every 1'"),
        ("[", "cannot be read as a recipe"),
    ],
)
def test_a_section_that_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(PlanError, match=message):
        load_data_plan(path)


def test_data_must_be_named_once(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="neither is given"):
        found(DataPlan())
    with pytest.raises(PlanError, match="both are given"):
        found(DataPlan(root=tmp_path, frames=tmp_path, labels=tmp_path))


def test_the_last_part_of_each_drive_may_be_held_out(tmp_path: Path) -> None:
    recorded_drive(recorded_drive(tmp_path, "a", 10, 0), "b", 5, 1)
    data = found(recording(tmp_path, consecutive=True, hold_out="last fifth"))
    assert [frame.name for frame in data.held_out] == ["a/000008", "a/000009", "b/000004"]
    assert len(data.trained) == 12
    with pytest.raises(PlanError, match="hold_out is 'last bit'; expected 'every N'.*'last fifth'"):
        found(recording(tmp_path, hold_out="last bit"))


def test_labels_of_other_classes_are_matched_by_name(tmp_path: Path) -> None:
    """Of a model with the classes Road and Car, in that order."""
    recorded_drive(tmp_path, "a", 4, 0)
    by_name = ClassesByName.match(("Road", "Car"), CAMVID_LABELS.names)
    classes = CAMVID_LABELS.renamed(("Road", "Car"), by_name.ids[: len(CAMVID_LABELS.names)].tolist())
    data = find_data(recording(tmp_path), 2, classes)
    pixels = survey(data, tmp_path / "survey.json")
    assert set(np.flatnonzero(pixels)) == {0, 1, 255}
    assert pixels[0] > pixels[1] > 0
