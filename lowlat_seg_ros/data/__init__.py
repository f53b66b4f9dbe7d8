"""Where frames and labels come from, and how they are shown: data sets, clips, the synthetic street, drawing."""
