"""Boltzmann machines as landscapes: fully visible and restricted, and the pseudo-likelihood of samples."""

from __future__ import annotations

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key

from thalweg.core.energy import AbstractEnergy
from thalweg.core.errors import InputError


class AbstractMachine(AbstractEnergy):
    """A law over binary units `v` in {0, 1}, and the way to it from independent units.

    The path is `p_beta(v) ~ sum_h exp(-(1 - beta) E_base(v) - beta E(v, h))` with `E_base = -base . v`: independent
    units at `beta = 0`, the machine at `beta = 1`.
    """

    @abc.abstractmethod
    def units(self) -> int:
        """How many visible units there are."""

    @abc.abstractmethod
    def log_weight(
        self, v: Float[Array, "chains n"], beta: Float[Array, ""], base: Float[Array, " n"]
    ) -> Float[Array, " chains"]:
        """`log p_beta` of each configuration but for the constant."""

    @abc.abstractmethod
    def log_base(self, base: Float[Array, " n"]) -> Float[Array, ""]:
        """`log Z` of the law at `beta = 0`."""

    @abc.abstractmethod
    def all_units(self) -> int:
        """How many units there are, hidden ones included: so many random numbers a sweep of one chain takes."""

    @abc.abstractmethod
    def swept(
        self,
        v: Float[Array, "chains n"],
        beta: Float[Array, ""],
        base: Float[Array, " n"],
        draws: Float[Array, "chains all_units"],
    ) -> Float[Array, "chains n"]:
        """Every unit drawn anew from its heat bath at `beta`, in each chain, with one number in [0, 1) for each."""


class BoltzmannMachine(AbstractMachine):
    """`E(v) = -sum_k coupling_k v_first_k v_second_k - sum_i bias_i v_i` over units `v` in {0, 1}, all of them visible.

    It is an Ising glass in other units: `s = 2v - 1`, `J = W / 4`, `h_i = b_i / 2 + sum_j W_ij / 4`.

    **Arguments:** `first` and `second`, the ends of each pair; `coupling`, one per pair; `bias`, one per unit.

    **Source:** Ackley, Hinton & Sejnowski, Cogn. Sci. 9, 147 (1985).
    """

    first: Int[Array, " pairs"] = eqx.field(converter=jnp.asarray)
    second: Int[Array, " pairs"] = eqx.field(converter=jnp.asarray)
    coupling: Float[Array, " pairs"] = eqx.field(converter=jnp.asarray)
    bias: Float[Array, " n"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if isinstance(self.first, Tracer) or isinstance(self.second, Tracer):
            return
        first, second = np.asarray(self.first), np.asarray(self.second)
        if not first.shape == second.shape == self.coupling.shape:
            raise InputError(
                "BoltzmannMachine: first, second and coupling differ in length: give one of each per pair."
            )
        if first.size and not (0 <= min(first.min(), second.min()) <= max(first.max(), second.max()) < self.bias.size):
            raise InputError(f"BoltzmannMachine: a pair leaves the {self.bias.size} units: give a bias for each unit.")
        if (first == second).any():
            raise InputError("BoltzmannMachine: a unit is coupled to itself: v v = v, so add it to the unit's bias.")

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        pairs = jnp.sum(self.coupling.astype(x.dtype) * x[self.first] * x[self.second])
        return -pairs - jnp.sum(self.bias.astype(x.dtype) * x)

    def matrix(self) -> Float[Array, "n n"]:
        """The couplings as a symmetric matrix with an empty diagonal; repeated pairs are summed."""
        upper = jnp.zeros((self.bias.size, self.bias.size), self.coupling.dtype)
        upper = upper.at[self.first, self.second].add(self.coupling)
        return upper + upper.T

    def units(self) -> int:
        return self.bias.size

    def all_units(self) -> int:
        return self.bias.size

    def log_weight(self, v, beta, base):
        pairs = jnp.sum((v @ self.matrix()) * v, axis=-1) / 2
        return beta * pairs + v @ ((1 - beta) * base + beta * self.bias)

    def log_base(self, base):
        return jnp.sum(jax.nn.softplus(base))

    def swept(self, v, beta, base, draws):
        matrix, field = beta * self.matrix(), (1 - beta) * base + beta * self.bias

        def visit(columns: Array, unit: tuple[Array, ...]) -> tuple[Array, None]:
            place, row, bias, draw = unit
            return columns.at[place].set(_drawn(draw, row @ columns + bias)), None

        visits = (jnp.arange(v.shape[1], dtype=jnp.int32), matrix, field, draws.T)
        return jax.lax.scan(visit, v.T, visits)[0].T


def boltzmann_machine(
    matrix: Float[Array | np.ndarray, "n n"], bias: Float[Array | np.ndarray, " n"]
) -> BoltzmannMachine:
    """The machine of a symmetric coupling matrix; its diagonal goes into the biases, because `v v = v`.

    **Raises:** `InputError` if the matrix is not square, symmetric and of the size of the biases.
    """
    dense = np.asarray(matrix)
    if dense.shape != (np.size(bias), np.size(bias)):
        raise InputError(f"boltzmann_machine: couplings {dense.shape} for {np.size(bias)} biases: give [n, n] and [n].")
    if not np.array_equal(dense, dense.T):
        raise InputError("boltzmann_machine: the couplings are not symmetric: give (W + W.T) / 2.")
    first, second = (ends.astype(np.int32) for ends in np.triu_indices(len(dense), 1))
    # Each pair is counted once and the diagonal halved, as in E = -v.W.v / 2 - b.v.
    return BoltzmannMachine(first, second, dense[first, second], np.asarray(bias) + np.diag(dense) / 2)


class RestrictedBoltzmann(AbstractMachine):
    """`E(v, h) = -v.W.h - b.v - c.h` over visible `v` and hidden `h` in {0, 1}, no pair on the same side.

    **Arguments:** `weights [visible, hidden]`, `visible_bias` b, `hidden_bias` c.

    **Source:** Smolensky in Rumelhart & McClelland, Parallel Distributed Processing (1986), chapter 6.
    """

    weights: Float[Array, "visible hidden"] = eqx.field(converter=jnp.asarray)
    visible_bias: Float[Array, " visible"] = eqx.field(converter=jnp.asarray)
    hidden_bias: Float[Array, " hidden"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        sizes = (self.visible_bias.size, self.hidden_bias.size)
        if self.weights.shape != sizes:
            raise InputError(f"RestrictedBoltzmann: weights {self.weights.shape} for {sizes} biases: make them agree.")

    def __call__(self, x: tuple[Float[Array, " visible"], Float[Array, " hidden"]]) -> Float[Array, ""]:
        v, h = x
        weights, b, c = (part.astype(v.dtype) for part in (self.weights, self.visible_bias, self.hidden_bias))
        return -v @ weights @ h - b @ v - c @ h

    def units(self) -> int:
        return self.visible_bias.size

    def all_units(self) -> int:
        return self.visible_bias.size + self.hidden_bias.size

    def log_weight(self, v, beta, base):
        hidden = jax.nn.softplus(beta * (self.hidden_bias + v @ self.weights))
        return v @ ((1 - beta) * base + beta * self.visible_bias) + jnp.sum(hidden, axis=-1)

    def log_base(self, base):
        # Hidden units are free there: two states of weight one each.
        return jnp.sum(jax.nn.softplus(base)) + self.hidden_bias.size * np.log(2.0)

    def swept(self, v, beta, base, draws):
        hidden = self.hidden_bias.size
        h = _drawn(draws[:, :hidden], beta * (self.hidden_bias + v @ self.weights))
        field = (1 - beta) * base + beta * (self.visible_bias + h @ self.weights.T)
        return _drawn(draws[:, hidden:], field)

    def whole(self) -> BoltzmannMachine:
        """The same law over visible and hidden units together, as a machine whose pairs join the two sides."""
        visible, hidden = self.weights.shape
        first = np.repeat(np.arange(visible, dtype=np.int32), hidden)
        second = np.tile(np.arange(visible, visible + hidden, dtype=np.int32), visible)
        return BoltzmannMachine(
            first, second, self.weights.ravel(), jnp.concatenate([self.visible_bias, self.hidden_bias])
        )


def _drawn(draws: Float[Array, "..."], field: Float[Array, "..."]) -> Float[Array, "..."]:
    return (draws < jax.nn.sigmoid(field)).astype(field.dtype)


def uniform(key: Key[Array, ""], shape: tuple[int, ...], dtype: jnp.dtype) -> Float[Array, "..."]:
    """Numbers in [0, 1) of one dtype."""
    # Drawn in one row, because XLA takes ten times as long to compile the draws of a block. The bounds are spelled
    # out: where x64 is on, the default ones are float64.
    row = jax.random.uniform(key, (math.prod(shape),), dtype, jnp.zeros((), dtype), jnp.ones((), dtype))
    return row.reshape(shape)


class FreeEnergy(AbstractEnergy):
    """`F(v) = -log sum_h exp(-E(v, h))` of a machine over its visible units; of a fully visible one, its energy."""

    machine: AbstractMachine

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        machine = jax.tree.map(lambda leaf: leaf.astype(x.dtype) if eqx.is_inexact_array(leaf) else leaf, self.machine)
        return mean_free_energy(machine, x[None])


def mean_free_energy(machine: AbstractMachine, v: Float[Array, "chains n"]) -> Float[Array, ""]:
    """The mean of `F(v)` over a batch: its gradient by the parameters is the mean force on them."""
    return -jnp.mean(machine.log_weight(v, jnp.ones((), v.dtype), jnp.zeros(v.shape[1:], v.dtype)))


class Couplings(eqx.Module):
    """Where the pseudo-likelihood is looked at: one coupling per pair `i < j` in row order, one field per spin."""

    coupling: Float[Array, " pairs"]
    field: Float[Array, " n"]


class PseudoLikelihood(AbstractEnergy):
    """Minus the mean log pseudo-likelihood of +-1 samples as a landscape over the couplings of an Ising glass.

    `sum_i log(1 + exp(-2 s_i (h_i + sum_j J_ij s_j)))` averaged over samples, `J` symmetric, plus
    `l2 sum_(i < j) J_ij^2 / 2`: convex, so that its minimum is the answer of the inverse problem.

    **Arguments:** `samples [rows, n]` in {-1, +1}; `weights [rows]`, which add up to one; `l2`.

    **Source:** Besag, J. R. Stat. Soc. B 36, 192 (1974); Aurell & Ekeberg, Phys. Rev. Lett. 108, 090201 (2012).
    """

    samples: Float[Array, "rows n"] = eqx.field(converter=jnp.asarray)
    weights: Float[Array, " rows"] = eqx.field(converter=jnp.asarray)
    l2: Float[Array, ""] = eqx.field(default=0.0, converter=jnp.asarray)

    def __call__(self, x: Couplings) -> Float[Array, ""]:
        signs, weights, l2 = (part.astype(x.field.dtype) for part in (self.samples, self.weights, self.l2))
        field = x.field + signs @ symmetric(x.coupling, x.field.size)
        losses = jnp.sum(jax.nn.softplus(-2 * signs * field), axis=1)
        return weights @ losses + l2 / 2 * jnp.sum(x.coupling**2)


def symmetric(coupling: Float[Array, " pairs"], n: int) -> Float[Array, "n n"]:
    """Couplings in row order as a symmetric matrix with an empty diagonal."""
    first, second = np.triu_indices(n, 1)
    upper = jnp.zeros((n, n), coupling.dtype).at[first, second].set(coupling)
    return upper + upper.T


class MeanField(AbstractEnergy):
    """The mean-field free energy `E(m) - T S(m)` over fields `theta`, with `m = tanh(theta)` for every spin.

    It bounds the true free energy from above (Gibbs, Bogoliubov, Feynman); its minima solve `theta = force(m) / T`,
    and become ground-state candidates as `T` goes to zero.

    **Arguments:** `magnet`, an energy that is linear in every spin, and so means the same at mean values;
    `temperature`, in units of that energy.

    **Source:** Peterson & Anderson, Complex Syst. 1, 995 (1987).
    """

    magnet: AbstractEnergy
    temperature: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        mean = jnp.tanh(x)
        # log(2 cosh x) - x tanh x, without overflow.
        entropy = jnp.sum(jnp.logaddexp(x, -x) - x * mean)
        return self.magnet(mean) - self.temperature.astype(entropy.dtype) * entropy
