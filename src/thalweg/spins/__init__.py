"""Spin glasses and Boltzmann machines: one energy."""
