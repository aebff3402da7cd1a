"""Signs that see their local field: whole classes of signs that do not see each other move at once."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.checks import traced
from thalweg.core.energy import Landscape, value_and_force
from thalweg.core.errors import InputError
from thalweg.core.space import AbstractSpace, Signs, innermost
from thalweg.methods.colouring import colour_classes, refuse_crooked, refuse_improper
from thalweg.methods.sampler import AbstractSampler, AbstractSamplerState, free_step, metropolis_accepts


class HeatBathState(AbstractSamplerState):
    """The signs and their energy."""

    x: PyTree
    value: Float[Array, ""]
    accepted: Float[Array, ""]
    tuning: None
    counts: None


class HeatBath(AbstractSampler):
    """One sweep over all signs of a multilinear energy in each step, class by class.

    The local field of a sign is the force on it, so a step costs as many gradients as there are classes: few where
    every sign sees few others, as many as signs where each sees all.

    **Arguments:** `colours`, whole numbers from zero with the structure of `x` (or over the raveled `x`): signs of the
    same number must not see each other; by default they are found from the second derivatives. `rule`, `heat_bath`
    (a sign forgets its past) or `metropolis` (a sign flips with probability `min(1, exp(-dE/T))`, and 1/2 if dE = 0).

    **Source:** Geman & Geman, IEEE Trans. Pattern Anal. Mach. Intell. 6, 721 (1984).
    """

    colours: PyTree[Int[Array, "..."]] = eqx.field(
        default=None, converter=lambda tree: None if tree is None else jax.tree.map(jnp.asarray, tree)
    )
    rule: str = "heat_bath"

    bibtex: ClassVar[str] = """@article{geman1984stochastic,
  title={Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images},
  author={Geman, Stuart and Geman, Donald},
  journal={IEEE Transactions on Pattern Analysis and Machine Intelligence}, volume={6}, pages={721--741},
  year={1984}}"""

    def __check_init__(self):
        if self.rule not in ("heat_bath", "metropolis"):
            raise InputError(f"sample: HeatBath knows no rule {self.rule!r}: choose 'heat_bath' or 'metropolis'.")

    def ready(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> HeatBath:
        if not isinstance(innermost(space), Signs):
            raise InputError("sample: HeatBath moves signs: pass space=Signs(), or choose another method.")
        if not traced(x, energy):
            refuse_crooked(energy, x)
        size = ravel_pytree(x)[0].size
        if self.colours is None:
            if traced(x, energy):
                raise InputError(
                    "sample: colours cannot be found inside jit or vmap: pass HeatBath(colours=...) there."
                )
            return HeatBath(colour_classes(energy, x), self.rule)
        colours = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(self.colours)])
        if colours.shape != (size,):
            raise InputError(f"sample: HeatBath has colours for {colours.size} signs, but x has {size}.")
        if not traced(x, energy, colours):
            refuse_improper(energy, x, np.asarray(colours))
        return HeatBath(colours.astype(jnp.int32), self.rule)

    def init(self, energy, space, x, temperature, key) -> HeatBathState:
        value = energy(x)
        return HeatBathState(x, value, jnp.ones_like(value), None, None)

    def step(self, energy, space, state: HeatBathState, temperature, key) -> HeatBathState:
        flat, unravel = ravel_pytree(state.x)
        free = ravel_pytree(free_step(space, state.x, jax.tree.map(jnp.ones_like, state.x)))[0] != 0
        # Every sign is looked at once in a sweep: one uniform number each will do.
        uniform = jax.random.uniform(key, flat.shape, flat.dtype)

        def one_class(colour, carry):
            x, value, moved = carry
            height, field = value_and_force(energy, unravel(x))
            field = ravel_pytree(field)[0]
            up, odds = turned(self.rule, x, field, temperature.astype(x.dtype), uniform)
            x_new = jnp.where(free & (self.colours == colour), up, x)
            # Exact, because the signs of a class do not see each other; begun afresh in each sweep, because
            # differences over a long walk would gather rounding.
            begin = jnp.where(colour == 0, height, value)
            step = jnp.sum(field * (x_new - x)).astype(value.dtype)
            moved = moved + jnp.sum(jnp.where(free & (self.colours == colour), odds, 0)).astype(value.dtype)
            return x_new, begin - step, moved

        begin = (flat, state.value, jnp.zeros_like(state.value))
        x, value, moved = jax.lax.fori_loop(0, jnp.max(self.colours) + 1, one_class, begin)
        accepted = moved / jnp.maximum(jnp.sum(free), 1).astype(value.dtype)
        return HeatBathState(unravel(x), value, accepted, None, None)

    def counted(self, state: HeatBathState, steps: Int[Array, ""]) -> dict[str, Array]:
        return {}


def turned(
    rule: str,
    x: Float[Array, " n"],
    field: Float[Array, " n"],
    temperature: Float[Array, ""],
    uniform: Float[Array, " n"],
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Where each sign would go in its local field, given a uniform number in [0, 1), and how likely it was to flip."""
    lost = -2 * x * field / temperature  # minus the energy that a flip costs, over T
    if rule == "metropolis":
        # A flip that costs nothing is taken every other time: if always, such signs would alternate in step for ever.
        free = lost == 0
        flips = metropolis_accepts(uniform, lost) & ~(free & (uniform >= 0.5))
        return jnp.where(flips, -x, x), jnp.where(free, 0.5, jnp.minimum(jnp.exp(lost), 1)).astype(x.dtype)
    up = jax.nn.sigmoid(2 * field / temperature)
    # NaN goes on as NaN, so that it is seen.
    return jnp.where(jnp.isnan(up), up, jnp.where(uniform < up, jnp.ones_like(x), -jnp.ones_like(x))), jnp.where(
        x > 0, 1 - up, up
    )
