"""Low-latency video semantic segmentation for vehicles, as a ROS 2 node and as a library."""
