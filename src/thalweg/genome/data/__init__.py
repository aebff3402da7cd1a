"""Sequences, annotations, labels, variants, tracks and methylation: readers and writers."""
