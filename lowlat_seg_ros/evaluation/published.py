"""What the paper's tables say, and what its figure 1 quotes of others. Fractions of one, milliseconds."""

from __future__ import annotations

from typing import Final, NamedTuple


class Published(NamedTuple):
    """One row of a table of the paper; None where the table has no such column."""

    mean_iou: float | None = None
    mean_ms: float | None = None
    max_ms: float | None = None
    pixel_accuracy: float | None = None
    class_accuracy: float | None = None


class QuotedPoint(NamedTuple):
    """A method of the paper's figure 1 that its tables do not have, by its own paper. None of them gives a latency on
    the paper's machine, and the figure itself gives no numbers: their heights are known, their places are not."""

    name: str
    mean_iou: float  # on Cityscapes' test split
    source: str
    is_checked: bool = True  # against that source


TABLE_1: Final = {
    "Clockwork Net": Published(0.677, 141, 360),
    "Deep Feature Flow": Published(0.701, 273, 654),
    "GRFP(5)": Published(0.694, 470, 470),
    "baseline": Published(0.802, 360, 360),
    "AFP + fix schedule": Published(0.7526, 151, 360),
    "AFP + AKS": Published(0.7684, 171, 380),
    "AFP + AKS + LLS": Published(0.7589, 119, 119),
}
TABLE_2: Final = {
    "Clockwork propagation": Published(0.5653),
    "optical flow propagation": Published(0.692),
    "unified propagation": Published(0.5873),
    "weight by image difference": Published(0.6012),
    "adaptive propagation, no fusion": Published(0.6841),
    "adaptive propagation, with fusion": Published(0.7526),
}
TABLE_3: Final = {  # milliseconds, and the share of the basic network
    "Lower part of the network, Sl": (61, 0.169),
    "Higher part of the network, Sh": (299, 0.831),
    "Full network (Sl, Sh, classifier)": (360, 1.0),
    "Adaptive schedule (deviation)": (20, 0.055),
    "Adaptive propagation": (38, 0.105),
    "Non-key frame": (119, 0.33),
}
TABLE_4: Final = {
    "SuperParsing": Published(pixel_accuracy=0.839, class_accuracy=0.625),
    "DAG-RNN": Published(pixel_accuracy=0.916, class_accuracy=0.781),
    "MPF-RNN": Published(pixel_accuracy=0.928, class_accuracy=0.823),
    "RTDF": Published(pixel_accuracy=0.899, class_accuracy=0.805),
    "PEARL": Published(pixel_accuracy=0.942, class_accuracy=0.825),
    "the paper's": Published(pixel_accuracy=0.946, class_accuracy=0.829),
}
FIGURE_1: Final = (
    QuotedPoint("NetWarp", 0.805, "Gadde et al., ICCV 2017"),
    QuotedPoint("PSPNet", 0.802, "Zhao et al., CVPR 2017, with coarse labels; Cityscapes' submission 314"),
    QuotedPoint("DeepLab", 0.704, "Chen et al., PAMI 2018, with a CRF; Cityscapes' submission 134"),
    QuotedPoint("PEARL", 0.754, "Jin et al., ICCV 2017; from memory, its table was not at hand", is_checked=False),
)
