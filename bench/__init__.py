"""What the two tracks cost on this machine: `make bench`, and `python -m bench.gpu` where there is a GPU."""

from lowlat_seg_ros.runtime.threads import let_threads_sleep

let_threads_sleep()  # as in the node's process: before anything here loads torch
