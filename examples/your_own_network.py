"""A network of your own as the slow track: each answer comes late, and every frame has labels all the same.

    .venv/bin/python examples/your_own_network.py drive.mp4 /models/segformer-b5

The second argument is what the node's parameter `model` takes: a Hugging Face directory or id, an ONNX file, a YAML.
"""

import sys

from lowlat_seg_ros import Error, Segmenter

try:
    with Segmenter(sys.argv[2]) as segmenter:
        for _frame, result in segmenter.video(sys.argv[1], delay_frames=5):  # the network takes five frames' time
            seen = sorted({segmenter.classes[number] for number in set(result.labels.ravel()) - {255}})
            print(f"from {result.key_age_frames} frames ago: {', '.join(seen) or result.unlabelled_reason}")
except Error as error:
    sys.exit(f"{error}")
