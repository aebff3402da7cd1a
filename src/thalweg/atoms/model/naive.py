"""The network without any symmetry: coordinates in, energy out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from thalweg.atoms.model.gto import Shape
from thalweg.atoms.model.network import AbstractNetwork
from thalweg.atoms.model.structure import Atoms

_LAYERS = 3


class NaiveNetwork(AbstractNetwork):
    """A SiLU network over the coordinates of one molecule relative to their mean, atoms in the order of the file.

    It knows translations, and neither rotations nor exchanges of atoms: what the other networks are compared with.

    **Fields:** `weights` and `biases` of its layers; `middle` and `width` of the coordinates in A, as measured;
    `baseline` and `scale` of its energy in eV.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    weights: tuple[Float[Array, "in out"], ...]
    biases: tuple[Float[Array, " out"], ...]
    middle: Float[Array, " coordinates"]
    width: Float[Array, ""]
    baseline: Float[Array, ""]
    scale: Float[Array, ""]
    shape: Shape = eqx.field(static=True)

    @property
    def cutoff(self) -> float:
        """It sees everything; lists of neighbours are not read."""
        return self.shape.cutoff

    def __call__(self, atoms: Atoms) -> Float[Array, " atoms"]:
        still = jax.lax.stop_gradient
        each = atoms.positions.reshape(3, atoms.frames, -1)
        count = each.shape[2]
        centred = jnp.moveaxis(each - jnp.mean(each, axis=2, keepdims=True), 1, 0).reshape(atoms.frames, -1)
        signal = (centred - still(self.middle)) * still(self.width)
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            signal = jax.nn.silu(signal @ weights + bias)
        energy = still(self.scale) * (signal @ self.weights[-1] + self.biases[-1])[:, 0] + self.baseline
        return jnp.repeat(energy / count, count)


def naive_network(shape: Shape, elements: Sequence[int], atoms: int, key: Key[Array, ""], dtype: Any) -> NaiveNetwork:
    """A network with random weights: three layers of `2 * hidden` units, which makes it as large as the others."""
    sizes = [3 * atoms, *[2 * shape.hidden] * _LAYERS, 1]
    keys = jax.random.split(key, len(sizes) - 1)
    weights = tuple(
        jax.random.normal(one, (before, after), dtype) / math.sqrt(before)
        for one, before, after in zip(keys, sizes, sizes[1:], strict=False)
    )
    return NaiveNetwork(
        elements=tuple(int(z) for z in elements),
        weights=weights,
        biases=tuple(jnp.zeros(after, dtype) for after in sizes[1:]),
        middle=jnp.zeros(3 * atoms, dtype),
        width=jnp.ones((), dtype),
        baseline=jnp.zeros((), dtype),
        scale=jnp.ones((), dtype),
        shape=shape,
    )


def measured(net: NaiveNetwork, atoms: Atoms, baseline: float, scale: float) -> NaiveNetwork:
    """The network with the middle and width of the coordinates of some frames, and the scale of its energy in eV."""
    each = atoms.positions.reshape(3, atoms.frames, -1)
    centred = jnp.moveaxis(each - jnp.mean(each, axis=2, keepdims=True), 1, 0).reshape(atoms.frames, -1)
    kind = net.middle.dtype
    width = 1 / jnp.maximum(jnp.std(centred - jnp.mean(centred, axis=0)), 1e-3)
    new = (jnp.mean(centred, axis=0), width, jnp.asarray(baseline, kind), jnp.asarray(scale, kind))
    return eqx.tree_at(lambda net: (net.middle, net.width, net.baseline, net.scale), net, new)
