"""L-BFGS with Optimistix's search, turned inside out so that it never calls the energy itself."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from thalweg.core.space import AbstractSpace, Box, Periodic, Signs
from thalweg.methods.descent import AbstractDescent, AbstractDescentState, refuse_walls, tree_dot, tree_equal


class LbfgsState(AbstractDescentState):
    """The accepted point, the next trial and Optimistix's own state."""

    x: PyTree
    value: Float[Array, ""]
    force: PyTree
    trial: PyTree
    solver: Any


class Lbfgs(AbstractDescent):
    """Limited-memory quasi-Newton descent with a backtracking Armijo search, through Optimistix.

    **Arguments:** `memory`, the number of secant pairs kept; `stride`, the longest move of one step
    (Euclidean norm over all leaves), which tames the first steps on stiff landscapes.

    **Source:** Byrd, Nocedal & Schnabel, Math. Program. 63, 129 (1994).
    """

    memory: int = 10
    stride: Float[Array, ""] = eqx.field(default=float("inf"), converter=jnp.asarray)

    bibtex: ClassVar[str] = """@article{byrd1994representations,
  title={Representations of quasi-{N}ewton matrices and their use in limited memory methods},
  author={Byrd, Richard H and Nocedal, Jorge and Schnabel, Robert B},
  journal={Mathematical Programming}, volume={63}, pages={129--156}, year={1994}}"""

    def init(self, space: AbstractSpace, x: PyTree, value: Float[Array, ""], force: PyTree) -> LbfgsState:
        refuse_walls(space, "lbfgs", (Box, Signs, Periodic))
        return self._afresh(x, value, force)

    def tell(self, space: AbstractSpace, state: LbfgsState, value: Float[Array, ""], force: PyTree) -> LbfgsState:
        told = self._asked(state, state.trial, value, force)
        # A search that has halved its step down to nothing followed a direction that rounding has spoilt:
        # forget the secant pairs once, and stall only if plain descent finds nothing either.
        spoilt = tree_equal(told.trial, told.x) & (told.solver.num_accepted_steps > 1)
        fresh = self._afresh(told.x, told.value, told.force)
        arrays, fixed = eqx.partition(told, eqx.is_array)
        chosen = jax.tree.map(lambda new, old: jnp.where(spoilt, new, old), eqx.filter(fresh, eqx.is_array), arrays)
        # A NaN is not a step to back away from: it must stand, so that the judge of the walk names it.
        standing = jnp.where(jnp.isnan(value), value, chosen.value)
        return eqx.combine(eqx.tree_at(lambda s: s.value, chosen, standing), fixed)

    def _afresh(self, x: PyTree, value: Float[Array, ""], force: PyTree) -> LbfgsState:
        shape = jax.ShapeDtypeStruct((), value.dtype)
        with _width_of(value):
            solver = self._solver().init(lambda y, args: (value, None), x, None, {}, shape, None, frozenset())
        return self._asked(LbfgsState(x, value, force, x, solver), x, value, force)

    def _solver(self) -> optx.LBFGS:
        # The tolerances are ours (`relax(tol=...)`), so the solver's own never end the walk.
        return optx.LBFGS(rtol=0.0, atol=0.0, history_length=self.memory)

    def _asked(self, state: LbfgsState, at: PyTree, value: Float[Array, ""], force: PyTree) -> LbfgsState:
        rise = _rise(state, at, value, force)

        def plane(y: PyTree, args: Any) -> tuple[Float[Array, ""], None]:
            # Optimistix linearises its function at the trial point: a plane with the told value and slope
            # is all that it can see of the landscape.
            return rise - tree_dot(force, jax.tree.map(jnp.subtract, y, at)), None

        # The static part of the solver's state (traced linear operators) keeps its form from step to step.
        fixed = eqx.partition(state.solver, eqx.is_array)[1]
        with _width_of(value):
            x, solver, _ = self._solver().step(plane, state.x, None, {}, state.solver, frozenset())
        solver = eqx.combine(eqx.filter(solver, eqx.is_array), fixed)
        trial = self._shortened(x, solver.y_eval)
        solver = eqx.tree_at(lambda s: s.y_eval, solver, trial)
        slope = jax.tree.map(jnp.negative, solver.f_info.grad)
        accepted = solver.num_accepted_steps > state.solver.num_accepted_steps
        solver = eqx.tree_at(lambda s: s.f_info.f, solver, jnp.zeros_like(value))
        return LbfgsState(x, jnp.where(accepted, value, state.value), slope, trial, solver)

    def _shortened(self, x: PyTree, trial: PyTree) -> PyTree:
        step = jax.tree.map(jnp.subtract, trial, x)
        length = jnp.sqrt(tree_dot(step, step))
        bound = self.stride.astype(length.dtype)
        scale = jnp.where(length > bound, bound / length, jnp.ones_like(length))
        return jax.tree.map(lambda here, move: here + scale.astype(move.dtype) * move, x, step)


def _rise(state: LbfgsState, at: PyTree, value: Float[Array, ""], force: PyTree) -> Float[Array, ""]:
    """How much higher the trial point lies than the standing one, also where rounding hides it.

    Close to a minimum the decrease of a good step falls below the rounding of the energy, and an Armijo rule would
    refuse it. The mean of the two forces along the step (the trapezoidal rule) still sees it: the idea of
    Hager & Zhang, SIAM J. Optim. 16, 170 (2005), section 4.
    """
    move = jax.tree.map(jnp.subtract, at, state.x)
    by_force = -0.5 * (tree_dot(state.force, move) + tree_dot(force, move))
    hidden = jnp.abs(value - state.value) <= 8 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    return jnp.where(hidden, by_force, value - state.value)


def _width_of(value: Float[Array, ""]) -> Any:
    # Optimistix makes arrays of the default dtype, which where x64 is on would widen a float32 walk.
    return jax.enable_x64(value.dtype == jnp.float64)
