"""Plasticity modulated by methylation: maps of learning rates, and the experiment that asks what they are good for."""
