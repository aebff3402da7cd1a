"""What every sampler is made of: a start, a step that leaves the Boltzmann law as it is, and what it counts."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError
from thalweg.core.space import AbstractSpace, Euclidean, Frozen, innermost


class AbstractSamplerState(eqx.Module):
    """Where one chain stands.

    **Fields:** the configuration `x` and its energy `value`; `accepted`, the probability with which the last step
    moved; `tuning`, the constants that a warmup tunes (`None` without any), which belong to a temperature and not to a
    configuration; `counts`, numbers that grow in every step, set to zero at the end of the warmup (`None` without
    any). All else in a state belongs to the configuration, and goes along when `Tempering` exchanges it.
    """

    x: eqx.AbstractVar[PyTree]
    value: eqx.AbstractVar[Float[Array, ""]]
    accepted: eqx.AbstractVar[Float[Array, ""]]
    tuning: eqx.AbstractVar[PyTree]
    counts: eqx.AbstractVar[PyTree]


class AbstractSampler(eqx.Module):
    """A Markov chain with the law `exp(-E/T)`, written for one chain: the verb runs many of them side by side."""

    bibtex: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def ready(self, energy: Landscape, space: AbstractSpace, x: PyTree) -> AbstractSampler:
        """The sampler with all that it must find out on the host, before anything is compiled; `x` is one start.

        **Raises:** `InputError` for a space or a landscape on which it would be wrong.
        """

    @abc.abstractmethod
    def init(
        self, energy: Landscape, space: AbstractSpace, x: PyTree, temperature: Float[Array, ""], key: Key[Array, ""]
    ) -> Any:
        """The state at the start."""

    @abc.abstractmethod
    def step(
        self, energy: Landscape, space: AbstractSpace, state: Any, temperature: Float[Array, ""], key: Key[Array, ""]
    ) -> Any:
        """The state after one step."""

    @abc.abstractmethod
    def counted(self, state: Any, steps: Int[Array, ""]) -> dict[str, Array]:
        """What the counts of a state say after `steps` steps, by name."""


class AbstractTunedSampler(AbstractSampler):
    """A sampler whose constants are tuned during the warmup and frozen after it."""

    @abc.abstractmethod
    def tune(self, state: Any, step: Int[Array, ""], warmup: int) -> Any:
        """The state with constants that have learnt from the step just taken, number `step` from one.

        Also called after the warmup, where it must return the state as it is. `step` is never batched, so that a
        `lax.cond` over it stays one.
        """


class Seen(NamedTuple):
    """All chains of a host sampler: configurations `x` and energies `value`, leading axis the chains."""

    x: Any
    value: np.ndarray


class AbstractHostSampler(abc.ABC):
    """Chains that run on the host, in NumPy or in a compiled kernel of somebody else's making.

    The state is a pytree of NumPy arrays that holds everything, random words included; all chains are one state.
    """

    @abc.abstractmethod
    def init(self, energy: Landscape | AbstractHostField, x: PyTree, temperature: float, words: np.ndarray) -> Any:
        """The state at the start: `x` has NumPy leaves with leading axis `chains`, `words` is `uint64 [chains, 4]`."""

    @abc.abstractmethod
    def advance(self, state: Any, temperature: float) -> Any:
        """The state after one step; arrays may be changed in place."""

    @abc.abstractmethod
    def observe(self, state: Any) -> Seen:
        """The configurations and energies of all chains; energies are looked at for NaN in every step."""


def free_step(space: AbstractSpace, x: PyTree, step: PyTree) -> PyTree:
    """The part of a random `step` that moves coordinates which are not frozen."""
    while isinstance(space, Frozen):
        step = Frozen(space.free, Euclidean()).project(x, step)
        space = space.space
    return step


def gaussian_like(key: Key[Array, ""], x: PyTree) -> PyTree:
    """Standard normal numbers with the structure, shapes and dtypes of `x`."""
    flat, unravel = ravel_pytree(x)
    return unravel(jax.random.normal(key, flat.shape, flat.dtype))


def metropolis_accepts(uniform: Float[Array, "*n"], exponent: Float[Array, "*n"]) -> Array:
    """Whether a move whose odds are `exp(exponent)` is taken, given a uniform number in [0, 1).

    A NaN is taken too, so that it is seen: a rejected one would be silent.
    """
    return ~(uniform >= jnp.exp(exponent))


def refuse_spaces(space: AbstractSpace, method: str, refused: tuple[type, ...], remedy: str) -> None:
    """Refuse the spaces on which a method would have another law.

    **Raises:** `InputError`.
    """
    inner = innermost(space)
    if isinstance(inner, refused):
        raise InputError(f"sample: {method} would have the wrong law in the space {type(inner).__name__}: {remedy}.")
