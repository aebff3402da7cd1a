"""What every method promises."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.energy import AbstractEnergy, Landscape
from thalweg.core.solution import Outcome, Solution
from thalweg.core.space import AbstractSpace, Euclidean
from thalweg.landscapes import MullerBrown
from thalweg.methods.descent import AbstractDescent, AbstractFlow, look
from thalweg.methods.drive import drive
from thalweg.methods.registry import named
from thalweg.testing.promises import check_like, equal, promise, size
from thalweg.verbs.relax import relax

_ARRIVED = 1e-6  # the bound on the force at which the checked walks end; their energies are below 150, in float64


class _Quadratic(AbstractEnergy):
    """A bowl over any pytree with its minimum at 1, as stiff as the Muller-Brown landscape: 200 to 1000."""

    stiffest: Float[Array, ""] = eqx.field(default=1000.0, converter=jnp.asarray)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        flat = ravel_pytree(x)[0]
        stiffness = jnp.linspace(200.0, self.stiffest.astype(flat.dtype), flat.size, dtype=flat.dtype)
        return 0.5 * jnp.sum(stiffness * (flat - 1) ** 2)


def check_method(method: AbstractDescent | AbstractFlow | str) -> None:
    """Hold a relaxation method to its promises, in float64.

    It cites its source; finds the minimum of a bowl over a dict of arrays, and the published one of the
    Muller-Brown landscape; ends with the same bits whatever the chunk size; and arrives at the same place when
    walks are batched with `vmap`.

    **Arguments:** `method`, or its name.

    **Raises:** `AssertionError` with a sentence about the promise that was broken.
    """
    with jax.enable_x64(True):
        chosen = named("relax", method) if isinstance(method, str) else method
        cited = getattr(chosen, "bibtex", "")
        promise(isinstance(cited, str) and cited.lstrip().startswith("@"), "the method carries no BibTeX entry.")
        _check_bowl(chosen)
        _check_chunks(chosen)
        _check_batch(chosen)


def _check_bowl(method: AbstractDescent | AbstractFlow) -> None:
    start = {"a": jnp.zeros(3), "b": jnp.full((2, 2), 2.0)}
    end = relax(_Quadratic(), start, method, tol=_ARRIVED, throw=False)
    promise(end.done, f"the walk into a bowl did not arrive: {end.sentence}")
    check_like(end.value, start, "the end of the walk into a bowl")
    # The softest direction has a stiffness above 1, so a force below the bound is a distance below the bound.
    off = size(jax.tree.map(lambda leaf: leaf - 1, end.value))
    promise(off <= _ARRIVED, f"the walk into a bowl says that it arrived, but ends {off:.1e} from the minimum.")


def _check_batch(method: AbstractDescent | AbstractFlow) -> None:
    starts = jnp.array([[0.6, 0.0], [0.65, 0.05]])
    alone = [relax(MullerBrown(), start, method, tol=_ARRIVED, throw=False) for start in starts]
    for end in alone:
        promise(end.done, f"the walk on the Muller-Brown landscape did not arrive: {end.sentence}")
        # Six published decimals.
        gap = abs(float(end.energy) + 108.166724)
        promise(gap < 1e-6, f"the walk on the Muller-Brown landscape ends {gap:.1e} above the published minimum.")
    batched: Solution = jax.vmap(lambda x: relax(MullerBrown(), x, method, tol=_ARRIVED, throw=False))(starts)
    promise(batched.done, f"under vmap the walk on the Muller-Brown landscape did not arrive: {batched.sentence}")
    softest = float(jnp.linalg.eigvalsh(jax.hessian(MullerBrown())(alone[0].value))[0])
    apart = float(jnp.abs(batched.value - jnp.stack([end.value for end in alone])).max())
    # Both ends have a force below the bound: each is at most bound / stiffness from the minimum, to first order.
    promise(apart <= 3 * _ARRIVED / softest, f"under vmap the walk ends {apart:.1e} from where it ends alone.")


def _check_chunks(method: AbstractDescent | AbstractFlow) -> None:
    energy, space = MullerBrown(), Euclidean()
    start = jnp.array([0.6, 0.0])
    first = _begun(method, energy, space, start)
    step = eqx.Partial(_advance, method, energy, space)
    ends = [drive(step, first, 30, judge=_judge_value, chunk=chunk) for chunk in (1, 7, 1000)]
    promise(
        int(ends[0].outcome) == Outcome.STEPS.code,
        f"30 steps of the method on the Muller-Brown landscape do not stay finite: step {ends[0].step + 1} breaks.",
    )
    for length, end in zip((7, 1000), ends[1:], strict=True):
        same = equal(eqx.filter(end.state, eqx.is_array), eqx.filter(ends[0].state, eqx.is_array))
        promise(same, f"chunks of {length} steps end with other bits than chunks of 1: the step is no pure function.")


@eqx.filter_jit
def _begun(method: AbstractDescent | AbstractFlow, energy: Landscape, space: AbstractSpace, x: PyTree) -> Any:
    if isinstance(method, AbstractFlow):
        return method.init(energy, space, x)
    return method.init(space, x, *look(energy, space, x))


def _advance(method: AbstractDescent | AbstractFlow, energy: Landscape, space: AbstractSpace, state: Any) -> Any:
    if isinstance(method, AbstractFlow):
        return method.step(energy, space, state)
    return method.tell(space, state, *look(energy, space, state.trial))


def _judge_value(state: Any) -> Int[Array, ""]:
    return jnp.where(jnp.isfinite(state.value), Outcome.WALKING.code, Outcome.NONFINITE.code)
