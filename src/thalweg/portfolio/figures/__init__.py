"""Figures and report pages of the room."""
