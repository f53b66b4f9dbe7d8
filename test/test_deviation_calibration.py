"""The predicted deviation means what it says: scale and offset are found, and become part of the predictor."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from data_trees import SIZE, camvid_tree
from small_networks import small_network

from lowlat_seg_ros.fast.adaptive import mean_change
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork
from lowlat_seg_ros.training.data_plan import DataPlan
from lowlat_seg_ros.training.data_set import find_data
from lowlat_seg_ros.training.deviation_calibration import (
    STREET_SEEDS,
    Calibration,
    ChangedPair,
    calibrate_deviation,
    fitted_calibration,
    mean_error,
    street_sequences,
)
from lowlat_seg_ros.training.frames import Pictures
from lowlat_seg_ros.training.plan import StagePlan

PLAN = StagePlan(1, 2, 0.001, 0.0, 0.0, (64, 48), (1.0, 1.2), seed=3, workers=0)
UNTOUCHED = Calibration(1.0, 0.0)


def pairs_of(truth: Calibration, count: int = 400) -> list[ChangedPair]:
    """What a predictor says that is wrong by just that scale and offset."""
    random = torch.Generator().manual_seed(1)
    logits = -2 + 2 * torch.randn(count, 6, 8, generator=random, dtype=torch.float64)
    logits += torch.randn(count, 1, 1, generator=random, dtype=torch.float64)
    return [ChangedPair(each, float(mean_change(truth.scale * each[None, None] + truth.offset))) for each in logits]


@pytest.mark.parametrize("truth", [Calibration(1.0, 0.0), Calibration(1.4, 0.3), Calibration(0.5, -1.0)])
def test_scale_and_offset_are_found(truth: Calibration) -> None:
    pairs = pairs_of(truth)
    found = fitted_calibration(pairs)
    assert tuple(found) == pytest.approx(tuple(truth), abs=0.03)
    assert mean_error(pairs, found) == pytest.approx(0, abs=0.001)


def test_pairs_that_never_change_cannot_carry_it_away() -> None:
    found = fitted_calibration([pair._replace(changed=0.0) for pair in pairs_of(UNTOUCHED)])
    assert 0 < found.scale < 1000 and abs(found.offset) < 1000


def pictures_in(folder: Path) -> Pictures:
    camvid_tree(folder)
    return Pictures(find_data(DataPlan(root=folder), 11).trained, SIZE)


@pytest.mark.parametrize("kind", ["codes", pytest.param("convolution", marks=pytest.mark.slow)])
def test_the_predictor_is_right_on_average_afterwards_and_the_rest_is_as_it_was(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = small_network(kind="two_networks", input_size=SIZE, deviation=kind)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pairs = seen_by(network)
    wrong = mean_error(pairs, UNTOUCHED)
    found = calibrate_deviation(network, pictures_in(tmp_path), PLAN)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"deviation_predictor.regress.weight", "deviation_predictor.regress.bias"}
    again = seen_by(network)
    for old, new in zip(pairs, again, strict=True):
        torch.testing.assert_close(new.logits, found.scale * old.logits + found.offset, rtol=1e-3, atol=1e-3)
    assert abs(mean_error(again, UNTOUCHED)) < 0.5 * abs(wrong)
    assert "the predicted deviation is calibrated on" in capsys.readouterr().err


@torch.no_grad()
def seen_by(network: SegmentationNetwork) -> list[ChangedPair]:
    """Neighbours on the street, by the network's own methods."""
    pairs = []
    for sequence in itertools.islice(street_sequences(network.config), 3):
        seen = [network.low_features(image[None]) for image in sequence[:2]]
        maps = [
            torch.nn.functional.interpolate(
                network.classify(network.high_features(image[None], low.low)), image.shape[-2:], mode="bilinear"
            ).argmax(1)
            for image, low in zip(sequence, seen, strict=False)
        ]
        logits = network.deviation_predictor.change_logits(*(low.deviation_guidance for low in seen))
        pairs.append(ChangedPair(logits[0, 0].double(), float((maps[0] != maps[1]).double().mean())))
    return pairs


def test_nobody_calibrates_on_the_streets_that_reports_are_of() -> None:
    assert min(STREET_SEEDS) >= 100
