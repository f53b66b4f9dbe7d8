"""When it is computed: one camera's state over time. Frames and stamps in, labels out; no ROS."""
