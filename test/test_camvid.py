"""CamVid is paired by name, void becomes 255, and what is damaged is named."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lowlat_seg_ros.data.camvid import DataError, LabelledFolder
from lowlat_seg_ros.data.classes import CAMVID_CLASSES, CAMVID_COLOURS, UNLABELLED

SHARED_CAMVID = Path(__file__).parents[2] / "shared" / "camvid"


@pytest.fixture
def camvid_root(tmp_path: Path) -> Path:
    """Two small labelled pictures, b written before a; every id of CamVid occurs in both."""
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for position, name in enumerate(("b", "a")):
        picture = np.full((3, 4, 3), (10, 20, 30 + position), np.uint8)  # BGR
        cv2.imwrite(str(tmp_path / "train" / f"{name}.png"), picture)
        cv2.imwrite(str(tmp_path / "trainannot" / f"{name}.png"), ids)
    return tmp_path


def split_of(root: Path, split: str) -> LabelledFolder:
    return LabelledFolder(root / split, root / f"{split}annot")


def test_pictures_come_in_order_as_rgb_with_void_as_255(camvid_root: Path) -> None:
    first, second = split_of(camvid_root, "train")
    assert (first.name, second.name) == ("a", "b")
    assert first.image[0, 0].tolist() == [31, 20, 10]
    assert first.labels.dtype == np.uint8
    assert first.labels.ravel().tolist() == [*range(11), UNLABELLED]


def test_classes_and_colours_belong_together() -> None:
    assert len(CAMVID_CLASSES) == len(CAMVID_COLOURS) == len(set(CAMVID_COLOURS)) == 11


def test_missing_split_is_named(camvid_root: Path) -> None:
    with pytest.raises(DataError, match=r"folder .*night does not exist"):
        split_of(camvid_root, "night")


def test_empty_split_is_named(camvid_root: Path) -> None:
    for picture in (camvid_root / "train").iterdir():
        picture.unlink()
    with pytest.raises(DataError, match=r"train holds no pictures"):
        split_of(camvid_root, "train")


def test_picture_without_labels_is_named(camvid_root: Path) -> None:
    (camvid_root / "trainannot" / "a.png").unlink()
    with pytest.raises(DataError, match=r"train/a\.png has no labels"):
        split_of(camvid_root, "train")


def write_damaged_picture(root: Path) -> None:
    (root / "train" / "a.png").write_bytes((root / "train" / "a.png").read_bytes()[:40])


def write_colour_labels(root: Path) -> None:
    cv2.imwrite(str(root / "trainannot" / "a.png"), np.full((3, 4, 3), (3, 2, 1), np.uint8))


def write_unknown_id(root: Path) -> None:
    cv2.imwrite(str(root / "trainannot" / "a.png"), np.full((3, 4), 12, np.uint8))


def write_smaller_labels(root: Path) -> None:
    cv2.imwrite(str(root / "trainannot" / "a.png"), np.zeros((3, 2), np.uint8))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (write_damaged_picture, r"train/a\.png cannot be decoded"),
        (write_colour_labels, r"trainannot/a\.png have the colour \[1, 2, 3\], which is no class's"),
        (write_unknown_id, r"trainannot/a\.png hold the id 12, but CamVid's ids end at 11"),
        (write_smaller_labels, r"trainannot/a\.png are 2 x 3 but their picture is 4 x 3"),
    ],
)
def test_damaged_file_is_named_and_the_next_one_reads(
    camvid_root: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    camvid = split_of(camvid_root, "train")
    damage(camvid_root)
    with pytest.raises(DataError, match=sentence):
        camvid[0]
    assert camvid[1].image.shape == (3, 4, 3)


@pytest.mark.skipif(not SHARED_CAMVID.is_dir(), reason="../shared/camvid is not on this machine")
@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101)])
def test_real_camvid_has_its_published_counts_and_ids(split: str, count: int) -> None:
    camvid = split_of(SHARED_CAMVID, split)
    assert len(camvid) == count
    middle = camvid[count // 2]
    assert middle.image.shape == (360, 480, 3)
    assert set(np.unique(middle.labels)) <= {*range(11), UNLABELLED}
