"""How the synthetic street is built: what stands where (layout), what it looks like, and how a camera sees it."""
