"""How segmentation meets the vehicle: node, parameters, messages, diagnostics, camera player and demo."""
