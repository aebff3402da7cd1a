"""A chain of coupled pendulums as a landscape, and its kinks."""

from __future__ import annotations

from thalweg_pendulums.energy import Pendulums
from thalweg_pendulums.steepest import Steepest

__all__ = ["Pendulums", "Steepest"]
