"""How the weights come about: three stages, in the paper's order."""
