"""Harmonic vibrations: the mass-weighted Hessian, freed of what moves or turns the atoms as a whole."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from jaxtyping import Array, Float

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.energy import Potential, potential
from thalweg.atoms.tasks.md_start import masses_of, wholes
from thalweg.atoms.tasks.trained import Trained

_FLAT = 1e-3  # of the highest wavenumber: a curvature of 1e-6, where forces of 1e-6 eV/A are left


class Vibrations(NamedTuple):
    """The modes of atoms about a point at rest, the softest first.

    **Fields:** `wavenumbers` in 1/cm, below zero where the mode goes downhill (its frequency is imaginary); `modes`,
    displacements per atom of each, as a whole of length one.
    """

    wavenumbers: Float[np.ndarray, " modes"]
    modes: Float[np.ndarray, "modes atoms 3"]

    @property
    def imaginary(self) -> int:
        """How many modes go downhill: 0 at a minimum, 1 at a saddle; none where the ground is merely flat."""
        return int((self.wavenumbers < -_FLAT * np.abs(self.wavenumbers).max(initial=0)).sum())


def vibrations(trained: Trained, frame: Frame) -> Vibrations:
    """The harmonic vibrations of a frame, which ought to be at rest (relax it first).

    Second derivatives are exact. Shifts of the whole, and of a molecule its turns, are projected out; in a crystal the
    modes are those in which all images move alike.

    **Arguments:** `trained`, which is computed in float64; `frame`. **Raises:** `InputError` for atoms that the
    potential does not know.

    **Source:** Wilson, Decius & Cross, Molecular Vibrations, McGraw-Hill (1955).
    """
    energy = potential(trained.cast(np.float64).net, frame)
    matrix = np.asarray(hessian(energy, jnp.asarray(frame.positions)))
    return modes_of(frame, (matrix + matrix.T) / 2)


def modes_of(frame: Frame, hessian: Float[np.ndarray, "n n"]) -> Vibrations:
    """The vibrations that a Hessian in eV/A^2 says, by the frame's masses."""
    masses = masses_of(frame)
    roots = np.repeat(np.sqrt(masses), 3)
    whole = np.stack(wholes(frame, masses), axis=1)
    # A basis of all that does not move the atoms as a whole: what is left of a full one.
    basis = np.linalg.svd(whole, full_matrices=True)[0][:, whole.shape[1] :]
    squares, vectors = np.linalg.eigh(basis.T @ (hessian / np.outer(roots, roots)) @ basis)
    # The root of eV / (A^2 u) as an energy over that of 1/cm.
    unit = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
    moves = (basis @ vectors / roots[:, None]).T
    moves /= np.linalg.norm(moves, axis=1, keepdims=True)
    return Vibrations(np.sign(squares) * np.sqrt(np.abs(squares)) * unit, moves.reshape(len(squares), -1, 3))


@eqx.filter_jit
def hessian(energy: Potential, x: Float[Array, "atoms 3"]) -> Float[Array, "n n"]:
    """All second derivatives in eV/A^2, row by row: in blocks they would compile for minutes."""
    slope = lambda flat: jax.grad(energy)(flat.reshape(x.shape)).ravel()  # noqa: E731
    flat = x.ravel()
    rows = lambda v: jax.jvp(slope, (flat,), (v,))[1]  # noqa: E731
    return jax.lax.map(rows, jnp.eye(flat.size, dtype=x.dtype))
