"""Symmetry breaking, phase transitions and the landscape of any training problem."""
