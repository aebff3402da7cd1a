"""`log Z` by summing over all states, where they can be enumerated; differentiable, so that slopes are correlations."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from thalweg.core.errors import InputError
from thalweg.spins.data.problem import Problem
from thalweg.spins.energy import AbstractMachine, BoltzmannMachine, RestrictedBoltzmann

LARGEST = 24  # 2^24 states: seconds for a fully visible machine, a minute for a restricted one
_CHUNK = 12  # 4096 states at a time stay in the cache


def enumerable(machine: AbstractMachine) -> bool:
    """Whether `log Z` can be had by enumeration."""
    return summed(machine) <= LARGEST


def summed(machine: AbstractMachine) -> int:
    """How many units an enumeration has to run over."""
    return min(machine.weights.shape) if isinstance(machine, RestrictedBoltzmann) else machine.units()


def log_z(machine: AbstractMachine) -> Float[Array, ""]:
    """`log sum exp(-E)` over all states, in the precision of the machine's parameters.

    A restricted machine sums over its smaller side only. Its derivative by a coupling is the correlation of the pair.

    **Raises:** `InputError` for more than 24 units to sum over.
    """
    if not enumerable(machine):
        raise InputError(
            f"log_z: 2^{summed(machine)} states are too many to enumerate (24 units at most): use annealed importance "
            "sampling or tempering."
        )
    if isinstance(machine, RestrictedBoltzmann):
        return _over_one_side(machine)
    if isinstance(machine, BoltzmannMachine):
        return _over_pairs(machine.matrix(), machine.bias)
    raise InputError(f"log_z: {type(machine).__name__} is neither fully visible nor restricted: sample it instead.")


def log_z_of(problem: Problem, temperature: float = 1.0) -> float:
    """`log sum exp(-E / T)` over all spins of a problem, its offset included, in float64.

    **Raises:** `InputError` for more than 24 spins or a temperature that is not positive.
    """
    with jax.enable_x64(True):
        machine, constant = machine_of(problem, temperature)
        return float(_log_z_compiled(machine)) + constant


def machine_of(problem: Problem, temperature: float = 1.0) -> tuple[BoltzmannMachine, float]:
    """The machine in units {0, 1} with the law `exp(-E / T)` of a problem, and what its `log Z` lacks.

    **Raises:** `InputError` for a temperature that is not positive.
    """
    if not temperature > 0:
        raise InputError(f"the temperature is {temperature}, but it must be positive.")
    scale = problem.denominator * temperature
    coupling, field = problem.coupling.astype(float) / scale, problem.field.astype(float) / scale
    # s = 2v - 1: J s s = 4J v v - 2J v - 2J v + J, and h s = 2h v - h.
    bias = 2 * field
    np.subtract.at(bias, problem.first, 2 * coupling)
    np.subtract.at(bias, problem.second, 2 * coupling)
    constant = float(coupling.sum() - field.sum()) - float(problem.offset) / scale
    ends = problem.first.astype(np.int32), problem.second.astype(np.int32)
    return BoltzmannMachine(*ends, 4 * coupling, bias), constant


def exact_log_z(machine: AbstractMachine) -> float:
    """`log_z` in float64, whatever the precision of the machine."""
    with jax.enable_x64(True):
        return float(_log_z_compiled(in_width(machine, jnp.float64)))


def in_width(tree: Any, dtype: Any) -> Any:
    """The same with all floating arrays in one dtype; call it where 64 bits are enabled if that is float64."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, tree)


_log_z_compiled = jax.jit(log_z)


def _states(numbers: Int[Array, " rows"], bits: int, dtype: jnp.dtype) -> Float[Array, "rows bits"]:
    places = jnp.arange(bits, dtype=jnp.int32)
    return ((numbers[:, None] >> places) & 1).astype(dtype)


def _over_one_side(machine: RestrictedBoltzmann) -> Float[Array, ""]:
    weights, summed, other = machine.weights, machine.hidden_bias, machine.visible_bias
    if summed.size > other.size:
        weights, summed, other = weights.T, other, summed
    bits, dtype = summed.size, weights.dtype
    low = min(bits, _CHUNK)
    begins = jnp.arange(2 ** (bits - low), dtype=jnp.int32) << low

    # Recomputed in the backward pass, which would otherwise keep every state.
    @jax.checkpoint
    def part(begin: Array) -> Array:
        states = _states(begin + jnp.arange(2**low, dtype=jnp.int32), bits, dtype)
        return logsumexp(states @ summed + jnp.sum(jax.nn.softplus(other + states @ weights.T), axis=1))

    return logsumexp(jax.lax.map(part, begins))


def _over_pairs(matrix: Float[Array, "n n"], bias: Float[Array, " n"]) -> Float[Array, ""]:
    """All states as pairs of halves: the energy within each half once, between them by a product of matrices."""
    n, dtype = bias.size, bias.dtype
    left, right = n - n // 2, n // 2
    a, b = (_states(jnp.arange(2**bits, dtype=jnp.int32), bits, dtype) for bits in (left, right))

    def within(states: Array, part: slice) -> Array:
        return jnp.sum((states @ matrix[part, part]) * states, axis=1) / 2 + states @ bias[part]

    heads, tails = within(a, slice(0, left)), within(b, slice(left, n))
    across = a @ matrix[:left, left:]
    rows = min(len(a), 256)

    @jax.checkpoint
    def part(chunk: tuple[Array, Array]) -> Array:
        head, cross = chunk
        return logsumexp(head[:, None] + tails + cross @ b.T)

    return logsumexp(jax.lax.map(part, (heads.reshape(-1, rows), across.reshape(-1, rows, right))))
