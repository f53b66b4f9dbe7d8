"""How much of each class a video shows: recorded frames in, shares of the picture out.

.venv/bin/python examples/label_a_video.py drive.mp4
"""

import sys

import numpy as np

from lowlat_seg_ros import Segmenter

with Segmenter("default") as segmenter:
    pixels = np.zeros(256, np.int64)
    for _frame, result in segmenter.video(sys.argv[1]):
        pixels += np.bincount(result.labels.ravel(), minlength=256)

for name, count in sorted(zip(segmenter.classes, pixels, strict=False), key=lambda pair: -pair[1]):
    print(f"{count / pixels.sum():6.1%}  {name}")
