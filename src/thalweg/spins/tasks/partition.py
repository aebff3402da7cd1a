"""`log Z` with an error bar: by annealed importance sampling, and by tempered chains between neighbouring laws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.methods.drive import drive
from thalweg.methods.trace import Trace
from thalweg.spins.energy import AbstractMachine, uniform
from thalweg.spins.tasks.exact import enumerable, exact_log_z, in_width

Method = Literal["exact", "annealed", "tempered"]
_LEVEL = 0.95
_FEWEST_EFFECTIVE = 20  # chains; below, the few largest weights decide, and the spread is no guide to the error


@dataclasses.dataclass(frozen=True)
class LogZ:
    """An estimate of `log Z`.

    **Fields:** `value`; `error`, one standard deviation; `low` and `high`, an interval of nominally 95 %; `method`;
    `effective`, how many independent chains the weights are worth; `trustworthy`, false where so few count that the
    error bar itself is a guess (or, for tempered chains, where two halves of the run disagree).
    """

    value: float
    error: float
    low: float
    high: float
    method: Method
    effective: float
    trustworthy: bool


def estimate_log_z(
    machine: AbstractMachine,
    method: Method | Literal["auto"] = "auto",
    *,
    means: Float[np.ndarray, " n"] | None = None,
    seed: int = 0,
    on_chunk: tuple[Hook, ...] = (),
) -> LogZ:
    """`log Z` of a machine: exact for up to 24 units to sum over, by annealed importance sampling otherwise.

    **Arguments:** `method`, to choose instead; `means`, how often each unit is on in the data: the nearer the
    independent units that the chains begin with, the smaller the error.
    """
    if method == "exact" or (method == "auto" and enumerable(machine)):
        return exactly(machine)
    if method == "tempered":
        return tempered(machine, means=means, seed=seed, on_chunk=on_chunk)
    return annealed(machine, means=means, seed=seed, on_chunk=on_chunk)


def exactly(machine: AbstractMachine) -> LogZ:
    """`log Z` by enumeration, as a `LogZ` without error."""
    value = exact_log_z(machine)
    return LogZ(value, 0.0, value, value, "exact", float("inf"), True)


class _Path(eqx.Module):
    """The machine, the independent units that the path begins with, and its rungs, rising from 0 to 1.

    Weights are float64; units are drawn with float32 probabilities, which are off by 1e-7 of themselves at most.
    """

    machine: AbstractMachine
    base: Float[Array, " n"]
    betas: Float[Array, " rungs"]

    def weight(self, v: Float[Array, "chains n"], beta: Float[Array, ""]) -> Float[Array, " chains"]:
        """`log p_beta` but for the constant, in float64."""
        return self.machine.log_weight(v.astype(self.base.dtype), beta, self.base)

    def swept(self, v: Float[Array, "chains n"], beta: Float[Array, ""], draws: Float[Array, "chains all"]) -> Array:
        """Every unit drawn anew."""
        machine, beta, base = in_width((self.machine, beta, self.base), v.dtype)
        return machine.swept(v, beta, base, draws)


class _Annealing(eqx.Module):
    v: Float[Array, "chains n"]
    log_weight: Float[Array, " chains"]
    rung: Int[Array, ""]
    key: Key[Array, ""]


def annealed(
    machine: AbstractMachine,
    *,
    chains: int = 500,
    rungs: int = 1200,
    means: Float[np.ndarray, " n"] | None = None,
    seed: int = 0,
    on_chunk: tuple[Hook, ...] = (),
) -> LogZ:
    """`log Z` by annealed importance sampling in float64.

    Independent chains go from independent units to the machine, a heat-bath sweep at each rung; their weights average
    to `Z`. The interval is by the delta method on the log of that average, with Student's quantile.

    **Source:** Neal, Stat. Comput. 11, 125 (2001); Salakhutdinov & Murray, ICML 2008.
    """
    if chains < 2 or rungs < 1:
        raise InputError(f"annealed: {chains} chains and {rungs} rungs: give at least 2 and 1.")
    with jax.enable_x64(True):
        path = _path(machine, means, np.linspace(0, 1, rungs + 1))
        v = jnp.asarray(_independent(path.base, (chains,), seed))
        key, none = jax.random.key(seed), jnp.zeros(chains, jnp.float64)
        state = _Annealing(v, none, jnp.asarray(0, jnp.int32), key)
        end = drive(eqx.Partial(_annealed_further, path), state, rungs, hooks=on_chunk).state
        logs = np.asarray(end.log_weight) + float(path.machine.log_base(path.base))
    return averaged(logs)


def _annealed_further(path: _Path, state: _Annealing) -> _Annealing:
    here, there = path.betas[state.rung], path.betas[state.rung + 1]
    rise = path.weight(state.v, there) - path.weight(state.v, here)
    key = jax.random.fold_in(state.key, state.rung)
    v = path.swept(state.v, there, uniform(key, (len(state.v), path.machine.all_units()), state.v.dtype))
    return _Annealing(v, state.log_weight + rise, state.rung + 1, state.key)


def averaged(logs: Float[np.ndarray, " chains"]) -> LogZ:
    """`log Z` from independent weights, given by their logs: the log of their mean, with an error from their spread."""
    from scipy.special import stdtrit

    top, chains = logs.max(), logs.size
    weights = np.exp(logs - top)
    mean = weights.mean()
    error = float(weights.std(ddof=1) / mean / np.sqrt(chains))
    # The log of a mean lies below the mean's log by half its variance, on average.
    value = float(top + np.log(mean)) + error**2 / 2
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    half = float(stdtrit(chains - 1, (1 + _LEVEL) / 2)) * error
    return LogZ(value, error, value - half, value + half, "annealed", effective, effective >= _FEWEST_EFFECTIVE)


class _Ladders(eqx.Module):
    """Tempered chains: `v [rungs, groups, n]`, one ladder per group, groups independent of each other."""

    v: Float[Array, "rungs groups n"]
    rises: Float[Array, "rungs-1 groups"]
    falls: Float[Array, "rungs-1 groups"]
    step: Int[Array, ""]
    key: Key[Array, ""]


def tempered(
    machine: AbstractMachine,
    *,
    groups: int = 64,
    rungs: int = 24,
    draws: int = 200,
    warmup: int = 100,
    means: Float[np.ndarray, " n"] | None = None,
    seed: int = 0,
    on_chunk: tuple[Hook, ...] = (),
) -> LogZ:
    """`log Z` by chains at a ladder of rungs that exchange configurations, in float64.

    Neighbouring rungs are bridged by the geometric mean of their laws. Draws of a chain are correlated; ladders are
    independent of each other, so that the jackknife over ladders gives an error that knows of it.

    **Source:** Meng & Wong, Stat. Sin. 6, 831 (1996); Hukushima & Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996).
    """
    if groups < 3 or rungs < 2 or draws < 4:
        raise InputError(f"tempered: {groups} ladders of {rungs} rungs, {draws} draws: give at least 3, 2 and 4.")
    with jax.enable_x64(True):
        path = _path(machine, means, np.linspace(0, 1, rungs))
        v = jnp.asarray(_independent(path.base, (rungs, groups), seed))
        none = jnp.zeros((rungs - 1, groups), jnp.float64)
        state = _Ladders(v, none, none, jnp.asarray(0, jnp.int32), jax.random.key(seed))
        observe = Trace(_bridged)
        end = drive(eqx.Partial(_exchanged_further, path), state, warmup + draws, hooks=on_chunk, trace=observe)
        rises, falls = (np.asarray(part)[warmup + 1 :] for part in end.records)
        start = float(path.machine.log_base(path.base))
    return _bridges(rises, falls, start)


def _bridged(state: _Ladders) -> tuple[Array, Array]:
    return state.rises, state.falls


def _exchanged_further(path: _Path, state: _Ladders) -> _Ladders:
    """A sweep of every rung, then exchanges between neighbours, even and odd pairs in turn."""
    key = jax.random.fold_in(state.key, state.step)
    draws = uniform(key, (*state.v.shape[:2], path.machine.all_units() + 1), state.v.dtype)
    v = jax.vmap(path.swept)(state.v, path.betas, draws[..., 1:])
    v, rises, falls = exchanged(jax.vmap(path.weight), path.betas, v, state.step % 2, draws[:-1, :, 0])
    return _Ladders(v, rises, falls, state.step + 1, state.key)


def exchanged(
    weigh: Callable[[Array, Array], Array],
    betas: Float[Array, " rungs"],
    v: Float[Array, "rungs chains n"],
    parity: Int[Array, ""],
    draws: Float[Array, "rungs-1 chains"],
) -> tuple[Float[Array, "rungs chains n"], Float[Array, "rungs-1 chains"], Float[Array, "rungs-1 chains"]]:
    """Ladders after one round of exchanges between the neighbours whose turn it is.

    **Arguments:** `weigh`, the log weights `[k, chains]` of configurations `[k, chains, n]` at `betas [k]`; `betas`,
    increasing; `parity` of the pairs that may exchange; `draws`, a number in [0, 1) for each.

    **Returns:** the configurations; and, from before the exchanges, by how much the log weight of each changes one
    rung up, and one rung down.
    """
    around = jnp.stack([jnp.roll(betas, 1), betas, jnp.roll(betas, -1)])
    lower, own, upper = jax.vmap(weigh, (None, 0))(v, around)
    rises, falls = (upper - own)[:-1], (lower - own)[1:]
    turn = (jnp.arange(betas.size - 1, dtype=jnp.int32) % 2 == parity)[:, None]
    swapped = turn & (jnp.log1p(-draws) < rises + falls)
    nobody = jnp.zeros_like(swapped[:1])
    up, down = jnp.concatenate([swapped, nobody]), jnp.concatenate([nobody, swapped])
    # The pairs of one parity share no rung, so that at most one of the two moves a configuration.
    above, below = jnp.roll(v, -1, axis=0), jnp.roll(v, 1, axis=0)
    return jnp.where(up[..., None], above, jnp.where(down[..., None], below, v)), rises, falls


def _bridges(rises: Float[np.ndarray, "draws pairs groups"], falls: np.ndarray, start: float) -> LogZ:
    """The sum of the log ratios of neighbouring `Z`, and the jackknife of it over groups."""
    from scipy.special import stdtrit

    groups = rises.shape[2]
    value, left_out = _ratio(rises, falls), _ratio(rises, falls, leave_out=True)
    error = float(np.sqrt((groups - 1) * np.var(left_out)))
    centre = float(groups * value - (groups - 1) * left_out.mean())
    halves = [float(_ratio(r, f)) for r, f in zip(np.array_split(rises, 2), np.array_split(falls, 2), strict=True)]
    # Halves of a settled run differ by about twice the error of the whole; four times that is no accident.
    settled = abs(halves[0] - halves[1]) <= 8 * max(error, 1e-12 * abs(centre))
    half = float(stdtrit(groups - 1, (1 + _LEVEL) / 2)) * error
    total = start + centre
    return LogZ(total, error, total - half, total + half, "tempered", float(groups), settled)


def _ratio(rises: np.ndarray, falls: np.ndarray, leave_out: bool = False) -> np.ndarray:
    """`sum_k log(Z_(k+1) / Z_k)` by geometric bridges, from all groups, or `[groups]` with each of them left out."""

    def log_mean(logs: np.ndarray) -> np.ndarray:
        top = logs.max(axis=(0, 2), keepdims=True)
        sums = np.exp((logs - top) / 2).sum(axis=0)
        kept = sums.sum(axis=1, keepdims=True) - sums if leave_out else sums.sum(axis=1, keepdims=True)
        return np.log(kept) + top[0, :, :] / 2

    return np.squeeze((log_mean(rises) - log_mean(falls)).sum(axis=0))


def _path(machine: AbstractMachine, means: np.ndarray | None, betas: np.ndarray) -> _Path:
    n = machine.units()
    if means is None:
        base = np.zeros(n)
    else:
        # A unit that was never seen on (or off) must still be able to be it.
        inside = np.clip(np.asarray(means, float), 0.01, 0.99)
        base = np.log(inside / (1 - inside))
    if base.shape != (n,):
        raise InputError(f"log Z: {base.size} means for {n} units: give one each.")
    return _Path(in_width(machine, jnp.float64), jnp.asarray(base, jnp.float64), jnp.asarray(betas, jnp.float64))


def _independent(base: Float[Array, " n"], shape: tuple[int, ...], seed: int) -> Float[np.ndarray, "... n"]:
    """Draws from the law at `beta = 0`, by NumPy: compiling JAX's generator for them would take longer."""
    draws = np.random.default_rng(seed).random((*shape, base.size))
    return (draws < 1 / (1 + np.exp(-np.asarray(base)))).astype(np.float32)
