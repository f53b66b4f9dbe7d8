"""From logits to label ids at the frame's size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exact_labels import shortfall, upsampling_error
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.fast.pictures import can_label_in_cpp, label_image, label_in_cpp, label_in_torch, unlabelled_image
from lowlat_seg_ros.kernels.cpp import find_library

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("class_count", [1, 2, 11, 255])
def test_labels_are_the_argmax_of_the_upsampled_logits(class_count: int) -> None:
    logits = torch.randn(1, class_count, 6, 8, generator=torch.Generator().manual_seed(0))
    labels = label_image(logits, (61, 47), (61, 47))
    upsampled = functional.interpolate(logits, (47, 61), mode="bilinear", align_corners=False)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, upsampled.argmax(1)[0].numpy())


def test_of_equal_logits_the_first_class_wins() -> None:
    logits = torch.tensor([0.0, 1.0, 1.0]).reshape(1, 3, 1, 1)
    assert (label_image(logits, (4, 4), (4, 4)) == 1).all()


def test_class_ids_are_copied_to_the_frames_size_never_blended() -> None:
    """Classes 0 and 10 side by side: any blend would show the classes between."""
    logits = torch.zeros(1, 11, 4, 4)
    logits[:, 0, :, :2], logits[:, 10, :, 2:] = 1.0, 1.0
    for size in ((7, 9), (640, 360), (3, 2)):
        labels = label_image(logits, (32, 32), size)
        assert labels.shape == (size[1], size[0])
        assert set(np.unique(labels)) == {0, 10}


def test_labels_lie_where_the_frames_pixels_lie() -> None:
    """An enlarged label takes its pixel from the centre: x of the frame is (x + 1/2) * scale of the labels."""
    logits = torch.eye(7).reshape(1, 7, 1, 7)
    labels = label_image(logits, (7, 1), (30, 1))
    assert labels[0].tolist() == [int((x + 0.5) * 7 / 30) for x in range(30)]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_no_numbers_are_an_error(value: float) -> None:
    logits = torch.zeros(1, 3, 4, 4)
    logits[0, 1, 2, 3] = value
    with pytest.raises(FloatingPointError, match="the logits hold values that are nan or infinite"):
        label_image(logits, (8, 8), (8, 8))


def test_an_unlabelled_image_has_the_frames_size() -> None:
    image = unlabelled_image((5, 3))
    assert image.shape == (3, 5) and image.dtype == np.uint8 and (image == 255).all()


def street_like_logits(class_count: int, height: int, width: int) -> Tensor:
    """Smooth regions with rough edges, as a network's logits are."""
    generator = torch.Generator().manual_seed(class_count)
    regions = torch.randn(1, class_count, 5, 7, generator=generator) * 3
    smooth = functional.interpolate(regions, (height, width), mode="bilinear", align_corners=False)
    return smooth + 0.3 * torch.randn(smooth.shape, generator=generator)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("class_count", [1, 2, 11, 19, 256])
@pytest.mark.parametrize(
    ("grid", "input_size"),
    [
        ((45, 60), (480, 360)),  # 8 pixels a place
        ((90, 120), (480, 360)),  # 4
        ((46, 61), (481, 367)),  # none that divides
        ((45, 60), (33, 20)),  # fewer pixels than places
        ((1, 1), (9, 7)),
        ((1, 13), (5, 40)),
        ((7, 9), (9, 7)),
    ],
)
def test_labels_in_cpp_are_those_of_torch(
    grid: tuple[int, int], input_size: tuple[int, int], class_count: int, layout: torch.memory_format
) -> None:
    if find_library() is None:
        pytest.skip("the C++ kernels are not built: make setup")
    logits = street_like_logits(class_count, *grid).contiguous(memory_format=layout)
    assert can_label_in_cpp(logits)
    labels = label_in_cpp(logits, input_size)
    expected = label_in_torch(logits, input_size)
    assert labels.dtype == expected.dtype and labels.shape == expected.shape
    for each in (labels, expected):
        assert shortfall(each, logits.double()) <= upsampling_error(logits)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert np.array_equal(label_in_cpp(logits, input_size), labels)
    finally:
        torch.set_num_threads(threads)


def test_logits_of_another_dtype_are_labelled_in_torch() -> None:
    logits = street_like_logits(5, 6, 8)
    assert not can_label_in_cpp(logits.double())
    assert np.array_equal(label_image(logits.double(), (61, 47), (61, 47)), label_in_torch(logits, (61, 47)))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_torch_labels_refuse_logits_that_are_no_numbers(value: float) -> None:
    logits = torch.zeros(1, 3, 4, 4)
    logits[0, 1, 2, 3] = value
    with pytest.raises(FloatingPointError, match="the logits hold values that are nan or infinite"):
        label_in_torch(logits, (8, 8))
