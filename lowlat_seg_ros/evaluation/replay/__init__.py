"""What the node would have done on a recorded drive: replay in simulated time, figures, report."""
