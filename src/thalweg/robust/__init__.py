"""Adversarial examples as a landscape."""
