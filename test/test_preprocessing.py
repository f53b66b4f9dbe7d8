"""Frames as the network wants them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from stream_setup import moving_frames

from lowlat_seg_ros.stream.preprocessing import Preprocessor

MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
CPU = torch.device("cpu")


def test_every_byte_value_is_normalised_as_the_formula_says_in_its_own_channel() -> None:
    ramp = np.arange(256, dtype=np.uint8)
    frame = np.stack([ramp, ramp[::-1], np.roll(ramp, 7)], axis=-1).reshape(16, 16, 3)
    image = Preprocessor((16, 16), MEAN, STD, CPU)(frame)
    expected = ((frame.astype(np.float64) - MEAN) / STD).astype(np.float32)
    assert image.shape == (1, 3, 16, 16) and image.dtype == torch.float32
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), expected)


def test_the_image_is_channels_last_in_memory() -> None:
    image = Preprocessor((64, 48), MEAN, STD, CPU)(moving_frames(1)[0])
    assert image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(128, 96), (31, 17), (64, 48)])
def test_frames_of_any_size_are_resized_linearly(size: tuple[int, int]) -> None:
    frame = moving_frames(1, size)[0]
    image = Preprocessor((64, 48), MEAN, STD, CPU)(frame)
    resized = cv2.resize(frame, (64, 48), interpolation=cv2.INTER_LINEAR)
    expected = (torch.from_numpy(np.asarray(resized, np.float64)) - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(image[0].permute(1, 2, 0), expected.float())


def test_images_are_independent_of_each_other() -> None:
    """One may still be in the slow track when the next frame comes."""
    preprocess = Preprocessor((64, 48), MEAN, STD, CPU)
    first, second = moving_frames(2)
    image = preprocess(first)
    before = image.clone()
    preprocess(second)
    assert torch.equal(image, before)
