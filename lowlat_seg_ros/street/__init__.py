"""The synthetic street: a labelled drive from a seed, for the demo and the tests."""
