"""Searches for the lowest signs of pair couplings, in compiled host kernels."""
