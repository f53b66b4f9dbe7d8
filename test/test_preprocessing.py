"""Frames as the network wants them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from stream_setup import moving_frames

from lowlat_seg_ros.fast.pictures import Preprocessor

CPU = torch.device("cpu")


def test_a_frame_of_the_inputs_size_is_taken_as_it_is() -> None:
    frame = moving_frames(1, (64, 48))[0]
    image = Preprocessor((64, 48), CPU)(frame)
    assert image.shape == (1, 3, 48, 64) and image.dtype == torch.uint8
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), frame)


def test_its_memory_is_its_own() -> None:
    """The caller's may be the next frame's while Sh and the optical flow still look at this one."""
    frame = moving_frames(1, (64, 48))[0]
    image = Preprocessor((64, 48), CPU)(frame)
    before = image.clone()
    frame[:] = 255 - frame
    assert torch.equal(image, before)


def test_a_view_that_runs_backwards_is_taken_too() -> None:
    frame = moving_frames(1, (64, 48))[0]
    image = Preprocessor((64, 48), CPU)(frame[::-1, :, ::-1])
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), frame[::-1, :, ::-1])


def test_the_image_is_channels_last_in_memory() -> None:
    image = Preprocessor((64, 48), CPU)(moving_frames(1)[0])
    assert image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(128, 96), (31, 17), (64, 48)])
def test_frames_of_any_size_are_resized_linearly(size: tuple[int, int]) -> None:
    frame = moving_frames(1, size)[0]
    image = Preprocessor((64, 48), CPU)(frame)
    resized = cv2.resize(frame, (64, 48), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), resized)


def test_images_are_independent_of_each_other() -> None:
    """One may still be in the slow track when the next frame comes."""
    preprocess = Preprocessor((64, 48), CPU)
    first, second = moving_frames(2)
    image = preprocess(first)
    before = image.clone()
    preprocess(second)
    assert torch.equal(image, before)
