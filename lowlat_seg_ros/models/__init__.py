"""Our own networks: descriptions, architectures, checkpoints and the shipped weights."""
