"""Low-latency video semantic segmentation for vehicles, as a ROS 2 node and as a library."""

from pkgutil import extend_path

# Imported from the checkout, the package finds its generated messages (lowlat_seg_ros.msg) in the install folder.
__path__ = extend_path(__path__, __name__)
