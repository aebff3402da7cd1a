"""Where in a sequence the gradient of each weight comes from: its energy, and the part of it from marked places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from thalweg.core.errors import InputError


class Energies(NamedTuple):
    """`sum_t m_t g_t^2` (`marked`) and `sum_t g_t^2` (`total`) of every weight: two pytrees of one structure."""

    marked: PyTree
    total: PyTree


class Taps:
    """Hears the linear maps of one forward pass, and adds a tap to the outcome of each.

    A network calls it as `z = taps(name, a, z)` wherever `z = W a (+ b)`: with `a [*places, inputs]` and
    `z [*places, outputs]`. A convolution hands over its unfolded windows. Inside of `vmap` or `scan` nothing can be
    handed out: call it on whole arrays.
    """

    def __init__(self, zeros: Mapping[str, Array] | None = None):
        self._zeros, self.inputs, self.outputs = zeros, {}, {}

    def __call__(self, name: str, a: Float[Array, "*places inputs"], z: Float[Array, "*places outputs"], /) -> Array:
        if name in self.inputs:
            raise InputError(f"gradient energies: two linear maps are called {name!r}: give each a name of its own.")
        if a.shape[:-1] != z.shape[:-1]:
            raise InputError(f"gradient energies: {name!r} maps {a.shape} to {z.shape}: keep all axes but the last.")
        self.inputs[name], self.outputs[name] = a, z
        return z if self._zeros is None else z + self._zeros[name]


def untapped(name: str, a: Array, z: Array, /) -> Array:
    """What a network calls in place of `Taps` where nobody listens."""
    return z


def gradient_energies(
    loss: Callable[[Any], Float[Array, ""]],
    marks: Float[Array, "*places"],
    *known: Float[Array, "*places"],
) -> tuple[Energies, ...]:
    """The energy of the gradient of each weight, and the marked part of it, in one pass back.

    The gradient of a weight is a sum over the places where it is used, `g_ij = sum_t g_ij,t`, and each term is a
    product, `g_ij,t = delta_i,t a_j,t`, of the loss's slope at the outcome of the linear map and of its input. The
    slopes are the gradient with respect to zeros that are added to the outcomes; the sum over places of
    `m_t delta_i,t^2 a_j,t^2` is then one einsum. In a recurrent network `g_ij,t` is the part of back-propagation
    through time that passes through the weight at `t`, whatever later outcome it comes from.

    **Arguments:**

    - `loss(taps)`: the scalar loss of a forward pass that calls `taps` (see `Taps`).
    - `marks`: `m_t` in [0, 1], of a shape that broadcasts to the places of every linear map.
    - `known`: 1 where a mark is known; other places count in neither sum. Several such parts are looked at in one pass.

    **Returns:** of each part, energies by name: `[outputs, inputs]` under the name of the map, `[outputs]` of its bias
    under `name.bias`.
    """

    def outcomes() -> dict[str, Array]:
        taps = Taps()
        loss(taps)
        return taps.outputs

    def tapped(zeros: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        taps = Taps(zeros)
        return loss(taps), taps.inputs

    zeros = {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in jax.eval_shape(outcomes).items()}
    if not zeros:
        raise InputError("gradient energies: the forward pass called no taps: hand them to its linear maps.")
    slopes, inputs = jax.grad(tapped, has_aux=True)(zeros)
    weights = [one.astype(marks.dtype) for part in known for one in (marks * part, part)]
    sums: list[dict[str, Array]] = [{} for _ in weights]
    for name, slope in slopes.items():
        for key, rows in zip((name, f"{name}.bias"), _sums(slope, inputs[name], weights), strict=True):
            for place, row in enumerate(rows):
                sums[place][key] = row
    return tuple(Energies(*pair) for pair in zip(sums[::2], sums[1::2], strict=True))


def _sums(slope: Array, a: Array, weights: Sequence[Array]) -> tuple[Array, Array]:
    """For every kind of places, the sums of squares for a weight `[kinds, outputs, inputs]` and for a bias."""
    places = slope.shape[:-1]
    spread = jnp.stack([jnp.broadcast_to(one, places).ravel() for one in weights]).astype(slope.dtype)
    slope, a = slope.reshape(-1, slope.shape[-1]), a.reshape(-1, a.shape[-1])
    return jnp.einsum("kt,ti,tj->kij", spread, slope**2, a**2), spread @ slope**2


def shares(energies: Energies) -> PyTree:
    """The marked share of each energy, in [0, 1]; 0 for a weight that no gradient ever reached."""

    def one(marked: Array, total: Array) -> Array:
        reached = total > 0
        return jnp.where(reached, jnp.clip(marked / jnp.where(reached, total, 1), 0, 1), 0)

    return jax.tree.map(one, *energies)


def placed(
    energies: Energies, model: PyTree, where: Mapping[str, Callable[[Any], Any]], *, inputs_first: bool = False
) -> Energies:
    """Energies by name as pytrees like the model, `None` where a leaf has none.

    **Arguments:** `energies`, as of `gradient_energies`; `where`, from names to functions that pick a leaf of the
    model: several names of one leaf are summed, energies that are not named are left out; `inputs_first`, for weights
    that are stored as `[inputs, outputs]`.

    **Raises:** `InputError` where a leaf has not the size of its energies.
    """
    names = list(where)
    if missing := [name for name in names if name not in energies.total]:
        raise InputError(f"gradient energies: there is no linear map {missing[0]!r}: {', '.join(energies.total)} are.")
    trees = []
    for values in energies:
        tree: Any = jax.tree.map(lambda _: None, model)
        for name in names:
            leaf, value = where[name](model), values[name]
            value = value.T if inputs_first and value.ndim == 2 else value
            if jnp.size(leaf) != value.size:
                raise InputError(
                    f"gradient energies: {name!r} has energies of shape {value.shape}, but its leaf has "
                    f"{jnp.shape(leaf)}: name the leaf of that linear map."
                )
            kept, value = where[name](tree), value.reshape(leaf.shape)
            tree = eqx.tree_at(where[name], tree, value if kept is None else kept + value, is_leaf=_is_none)
        trees.append(tree)
    return Energies(*trees)


def _is_none(leaf: Any) -> bool:
    return leaf is None
