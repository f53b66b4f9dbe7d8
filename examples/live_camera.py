"""A live camera's frames as they come: whether the road ahead is free, and how long the answer took.

.venv/bin/python examples/live_camera.py 0            # the computer's first camera
.venv/bin/python examples/live_camera.py drive.mp4    # a video in its place
"""

import sys
import time

import cv2
import numpy as np

from lowlat_seg_ros import Segmenter

source = int(sys.argv[1]) if sys.argv[1].isdecimal() else sys.argv[1]
camera = cv2.VideoCapture(source)
with Segmenter("default") as segmenter:
    road = segmenter.classes.index("Road")
    while True:
        is_there, frame_bgr = camera.read()
        if not is_there:
            break
        frame = np.asarray(cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB), np.uint8)
        result = segmenter.segment(frame, stamp_ns=time.time_ns())
        height, width = result.labels.shape
        ahead = result.labels[3 * height // 4 :, 3 * width // 8 : 5 * width // 8]
        state = "free" if (ahead == road).mean() > 0.9 else "not free"
        print(f"{state:8}  {result.milliseconds.total:5.1f} ms  {'key frame' if result.is_key_frame else ''}")
camera.release()
