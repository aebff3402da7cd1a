"""Symmetry breaking and phase transitions in training."""
