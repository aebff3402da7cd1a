"""How well a machine tells held-out samples: log-likelihood per sample, and its pseudo-likelihood."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from thalweg.spins.energy import AbstractMachine, BoltzmannMachine, RestrictedBoltzmann, mean_free_energy
from thalweg.spins.tasks.exact import in_width

_BLOCK = 256  # samples at a time, so that memory does not grow with their number


def mean_log_likelihood(machine: AbstractMachine, bits: Shaped[Array | np.ndarray, "samples n"], log_z: float) -> float:
    """The mean of `log p(v)` over samples in {0, 1}, nats per sample, in float64."""
    with jax.enable_x64(True):
        return -float(_mean_free_energy(in_width(machine, jnp.float64), jnp.asarray(bits, jnp.float64))) - log_z


def mean_pseudo_log_likelihood(machine: AbstractMachine, bits: Shaped[Array | np.ndarray, "samples n"]) -> float:
    """The mean of `sum_i log p(v_i | all other units)` over samples in {0, 1}, nats per sample, in float64."""
    with jax.enable_x64(True):
        return float(_mean_pseudo(in_width(machine, jnp.float64), jnp.asarray(bits, jnp.float64)))


_mean_free_energy = jax.jit(mean_free_energy)


@jax.jit
def _mean_pseudo(machine: AbstractMachine, v: Float[Array, "samples n"]) -> Float[Array, ""]:
    def of_one(one: Float[Array, " n"]) -> Float[Array, ""]:
        # The log odds of a unit being as it is, all others held.
        return -jnp.sum(jax.nn.softplus(-(2 * one - 1) * _odds(machine, one)))

    return jnp.mean(jax.lax.map(of_one, v, batch_size=min(_BLOCK, len(v))))


def _odds(machine: AbstractMachine, one: Float[Array, " n"]) -> Float[Array, " n"]:
    """`log p(v_i = 1 | rest) - log p(v_i = 0 | rest)` of every unit."""
    if isinstance(machine, BoltzmannMachine):
        return machine.matrix() @ one + machine.bias
    assert isinstance(machine, RestrictedBoltzmann)
    activation = machine.hidden_bias + one @ machine.weights
    off = activation - one[:, None] * machine.weights
    both = jax.nn.softplus(off + machine.weights) - jax.nn.softplus(off)
    return machine.visible_bias + jnp.sum(both, axis=1)
