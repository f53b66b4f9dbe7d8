"""What is computed: tensors in, tensors out. No time, no threads, no ROS."""
