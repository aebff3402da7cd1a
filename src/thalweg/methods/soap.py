"""SOAP: Adam in the slowly turning eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.errors import InputError

BIBTEX = """@article{vyas2024soap,
  title={{SOAP}: Improving and Stabilizing {S}hampoo using {A}dam},
  author={Vyas, Nikhil and Morwani, Depen and Zhao, Rosie and Shapira, Itai and Brandfonbrener, David and
    Janson, Lucas and Kakade, Sham},
  journal={arXiv preprint arXiv:2409.11321}, year={2024}}"""

# Products that are rounded like those of the model would leave a basis that is not orthogonal.
_EXACT = jax.lax.Precision.HIGHEST
_Bases = list[Array | None]
_LETTERS = "abcdefghijklmnopqrstuvwx"  # without y, the turned axis, and z, the stacked leaves


class Stack(NamedTuple):
    """Adam's `mean` and `square` of the `k` leaves of one shape, stacked, in the basis."""

    mean: Float[Array, "k *shape"]
    square: Float[Array, "k *shape"]


class Axes(NamedTuple):
    """Shampoo's `factors` of all axes of one length, stacked, and their eigenvectors `bases`, one in each column."""

    factors: Float[Array, "k n n"]
    bases: Float[Array, "k n n"]


class SoapState(NamedTuple):
    """The `count` of updates done, a stack for each shape of leaf, and axes for each length that is turned."""

    count: Int[Array, ""]
    stacks: tuple[Stack, ...]
    axes: tuple[Axes, ...]


def soap(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.95,
    b2: float = 0.95,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    every: int = 10,
    largest: int = 256,
) -> optax.GradientTransformation:
    """Adam in the eigenbasis of Shampoo's preconditioner.

    A leaf of two or more axes is turned along each of them. Leaves of one axis, axes longer than `largest` and axes of
    length one are not turned; a leaf without any axis that is turned gets the updates of Adam. The first gradient only
    finds the basis: a leaf that is turned stays where it is in the first step, and is one step behind Adam's count.

    **Arguments:** `learning_rate`, a number or a schedule; `b1` and `b2`, how much of the means of gradients and
    of their squares (and products) is kept in each step; `eps`, added to the root mean square; `weight_decay`,
    decoupled and times the learning rate; `every` so many steps the basis is improved by one power iteration and a QR
    decomposition; `largest`, the longest axis that is turned: its basis costs a QR of `largest` rows and columns.

    Under `vmap` over whole states every step computes a new basis, and throws it away where none is due.

    **Returns:** a transformation whose state holds arrays only.

    **Raises:** `InputError` for settings that make no sense.

    **Source:** Vyas et al., arXiv:2409.11321 (2024), algorithms 3 and 4, with the columns of a basis kept in the order
    of falling eigenvalues.
    """
    _check(b1, b2, eps, weight_decay, every, largest)

    def init(params: PyTree) -> SoapState:
        leaves = _stacked(params)
        plan = _plan(leaves, largest)
        stacks = tuple(Stack(jnp.zeros_like(leaf), jnp.zeros_like(leaf)) for leaf in leaves)
        # A basis of zeros lets nothing of the first gradient through: means and update stay zero without a question.
        empty = [[jnp.zeros((count, n, n), dtype) for _ in Axes._fields] for (n, dtype), count in plan.rows.items()]
        return SoapState(jnp.zeros((), jnp.int32), stacks, tuple(Axes(*zeros) for zeros in empty))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, SoapState]:
        slopes = _stacked(updates)
        plan = _plan(slopes, largest)
        bases = plan.split([axes.bases for axes in state.axes])
        learnt = [_learnt(*one, state.count, (b1, b2, eps)) for one in zip(state.stacks, slopes, bases, strict=True)]
        products = plan.joined([_products(slope, basis) for slope, basis in zip(slopes, bases, strict=True)])
        axes = tuple(
            old._replace(factors=b2 * old.factors + (1 - b2) * new)
            for old, new in zip(state.axes, products, strict=True)
        )
        due = jnp.where(state.count == 0, 1, jnp.where(state.count % every == 0, 2, 0))
        stacks, axes = jax.lax.switch(
            due, (_kept, _first, partial(_improved, plan)), tuple(stack for stack, _ in learnt), axes
        )
        return _unstacked([move for _, move in learnt], updates), SoapState(state.count + 1, stacks, axes)

    decay = optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity()
    return optax.chain(optax.GradientTransformation(init, update), decay, optax.scale_by_learning_rate(learning_rate))


def _check(b1: float, b2: float, eps: float, weight_decay: float, every: int, largest: int) -> None:
    for name, kept in (("b1", b1), ("b2", b2)):
        if not 0 <= kept < 1:
            raise InputError(f"soap: {name} is {kept}: choose a number from 0 to below 1, as 0.95.")
    for name, size, least in (("eps", eps, 0), ("weight_decay", weight_decay, 0)):
        if not (size >= least and math.isfinite(size)):
            raise InputError(f"soap: {name} is {size}, but it must be finite and not negative.")
    for name, count in (("every", every), ("largest", largest)):
        if not count >= 1:
            raise InputError(f"soap: {name} is {count}, but it must be a whole number of at least 1.")


# Leaves of one shape are stacked: a batched product starts once for all of them, and small ones are all start.


def _members(leaves: list[Array]) -> list[list[int]]:
    """The places of the leaves of each shape and dtype."""
    groups: dict[Any, list[int]] = {}
    for place, leaf in enumerate(leaves):
        groups.setdefault((leaf.shape, jnp.dtype(leaf.dtype)), []).append(place)
    return list(groups.values())


def _stacked(tree: PyTree) -> list[Array]:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return [jnp.stack([leaves[place] for place in places]) for places in _members(leaves)]


def _unstacked(stacks: list[Array], like: PyTree) -> PyTree:
    leaves, tree = jax.tree.flatten(like)
    for stack, places in zip(stacks, _members(leaves), strict=True):
        for row, place in enumerate(places):
            leaves[place] = stack[row]
    return jax.tree.unflatten(tree, leaves)


class _Plan(NamedTuple):
    """Which rows of which axes belong to a stack.

    **Fields:** `rows`, how many there are of each length and dtype; `places`, per stack and axis of a leaf the kind and
    its rows, or `None` for an axis that is not turned.
    """

    rows: dict[tuple[int, Any], int]
    places: list[list[tuple[tuple[int, Any], slice] | None]]

    def split(self, kinds: list[Array]) -> list[_Bases]:
        """What each stack has of the arrays, per axis."""
        of = dict(zip(self.rows, kinds, strict=True))
        return [[None if place is None else of[place[0]][place[1]] for place in row] for row in self.places]

    def joined(self, parts: list[_Bases]) -> list[Array]:
        """The arrays that `split` splits."""
        of: dict[Any, list[Array]] = {kind: [] for kind in self.rows}
        for places, row in zip(self.places, parts, strict=True):
            for place, part in zip(places, row, strict=True):
                if place is not None and part is not None:
                    of[place[0]].append(part)
        return [jnp.concatenate(found) for found in of.values()]


def _plan(stacks: list[Array], largest: int) -> _Plan:
    rows: dict[tuple[int, Any], int] = {}
    places: list[list[tuple[tuple[int, Any], slice] | None]] = []
    for count, shape, dtype in ((stack.shape[0], stack.shape[1:], jnp.dtype(stack.dtype)) for stack in stacks):
        places.append([])
        for length in shape:
            if len(shape) < 2 or not 1 < length <= largest:
                places[-1].append(None)
                continue
            start = rows.setdefault((length, dtype), 0)
            rows[length, dtype] = start + count
            places[-1].append(((length, dtype), slice(start, start + count)))
    return _Plan(rows, places)


def _learnt(
    stack: Stack, slope: Array, bases: _Bases, count: Int[Array, ""], settings: tuple[float, float, float]
) -> tuple[Stack, Array]:
    """The stack with one more gradient in its means, and the step that Adam takes in the basis, turned back."""
    b1, b2, eps = settings
    turning = any(basis is not None for basis in bases)
    seen = jnp.maximum(count if turning else count + 1, 1).astype(slope.dtype)
    here = _turned(slope, bases)
    mean = b1 * stack.mean + (1 - b1) * here
    square = b2 * stack.square + (1 - b2) * here**2
    move = (mean / (1 - b1**seen)) / (jnp.sqrt(square / (1 - b2**seen)) + eps)
    return Stack(mean, square), _turned(move, bases, back=True)


def _products(slope: Array, bases: _Bases) -> _Bases:
    """Per axis that is turned the products of the gradient with itself, summed over all its other axes."""
    letters = _LETTERS[: slope.ndim - 1]

    def along(letter: str) -> Array:
        pair = f"z{letters},z{letters.replace(letter, 'y')}->z{letter}y"
        return jnp.einsum(pair, slope, slope, precision=_EXACT)

    return [None if basis is None else along(letter) for letter, basis in zip(letters, bases, strict=True)]


def _turned(x: Array, bases: _Bases, back: bool = False) -> Array:
    letters = _LETTERS[: x.ndim - 1]
    for letter, basis in zip(letters, bases, strict=True):
        if basis is not None:
            pair = f"y{letter}" if back else f"{letter}y"
            x = jnp.einsum(f"z{letters},z{pair}->z{letters.replace(letter, 'y')}", x, basis, precision=_EXACT)
    return x


_Both = tuple[tuple[Stack, ...], tuple[Axes, ...]]


def _kept(stacks: tuple[Stack, ...], axes: tuple[Axes, ...]) -> _Both:
    return stacks, axes


def _first(stacks: tuple[Stack, ...], axes: tuple[Axes, ...]) -> _Both:
    """The eigenvectors of the first factors, when nothing was learnt in a basis yet."""
    return stacks, tuple(Axes(one.factors, _one_by_one(_eigenvectors, one.factors)) for one in axes)


def _improved(plan: _Plan, stacks: tuple[Stack, ...], axes: tuple[Axes, ...]) -> _Both:
    """The bases after a power iteration, and the means in them."""
    orders, changes, after = [], [], []
    for factors, old in axes:
        power = jnp.matmul(factors, old, precision=_EXACT)
        rank = jnp.argsort(-jnp.sum(old * power, axis=-2), axis=-1)
        # As a product with zeros and ones, exact, which compiles in a fraction of the time of a gather.
        order = jax.nn.one_hot(rank, old.shape[-1], axis=-2, dtype=old.dtype)
        new = _one_by_one(_orthonormal, jnp.matmul(power, order, precision=_EXACT))
        orders.append(order)
        changes.append(jnp.einsum("zab,zac->zbc", old, new, precision=_EXACT))
        after.append(Axes(factors, new))
    moved = [
        Stack(_turned(stack.mean, change), _turned(stack.square, order))
        for stack, change, order in zip(stacks, plan.split(changes), plan.split(orders), strict=True)
    ]
    return tuple(moved), tuple(after)


def _one_by_one(function: Callable[[Array], Array], matrices: Float[Array, "k n n"]) -> Float[Array, "k n n"]:
    """The function of each matrix in turn.

    A batch of them would be spread over the threads that wait for it: on as many cores as batches are under way, all
    threads then wait for ever (seen in jaxlib 0.10.2, whose LAPACK calls do that for every batch of large matrices).
    """
    return jax.lax.map(function, matrices)


def _eigenvectors(factor: Array) -> Array:
    return jnp.linalg.eigh(factor)[1][:, ::-1]


def _orthonormal(matrix: Array) -> Array:
    return jnp.linalg.qr(matrix)[0]
