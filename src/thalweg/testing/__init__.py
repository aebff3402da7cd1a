"""Contracts for other people's energies, spaces and methods: each check raises one sentence about a broken promise."""

from __future__ import annotations

from thalweg.testing.dynamics import check_dynamics
from thalweg.testing.energies import check_energy, wide_results
from thalweg.testing.methods import check_method
from thalweg.testing.samplers import check_sampler
from thalweg.testing.spaces import check_space

__all__ = ["check_dynamics", "check_energy", "check_method", "check_sampler", "check_space", "wide_results"]
