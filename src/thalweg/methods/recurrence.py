"""Linear recurrences in time, with an adjoint that is the same recurrence run backwards."""

from __future__ import annotations

import abc
import functools
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from thalweg.core.errors import InputError

Engine = Literal["auto", "sequential", "associative"]
ENGINES = ("auto", "sequential", "associative")


class AbstractCell(eqx.Module):
    """What turns a sequence of inputs into a sequence of outputs, step by step, with a state in between.

    Arrays have axes `[time, batch, ...]`: a step then reads one run of memory.
    """

    bibtex: ClassVar[str]
    width: eqx.AbstractVar[int]

    @property
    @abc.abstractmethod
    def inputs(self) -> int:
        """How many numbers are read per step."""

    @abc.abstractmethod
    def rest(self, batch: int, dtype: Any) -> PyTree:
        """The state before anything was read: leaves `[batch, width]`."""

    @abc.abstractmethod
    def __call__(
        self,
        drive: Float[Array, "time batch inputs"],
        start: PyTree,
        fresh: Bool[Array, "time batch"] | None = None,
        *,
        reverse: bool = False,
    ) -> tuple[Float[Array, "time batch width"], PyTree]:
        """The outputs and the state after the last step.

        **Arguments:** `drive`, what is read; `start`, the state before the first step; `fresh`, steps before which the
        state is forgotten; `reverse`, whether time runs from the last step to the first.
        """


class MinimalGRU(AbstractCell):
    """`h_t = (1 - s_t) h_{t-1} + s_t v_t` with `s_t = sigmoid(z_t)`: gates and values do not depend on the state.

    The inputs are `z` and `v`, one after the other.

    **Arguments:** `width`; `engine`, as of `linear`.

    **Source:** Feng, Tung, Ahmed, Bengio & Hajimirsadeghi, arXiv:2410.01201 (2024), eq. 8 and 9.
    """

    width: int = eqx.field(static=True)
    engine: Engine = eqx.field(static=True, default="auto")
    bibtex: ClassVar[str] = """@article{feng2024rnns,
  title = {Were {RNNs} All We Needed?},
  author = {Feng, Leo and Tung, Frederick and Ahmed, Mohamed Osama and Bengio, Yoshua and Hajimirsadeghi, Hossein},
  journal = {arXiv:2410.01201}, year = {2024}}"""

    @property
    def inputs(self) -> int:
        return 2 * self.width

    def rest(self, batch: int, dtype: Any) -> Float[Array, "batch width"]:
        return jnp.zeros((batch, self.width), dtype)

    def __call__(self, drive, start, fresh=None, *, reverse=False):
        keep = None if fresh is None else (~fresh).astype(drive.dtype)[..., None]
        return _leaky(drive, keep, start, reverse, _chosen(self.engine))


def linear(
    decay: Float[Array, "time batch width"],
    drive: Float[Array, "time batch width"],
    start: Float[Array, "batch width"],
    *,
    reverse: bool = False,
    engine: Engine = "auto",
) -> tuple[Float[Array, "time batch width"], Float[Array, "batch width"]]:
    """All states of `h_t = decay_t h_{t-1} + drive_t`, and the last one.

    **Arguments:** `start`, the state before the first step; `reverse`, whether time runs from the last step to the
    first; `engine`: `sequential`, one step after the other; `associative`, in a logarithmic number of sweeps over the
    whole sequence; `auto`, the first on a CPU and the second elsewhere.

    **Raises:** `InputError` for another engine.

    **Source:** Martin & Cundy, arXiv:1709.04057 (2018), for the associative scan and its gradient.
    """
    return _linear(decay, drive, start, reverse, _chosen(engine))


def _chosen(engine: str) -> str:
    if engine not in ENGINES:
        raise InputError(f"recurrence: the engine {engine!r} is unknown: choose among {', '.join(ENGINES)}.")
    if engine == "auto":
        return "sequential" if jax.default_backend() == "cpu" else "associative"
    return engine


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _linear(decay: Array, drive: Array, start: Array, reverse: bool, engine: str) -> tuple[Array, Array]:
    return _run(decay, drive, start, reverse, engine)


def _linear_forward(decay, drive, start, reverse, engine):
    states, end = _run(decay, drive, start, reverse, engine)
    return (states, end), (decay, states, start)


def _linear_backward(reverse, engine, kept, slopes):
    decay, states, start = kept
    error, first = _adjoint(decay, slopes[0], slopes[1], reverse, engine)
    return error * shifted(states, start, reverse), error, first


_linear.defvjp(_linear_forward, _linear_backward)


# The gates inside of the rule: only inputs and states are kept for the way back, and a step of training moves half as
# much memory.
@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _leaky(drive: Array, keep: Array | None, start: Array, reverse: bool, engine: str) -> tuple[Array, Array]:
    return _leaky_forward(drive, keep, start, reverse, engine)[0]


def _leaky_forward(drive, keep, start, reverse, engine):
    decay, opened, value = _gates(drive, keep)
    states, end = _run(decay, opened * value, start, reverse, engine)
    return (states, end), (drive, keep, states, start)


def _leaky_backward(reverse, engine, kept, slopes):
    drive, keep, states, start = kept
    decay, opened, value = _gates(drive, keep)
    error, first = _adjoint(decay, slopes[0], slopes[1], reverse, engine)
    earlier = shifted(states, start, reverse)
    moved = value - (earlier if keep is None else earlier * keep)
    by_drive = jnp.concatenate([error * moved * opened * (1 - opened), error * opened], axis=-1)
    return by_drive, None if keep is None else jnp.zeros_like(keep), first


_leaky.defvjp(_leaky_forward, _leaky_backward)


def _gates(drive: Array, keep: Array | None) -> tuple[Array, Array, Array]:
    gate, value = jnp.split(drive, 2, axis=-1)
    opened = jax.nn.sigmoid(gate)
    return 1 - opened if keep is None else (1 - opened) * keep, opened, value


def _run(decay: Array, drive: Array, start: Array, reverse: bool, engine: str) -> tuple[Array, Array]:
    if engine == "associative":
        return _swept(decay, drive, start, reverse)

    def step(state, now):
        state = now[0] * state + now[1]
        return state, state

    # Not unrolled: XLA would compute the states of a block of steps each from the first, which is four times slower.
    end, states = jax.lax.scan(step, start, (decay, drive), reverse=reverse)
    return states, end


def _swept(decay: Array, drive: Array, start: Array, reverse: bool) -> tuple[Array, Array]:
    """As `_run`, by the associative product of the affine maps of all steps."""

    def after(earlier, later):
        return earlier[0] * later[0], earlier[1] * later[0] + later[1]

    share, states = jax.lax.associative_scan(after, (decay, drive), reverse=reverse)
    states = states + share * start
    return states, states[0 if reverse else -1]


def _adjoint(decay: Array, slopes: Array, last: Array, reverse: bool, engine: str) -> tuple[Array, Array]:
    """The slopes by every state with all that follows from it, and those by the start."""
    if engine == "associative":
        carried, first = _swept(decay, decay * slopes, last, not reverse)
        return slopes + shifted(carried, last, not reverse), first

    def step(carried, now):
        error = now[1] + carried
        return now[0] * error, error

    first, error = jax.lax.scan(step, last, (decay, slopes), reverse=not reverse)
    return error, first


def shifted(states: Array, start: Array, reverse: bool) -> Array:
    """The state before every step."""
    return jnp.concatenate([states[1:], start[None]] if reverse else [start[None], states[:-1]])
