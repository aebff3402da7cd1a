"""Walks on differentiable landscapes."""
