"""Atoms that distances cannot tell apart: what angular orbitals are for, as exact constructions."""

from __future__ import annotations

import importlib.util
import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.atoms.data.frame import Frame, elements_of
from thalweg.atoms.model.build import network
from thalweg.atoms.model.gto import GaussianNetwork, Shape
from thalweg.atoms.model.structure import Framed
from thalweg.atoms.tasks.label_methods import Settings, labels_of
from thalweg.atoms.tasks.prepare import framed

ENVIRONMENTS = """@article{pozdnyakov2020incompleteness,
  title={Incompleteness of Atomic Structure Representations},
  author={Pozdnyakov, Sergey N. and Willatt, Michael J. and Bart{\\'o}k, Albert P. and Ortner, Christoph and
    Cs{\\'a}nyi, G{\\'a}bor and Ceriotti, Michele},
  journal={Physical Review Letters}, volume={125}, pages={166001}, year={2020}}"""
CLOUDS = """@article{pozdnyakov2022incompleteness,
  title={Incompleteness of graph neural networks for points clouds in three dimensions},
  author={Pozdnyakov, Sergey N. and Ceriotti, Michele},
  journal={Machine Learning: Science and Technology}, volume={3}, pages={045020}, year={2022}}"""
Pair = tuple[Frame, Frame]


def bent_and_straight(length: float = 0.96, angle: float = 104.5) -> Pair:
    """Two neighbours of one centre at the same distance of `length` A: at an angle in degrees, and opposite."""
    found = []
    for degrees in (angle, 180.0):
        half = np.deg2rad(degrees) / 2
        arms = length * np.array([[np.sin(half), np.cos(half), 0.0], [-np.sin(half), np.cos(half), 0.0]])
        place = f"H2O at {degrees:g} degrees"
        found.append(
            Frame(np.array([8, 1, 1]), np.concatenate([np.zeros((1, 3)), arms]), np.zeros((3, 3)), place=place)
        )
    return found[0], found[1]


def two_clouds(a: float = 0.4, b: float = 0.5, c: float = 0.7, times: float = 2.0) -> Pair:
    """Two clouds of eight atoms, C4H4, in which every atom has the same distances to all others, yet not congruent.

    Carbons at `(a, b, c)` in A under the group of three twofold axes; hydrogens, under the same group, at `times (b, c,
    a)` in one cloud and at `times (c, a, b)` in the other. Within a species all atoms are equivalent. The scalar
    products of a carbon with the hydrogens are `+-ab +-bc +-ca` with an even number of minuses in both clouds, so that
    no atom's list of distances tells which cloud it is in, however often atoms tell each other of theirs. The only
    isometries that keep the carbons where they are, for three different numbers, are the group itself, which keeps the
    hydrogens apart.

    **Source:** that such pairs exist: Pozdnyakov & Ceriotti, Mach. Learn.: Sci. Technol. 3, 045020 (2022); this one is
    made of two tetrahedra without mirrors.
    """
    group = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    numbers, inner = np.array([6] * 4 + [1] * 4), group * np.array([a, b, c])
    outer = [group * (times * np.array(point)) for point in ((b, c, a), (c, a, b))]
    clouds = [
        Frame(numbers, np.concatenate([inner, each]), np.zeros((3, 3)), place=f"C4H4, {name} cloud")
        for each, name in zip(outer, ("first", "second"), strict=True)
    ]
    return clouds[0], clouds[1]


def distances_seen(frame: Frame, centre: int | None = None) -> Float[np.ndarray, " seen"]:
    """All that distances to neighbours say, in A: for each atom, or one `centre`, those to each element, sorted."""
    apart = np.linalg.norm(frame.positions[:, None] - frame.positions[None], axis=2)
    rows = []
    for row in range(len(frame.numbers)) if centre is None else [centre]:
        rows += [np.sort(apart[row, frame.numbers == number]) for number in np.unique(frame.numbers)]
    return np.concatenate(rows)


def triangles(frame: Frame) -> Float[np.ndarray, "triangles 3"]:
    """The sorted sides of all triangles of atoms in A, in order: congruent clouds have the same."""
    apart = np.linalg.norm(frame.positions[:, None] - frame.positions[None], axis=2)
    sides = [
        sorted((apart[i, j], apart[j, k], apart[k, i])) for i, j, k in itertools.combinations(range(len(apart)), 3)
    ]
    return np.array(sorted(sides, key=lambda each: np.round(each, 9).tolist()))


def told_apart(pair: Pair, *, centre: int | None = None, shape: Shape | None = None, seed: int = 0) -> dict[str, Any]:
    """What tells two clouds apart, and by how much; networks with random weights, in float64.

    **Arguments:** `centre`, the atom of which what one centre alone sees is compared, too.

    **Returns:** `distances_A` and `triangles_A`, the largest difference of what distances, and the sides of triangles,
    say; `radial_relative` and `gto_relative`, of energies; with a `centre` also `radial_centre_relative` and
    `gto_centre_relative`, of the first invariants of that atom; `gfn2_eV`, the difference of their energies by
    GFN2-xTB, `None` where tblite is missing; `floor_eV`, half of it: no model of these distances is nearer to both.
    """
    one, other = pair
    found: dict[str, Any] = {
        "distances_A": _largest(distances_seen(one, centre), distances_seen(other, centre)),
        "triangles_A": _largest(triangles(one), triangles(other)),
    }
    with jax.enable_x64(True):
        for kind in ("radial", "gto"):
            net = network(kind, shape or Shape(), elements_of([one]), jax.random.key(seed), np.float64)
            assert isinstance(net, GaussianNetwork)
            arrays = framed(pair, net.elements, net.cutoff, np.float64)
            energy, first = (np.asarray(each) for each in _seen(net, arrays))
            found[f"{kind}_relative"] = _relative(energy[0], energy[1])
            if centre is not None:
                found[f"{kind}_centre_relative"] = _relative(first[:, 0, centre], first[:, 1, centre])
    return found | _by_gfn2(pair)


@eqx.filter_jit
def _seen(net: GaussianNetwork, pair: Framed) -> tuple[Array, Array]:
    """Energies `[frames]`, and the first layer's invariants `[invariants, frames, atoms]`."""
    atoms = pair.atoms(pair.positions, jnp.zeros((2, 3, 3), pair.positions.dtype))
    first = next(iter(net.walk(atoms)))[1]
    return jnp.sum(net(atoms).reshape(2, -1), axis=1), first.reshape(first.shape[0], 2, -1)


def _by_gfn2(pair: Pair) -> dict[str, Any]:
    if importlib.util.find_spec("tblite") is None:
        return {"gfn2_eV": None, "floor_eV": None}
    labels = [labels_of(Settings("gfn2", None, None, ""), frame) for frame in pair]
    if any(label.failure for label in labels):
        return {"gfn2_eV": None, "floor_eV": None}
    gap = labels[1].energy - labels[0].energy
    return {"gfn2_eV": gap, "floor_eV": abs(gap) / 2}


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


def _relative(one: Any, other: Any) -> float:
    return float(np.abs(one - other).max() / max(np.abs(one).max(), np.abs(other).max(), 1e-300))


def counterexamples(shape: Shape | None = None) -> dict[str, Any]:
    """Both constructions measured: `one_centre`, which distances between all atoms resolve, and `all_centres`."""
    return {
        "one_centre": told_apart(bent_and_straight(), centre=0, shape=shape),
        "all_centres": told_apart(two_clouds(), shape=shape),
    }
