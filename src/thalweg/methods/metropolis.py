"""Random steps, taken or refused: for any energy in any space, differentiable or not."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from thalweg.core.checks import positive
from thalweg.core.energy import Landscape
from thalweg.core.errors import InputError
from thalweg.core.space import AbstractSpace, Box, Signs, innermost
from thalweg.methods.descent import tree_equal
from thalweg.methods.sampler import (
    AbstractSamplerState,
    AbstractTunedSampler,
    free_step,
    gaussian_like,
    metropolis_accepts,
)
from thalweg.methods.tuning import StepTuning, begin_steps, tuned_steps


class MetropolisState(AbstractSamplerState):
    """The configuration, its energy, and the length of a proposal."""

    x: PyTree
    value: Float[Array, ""]
    accepted: Float[Array, ""]
    tuning: StepTuning | None
    counts: None


class Metropolis(AbstractTunedSampler):
    """Gaussian proposals to all coordinates at once; on signs, the flip of one coordinate at random.

    **Arguments:** `scale`, the standard deviation of a proposal per coordinate, in units of `x`; the warmup tunes it
    to the acceptance `target` (it has no meaning on signs); `attempts`, proposals in one step, each an energy.

    **Source:** Metropolis et al., J. Chem. Phys. 21, 1087 (1953); target: Gelman, Gilks & Roberts, Ann. Appl. Probab.
    7, 110 (1997).
    """

    scale: Float[Array, ""] = eqx.field(default=0.5, converter=jnp.asarray)
    attempts: int = 1
    target: Float[Array, ""] = eqx.field(default=0.3, converter=jnp.asarray)

    bibtex: ClassVar[str] = """@article{metropolis1953equation,
  title={Equation of state calculations by fast computing machines},
  author={Metropolis, Nicholas and Rosenbluth, Arianna W. and Rosenbluth, Marshall N. and Teller, Augusta H.
  and Teller, Edward},
  journal={The Journal of Chemical Physics}, volume={21}, pages={1087--1092}, year={1953}}"""

    def __check_init__(self):
        positive(self.scale, "the scale of Metropolis", "sample")
        if self.attempts < 1:
            raise InputError(f"sample: Metropolis with {self.attempts} attempts does nothing: give at least 1.")

    def ready(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> Metropolis:
        return self

    def init(self, energy, space, x, temperature, key) -> MetropolisState:
        value = energy(x)
        flips = isinstance(innermost(space), Signs)
        tuning = None if flips else begin_steps(self.scale, value.dtype)
        return MetropolisState(x, value, jnp.ones_like(value), tuning, None)

    def step(self, energy, space, state: MetropolisState, temperature, key) -> MetropolisState:
        scale = self.scale if state.tuning is None else state.tuning.size

        def once(number, carry):
            x, value, accepted = carry
            key_step, key_accept = jax.random.split(key if self.attempts == 1 else jax.random.fold_in(key, number))
            x_new, inside = proposal(space, x, scale, key_step)
            uniform = jax.random.uniform(key_accept, (), value.dtype)
            x, value, odds = attempt(energy, x, value, x_new, inside, temperature, uniform)
            return x, value, accepted + odds

        begin = (state.x, state.value, jnp.zeros_like(state.value))
        x, value, odds = once(0, begin) if self.attempts == 1 else jax.lax.fori_loop(0, self.attempts, once, begin)
        return MetropolisState(x, value, odds / self.attempts, state.tuning, None)

    def tune(self, state: MetropolisState, step: Int[Array, ""], warmup: int) -> MetropolisState:
        if state.tuning is None:
            return state
        tuning = tuned_steps(state.tuning, state.accepted, self.target, step, warmup)
        return eqx.tree_at(lambda s: s.tuning, state, tuning)

    def counted(self, state: MetropolisState, steps: Int[Array, ""]) -> dict[str, Array]:
        return {} if state.tuning is None else {"step_size": state.tuning.size}


def proposal(
    space: AbstractSpace, x: PyTree, scale: Float[Array, ""], key: Key[Array, ""]
) -> tuple[PyTree, Bool[Array, ""]]:
    """Where a symmetric random step leads, and whether that is inside of the space."""
    if isinstance(innermost(space), Signs):
        flat, unravel = ravel_pytree(x)
        which = jax.random.randint(key, (), 0, flat.size)
        return space.shift(x, unravel(jnp.zeros_like(flat).at[which].set(-2 * flat[which]))), jnp.array(True)
    noise = gaussian_like(key, x)
    step = free_step(space, x, jax.tree.map(lambda leaf: scale.astype(leaf.dtype) * leaf, noise))
    if isinstance(innermost(space), Box):
        # A step over the wall is refused: stopping at the wall would heap up weight there. A coordinate that is
        # frozen beyond it stays there, and must not refuse every step.
        beyond = jax.tree.map(jnp.add, x, step)
        x_new = space.wrap(beyond)
        return x_new, tree_equal(beyond, x_new)
    return space.shift(x, step), jnp.array(True)


def attempt(
    energy: Landscape,
    x: PyTree,
    value: Float[Array, ""],
    x_new: PyTree,
    inside: Bool[Array, ""],
    temperature: Float[Array, ""],
    uniform: Float[Array, ""],
) -> tuple[PyTree, Float[Array, ""], Float[Array, ""]]:
    """One proposal taken or refused: the configuration, its energy, and the probability of being taken."""
    value_new = energy(x_new)
    exponent = (value - value_new) / temperature
    taken = inside & metropolis_accepts(uniform, exponent)
    x = jax.tree.map(lambda new, old: jnp.where(taken, new, old), x_new, x)
    odds = jnp.where(inside, jnp.minimum(jnp.exp(exponent), 1), 0)
    return x, jnp.where(taken, value_new, value), odds
