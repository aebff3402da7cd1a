"""Readers and writers of couplings and spins."""
