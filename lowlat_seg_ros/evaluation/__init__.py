"""How good the labels are and what they cost: scores, latency, the paper's tables."""
