"""The key frame's labels as they are: what every other propagation has to beat (the paper's figure 5, "copy")."""

from __future__ import annotations

from lowlat_seg_ros.fast.frames import Answer, KeyFrame, SeenFrame
from lowlat_seg_ros.fast.propagation import Propagation


class Copying(Propagation):
    """``propagation: copy``."""

    def answer(self, key: KeyFrame, seen: SeenFrame) -> Answer:
        return key.answer
