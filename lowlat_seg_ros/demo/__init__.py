"""The demo: a clip played as a camera into the node, and pictures of what came out of it.

python -m lowlat_seg_ros.demo --clip street --out demo_out
"""

from lowlat_seg_ros.errors import Error


class DemoError(Error):
    """The demo could not do what it promises; the message is one sentence."""
