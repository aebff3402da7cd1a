"""Frames of atoms: readers, writers, checks, and the lists of neighbours."""
