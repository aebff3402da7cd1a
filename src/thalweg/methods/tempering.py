"""Replicas at several temperatures that exchange their configurations."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from thalweg.core.checks import positive, traced
from thalweg.core.energy import Landscape
from thalweg.core.errors import InputError
from thalweg.core.space import AbstractSpace
from thalweg.methods.sampler import AbstractSampler, AbstractSamplerState, AbstractTunedSampler, metropolis_accepts


class Swaps(eqx.Module):
    """What the exchanges have been: tries and summed probabilities by pair, and finished round trips of walkers."""

    tried: Int[Array, " pairs"]
    odds: Float[Array, " pairs"]
    round_trips: Int[Array, ""]


class TemperingState(AbstractSamplerState):
    """The coldest replica as a chain, and all of them.

    **Fields:** `replicas`, coldest first, with their constants; whether the configuration at each rung was last at the
    cold end (`outbound`) or at the hot end (`inbound`); the `parity` of the pairs to exchange next.
    """

    x: PyTree
    value: Float[Array, ""]
    accepted: Float[Array, ""]
    tuning: None
    counts: Swaps
    replicas: Any
    outbound: Bool[Array, " replicas"]
    inbound: Bool[Array, " replicas"]
    parity: Int[Array, ""]


class Tempering(AbstractTunedSampler):
    """Parallel tempering: one replica of `method` per rung, and neighbours that exchange their configurations.

    Even and odd pairs take turns, one exchange after every step. The configuration is that of the coldest
    replica, whose law has the temperature `temperature * ladder[0]`.

    **Arguments:** `method`, any other sampler; `ladder [replicas]`, increasing factors on the temperature of the verb
    (see `geometric_ladder`).

    **Source:** Swendsen & Wang, Phys. Rev. Lett. 57, 2607 (1986); Hukushima & Nemoto, J. Phys. Soc. Jpn. 65, 1604
    (1996); alternating pairs: Syed et al., J. R. Stat. Soc. B 84, 321 (2022).
    """

    method: AbstractSampler
    ladder: Float[Array, " replicas"] = eqx.field(converter=jnp.asarray)

    bibtex: ClassVar[str] = """@article{hukushima1996exchange,
  title={Exchange Monte Carlo method and application to spin glass simulations},
  author={Hukushima, Koji and Nemoto, Koji},
  journal={Journal of the Physical Society of Japan}, volume={65}, pages={1604--1608}, year={1996}}"""

    def __check_init__(self):
        if not isinstance(self.method, AbstractSampler) or isinstance(self.method, Tempering):
            raise InputError("sample: Tempering wants a sampler such as HeatBath() to temper: pass one.")
        if jnp.ndim(self.ladder) != 1 or jnp.size(self.ladder) < 2:
            raise InputError("sample: a ladder needs at least two rungs in one row: see geometric_ladder.")
        if traced(self.ladder):
            return
        # By NumPy: inside a transformation JAX would trace the question.
        rungs = np.asarray(self.ladder)
        if not (rungs[0] > 0 and (np.diff(rungs) > 0).all()):
            raise InputError("sample: the rungs of a ladder must be positive and increase: see geometric_ladder.")

    def ready(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> Tempering:
        return Tempering(self.method.ready(energy, space, x), self.ladder)

    def init(self, energy, space, x, temperature, key) -> TemperingState:
        size = self.ladder.size
        keys = jax.random.split(key, size)
        begin = jax.vmap(lambda rung, key: self.method.init(energy, space, x, rung, key))
        replicas = begin(self._temperatures(temperature), keys)
        nobody = jnp.zeros(size, bool)
        zero = jnp.asarray(0, jnp.int32)
        swaps = Swaps(jnp.zeros(size - 1, jnp.int32), jnp.zeros(size - 1, replicas.value.dtype), zero)
        return _coldest(swaps, replicas, nobody.at[0].set(True), nobody, zero)

    def step(self, energy, space, state: TemperingState, temperature, key) -> TemperingState:
        key_swap, key_step = jax.random.split(key)
        keys = jax.random.split(key_step, self.ladder.size)
        rungs = self._temperatures(temperature)
        replicas = jax.vmap(lambda one, rung, key: self.method.step(energy, space, one, rung, key))(
            state.replicas, rungs, keys
        )
        uniform = jax.random.uniform(key_swap, (self.ladder.size - 1,), replicas.value.dtype)
        source, odds, tried = exchanges(replicas.value, rungs, state.parity, uniform)
        outbound, inbound, arrived = _travelled(state.outbound[source], state.inbound[source])
        counts = state.counts
        counts = Swaps(
            counts.tried + tried,
            counts.odds + jnp.where(tried, odds, 0),
            counts.round_trips + arrived.astype(jnp.int32),
        )
        return _coldest(counts, _exchanged(replicas, source), outbound, inbound, 1 - state.parity)

    def tune(self, state: TemperingState, step: Int[Array, ""], warmup: int) -> TemperingState:
        replicas = state.replicas
        if isinstance(self.method, AbstractTunedSampler):
            tune = self.method.tune
            replicas = jax.vmap(lambda one: tune(one, step, warmup))(replicas)
        # The verb sets only the counts of the exchanges to zero.
        zeroed = jax.tree.map(lambda count: jnp.where(step <= warmup, jnp.zeros_like(count), count), replicas.counts)
        replicas = eqx.tree_at(lambda s: s.counts, replicas, zeroed, is_leaf=lambda leaf: leaf is None)
        return eqx.tree_at(lambda s: s.replicas, state, replicas)

    def counted(self, state: TemperingState, steps: Int[Array, ""]) -> dict[str, Array]:
        inner = jax.vmap(lambda one: self.method.counted(one, steps))(state.replicas)
        tried = jnp.maximum(state.counts.tried, 1).astype(state.counts.odds.dtype)
        return inner | {"swap_acceptance": state.counts.odds / tried, "round_trips": state.counts.round_trips}

    def _temperatures(self, temperature: Float[Array, ""]) -> Float[Array, " replicas"]:
        return temperature * self.ladder.astype(temperature.dtype)


def _coldest(counts: Swaps, replicas: Any, *rest: Array) -> TemperingState:
    x = jax.tree.map(lambda leaf: leaf[0], replicas.x)
    heights = replicas.value
    # A replica that broke must be seen, wherever on the ladder it is.
    value = jnp.where(jnp.isfinite(heights).all(), heights[0], jnp.nan)
    return TemperingState(x, value, replicas.accepted[0], None, counts, replicas, *rest)


def geometric_ladder(coldest: float, hottest: float, n: int) -> Float[Array, " n"]:
    """`n` temperatures from `coldest` to `hottest` in equal ratios.

    Neighbours then swap equally often wherever the heat capacity does not change with temperature.

    **Raises:** `InputError` for fewer than two rungs, or ends that are not positive and increasing.
    """
    positive(coldest, "the coldest rung", "sample")
    if n < 2 or not hottest > coldest:
        raise InputError(f"sample: {n} rungs from {coldest} to {hottest} are no ladder: give two or more, upwards.")
    return coldest * (hottest / coldest) ** (jnp.arange(n) / (n - 1))


def exchanges(
    heights: Float[Array, " replicas"],
    temperatures: Float[Array, " replicas"],
    parity: Int[Array, ""],
    uniform: Float[Array, " pairs"],
) -> tuple[Int[Array, " replicas"], Float[Array, " pairs"], Bool[Array, " pairs"]]:
    """Which replica each rung takes its configuration from, the probability by pair, and the pairs whose turn it is.

    Neighbours exchange with probability `min(1, exp((1/T_i - 1/T_j)(E_i - E_j)))`.
    """
    cold = 1 / temperatures
    exponent = (cold[:-1] - cold[1:]) * (heights[:-1] - heights[1:])
    rungs = jnp.arange(heights.size)
    tried = rungs[:-1] % 2 == parity
    swapped = tried & metropolis_accepts(uniform, exponent)
    # The pairs of one parity share no rung, so that at most one of the two moves a configuration.
    upper = jnp.concatenate([swapped, jnp.zeros(1, bool)])
    lower = jnp.concatenate([jnp.zeros(1, bool), swapped])
    return rungs + upper - lower, jnp.minimum(jnp.exp(exponent), 1), tried


def _exchanged(replicas: Any, source: Int[Array, " replicas"]) -> Any:
    """The replicas after the exchange: configurations travel, constants and counts belong to their rung."""
    fixed = lambda state: (state.accepted, state.tuning, state.counts)  # noqa: E731
    moved = jax.tree.map(lambda leaf: leaf[source], replicas)
    return eqx.tree_at(fixed, moved, fixed(replicas), is_leaf=lambda leaf: leaf is None)


def _travelled(
    outbound: Bool[Array, " replicas"], inbound: Bool[Array, " replicas"]
) -> tuple[Bool[Array, " replicas"], Bool[Array, " replicas"], Bool[Array, ""]]:
    """Who is on the way up and down after an exchange, and whether one came home from the hot end."""
    home = inbound[0]
    inbound = inbound.at[0].set(False).at[-1].set(inbound[-1] | outbound[-1])
    return outbound.at[0].set(True).at[-1].set(False), inbound, home
