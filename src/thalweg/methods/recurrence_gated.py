"""Gated recurrences whose gates depend on the state: back-propagation goes through every step of time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from thalweg.methods.recurrence import AbstractCell, shifted


class GRU(AbstractCell):
    """The gated recurrent unit; its inputs are those of the reset gate, the update gate and the candidate.

    **Fields:** `matrix`, from the state to the three; `bias`, of the candidate's part in the state.

    **Source:** Cho et al., EMNLP 2014; the reset gate after the product with the matrix, as in cuDNN.
    """

    matrix: Float[Array, "width three_widths"]
    bias: Float[Array, " width"]
    width: int = eqx.field(static=True)
    bibtex: ClassVar[str] = """@inproceedings{cho2014gru,
  title = {Learning Phrase Representations using {RNN} Encoder-Decoder for Statistical Machine Translation},
  author = {Cho, Kyunghyun and others}, booktitle = {EMNLP}, year = {2014}}"""

    @property
    def inputs(self) -> int:
        return 3 * self.width

    def rest(self, batch: int, dtype: Any) -> tuple[Float[Array, "batch width"]]:
        return (jnp.zeros((batch, self.width), dtype),)

    def __call__(self, drive, start, fresh=None, *, reverse=False):
        return _through(_gru_step, drive, self.matrix, self.bias, start, fresh, reverse)


class LSTM(AbstractCell):
    """Long short-term memory; its inputs are those of the input gate, the forget gate, the candidate and the output.

    **Fields:** `matrix`, from the output to the four.

    **Source:** Hochreiter & Schmidhuber, Neural Comput. 9, 1735 (1997), with the forget gate of Gers et al. (2000).
    """

    matrix: Float[Array, "width four_widths"]
    width: int = eqx.field(static=True)
    bibtex: ClassVar[str] = """@article{hochreiter1997lstm,
  title = {Long Short-Term Memory}, author = {Hochreiter, Sepp and Schmidhuber, J{\\"u}rgen},
  journal = {Neural Computation}, volume = {9}, pages = {1735--1780}, year = {1997}}"""

    @property
    def inputs(self) -> int:
        return 4 * self.width

    def rest(self, batch: int, dtype: Any) -> tuple[Float[Array, "batch width"], Float[Array, "batch width"]]:
        zeros = jnp.zeros((batch, self.width), dtype)
        return zeros, zeros

    def __call__(self, drive, start, fresh=None, *, reverse=False):
        none = jnp.zeros((0,), drive.dtype)
        return _through(_lstm_step, drive, self.matrix, none, start, fresh, reverse)


def gru(width: int, key: Key[Array, ""], dtype: Any) -> GRU:
    """A GRU with orthogonal blocks, which neither grow nor shrink a state in time."""
    blocks = [jax.nn.initializers.orthogonal()(each, (width, width), dtype) for each in jax.random.split(key, 3)]
    return GRU(matrix=jnp.concatenate(blocks, axis=1), bias=jnp.zeros((width,), dtype), width=width)


def lstm(width: int, key: Key[Array, ""], dtype: Any) -> LSTM:
    """An LSTM with orthogonal blocks."""
    blocks = [jax.nn.initializers.orthogonal()(each, (width, width), dtype) for each in jax.random.split(key, 4)]
    return LSTM(matrix=jnp.concatenate(blocks, axis=1), width=width)


Step = Callable[[Array, Array, Array, PyTree], PyTree]


def _gru_step(drive: Array, back: Array, bias: Array, state: PyTree) -> PyTree:
    reset, update, new = jnp.split(drive, 3, axis=-1)
    back_reset, back_update, back_new = jnp.split(back, 3, axis=-1)
    update = jax.nn.sigmoid(update + back_update)
    new = jnp.tanh(new + jax.nn.sigmoid(reset + back_reset) * (back_new + bias))
    return (new + update * (state[0] - new),)


def _lstm_step(drive: Array, back: Array, bias: Array, state: PyTree) -> PyTree:
    put, keep, new, show = jnp.split(drive + back, 4, axis=-1)
    cell = jax.nn.sigmoid(keep) * state[1] + jax.nn.sigmoid(put) * jnp.tanh(new)
    return jax.nn.sigmoid(show) * jnp.tanh(cell), cell


def _through(step: Step, drive, matrix, bias, start, fresh, reverse) -> tuple[Array, PyTree]:
    keep = None if fresh is None else (~fresh).astype(drive.dtype)[..., None]
    return _walked(drive, matrix, bias, start, keep, step, reverse)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _walked(drive, matrix, bias, start, keep, step: Step, reverse: bool) -> tuple[Array, PyTree]:
    states, end = _states(drive, matrix, bias, start, keep, step, reverse)
    return states[0], end


def _states(drive, matrix, bias, start, keep, step: Step, reverse: bool) -> tuple[PyTree, PyTree]:
    def once(state, now):
        read, kept = now
        state = state if kept is None else jax.tree.map(lambda leaf: kept * leaf, state)
        state = step(read, state[0] @ matrix, bias, state)
        return state, state

    end, states = jax.lax.scan(once, start, (drive, keep), reverse=reverse)
    return states, end


def _forward(drive, matrix, bias, start, keep, step: Step, reverse: bool):
    states, end = _states(drive, matrix, bias, start, keep, step, reverse)
    return (states[0], end), (drive, matrix, bias, start, keep, states)


def _backward(step: Step, reverse: bool, kept, slopes):
    """Step by step through time; the products with the matrix that need no order are done in one for all steps."""
    drive, matrix, bias, start, keep, states = kept
    of_outputs, of_end = slopes
    before = jax.tree.map(lambda all_, one: shifted(all_, one, reverse), states, start)
    if keep is not None:
        before = jax.tree.map(lambda leaf: keep * leaf, before)
    back = before[0] @ matrix

    def once(carried, now):
        read, seen, state, slope, hold = now
        carried = (carried[0] + slope, *carried[1:])
        _, turned = jax.vjp(step, read, seen, bias, state)
        by_read, by_seen, by_bias, by_state = turned(carried)
        by_state = (by_state[0] + by_seen @ matrix.T, *by_state[1:])
        by_state = by_state if hold is None else jax.tree.map(lambda leaf: hold * leaf, by_state)
        return by_state, (by_read, by_seen, by_bias)

    first, (by_drive, by_back, by_bias) = jax.lax.scan(
        once, of_end, (drive, back, before, of_outputs, keep), reverse=not reverse
    )
    by_matrix = jnp.einsum("tbi,tbj->ij", before[0], by_back)
    none = None if keep is None else jnp.zeros_like(keep)
    return by_drive, by_matrix, jnp.sum(by_bias, axis=0), first, none


_walked.defvjp(_forward, _backward)
