"""What every frame passes through: Sl's features, optical flow, and the propagations, one file each."""
