"""How segmentation meets the vehicle: node, parameters, messages, diagnostics, players, and the process harness."""
