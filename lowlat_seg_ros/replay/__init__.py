"""What a system would have done on a recorded drive: bags, simulated and live replay, reports, fleets."""
