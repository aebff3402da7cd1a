"""Langevin dynamics on an energy that is only seen batch by batch."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from thalweg.core.checks import positive
from thalweg.core.energy import AbstractEnergy, Landscape
from thalweg.core.errors import InputError
from thalweg.core.space import AbstractSpace, Box, Signs
from thalweg.methods.data import AbstractData
from thalweg.methods.sampler import AbstractSampler, AbstractSamplerState, free_step, gaussian_like, refuse_spaces


class AbstractBatchedEnergy(AbstractEnergy):
    """An energy whose batches give estimates of it without bias."""

    data: eqx.AbstractVar[AbstractData]

    @abc.abstractmethod
    def on(self, x: PyTree, batch: PyTree) -> Float[Array, ""]:
        """The estimate from one batch; its mean over batches is the energy."""


class StochasticLangevinState(AbstractSamplerState):
    """The point, the estimates of its energy and force by one batch, and the cursor behind that batch."""

    x: PyTree
    value: Float[Array, ""]
    accepted: Float[Array, ""]
    tuning: None
    counts: None
    force: PyTree
    cursor: PyTree


class StochasticLangevin(AbstractSampler):
    """Langevin steps with the force of a batch: `x + step_size F/T + sqrt(2 step_size) noise`, never refused.

    The law is exact only for vanishing steps: along a curvature `c` (over the temperature) the variance of `x` is too
    large by the factor `(1 + step_size s^2 / 2) / (1 - step_size c / 2)`, with `s^2` the variance of the force between
    batches. It needs an `AbstractBatchedEnergy`.

    **Arguments:** `step_size`, in units of `x^2`.

    **Source:** Welling & Teh, ICML 2011, 681.
    """

    step_size: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    bibtex: ClassVar[str] = """@inproceedings{welling2011bayesian,
  title={Bayesian Learning via Stochastic Gradient {L}angevin Dynamics},
  author={Welling, Max and Teh, Yee Whye},
  booktitle={Proceedings of the 28th International Conference on Machine Learning}, pages={681--688}, year={2011}}"""

    def __check_init__(self):
        positive(self.step_size, "the step size of StochasticLangevin", "sample")

    def ready(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> StochasticLangevin:
        if not isinstance(energy, AbstractBatchedEnergy):
            raise InputError("sample: StochasticLangevin asks an energy for batches: pass data, or choose Mala().")
        refuse_spaces(space, "StochasticLangevin", (Box, Signs), "use Metropolis, which knows the walls")
        return self

    def init(self, energy, space, x, temperature, key) -> StochasticLangevinState:
        return _seen(energy, x, energy.data.init(key))

    def step(self, energy, space, state: StochasticLangevinState, temperature, key) -> StochasticLangevinState:
        def moved(push: Array, kick: Array) -> Array:
            size = self.step_size.astype(push.dtype)
            return size / temperature.astype(push.dtype) * push + jnp.sqrt(2 * size) * kick

        step = jax.tree.map(moved, state.force, gaussian_like(key, state.x))
        # A batch that had no part in the way to the new point: its estimate there is without bias.
        return _seen(energy, space.shift(state.x, free_step(space, state.x, step)), state.cursor)

    def counted(self, state: StochasticLangevinState, steps: Int[Array, ""]) -> dict[str, Array]:
        return {"step_size": self.step_size}


def _seen(energy: Any, x: PyTree, cursor: PyTree) -> StochasticLangevinState:
    batch, cursor = energy.data.next(cursor)
    value, slope = jax.value_and_grad(energy.on)(x, batch)
    force = jax.tree.map(jnp.negative, slope)
    return StochasticLangevinState(x, value, jnp.ones_like(value), None, None, force, cursor)
