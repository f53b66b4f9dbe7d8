"""From a camera's bytes to what a backbone takes, at the size at which it looks at them."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.kernels.native_library import native_library, runs_in_cpp, thread_count


class Normalising(nn.Module):
    """(value - mean) / std in each channel, and another size.

    Bytes are normalised here, so that nothing larger than what a backbone looks at is ever written as floats. Floats
    are taken to be normalised already, as training's are.
    """

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """``mean`` and ``std`` are of RGB in 0..255."""
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            # Not persistent: the model's description has them. A network that is made without memory, to be given a
            # checkpoint's, is given no value for these.
            channels = torch.tensor(values, dtype=torch.float32, device="cpu").view(1, 3, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def forward(self, image: Tensor, scale: float = 1) -> Tensor:
        """(B, 3, H, W) to (B, 3, scale H, scale W); at half the size each pixel is the mean of four."""
        if image.dtype != torch.uint8:
            return scaled(image, scale)
        if scale == 0.5 and self._can_halve_in_cpp(image):
            return self._halved_in_cpp(image)
        return scaled((image.to(self.mean.dtype) - self.mean) / self.std, scale)

    def _can_halve_in_cpp(self, image: Tensor) -> bool:
        are_even = image.shape[-2] % 2 == image.shape[-1] % 2 == 0
        return are_even and image.device.type == "cpu" and runs_in_cpp(self.mean)

    def _halved_in_cpp(self, image: Tensor) -> Tensor:
        library = native_library()
        assert library is not None
        image = image.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = image.shape
        shape = batch, channels, height // 2, width // 2
        result = torch.empty(shape, dtype=self.mean.dtype, memory_format=torch.channels_last)
        size = ctypes.c_int64(height), ctypes.c_int64(width)
        constants = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (self.mean, self.std)]
        for picture, target in zip(image, result, strict=True):
            source, end = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (picture, target))
            library.halve_image(source, *size, *constants, end, ctypes.c_int(thread_count()))
        return result


def scaled(image: Tensor, scale: float) -> Tensor:
    """(B, 3, H, W) enlarged or made smaller; at half the size each pixel is the mean of four."""
    if scale == 1:
        return image
    size = [max(1, round(pixels * scale)) for pixels in image.shape[-2:]]
    return functional.interpolate(image, size, mode="bilinear", align_corners=False)
