"""The seam of slow networks: all that the slow track and the propagations know of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lowlat_seg_ros.fast.frames import Answer
    from lowlat_seg_ros.fast.network import FastNetwork
    from lowlat_seg_ros.models.config import Colour
    from lowlat_seg_ros.runtime.choice import Choice, Wish


class FeatureHead(NamedTuple):
    """Where a slow network's answer comes with a feature that can be carried in the place of its logits."""

    stride: int  # pixels of the image per element of the feature
    classify: Callable[[Tensor], Tensor]  # F_h, (B, C_h, h, w), accurate or carried, to logits (B, classes, …)
    classify_beside: Callable[[Tensor, Tensor], Tensor] | None = None  # F_h and F_l side by side, where it was trained
    classify_folded: Callable[[Tensor], Tensor] | None = None  # as ``classify``, before ``fast.motion.unfold``


@runtime_checkable
class CanBePlaced(Protocol):
    """A slow network that may run elsewhere than in torch; others are left where they are."""

    def placed(self, wish: Wish, device: torch.device) -> tuple[SlowNetwork, Choice]:
        """The network where it is wished, and where that is. Raises ParameterError where that cannot be."""
        ...


class SlowNetwork(Protocol):
    """An expensive network in evaluation mode.

    The paper's second half of the backbone is one instance, a whole other network that looks at the image and ignores
    the low-level feature another.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, by their ids."""
        ...

    @property
    def colours(self) -> tuple[Colour, ...]:
        """RGB, one a class."""
        ...

    @property
    def head(self) -> FeatureHead | None:
        """None where it gives logits alone."""
        ...

    @property
    def own_fast_network(self) -> FastNetwork | None:
        """The fast track's network that was trained with it; None where another one has to carry its labels."""
        ...

    @property
    def sees_whole_frame(self) -> bool:
        """Whether it looks at the camera's own frame, and not at what the fast network sees of it."""
        ...

    def answer(self, image: Tensor, low: Tensor) -> Answer:
        """What an image shows.

        Args:
            image: (1, 3, H, W), uint8 RGB: the camera's frame, or at the fast network's input size.
            low: F_l, by the fast network.

        Returns:
            Logits of each class, on any grid, and perhaps of no class at all (id 255).
        """
        ...
