"""How fast identical units part under any Optax optimiser: the linearised training step against what happens."""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from thalweg.core.errors import InputError
from thalweg.learning.model.pair import Pair
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.symmetry.descend import descend
from thalweg.learning.tasks.symmetry.saddle import Saddle
from thalweg.learning.tasks.symmetry.tangent import follow, tangent_update

Optimiser = Literal["gd", "momentum", "adam"]
MOMENTUM = 0.9
NO_RATE = 1e-9  # below this the eigenvalue is rounding, as the tolerance of the saddle's rest leaves it
_LONGEST = 5_000
_LONGEST_ON_HOST = 500  # each step is a call of somebody else's program
_FOLLOWED = 1_000


class Growth(NamedTuple):
    """How fast a small difference between two units grows, per step, in theory and as measured.

    **Fields:** the rates; their `relative_error`, `None` where theory says that nothing grows (ReLU away from its
    kinks); `at`, whether they are of the saddle or along a training; `tangent_error`, along a training the distance
    between the difference that was found and the predicted one, relative to it.
    """

    predicted: float
    measured: float
    relative_error: float | None
    at: Literal["saddle", "trajectory"] = "saddle"
    tangent_error: float | None = None


class Leading(NamedTuple):
    """The eigenvalue of largest modulus of the linearised step, with its right and left vectors [1 + s, k].

    They are in the coordinates of the antisymmetric modes: first the params, then each of the optimiser's buffers.
    """

    value: complex
    right: np.ndarray
    left: np.ndarray


@functools.lru_cache
def optimiser_of(name: Optimiser, eta: float) -> optax.GradientTransformation:
    """Gradient descent, with momentum 0.9, or Adam; the same object for the same rate, which compiles once.

    **Raises:** `InputError`.
    """
    if eta <= 0:
        raise InputError(f"the learning rate is {eta}, but it must be positive.")
    made = {
        "gd": lambda: optax.sgd(eta),
        "momentum": lambda: optax.sgd(eta, momentum=MOMENTUM),
        "adam": lambda: optax.adam(eta),
    }
    if name not in made:
        raise InputError(f"there is no optimiser {name!r}: choose one of {', '.join(made)}.")
    return made[name]()


def linearised(saddle: Saddle, rule: optax.GradientTransformation) -> np.ndarray:
    """The training step `T(params, optimiser state)` at the saddle, linearised where the pair would part.

    The gradient changes along an antisymmetric mode by its eigenvalue; the rest is a jvp through the optimiser's update
    at its initial state, in which it would be found at rest. Buffers with the shape of the params (momentum, averages
    of gradients) part along with them. For units of more than 256 numbers only the lowest modes are kept, which is
    exact for rules that turn with the coordinates, such as gradient descent and momentum.

    **Returns:** a matrix `[(1 + s) k, (1 + s) k]` for `s` such buffers and `k` modes. Adam divides by the square root
    of an average of squares that is zero at rest, where it has no derivative: its matrix is not finite.
    """
    state = rule.init(saddle.params)
    buffers = len(_mirrors(state, saddle.params)[1])
    modes = jnp.asarray(saddle.vectors)
    inputs = jnp.eye((1 + buffers) * len(modes), dtype=modes.dtype).reshape(-1, 1 + buffers, len(modes))
    columns = _columns(rule, saddle.params, state, saddle.pair, modes, jnp.asarray(saddle.eigenvalues), inputs)
    return np.asarray(columns).reshape(len(inputs), -1).T


def leading(step: np.ndarray, modes: int) -> Leading:
    """The eigenvalue of largest modulus of a linearised step, with vectors whose product is one."""
    values, right = np.linalg.eig(step)
    at = int(np.argmax(np.abs(values)))
    left = np.linalg.pinv(right)[at]
    return Leading(complex(values[at]), right[:, at].reshape(-1, modes), left.reshape(-1, modes))


def measure_at_saddle(
    problem: Problem, saddle: Saddle, rule: optax.GradientTransformation, decay: float, *, nudge: float | None = None
) -> Growth | None:
    """Compare the growth of a nudge at the saddle with the spectral radius of the linearised training step.

    Gradient descent has `log(1 - eta h)` per step. The walk is as long as the nudge needs to grow or shrink a
    hundredfold, at most 5,000 steps (500 of a host field): far enough to be measured, near enough to the saddle for the
    linear law.

    **Returns:** `None` where the step has no derivative at rest.
    """
    step = linearised(saddle, rule)
    if not np.isfinite(step).all():
        return None
    found = leading(step, len(saddle.vectors))
    predicted = float(np.log(abs(found.value)))
    dtype = saddle.vectors.dtype
    nudge = float(np.finfo(dtype).eps) ** 0.5 if nudge is None else nudge
    longest = _LONGEST_ON_HOST if problem.on_host else _LONGEST
    steps = int(np.clip(np.log(100) / max(abs(predicted), 1e-12), 10, longest))
    lifted = nudge * (found.right / np.abs(found.right[0]).max()).real @ saddle.vectors
    lifted = jnp.asarray(lifted, dtype)
    start, state = saddle.pair.moved(saddle.params, lifted[0]), rule.init(saddle.params)
    leaves, places, structure = _mirrors(state, saddle.params)
    for place, along in zip(places, lifted[1:], strict=True):
        leaves[place] = saddle.pair.moved(leaves[place], along)
    begun = optax.GradientTransformation(eqx.Partial(_given, jax.tree.unflatten(structure, leaves)), rule.update)
    walk = descend(problem.at(decay), start, begun, steps, observe=_params_and_state, every=steps)
    ends = [_amplitude(saddle, found, jax.tree.map(lambda leaf, at=at: leaf[at], walk.trace)) for at in (0, -1)]
    measured = float(np.log(ends[1] / ends[0])) / steps
    return Growth(predicted, measured, abs(measured / predicted - 1) if abs(predicted) > NO_RATE else None)


def along_a_training(
    problem: Problem,
    saddle: Saddle,
    rule: optax.GradientTransformation,
    decay: float,
    *,
    steps: int = 1_000,
    seed: int = 0,
    amplitude: float | None = None,
) -> Growth:
    """Compare a nudge's fate along a training of the tied network with the product of its tangent maps.

    This serves every optimiser, Adam included, whose step has no derivative at rest but has one while the gradient
    lives. The training starts at the problem's own random start; rates are means over it.

    **Arguments:** `steps`, at most a thousand are taken; `amplitude` of the nudge along the saddle's softest direction.
    """
    start = problem.start(jax.random.key(seed))
    size = float(np.finfo(saddle.vectors.dtype).eps) ** 0.5 if amplitude is None else amplitude
    few = min(steps, _FOLLOWED)
    found = follow(problem.at(decay), start, saddle.pair, saddle.softest, rule, steps=few, amplitude=size)
    predicted, measured = (
        float(np.log(np.linalg.norm(end) / np.linalg.norm(found.start))) / max(found.steps, 1)
        for end in (found.predicted, found.measured)
    )
    error = abs(measured / predicted - 1) if abs(predicted) > NO_RATE else None
    return Growth(predicted, measured, error, "trajectory", found.error)


def _params_and_state(params: PyTree, state: PyTree, loss: Array) -> tuple[PyTree, PyTree]:
    return params, state


def _given(state: PyTree, params: PyTree) -> PyTree:
    return state


def _amplitude(saddle: Saddle, found: Leading, record: tuple[PyTree, PyTree]) -> float:
    params, state = record
    leaves, places, _ = _mirrors(state, saddle.params)
    rows = np.asarray([saddle.pair.apart(each) for each in (params, *(leaves[place] for place in places))])
    return abs(complex(np.sum(found.left * (rows @ saddle.vectors.T))))


def _mirrors(state: PyTree, params: PyTree) -> tuple[list[Any], list[int], Any]:
    """An optimiser's state flattened down to its buffers of the form of the params, and the places of these."""
    form = jax.tree.structure(params)
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]

    def is_mirror(node: Any) -> bool:
        return jax.tree.structure(node) == form and [jnp.shape(leaf) for leaf in jax.tree.leaves(node)] == shapes

    leaves, structure = jax.tree.flatten(state, is_leaf=is_mirror)
    return leaves, [place for place, leaf in enumerate(leaves) if is_mirror(leaf)], structure


@eqx.filter_jit
def _columns(
    rule: Any, params: PyTree, state: PyTree, pair: Pair, modes: Array, curvatures: Array, inputs: Float[Array, "c b k"]
) -> Float[Array, "c b k"]:
    still = jax.tree.map(jnp.zeros_like, params)
    leaves, places, structure = _mirrors(state, params)

    def lifted(weights: Array) -> PyTree:
        return pair.moved(still, weights @ modes)

    def image(weights: Float[Array, "b k"]) -> Float[Array, "b k"]:
        moving = [jax.tree.map(jnp.zeros_like, leaf) for leaf in leaves]
        for place, row in zip(places, weights[1:], strict=True):
            moving[place] = lifted(row)
        along = (lifted(curvatures * weights[0]), jax.tree.unflatten(structure, moving), lifted(weights[0]))
        updates, after = tangent_update(rule, (still, state, params), along)
        turned, at, _ = _mirrors(after, params)
        parts = (updates, *(turned[place] for place in at))
        rows = jnp.stack([modes @ pair.apart(part) for part in parts])
        return rows.at[0].add(weights[0])

    return jax.vmap(image)(inputs)
