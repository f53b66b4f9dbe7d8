"""A network that was not made for the two tracks, as the slow track's: pictures brought to it, its answer to us."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.palettes import colours_for
from lowlat_seg_ros.errors import Error, in_one_line
from lowlat_seg_ros.fast.frames import Answer
from lowlat_seg_ros.fast.pictures import Size
from lowlat_seg_ros.models.config import Colour
from lowlat_seg_ros.runtime.choice import Choice, Wish, choose, torch_alone
from lowlat_seg_ros.slow.description import Description, DescriptionError, Grouping, group_classes

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB in 0 to 255
IMAGENET_STD = (58.395, 57.12, 57.375)
CHECK_SIZE = (320, 240)  # (width, height) of the made picture
# Pixels of the image per logit, at least: what the shipped model has. Finer logits cost the fast track more than they
# tell, and many networks enlarge theirs only to be handy.
FINEST_STRIDE = 2
SMALLEST_PROBABILITY = 1e-7  # whose logarithm is taken


@dataclass(frozen=True)
class Source:
    """A network as its author left it, and how it wants its pictures."""

    classes: tuple[str, ...]  # by channel
    # (1, 3, h, w) float32, normalised, to logits (1, classes, h', w'); one channel more stands for no class.
    run: Callable[[Tensor], Tensor]
    input_size: Callable[[Size], Size]  # of a picture of some (width, height)
    mean: tuple[float, ...] = IMAGENET_MEAN  # of 0 to 255, in the order of the channels
    std: tuple[float, ...] = IMAGENET_STD
    colours: tuple[Colour, ...] | None = None  # by channel
    is_bgr: bool = False
    resample: str = "bilinear"  # of functional.interpolate
    multiple: int = 1  # that both sides of an input must be of
    has_fixed_size: bool = False
    # ``run`` in another runtime; None where the network is torch's own.
    placed: Callable[[Wish, torch.device], tuple[Callable[[Tensor], Tensor], Choice]] | None = None


class ForeignNetwork:
    """``Source`` behind the seam of slow networks."""

    head = None
    own_fast_network = None
    sees_whole_frame = True  # it has an input size of its own, often a larger one than the fast network's

    def __init__(self, source: Source, description: Description, name: str) -> None:
        """``name`` is what the messages call the model.

        Raises:
            DescriptionError: classes, colours, sizes or scales that do not fit.
        """
        self._source = source
        self._name = name
        self._grouping = group_classes(source.classes, description, name)
        self._scales = description.scales or (1.0,)
        self._mirrors = (False, True) if description.flip else (False,)
        self._size = description.input_size
        if source.has_fixed_size and self._scales != (1.0,):
            raise DescriptionError(f"{name} takes pictures of one size only, so that scales must be [1.0]")
        self.classes = self._grouping.classes
        self.colours = description.colours or self._own_colours() or colours_for(self.classes)
        if len(self.colours) != len(self.classes):
            raise DescriptionError(
                f"colours of {name} lists {len(self.colours)}; expected one for each of {len(self.classes)} classes"
            )

    def _own_colours(self) -> tuple[Colour, ...] | None:
        """Each published class's that of its first member."""
        colours = self._source.colours
        return None if colours is None else tuple(colours[members[0]] for members in self._grouping.members)

    @torch.inference_mode()
    def answer(self, image: Tensor, low: Tensor) -> Answer:
        """Logits of the published classes of an image (1, 3, H, W), uint8 RGB; ``low`` is not looked at."""
        views = [(scale, is_mirrored) for scale in self._scales for is_mirrored in self._mirrors]
        logits = [self._view(image, scale, is_mirrored) for scale, is_mirrored in views]
        published = grouped(averaged(logits), self._grouping)
        ids = tuple(range(len(self.classes)))
        return Answer(published, ids=(*ids, UNLABELLED) if published.shape[1] > len(ids) else None)

    def placed(self, wish: Wish, device: torch.device) -> tuple[ForeignNetwork, Choice]:
        """The network where it is wished. Raises ParameterError where that cannot be."""
        if self._source.placed is None:
            return self, choose(wish, torch_alone)
        run, choice = self._source.placed(wish, device)
        if run is self._source.run:
            return self, choice
        other = copy.copy(self)
        other._source = replace(self._source, run=run)
        return checked(other, f"{self._name} in {' '.join(choice.place)}", device), choice

    def _view(self, image: Tensor, scale: float, is_mirrored: bool) -> Tensor:
        height, width = image.shape[-2:]
        logits = self._source.run(self._input(image, self._input_size((width, height), scale), is_mirrored)).float()
        channels, expected = logits.shape[1] if logits.dim() == 4 else 0, len(self._source.classes)
        if len(logits) != 1 or channels not in (expected, expected + 1):
            raise Error(
                f"{self._name} gives logits of shape {tuple(logits.shape)}; expected (1, {expected}, height, width), "
                "a channel for each of its classes"
            )
        return _no_finer_than(logits.flip(3) if is_mirrored else logits, height, width)

    def _input_size(self, image_size: Size, scale: float) -> Size:
        if self._size and scale == 1:
            return self._size  # the user's word
        multiple = self._source.multiple
        unscaled = self._size or self._source.input_size(image_size)
        width, height = (max(1, round(pixels * scale / multiple)) * multiple for pixels in unscaled)
        return width, height

    def _input(self, image: Tensor, size: Size, is_mirrored: bool) -> Tensor:
        """The picture as the network takes it, without leaving the device."""
        pixels = resized(image.float(), (size[1], size[0]), self._source.resample)
        if self._source.is_bgr:
            pixels = pixels.flip(1)
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (self._source.mean, self._source.std))
        normalised = (pixels - mean) / std
        return normalised.flip(3) if is_mirrored else normalised


def resized(pixels: Tensor, size: tuple[int, int], resample: str) -> Tensor:
    """(1, 3, H, W) of 0 to 255 at another (height, width), smoothed where it shrinks, as Pillow does."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    if resample == "nearest-exact":
        return functional.interpolate(pixels, size, mode=resample)
    enlarged = functional.interpolate(pixels, size, mode=resample, align_corners=False, antialias=True)
    return enlarged.clamp(0, 255)  # cubic interpolation overshoots


def _no_finer_than(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits of an image of that size, averaged where they lie closer than ``FINEST_STRIDE`` pixels."""
    finest = -(-height // FINEST_STRIDE), -(-width // FINEST_STRIDE)
    grid = min(logits.shape[-2], finest[0]), min(logits.shape[-1], finest[1])
    if grid == tuple(logits.shape[-2:]):
        return logits
    return functional.interpolate(logits, grid, mode="bilinear", align_corners=False, antialias=True)


def averaged(views: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of the views' probabilities, (1, classes, h, w), on the first one's grid."""
    if len(views) == 1:
        return views[0]
    grid = views[0].shape[-2:]
    probabilities = torch.zeros_like(views[0])
    for logits in views:
        probabilities += functional.interpolate(logits.softmax(dim=1), grid, mode="bilinear", align_corners=False)
    return (probabilities / len(views)).clamp_min(SMALLEST_PROBABILITY).log()


def grouped(logits: Tensor, grouping: Grouping) -> Tensor:
    """Logits of the published classes, merged by log-sum-exp: their probabilities are added.

    What is ignored, and a channel that stands for no class, is one more channel behind them.
    """
    void = (*grouping.ignored, *range(sum(map(len, grouping.members)) + len(grouping.ignored), logits.shape[1]))
    groups = [*grouping.members, *([void] if void else [])]
    if groups == [(channel,) for channel in range(logits.shape[1])]:
        return logits
    return torch.cat([logits[:, list(group)].logsumexp(dim=1, keepdim=True) for group in groups], dim=1)


def checked(network: ForeignNetwork, name: str, device: torch.device | str) -> ForeignNetwork:
    """The network, once it has answered for a made picture.

    Raises:
        Error: it cannot, or its answer is not finite.
    """
    width, height = CHECK_SIZE
    picture = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(0))
    try:
        logits = network.answer(picture.to(device, torch.uint8), torch.empty(0)).logits
    except Error:
        raise
    except Exception as error:  # a stranger's code may fail in any way
        raise Error(f"{name} cannot label a picture of {width}x{height}: {in_one_line(error)}") from error
    if not bool(torch.isfinite(logits).all()):
        raise Error(f"{name} answers with NaN or infinity; expected finite logits")
    return network


def check_weights(network: nn.Module, name: str) -> None:
    """Raise an Error where a weight is not finite: a picture may hide that."""
    for weight_name, tensor in network.state_dict().items():
        # One NaN or infinity makes the whole sum so; in float64 finite weights cannot overflow.
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum(dtype=torch.float64)):
            raise Error(f"{name} has NaN or infinity in {weight_name}; expected finite weights")
