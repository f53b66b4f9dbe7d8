"""Equation 1 and its kin: the reference in torch, C++ for the CPU, Triton for a GPU."""
