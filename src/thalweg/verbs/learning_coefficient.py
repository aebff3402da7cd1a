"""`learning_coefficient`: how degenerate a minimum of a loss is, as the data see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.checks import check_scalar, fits, floating, positive, traced
from thalweg.core.energy import AbstractEnergy, Landscape
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Solution
from thalweg.core.space import AbstractSpace, Euclidean, Frozen, Signs, innermost
from thalweg.diagnostics.learning_coefficient import Coefficient, coefficient
from thalweg.methods.curvature import projection_at
from thalweg.methods.data import Batches, Whole
from thalweg.methods.hamiltonian import Hmc, Nuts
from thalweg.methods.sampler import AbstractSampler
from thalweg.methods.stochastic_langevin import AbstractBatchedEnergy, StochasticLangevin
from thalweg.methods.trace import Trace
from thalweg.verbs.sample import sample

_WHERE = "learning_coefficient"
_TARGET = 0.95  # acceptance: at 0.8 the moves diverge in the steep parts of a singular valley, and the value is too low


def learning_coefficient(
    loss: Callable[..., Float[Array, ""]],
    x0: PyTree,
    *,
    n: float,
    key: Key[Array, ""],
    beta: float | None = None,
    localisation: float = 1.0,
    data: Batches | Whole | None = None,
    method: AbstractSampler | None = None,
    steps: int = 1000,
    warmup: int = 500,
    chains: int = 4,
    space: AbstractSpace | None = None,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Coefficient:
    """The local learning coefficient of a minimum: `n beta (E[L] - L(x0))` under `exp(-n beta L - gamma/2 |w - x0|^2)`.

    Where all of `d` coordinates are curved it is `d/2`, less what the localisation holds: along a curvature `c` it is
    `1/2 n beta c / (n beta c + gamma)`. At a singular minimum it nears the real log canonical threshold with `n`; where
    that has a multiplicity above one, only as fast as `1 / log n`.

    **Arguments:**

    - `loss`: the mean loss over the data, for which `n L` is a negative log-likelihood, as `loss(w)`; with `data`, as
      `loss(w, batch)`, a mean over the items of the batch.
    - `x0`: a minimum, a pytree of floats.
    - `n`: the number of items in the data; `beta`, the inverse temperature, by default `1 / log n`.
    - `localisation`: the number `gamma >= 0`, in units of `1 / x^2`.
    - `method`: by default `Nuts(target=0.95)`, or `Hmc` with that target where coordinates are frozen; both see all the
      data, and follow ridges that grow steeper and steeper.
      `StochasticLangevin(step_size)` sees a batch in each step, and compares it with the same batch at `x0`.
    - `key`, `steps`, `warmup`, `chains`, `space`, `on_chunk`: as in `sample`; all chains start at `x0`.

    **Returns:** a `Coefficient`.

    **Raises:** `InputError` for unusable arguments; `WalkError` for a chain that broke.

    **Source:** Lau, Furman, Wang, Murfet & Wei, arXiv:2308.12108 (2023); Watanabe, J. Mach. Learn. Res. 14, 867 (2013).
    """
    x, beta = _checked(loss, x0, n, beta, localisation, data, key)
    space = Euclidean() if space is None else space
    fits(space, x, _WHERE)
    if isinstance(innermost(space), Signs):
        raise InputError(f"{_WHERE}: a loss on signs has no learning coefficient: pass coordinates that vary.")
    if method is None:
        method = Hmc(leapfrogs=5, target=_TARGET) if isinstance(space, Frozen) else Nuts(target=_TARGET)
    spring = {"strength": n * beta, "pull": float(localisation), "space": space}
    energy = _energy(loss, x, data, spring, isinstance(method, StochasticLangevin))
    trace = Trace(_Look(energy, jnp.asarray(_free(space, x), jnp.result_type(*jax.tree.leaves(x)))))
    settings: dict[str, Any] = {"steps": steps, "warmup": warmup, "chains": chains, "space": space}
    end = sample(energy, x, method, key=key, trace=trace, on_chunk=on_chunk, **settings)
    return _judged(end, beta, steps, exact=isinstance(energy, _Localised))


def _energy(loss: Any, x: PyTree, data: Any, spring: dict[str, Any], batched: bool) -> Any:
    """What is sampled: by batches where the method sees no more."""
    if batched:
        if data is None:
            raise InputError(f"{_WHERE}: StochasticLangevin needs batches: pass data=Batches(arrays, size).")
        return _Batched(loss=loss, centre=x, data=data, **spring)
    whole: Any = loss if data is None else eqx.Partial(_on_all, loss, data)
    check_scalar(whole, x, _WHERE)
    return _Localised(whole, x, _height(whole, x), **spring)


def _judged(end: Solution, beta: float, steps: int, exact: bool) -> Coefficient:
    seen: Any = end.trace
    return coefficient(
        np.asarray(seen["excess"]),
        beta=beta,
        acceptance=float(jnp.mean(end.stats["acceptance"])),
        divergences=float(np.mean(end.stats.get("divergences", 0))) / steps,
        shares=np.asarray(seen["share"]) if "share" in seen else None,
        exact=exact,
    )


class _Localised(AbstractEnergy):
    """The excess of the loss over the start, times `n beta`, and the spring to the start."""

    loss: Landscape
    centre: PyTree
    level: Float[Array, ""]
    strength: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    pull: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    space: AbstractSpace

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        value = self.loss(x)
        excess = self.strength.astype(value.dtype) * (value - self.level)
        return excess + _spring(self.space, self.centre, self.pull, x).astype(value.dtype)


class _Batched(AbstractBatchedEnergy):
    """The same, seen by a batch: compared with the same batch at the start, so that its own height cancels."""

    loss: Callable[[PyTree, PyTree], Float[Array, ""]]
    centre: PyTree
    strength: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    pull: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    space: AbstractSpace
    data: Batches | Whole

    def on(self, x: PyTree, batch: PyTree) -> Float[Array, ""]:
        value = self.loss(x, batch) - self.loss(self.centre, batch)
        return self.strength.astype(value.dtype) * value + _spring(self.space, self.centre, self.pull, x)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.on(x, self.data.arrays)


class _Look(eqx.Module):
    """What is recorded of a chain: its excess, and where the force is known, the share of a coordinate."""

    energy: _Localised | _Batched
    free: Float[Array, ""]

    def __call__(self, state: Any) -> dict[str, Array]:
        energy = self.energy
        spring = _spring(energy.space, energy.centre, energy.pull, state.x)
        seen = {"excess": state.value - spring.astype(state.value.dtype)}
        if hasattr(state, "force") and isinstance(innermost(energy.space), Euclidean):
            step = energy.space.displacement(energy.centre, state.x)
            work = jax.tree.map(lambda along, push: -jnp.sum(along * push), step, state.force)
            seen["share"] = jnp.sum(jnp.stack(jax.tree.leaves(work))) / self.free
        return seen


def _spring(space: AbstractSpace, centre: PyTree, pull: Float[Array, ""], x: PyTree) -> Float[Array, ""]:
    step = space.displacement(centre, x)
    squares = jnp.sum(jnp.stack([jnp.sum(leaf**2) for leaf in jax.tree.leaves(step)]))
    return 0.5 * pull.astype(squares.dtype) * squares


def _on_all(loss: Callable[[PyTree, PyTree], Float[Array, ""]], data: Batches | Whole, x: PyTree) -> Float[Array, ""]:
    return loss(x, data.arrays)


@eqx.filter_jit
def _height(loss: Landscape, x: PyTree) -> Float[Array, ""]:
    return loss(x)


def _free(space: AbstractSpace, x: PyTree) -> float:
    flat = ravel_pytree(x)[0]
    if not isinstance(innermost(space), Euclidean):
        return float(flat.size)
    return max(1.0, float(jnp.sum(jnp.abs(projection_at(space, x)(jnp.ones_like(flat))))))


def _checked(loss: Any, x0: PyTree, n: Any, beta: Any, localisation: Any, data: Any, key: Any) -> tuple[PyTree, float]:
    if traced(loss, x0, n, beta, localisation, data, key):
        raise InputError(f"{_WHERE}: its draws are read on the host, not inside jit or vmap: call it from outside.")
    x = floating(x0, _WHERE)
    if not n > 1:
        raise InputError(f"{_WHERE}: n is {n}, but it must be the number of items in the data, at least 2.")
    if not (localisation >= 0 and np.isfinite(localisation)):
        raise InputError(f"{_WHERE}: localisation is {localisation}, but it must be a number that is not negative.")
    if data is not None and not isinstance(data, Batches | Whole):
        raise InputError(f"{_WHERE}: data is a {type(data).__name__}: wrap it in Batches(arrays, size).")
    beta = 1 / float(np.log(n)) if beta is None else float(beta)
    positive(beta, "beta", _WHERE)
    return x, beta
