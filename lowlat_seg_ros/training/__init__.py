"""How the weights come about: the paper's stages, in its order, and one for an Sl of its own."""
