"""What one camera's confidence, deviation and propagation learn from the slow network's answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from lowlat_seg_ros.fast.confidence import Confidence
from lowlat_seg_ros.fast.frames import KeyFrame
from lowlat_seg_ros.fast.pictures import Size, label_image
from lowlat_seg_ros.fast.propagation import Propagation
from lowlat_seg_ros.stream.deviation_prior import CalibratedDeviation

SMALLEST_CONTRAST: Final = 2.0  # grey levels, standard deviation of a colour: less is a covered lens


class Lessons:
    """Called once an answer has been handed over, by the slow track or, where a key frame waits, by the fast track."""

    def __init__(
        self, propagation: Propagation, confidence: Confidence, deviation: CalibratedDeviation, input_size: Size
    ) -> None:
        """``input_size``: (width, height) at which labels are compared."""
        self._propagation = propagation
        self._confidence = confidence
        self._deviation = deviation
        self._input_size = input_size
        self._at_work = threading.Lock()  # one thread may hang in it, or work on an earlier frame
        self._newest = -1  # sequence of the newest key frame that was learned from

    def learn(self, key: KeyFrame, may_go_on: Callable[[], bool]) -> None:
        """From one more key frame, unless a later one came before it, or it shows nothing. See ``Propagation.learn``.

        Raises:
            RuntimeError: another thread is at an earlier one.
        """
        with self._alone():
            labels = label_image(key.answer.logits, self._input_size, self._input_size, key.answer.ids)
            contrast = float(key.frame.image.float().std(dim=(2, 3)).max())
            is_view = contrast >= SMALLEST_CONTRAST and labels.min() < labels.max()
            if key.frame.sequence <= self._newest or not is_view:
                return
            self._newest = key.frame.sequence
            self._confidence.judge(key.frame.sequence, labels)
            self._deviation.learn(key.frame.sequence, labels)
            self._propagation.learn(key, may_go_on)

    def learn_more(self, may_go_on: Callable[[], bool]) -> None:
        """See ``Propagation.learn_more``; raises what ``learn`` does."""
        with self._alone():
            self._propagation.learn_more(may_go_on)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._at_work.acquire(blocking=False):
            raise RuntimeError("it has not finished with an earlier key frame")
        try:
            yield
        finally:
            self._at_work.release()
