"""The force on a machine's parameters: the mean force of the data less that of the model's own configurations."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.spins.energy import AbstractMachine, BoltzmannMachine, RestrictedBoltzmann, mean_free_energy, uniform
from thalweg.spins.tasks.exact import log_z
from thalweg.spins.tasks.partition import exchanged

Taught = tuple[PyTree, PyTree, dict[str, Array]]


class ContrastiveDivergence(eqx.Module):
    """The gradient rule of CD-k, whose chains start at the batch, and of PCD-k, whose chains go on where they were.

    Hidden units are summed out on both sides, so that only the visible ones are random.

    **Arguments:** `sweeps`, the k; `persistent`, with the chains `[chains, n]` as the carry; `l2`, half the penalty on
    squared couplings.

    **Source:** Hinton, Neural Comput. 14, 1771 (2002); Tieleman, ICML 2008.
    """

    sweeps: int
    persistent: bool
    l2: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(
        self,
        model: AbstractMachine,
        batch: Float[Array, "batch n"],
        carry: PyTree,
        step: Int[Array, ""],
        key: Key[Array, ""],
        /,
    ) -> Taught:
        chains, whole, nothing = carry if self.persistent else batch, *_bare(batch)
        for draws in uniform(key, (self.sweeps, len(chains), model.all_units()), batch.dtype):
            chains = model.swept(chains, whole, nothing, draws)
        slopes, metrics = _difference(model, batch, chains, self.l2)
        return slopes, chains if self.persistent else None, metrics


class TemperedDivergence(eqx.Module):
    """PCD with chains `[rungs, chains, n]` on a ladder down to independent units, where they mix at once.

    **Arguments:** `sweeps` per update; `betas`, rising from 0 to 1; `base`, the field of the independent units; `l2`.

    **Source:** Desjardins, Courville, Bengio, Vincent & Delalleau, AISTATS 2010.
    """

    sweeps: int
    betas: Float[Array, " rungs"] = eqx.field(converter=jnp.asarray)
    base: Float[Array, " n"] = eqx.field(converter=jnp.asarray)
    l2: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(
        self,
        model: AbstractMachine,
        batch: Float[Array, "batch n"],
        carry: Float[Array, "rungs chains n"],
        step: Int[Array, ""],
        key: Key[Array, ""],
        /,
    ) -> Taught:
        chains = carry
        sweep = jax.vmap(lambda v, beta, draws: model.swept(v, beta, self.base, draws))
        weigh = jax.vmap(lambda v, beta: model.log_weight(v, beta, self.base))
        numbers = uniform(key, (self.sweeps, *chains.shape[:2], model.all_units() + 1), chains.dtype)
        for turn, draws in enumerate(numbers):
            chains = sweep(chains, self.betas, draws[..., 1:])
            parity = (step * self.sweeps + turn) % 2
            chains, _, _ = exchanged(weigh, self.betas, chains, parity, draws[:-1, :, 0])
        slopes, metrics = _difference(model, batch, chains[-1], self.l2)
        return slopes, chains, metrics


class Likelihood(eqx.Module):
    """The loss of small machines: the mean negative log-likelihood, with `log Z` by enumeration."""

    l2: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(
        self, model: AbstractMachine, batch: Float[Array, "batch n"], key: Key[Array, ""], /
    ) -> Float[Array, ""]:
        return mean_free_energy(model, batch) + log_z(model) + _penalty(model, self.l2)


def _difference(
    model: AbstractMachine, data: Float[Array, "batch n"], chains: Float[Array, "chains n"], l2: Float[Array, ""]
) -> tuple[PyTree, dict[str, Array]]:
    """The slopes of the mean free energy of the data less that of the chains, and what to watch."""

    def height(machine: AbstractMachine) -> tuple[Float[Array, ""], dict[str, Array]]:
        seen, dreamt = mean_free_energy(machine, data), mean_free_energy(machine, chains)
        gap = jnp.mean((jnp.mean(data, axis=0) - jnp.mean(chains, axis=0)) ** 2)
        return seen - dreamt + _penalty(machine, l2), {"loss": seen - dreamt, "free_energy": seen, "mean_gap": gap}

    slopes, metrics = eqx.filter_grad(height, has_aux=True)(model)
    return slopes, metrics


def _penalty(machine: AbstractMachine, l2: Float[Array, ""]) -> Float[Array, ""]:
    if isinstance(machine, RestrictedBoltzmann):
        couplings = machine.weights
    else:
        assert isinstance(machine, BoltzmannMachine)
        couplings = machine.coupling
    return l2 / 2 * jnp.sum(couplings**2)


def _bare(batch: Float[Array, "batch n"]) -> tuple[Float[Array, ""], Float[Array, " n"]]:
    """The end of the path: the machine itself."""
    return jnp.ones((), batch.dtype), jnp.zeros(batch.shape[1:], batch.dtype)
