"""Where frames and labels come from, and how they are shown: CamVid, clips, the synthetic street, drawing."""
