"""The repulsion of nuclei against its formula, its end, and slopes that stay finite where two of them meet."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.data import covalent_radii

from thalweg.atoms.model.repulsion import repulsion
from thalweg.atoms.model.structure import Atoms, Neighbours

pytestmark = pytest.mark.usefixtures("x64")
ELEMENTS = (1, 6, 8)


@jax.jit
def energy(distance, first, second):
    """The repulsion of two atoms, places in ELEMENTS."""
    kinds = jnp.stack([first, second])
    found, other = jnp.array([[1, 0]]), kinds[::-1]
    there = jnp.array([1.0, -1.0])[None, None] * distance
    along = lambda kind: jnp.where(other == kind, there, 99.0)  # noqa: E731
    vectors = tuple(jnp.concatenate([along(kind), jnp.zeros((2, 1, 2))]) for kind in range(len(ELEMENTS)))
    return jnp.sum(repulsion(Atoms(kinds, jnp.zeros((3, 2)), Neighbours((found,) * 3, vectors)), ELEMENTS))


def test_it_is_the_universal_repulsion_until_it_fades():
    # Two carbon atoms at 0.1 A by hand; a = 0.8854 a0 / (2 * 6^0.23), and the length is softened by 0.01 A.
    length = math.hypot(0.1, 0.01)
    share = length * 2 * 6**0.23 / (0.8854 * 0.529177211)
    screened = sum(
        weight * math.exp(-rate * share)
        for weight, rate in ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
    )
    fade = math.exp(1 - 1 / (1 - 0.01 / (0.75 * 2 * covalent_radii[6]) ** 2))
    assert float(energy(0.1, 1, 1)) == pytest.approx(14.399645 * 36 / length * screened * fade, rel=1e-12)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (1, 2)])
def test_it_pushes_everywhere_within_and_is_nothing_beyond(first, second):
    end = 0.75 * (covalent_radii[ELEMENTS[first]] + covalent_radii[ELEMENTS[second]])
    distances = np.linspace(0.02, 0.93 * end, 60)
    values, slopes = jax.vmap(jax.value_and_grad(energy), (0, None, None))(jnp.asarray(distances), first, second)
    assert np.all(np.diff(values) < 0)
    assert np.all(slopes < 0)
    assert float(energy(end, first, second)) == 0.0
    assert float(energy(first=first, second=second, distance=1.5 * end)) == 0.0


def test_slopes_of_slopes_are_finite_where_atoms_meet_and_where_it_ends():
    end = 0.75 * 2 * covalent_radii[6]
    for distance in (0.0, end, 0.999 * end):
        assert np.isfinite(float(jax.grad(jax.grad(energy))(distance, 1, 1)))
