"""Gradient flow: the continuous path of steepest descent, integrated by Diffrax."""

from __future__ import annotations

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from thalweg.core.energy import Landscape, force
from thalweg.core.space import AbstractSpace, Box, Signs
from thalweg.methods.descent import AbstractFlow, look, refuse_walls


class FlowState(eqx.Module):
    """The point on the flow line, its time, and the integrator's own state."""

    x: PyTree
    value: Float[Array, ""]
    force: PyTree
    time: Float[Array, ""]
    until: Float[Array, ""]
    solver: Any
    controller: Any
    jumped: Bool[Array, ""]


class GradientFlow(AbstractFlow):
    """The solution of `dx/dt = -dE/dx` from the start, one adaptive step of the integrator at a time.

    **Arguments:** `rtol` of each step, by default 1e-6 or a thousand roundings of the dtype, whichever is more, and
    `atol`, by default a thousandth of it; `solver`, any Diffrax solver with an error estimate. The default is
    implicit, because flow lines end in valleys that are stiff, and solves a dense linear system of the size of `x`.
    For a large `x` pass an explicit one (`diffrax.Tsit5()`); it hovers over the minimum at the distance `rtol * |x|`,
    so that `relax` needs a `tol` above that distance times the stiffest curvature.

    **Source:** Kvaerno, BIT Numer. Math. 44, 489 (2004), for the default solver.
    """

    rtol: float | None = None
    atol: float | None = None
    solver: diffrax.AbstractSolver = diffrax.Kvaerno3()

    bibtex: ClassVar[str] = """@phdthesis{kidger2021on,
  title={On Neural Differential Equations}, author={Kidger, Patrick}, school={University of Oxford}, year={2021}}"""

    def init(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> FlowState:
        refuse_walls(space, "flow", (Box, Signs))
        value, push = look(energy, space, x)
        zero, terms = jnp.zeros_like(value), _terms(energy, space)
        solver, controller = self._tools(value.dtype)
        endless, order = jnp.full_like(zero, jnp.inf), solver.error_order(terms)
        until, control = controller.init(terms, zero, endless, x, None, None, solver.func, order)
        inner, control = jax.tree.map(_as_leaf, (solver.init(terms, zero, until, x, None), control))
        return FlowState(x, value, push, zero, jnp.asarray(until), inner, control, jnp.array(False))

    def step(self, energy: Landscape, space: AbstractSpace, state: FlowState) -> FlowState:
        terms, (solver, controller) = _terms(energy, space), self._tools(state.value.dtype)
        there, error, _, inner, _ = solver.step(
            terms, state.time, state.until, state.x, None, state.solver, state.jumped
        )
        order: Any = solver.error_order(terms)
        keep, time, until, jumped, control, _ = controller.adapt_step_size(
            state.time, state.until, state.x, there, None, error, order, state.controller
        )
        inner, control = jax.tree.map(_as_leaf, (inner, control))
        x, inner = _choose(jnp.asarray(keep), (space.wrap(there), inner), (state.x, state.solver))
        value, push = look(energy, space, x)
        return FlowState(x, value, push, jnp.asarray(time), jnp.asarray(until), inner, control, jnp.asarray(jumped))

    def _tools(self, dtype: Any) -> tuple[diffrax.AbstractSolver, diffrax.PIDController]:
        rtol = max(1e-6, 1e3 * float(jnp.finfo(dtype).eps)) if self.rtol is None else self.rtol
        atol = 1e-3 * rtol if self.atol is None else self.atol
        solver = self.solver
        # An implicit solver takes the tolerances of its equations from the step's; `diffeqsolve` fills them in
        # and we, who step by ourselves, must too.
        if isinstance(solver, diffrax.AbstractImplicitSolver):
            chord = diffrax.VeryChord(rtol=rtol, atol=atol)
            solver = eqx.tree_at(lambda implicit: implicit.root_finder, solver, chord)
        return solver, diffrax.PIDController(rtol=rtol, atol=atol)


def _terms(energy: Landscape, space: AbstractSpace) -> diffrax.ODETerm:
    return diffrax.ODETerm(lambda t, x, args: space.project(x, force(energy, x)))


def _as_leaf(leaf: Any) -> Any:
    # Diffrax starts some of its flags as Python booleans, which a loop cannot carry.
    return jnp.asarray(leaf) if isinstance(leaf, bool | int | float) else leaf


def _choose(keep: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    moving, fixed = eqx.partition(new, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a, b: jnp.where(keep, a, b), moving, eqx.filter(old, eqx.is_array)), fixed)
