"""What every sampler promises."""

from __future__ import annotations

from itertools import product
from statistics import NormalDist
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.energy import AbstractEnergy
from thalweg.core.solution import Outcome
from thalweg.core.space import AbstractSpace, Euclidean, Signs
from thalweg.methods.drive import Walk, drive
from thalweg.methods.registry import named
from thalweg.methods.sampler import AbstractSampler
from thalweg.methods.sampling import Recipe, Sampling, advance, begun, judge
from thalweg.methods.schedule import Constant
from thalweg.methods.trace import Trace
from thalweg.testing.promises import check_like, equal, promise

_CHAINS = 256
_STEPS = 300
_FORGOTTEN = 100  # of the steps, which a sampler may take to reach its law
_WARMUP = 40
_TEMPERATURE = 0.7
_FALSE_ALARMS = 1e-4  # nominal, for all averages together


class _Bowl(AbstractEnergy):
    """`(x - 1) A (x - 1) / 2` over any pytree, `A` tridiagonal with curvatures from 1.3 to 2.7.

    On signs `A` has no diagonal, so that the energy is linear in each of them.
    """

    diagonal: Float[Array, ""] = eqx.field(default=2.0, converter=jnp.asarray)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        away = ravel_pytree(x)[0] - 1
        return 0.5 * self.diagonal.astype(away.dtype) * jnp.sum(away**2) + 0.5 * jnp.sum(away[1:] * away[:-1])


def check_sampler(method: AbstractSampler | str, *, signs: bool = False) -> None:
    """Hold a sampler to its promises, on a quadratic landscape over a dict of float32 arrays where x64 is on.

    It cites its source; keeps structure, shapes and dtypes; moves every coordinate; does not change its constants
    after the warmup; ends with the same bits whatever the chunk size; and has the first and second moments of the
    Boltzmann law at a temperature of 0.7. The moments are averages over 200 steps of 256 chains that start in
    that law and are independent of each other: a right sampler fails for less than 1 in 1000 seeds (nominally 1e-4,
    doubled by the skewness of squares), and the seed is fixed. An error of the law is seen from about five standard
    errors on: 0.3 of a standard deviation where a chain hardly moves in 200 steps, less where it moves faster.

    **Arguments:** `method`, or its name; `signs`, for samplers that walk on signs, whose law is then enumerated.

    **Raises:** `AssertionError` with a sentence about the promise that was broken.
    """
    with jax.enable_x64(True):
        chosen = named("sample", method) if isinstance(method, str) else method
        cited = getattr(chosen, "bibtex", "")
        promise(isinstance(cited, str) and cited.lstrip().startswith("@"), "the sampler carries no BibTeX entry.")
        space: AbstractSpace = Signs() if signs else Euclidean()
        energy = _Bowl(0.0 if signs else 2.0)
        starts, law = _enumerated(energy) if signs else _gaussian(energy)
        one = jax.tree.map(lambda leaf: leaf[0], starts)
        recipe = Recipe(
            chosen.ready(energy, space, one), energy, space, Constant(_TEMPERATURE), Trace(_seen), _WARMUP, _STEPS
        )
        _check_dtypes(recipe, starts)
        ends = [_walked(recipe, starts, chunk) for chunk in (1000, 7)]
        _check_state(energy, ends[0])
        same = equal(*(eqx.filter(end.state, eqx.is_array) for end in ends))
        promise(same, "chunks of 7 steps end with other bits than chunks of 1000: the step is no pure function.")
        _check_law(ends[0].state, law)


def _gaussian(energy: _Bowl) -> tuple[PyTree, Float[np.ndarray, " moments"]]:
    """Starts with the law of the bowl, and its moments: it has the mean 1 and the covariance `T / A`."""
    flat, unravel = ravel_pytree(_shape())
    covariance = _TEMPERATURE * np.linalg.inv(np.asarray(jax.hessian(energy)(flat.astype(jnp.float64))))
    random = np.random.default_rng(0)
    starts = random.multivariate_normal(np.ones(flat.size), covariance, _CHAINS)
    law = np.concatenate([np.ones(flat.size), (covariance + 1)[np.triu_indices(flat.size)]])
    return jax.vmap(unravel)(jnp.asarray(starts, flat.dtype)), law


def _enumerated(energy: _Bowl) -> tuple[PyTree, Float[np.ndarray, " moments"]]:
    """Starts with the law of the signs, and its moments, from all of their states."""
    flat, unravel = ravel_pytree(_shape())
    states = np.array(list(product((-1.0, 1.0), repeat=flat.size)))
    chances = np.exp(-np.asarray(jax.vmap(energy)(jnp.asarray(states))) / _TEMPERATURE)
    chances /= chances.sum()
    starts = states[np.random.default_rng(0).choice(len(states), _CHAINS, p=chances)]
    return jax.vmap(unravel)(jnp.asarray(starts, flat.dtype)), chances @ _moments(states)


def _shape() -> PyTree:
    return {"a": jnp.ones(2, jnp.float32), "b": jnp.ones((1, 1), jnp.float32)}


def _moments(x: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch moments"]:
    """All coordinates and all products of two of them."""
    left, right = np.triu_indices(x.shape[-1])
    return np.concatenate([x, x[..., left] * x[..., right]], axis=-1)


def _seen(state: Any) -> PyTree:
    return state.x, state.tuning


def _check_dtypes(recipe: Recipe, starts: PyTree) -> None:
    """Without a compilation: a loop over steps of another type could not even begin."""

    def taken(x: PyTree, key: Key[Array, ""]) -> tuple[Any, Any]:
        degrees = jnp.asarray(_TEMPERATURE, jnp.float32)
        first = recipe.method.init(recipe.energy, recipe.space, x, degrees, key)
        return first, recipe.method.step(recipe.energy, recipe.space, first, degrees, key)

    one = jax.tree.map(lambda leaf: leaf[0], starts)
    for state, when in zip(
        jax.eval_shape(taken, one, jax.random.key(0)), ("at the start", "after a step"), strict=True
    ):
        check_like(state.x, one, f"the configuration {when}")
        dtype = state.value.dtype
        promise(dtype == jnp.float32, f"the energy of a float32 x is {dtype} {when}: cast with astype(x.dtype).")


def _walked(recipe: Recipe, starts: PyTree, chunk: int) -> Walk:
    first = begun(recipe, starts, jax.random.key(0))
    return drive(eqx.Partial(advance, recipe), first, _WARMUP + _STEPS, judge=judge, chunk=chunk)


def _check_state(energy: _Bowl, end: Walk) -> None:
    promise(
        int(end.outcome) == Outcome.STEPS.code,
        f"{_WARMUP + _STEPS} steps on a quadratic landscape do not stay finite: step {end.step + 1} breaks.",
    )
    state = end.state.state
    # Sampled differences may gather one rounding per step, of energies below 100.
    gap = float(jnp.abs(_heights(energy, state.x) - state.value).max())
    allowed = 100 * _STEPS * float(jnp.finfo(jnp.float32).eps)
    promise(gap <= allowed, f"the energy that the state holds is {gap:.1e} from that of its configuration.")
    tuning = [np.asarray(leaf)[:_STEPS] for leaf in jax.tree.leaves(end.state.records[1])]
    promise(all((leaf == leaf[0]).all() for leaf in tuning), "the constants still change after the warmup.")


@eqx.filter_jit
def _heights(energy: _Bowl, x: PyTree) -> Float[Array, " chains"]:
    return jax.vmap(energy)(x)


def _check_law(walk: Sampling, law: Float[np.ndarray, " moments"]) -> None:
    kept = [np.asarray(leaf, np.float64)[:_STEPS] for leaf in jax.tree.leaves(walk.records[0])]
    x = np.concatenate([leaf.reshape(_STEPS, _CHAINS, -1) for leaf in kept], axis=-1)
    promise((np.ptp(x, axis=0) > 0).any(0).all(), "some coordinate never moves.")
    means = _moments(x[_FORGOTTEN:]).mean(0)
    spread = means.std(0, ddof=1)
    known = spread > 0  # the square of a sign is known
    z = (means.mean(0) - law)[known] / (spread[known] / _CHAINS**0.5)
    worst, allowed = int(np.argmax(np.abs(z))), NormalDist().inv_cdf(1 - _FALSE_ALARMS / 2 / z.size)
    off = f"a moment is {means.mean(0)[known][worst]:.4g} instead of {law[known][worst]:.4g}, {abs(z[worst]):.1f}"
    promise(abs(z[worst]) <= allowed, f"the sampler has another law than Boltzmann's: {off} standard errors off.")
