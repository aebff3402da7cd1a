"""Samplers that follow the force: MALA, and HMC and NUTS through the kernels of BlackJAX."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.checks import positive
from thalweg.core.energy import Landscape, value_and_force
from thalweg.core.errors import InputError
from thalweg.core.space import AbstractSpace, Box, Euclidean, Frozen, Signs
from thalweg.methods.descent import tree_dot
from thalweg.methods.sampler import (
    AbstractSamplerState,
    AbstractTunedSampler,
    free_step,
    gaussian_like,
    metropolis_accepts,
    refuse_spaces,
)
from thalweg.methods.tuning import (
    MassTuning,
    StepTuning,
    begin_masses,
    begin_steps,
    closed,
    tuned_steps,
    watched,
    windows,
)


class Tuning(eqx.Module):
    """The step size and, where there are any, the inverse masses."""

    steps: StepTuning
    masses: MassTuning | None


class HamiltonianState(AbstractSamplerState):
    """The point, its energy and force, and the constants of the kernel."""

    x: PyTree
    value: Float[Array, ""]
    accepted: Float[Array, ""]
    tuning: Tuning
    counts: Int[Array, ""]
    force: PyTree


class Mala(AbstractTunedSampler):
    """Langevin proposals, taken or refused: `x + step_size F/T + sqrt(2 step_size) noise`.

    Of its `divergences`, each is a proposal whose probability of being taken underflows to zero.

    **Arguments:** `step_size`, in units of `x^2`: the warmup starts there and tunes it to the acceptance `target`.

    **Source:** Roberts & Tweedie, Bernoulli 2, 341 (1996); target: Roberts & Rosenthal, J. R. Stat. Soc. B 60, 255
    (1998).
    """

    step_size: Float[Array, ""] = eqx.field(default=0.1, converter=jnp.asarray)
    target: Float[Array, ""] = eqx.field(default=0.574, converter=jnp.asarray)

    bibtex: ClassVar[str] = """@article{roberts1996exponential,
  title={Exponential convergence of Langevin distributions and their discrete approximations},
  author={Roberts, Gareth O. and Tweedie, Richard L.},
  journal={Bernoulli}, volume={2}, pages={341--363}, year={1996}}"""

    def __check_init__(self):
        positive(self.step_size, "the step size of Mala", "sample")

    def ready(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> Mala:
        refuse_spaces(space, "Mala", (Box, Signs), "use Metropolis, which knows the walls")
        return self

    def init(self, energy, space, x, temperature, key) -> HamiltonianState:
        return _begun(energy, space, x, self.step_size, None)

    def step(self, energy, space, state: HamiltonianState, temperature, key) -> HamiltonianState:
        # Not BlackJAX's kernel: its noise is float64 wherever x64 is on, and it refuses a NaN without a word.
        key_noise, key_accept = jax.random.split(key)
        size, noise = state.tuning.steps.size, gaussian_like(key_noise, state.x)
        drifted = _pushed(state.x, state.force, size / temperature)
        x = jax.tree.map(lambda here, kick: here + jnp.sqrt(2 * size).astype(here.dtype) * kick, drifted, noise)
        value, force = value_and_force(_within(energy, space, state.x), x)
        back = jax.tree.map(jnp.subtract, state.x, _pushed(x, force, size / temperature))
        # Logarithms of the two proposal densities; that of the step taken is known from its noise.
        forth = 0.5 * tree_dot(noise, noise)
        exponent = (state.value - value) / temperature + forth - tree_dot(back, back) / (4 * size)
        exponent = exponent.astype(state.value.dtype)
        moved = metropolis_accepts(jax.random.uniform(key_accept, (), exponent.dtype), exponent)
        odds = jnp.minimum(jnp.exp(exponent), 1)
        return _arrived(space, state, (x, value, force), moved, odds, odds == 0)

    def tune(self, state: HamiltonianState, step: Int[Array, ""], warmup: int) -> HamiltonianState:
        return _tuned(state, self.target, step, warmup)

    def counted(self, state: HamiltonianState, steps: Int[Array, ""]) -> dict[str, Array]:
        return {"divergences": state.counts, "step_size": state.tuning.steps.size}


class Hmc(AbstractTunedSampler):
    """Hamiltonian Monte Carlo with a fixed number of leapfrog steps.

    **Arguments:** `step_size`, of one leapfrog step, in units of `x` over the root of an inverse mass: the warmup
    starts there and tunes it to the acceptance `target`; `leapfrogs` in one proposal; `inverse_mass`, positive, with
    the structure of `x`: where the warmup starts (by default ones) before it learns the variances of `x`.

    **Source:** Duane et al., Phys. Lett. B 195, 216 (1987); Neal, Handbook of Markov Chain Monte Carlo, ch. 5 (2011).
    """

    step_size: Float[Array, ""] = eqx.field(default=0.1, converter=jnp.asarray)
    leapfrogs: int = 10
    inverse_mass: PyTree = eqx.field(default=None, converter=lambda tree: jax.tree.map(jnp.asarray, tree))
    target: Float[Array, ""] = eqx.field(default=0.8, converter=jnp.asarray)

    bibtex: ClassVar[str] = """@article{duane1987hybrid,
  title={Hybrid Monte Carlo},
  author={Duane, Simon and Kennedy, Anthony D. and Pendleton, Brian J. and Roweth, Duncan},
  journal={Physics Letters B}, volume={195}, pages={216--222}, year={1987}}"""

    def __check_init__(self):
        positive(self.step_size, "the step size of Hmc", "sample")
        if self.leapfrogs < 1:
            raise InputError(f"sample: Hmc with {self.leapfrogs} leapfrog steps does not move: give at least 1.")

    def ready(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> Hmc:
        refuse_spaces(space, "Hmc", (Box, Signs), "use Metropolis, which knows the walls")
        return self

    def init(self, energy, space, x, temperature, key) -> HamiltonianState:
        return _begun(energy, space, x, self.step_size, _inverse_masses(self.inverse_mass, x))

    def step(self, energy, space, state: HamiltonianState, temperature, key) -> HamiltonianState:
        from blackjax.mcmc import hmc

        begin = hmc.HMCState(*_scaled(state, temperature))
        density = _density(_within(energy, space, state.x), temperature)
        size, inverse = _constants(state.tuning)
        after, info = hmc.build_kernel()(key, begin, density, size, inverse, self.leapfrogs)
        return _arrived(
            space, state, _unscaled(after, temperature), info.is_accepted, info.acceptance_rate, info.is_divergent
        )

    def tune(self, state: HamiltonianState, step: Int[Array, ""], warmup: int) -> HamiltonianState:
        return _tuned(state, self.target, step, warmup)

    def counted(self, state: HamiltonianState, steps: Int[Array, ""]) -> dict[str, Array]:
        return {"divergences": state.counts, "step_size": state.tuning.steps.size}


class Nuts(AbstractTunedSampler):
    """Hamiltonian Monte Carlo that follows a trajectory until it turns back.

    **Arguments:** `step_size`, `inverse_mass` and `target` as in `Hmc`; `max_doublings` of a trajectory.

    **Source:** Hoffman & Gelman, J. Mach. Learn. Res. 15, 1593 (2014); Betancourt, arXiv:1701.02434 (2017).
    """

    step_size: Float[Array, ""] = eqx.field(default=0.1, converter=jnp.asarray)
    max_doublings: int = 10
    inverse_mass: PyTree = eqx.field(default=None, converter=lambda tree: jax.tree.map(jnp.asarray, tree))
    target: Float[Array, ""] = eqx.field(default=0.8, converter=jnp.asarray)

    bibtex: ClassVar[str] = """@article{hoffman2014nouturn,
  title={The No-U-Turn Sampler: Adaptively Setting Path Lengths in Hamiltonian Monte Carlo},
  author={Hoffman, Matthew D. and Gelman, Andrew},
  journal={Journal of Machine Learning Research}, volume={15}, pages={1593--1623}, year={2014}}"""

    def __check_init__(self):
        positive(self.step_size, "the step size of Nuts", "sample")

    def ready(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> Nuts:
        refuse_spaces(space, "Nuts", (Box, Signs), "use Metropolis, which knows the walls")
        if isinstance(space, Frozen):
            # A frozen coordinate coasts for ever, and the trajectory would never turn.
            raise InputError(
                "sample: Nuts does not know frozen coordinates: use Hmc, or close over them in the energy."
            )
        return self

    def init(self, energy, space, x, temperature, key) -> HamiltonianState:
        return _begun(energy, space, x, self.step_size, _inverse_masses(self.inverse_mass, x))

    def step(self, energy, space, state: HamiltonianState, temperature, key) -> HamiltonianState:
        from blackjax.mcmc import hmc, nuts

        # In the widest float: BlackJAX's sums of weights are that, and its branches must agree.
        wide = jax.dtypes.canonicalize_dtype(jnp.float64)
        x, height, slope = _scaled(state, temperature)
        begin = hmc.HMCState(x, height.astype(wide), slope)
        density = lambda x: _density(_within(energy, space, state.x), temperature)(x).astype(wide)  # noqa: E731
        size, inverse = _constants(state.tuning)
        after, info = nuts.build_kernel()(key, begin, density, size, inverse, self.max_doublings)
        return _arrived(space, state, _unscaled(after, temperature), None, info.acceptance_rate, info.is_divergent)

    def tune(self, state: HamiltonianState, step: Int[Array, ""], warmup: int) -> HamiltonianState:
        return _tuned(state, self.target, step, warmup)

    def counted(self, state: HamiltonianState, steps: Int[Array, ""]) -> dict[str, Array]:
        return {"divergences": state.counts, "step_size": state.tuning.steps.size}


def _constants(tuning: Tuning) -> tuple[Any, Any]:
    """The step size and the inverse masses; untyped, because BlackJAX says float and means a number."""
    masses: Any = tuning.masses
    return tuning.steps.size, masses.inverse


def _placed(space: AbstractSpace, held: PyTree, x: PyTree) -> PyTree:
    """The member of the space that `x` stands for, with frozen coordinates as they are in `held`."""
    if isinstance(space, Euclidean):
        return x
    free = free_step(space, held, jax.tree.map(jnp.ones_like, held))
    return space.wrap(jax.tree.map(lambda here, new, old: jnp.where(here != 0, new, old), free, x, held))


def _within(energy: Landscape, space: AbstractSpace, held: PyTree) -> Landscape:
    """The energy of the member of the space: a frozen coordinate feels no force, and coasts without being seen."""
    return energy if isinstance(space, Euclidean) else lambda x: energy(_placed(space, held, x))


def _begun(
    energy: Landscape, space: AbstractSpace, x: PyTree, size: Float[Array, ""], inverse: Float[Array, " n"] | None
) -> HamiltonianState:
    value, force = value_and_force(_within(energy, space, x), x)
    tuning = Tuning(begin_steps(size, value.dtype), None if inverse is None else begin_masses(inverse))
    return HamiltonianState(x, value, jnp.ones_like(value), tuning, jnp.asarray(0, jnp.int32), force)


def _inverse_masses(inverse: PyTree, x: PyTree) -> Float[Array, " n"]:
    flat, _ = ravel_pytree(x)
    if inverse is None:
        return jnp.ones_like(flat)
    spread = jax.tree.map(lambda part, like: jnp.broadcast_to(part, like.shape), inverse, x)
    return ravel_pytree(spread)[0].astype(flat.dtype)


def _density(energy: Landscape, temperature: Float[Array, ""]):
    return lambda x: -energy(x) / temperature


def _scaled(state: HamiltonianState, temperature: Float[Array, ""]) -> tuple[PyTree, Any, PyTree]:
    """A BlackJAX state: made anew in every step, so that it has the temperature of the step."""
    slope = jax.tree.map(lambda leaf: leaf / temperature.astype(leaf.dtype), state.force)
    return state.x, -state.value / temperature, slope


def _unscaled(after: Any, temperature: Float[Array, ""]) -> tuple[PyTree, Float[Array, ""], PyTree]:
    """Point, energy and force of a BlackJAX state."""
    value = (-after.logdensity * temperature).astype(temperature.dtype)
    return (
        after.position,
        value,
        jax.tree.map(lambda leaf: leaf * temperature.astype(leaf.dtype), after.logdensity_grad),
    )


def _pushed(x: PyTree, force: PyTree, size: Float[Array, ""]) -> PyTree:
    return jax.tree.map(lambda here, push: here + size.astype(here.dtype) * push, x, force)


def _arrived(space, before: HamiltonianState, after: tuple, moved, accepted, diverged) -> HamiltonianState:
    """The state after a step to `after`, if it `moved`; where it stayed, energy and force keep their bits."""
    if moved is not None:
        after = _chosen(moved, after, (before.x, before.value, before.force))
    x, value, force = after
    x = _placed(space, before.x, x)
    counts = before.counts + diverged.astype(jnp.int32)
    return HamiltonianState(x, value, accepted.astype(value.dtype), before.tuning, counts, force)


def _tuned(state: HamiltonianState, target: Float[Array, ""], step: Int[Array, ""], warmup: int) -> HamiltonianState:
    masses, begin_at, ends = state.tuning.masses, *windows(warmup)
    if masses is None or not ends:
        steps = tuned_steps(state.tuning.steps, state.accepted, target, step, warmup)
        return eqx.tree_at(lambda s: s.tuning.steps, state, steps)

    def learn(tuning: Tuning) -> Tuning:
        old: Any = tuning.masses
        steps = tuned_steps(tuning.steps, state.accepted, target, step, warmup)
        seen = watched(old, ravel_pytree(state.x)[0])
        slow = (step > begin_at) & (step <= ends[-1])
        masses = _chosen(slow, seen, old)
        end = jnp.any(jnp.asarray(ends) == step)
        # Other masses want another step size: its averages begin anew.
        again = begin_steps(steps.size, steps.size.dtype)
        return Tuning(_chosen(end, again, steps), _chosen(end, closed(seen), masses))

    return eqx.tree_at(
        lambda s: s.tuning, state, jax.lax.cond(step <= warmup, learn, lambda tuning: tuning, state.tuning)
    )


def _chosen(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
