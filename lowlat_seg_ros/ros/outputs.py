"""What one camera's chain publishes: labels for every image, and pictures of them for whoever listens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from lowlat_seg_ros.data.drawing import colourise, overlay
from lowlat_seg_ros.fast.pictures import Size, frame_size
from lowlat_seg_ros.models.config import Colour
from lowlat_seg_ros.msg import KeyFrameDiagnostics
from lowlat_seg_ros.ros.conversions import image_message, nanoseconds, set_data
from lowlat_seg_ros.ros.endpoints import output, publisher
from lowlat_seg_ros.stream.result import SegmentationResult

TYPES: Final[dict[str, Any]] = {
    "labels": Image,
    "confidence": Image,
    "color": Image,
    "overlay": Image,
    "overlay/compressed": CompressedImage,
    "keyframe": KeyFrameDiagnostics,
}
"""By the topic's name below `~` or `~/NAME`. While nobody listens to any of them the chain may rest."""

CAMERA_INFO: Final = "camera_info"
INFOS_KEPT: Final = 16  # calibrations without their labels, or labels without their calibration


class Outputs:
    """One camera's publishers."""

    def __init__(
        self, node: Node, name: str, colours: tuple[Colour, ...], on_listener: Callable[[], None] = lambda: None
    ) -> None:
        """`colours`: RGB, one a class; `on_listener` is called when a subscriber comes or goes."""
        self._node = node
        self._colours = list(colours)
        self._publishers: dict[str, Publisher[Any]] = {}
        self._info = publisher(node, CameraInfo, joined("~", name, CAMERA_INFO), output())
        try:
            for topic, message_type in TYPES.items():
                made = publisher(node, message_type, joined("~", name, topic), output(), on_listener)
                self._publishers[topic] = made
        except BaseException:
            self.close()
            raise
        self._infos: OrderedDict[int, CameraInfo] = OrderedDict()  # by stamp, whose labels have not come
        self._sizes: OrderedDict[int, Size] = OrderedDict()  # of labels by stamp, whose calibration has not come

    @property
    def are_wanted(self) -> bool:
        """Whether anybody listens to what takes work."""
        return any(each.get_subscription_count() for each in self._publishers.values())

    def subscriber_counts(self) -> dict[str, int]:
        """For diagnostics."""
        return {f"{topic} subscribers": each.get_subscription_count() for topic, each in self._publishers.items()}

    def publish_labels(self, labels: NDArray[np.uint8], header: Header) -> None:
        """First of all: what everybody waits for."""
        self._publishers["labels"].publish(image_message(labels, "mono8", header))

    def publish_key_frame(self, message: KeyFrameDiagnostics) -> None:
        """What the two tracks did."""
        self._publishers["keyframe"].publish(message)

    def wants(self, *topics: str) -> bool:
        """Whether anybody listens to one of them."""
        return any(self._publishers[topic].get_subscription_count() for topic in topics)

    def publish_pictures(
        self, frame: NDArray[np.uint8], result: SegmentationResult, header: Header, opacity: float
    ) -> None:
        """Each worked out only where somebody listens."""
        if self.wants("confidence"):
            self._publishers["confidence"].publish(image_message(result.confidence, "mono8", header))
        if self.wants("color"):
            self._publishers["color"].publish(image_message(colourise(result.labels, self._colours), "rgb8", header))
        if self.wants("overlay", "overlay/compressed"):
            picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
            bgr = [(blue, green, red) for red, green, blue in self._colours]
            self._publish_overlay(overlay(picture, result.labels, bgr, opacity), header)

    def _publish_overlay(self, blended: NDArray[np.uint8], header: Header) -> None:
        if self.wants("overlay"):
            self._publishers["overlay"].publish(image_message(blended, "bgr8", header))
        if self.wants("overlay/compressed"):
            message = CompressedImage(header=header, format="bgr8; jpeg compressed bgr8")
            set_data(message, cv2.imencode(".jpg", blended)[1].astype(np.uint8, copy=False))
            self._publishers["overlay/compressed"].publish(message)

    # --- calibration -------------------------------------------------------------------------------------------------

    def pass_on(self, info: CameraInfo) -> None:
        """The camera's calibration, once the labels of its stamp are out, at their size."""
        stamp = nanoseconds(info.header.stamp)
        size = self._sizes.pop(stamp, None)
        if size is None:
            _keep(self._infos, stamp, info)
        else:
            self._info.publish(scaled(info, size))

    def labels_are_out(self, labels: NDArray[np.uint8], header: Header) -> None:
        """Of that stamp: its calibration may follow."""
        stamp = nanoseconds(header.stamp)
        info = self._infos.pop(stamp, None)
        if info is None:
            _keep(self._sizes, stamp, frame_size(labels))
        else:
            self._info.publish(scaled(info, frame_size(labels)))

    def close(self) -> None:
        """End all topics."""
        for each in (*self._publishers.values(), self._info):
            self._node.destroy_publisher(each)


def scaled(info: CameraInfo, size: Size) -> CameraInfo:
    """The calibration of the same camera for pictures of (width, height); as it is where these are its own."""
    own = _picture_size(info)
    if own == size or 0 in own:
        return info
    # Matrices are those of the whole sensor; they become those of the picture, which then has no region of its own.
    x = size[0] / own[0] / max(1, info.binning_x)
    y = size[1] / own[1] / max(1, info.binning_y)
    k, p = np.array(info.k).reshape(3, 3), np.array(info.p).reshape(3, 4)
    for matrix in (k, p):
        matrix[0, 2] -= info.roi.x_offset
        matrix[1, 2] -= info.roi.y_offset
        matrix[:2] *= np.array([[x], [y]])
    return CameraInfo(
        header=info.header,
        width=size[0],
        height=size[1],
        distortion_model=info.distortion_model,
        d=info.d,
        k=k.ravel(),
        r=info.r,
        p=p.ravel(),
    )


def _picture_size(info: CameraInfo) -> Size:
    """(width, height) of the pictures that belong to a calibration: of the region of interest, binned."""
    width, height = (info.roi.width or info.width), (info.roi.height or info.height)
    return width // max(1, info.binning_x), height // max(1, info.binning_y)


def _keep(kept: OrderedDict[int, Any], stamp: int, value: Any) -> None:
    kept[stamp] = value
    if len(kept) > INFOS_KEPT:
        kept.popitem(last=False)


def joined(*parts: str) -> str:
    """A topic's name of these parts, empty ones left out."""
    return "/".join(part for part in parts if part)
