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

    **Arguments:** `rtol` and `atol` of each step; `solver`, any Diffrax solver with an error estimate. The default is
    implicit, because flow lines end in valleys that are stiff, and solves a dense linear system of the size of `x`.
    For a large `x` pass an explicit one (`diffrax.Tsit5()`); it hovers over the minimum at the distance `rtol * |x|`,
    so that `relax` needs a `tol` above that distance times the stiffest curvature.

    **Source:** Kvaerno, BIT Numer. Math. 44, 489 (2004), for the default solver.
    """

    rtol: float = 1e-6
    atol: float = 1e-9
    solver: diffrax.AbstractSolver = diffrax.Kvaerno3()

    bibtex: ClassVar[str] = """@phdthesis{kidger2021on,
  title={On Neural Differential Equations}, author={Kidger, Patrick}, school={University of Oxford}, year={2021}}"""

    def init(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> FlowState:
        refuse_walls(space, "flow", (Box, Signs))
        value, push = look(energy, space, x)
        zero = jnp.zeros_like(value)
        terms = self._terms(energy, space)
        until, controller = self._controller().init(
            terms,
            zero,
            jnp.full_like(zero, jnp.inf),
            x,
            None,
            None,
            self._solver().func,
            self._order(terms),
        )
        solver, controller = jax.tree.map(_as_leaf, (self._solver().init(terms, zero, until, x, None), controller))
        return FlowState(x, value, push, zero, jnp.asarray(until), solver, controller, jnp.array(False))

    def step(self, energy: Landscape, space: AbstractSpace, state: FlowState) -> FlowState:
        terms = self._terms(energy, space)
        there, error, _, solver, _ = self._solver().step(
            terms, state.time, state.until, state.x, None, state.solver, state.jumped
        )
        keep, time, until, jumped, controller, _ = self._controller().adapt_step_size(
            state.time, state.until, state.x, there, None, error, self._order(terms), state.controller
        )
        solver, controller = jax.tree.map(_as_leaf, (solver, controller))
        x, solver = _choose(jnp.asarray(keep), (there, solver), (state.x, state.solver))
        value, push = look(energy, space, x)
        return FlowState(x, value, push, jnp.asarray(time), jnp.asarray(until), solver, controller, jnp.asarray(jumped))

    def _terms(self, energy: Landscape, space: AbstractSpace) -> diffrax.ODETerm:
        return diffrax.ODETerm(lambda t, x, args: space.project(x, force(energy, x)))

    def _solver(self) -> diffrax.AbstractSolver:
        # An implicit solver takes the tolerances of its equations from the step's; `diffeqsolve` fills them in
        # and we, who step by ourselves, must too.
        if not isinstance(self.solver, diffrax.AbstractImplicitSolver):
            return self.solver
        chord = diffrax.VeryChord(rtol=self.rtol, atol=self.atol)
        return eqx.tree_at(lambda solver: solver.root_finder, self.solver, chord)

    def _order(self, terms: diffrax.ODETerm) -> Any:
        return self._solver().error_order(terms)

    def _controller(self) -> diffrax.PIDController:
        return diffrax.PIDController(rtol=self.rtol, atol=self.atol)


def _as_leaf(leaf: Any) -> Any:
    # Diffrax starts some of its flags as Python booleans, which a loop cannot carry.
    return jnp.asarray(leaf) if isinstance(leaf, bool | int | float) else leaf


def _choose(keep: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    moving, fixed = eqx.partition(new, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a, b: jnp.where(keep, a, b), moving, eqx.filter(old, eqx.is_array)), fixed)
