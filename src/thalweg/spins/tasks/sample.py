"""Equilibrium samples of an Ising glass, what they are worth, and the exact answer where there is one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int8

from thalweg.core.atomic import write_atomic
from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.core.space import Signs
from thalweg.diagnostics.convergence import standard_error
from thalweg.methods.cluster import SwendsenWang, Wolff
from thalweg.methods.heat_bath import HeatBath
from thalweg.methods.tempering import Tempering, geometric_ladder
from thalweg.methods.trace import Trace
from thalweg.session import hear_kernels
from thalweg.spins.data.lattices import aligned
from thalweg.spins.data.problem import Problem
from thalweg.spins.tasks.solve import shift
from thalweg.verbs.sample import sample

METHODS = ("auto", "sweeps", "heat_bath", "tempering", "swendsen_wang", "wolff")
_EXACT = 20  # spins, up to which all states are looked at
_RUNGS = 12
_HOTTEST = 3.0  # times a typical local field: hot enough for any glass to forget


class Drawn(NamedTuple):
    """Draws of an equilibrium.

    **Fields:** the `problem`; `spins [draws, chains, n]`; their `energy [draws, chains]`, offset included; the
    `result`, as the command prints it.
    """

    problem: Problem
    spins: Int8[np.ndarray, "draws chains n"]
    energy: Float[np.ndarray, "draws chains"]
    result: dict[str, Any]

    def save(self, path: Path) -> Path:
        """Write `samples [draws * chains, n]` with the `energy` and the `chain` of each to an .npz file."""
        draws, chains, size = self.spins.shape
        buffer, chain = io.BytesIO(), np.tile(np.arange(chains), draws)
        np.savez_compressed(
            buffer, samples=self.spins.reshape(draws * chains, size), energy=self.energy.ravel(), chain=chain
        )
        return write_atomic(path, buffer.getvalue())


def draw(
    problem: Problem,
    *,
    temperature: float = 1.0,
    method: str = "auto",
    steps: int = 2000,
    warmup: int | None = None,
    chains: int = 4,
    every: int = 1,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Drawn:
    """Walk with the law `exp(-E / T)` from random spins, one independent chain beside the other.

    **Arguments:** `temperature` in units of the energy; `method`, one of `METHODS`: `auto` takes clusters where all
    couplings can be satisfied at once, and tempering elsewhere; `steps` of each chain after the
    `warmup` (by default a fifth as many), of which every so many are kept.

    **Raises:** `InputError` for an unknown method, a temperature that is not positive, or too few steps.
    """
    if steps // every < 4:
        raise InputError(f"sample: {steps} steps with one in {every} kept are too few draws: keep at least 4.")
    hear_kernels()
    chosen, told = _method(problem, method, temperature)
    keys = jax.random.split(jax.random.key(seed))
    start = jax.random.rademacher(keys[0], (chains, problem.size), float)
    found = sample(
        problem.landscape(),
        start,
        chosen,
        key=keys[1],
        steps=steps,
        chains=None,
        warmup=steps // 5 if warmup is None else warmup,
        space=Signs(),
        temperature=temperature,
        trace=Trace(_spins_and_energy, every=every),
        on_chunk=hooks,
    )
    spins, energy = (np.asarray(part) for part in found.trace)
    energy = energy + shift(problem)
    result = {"method": told, "temperature": temperature, "chains": chains, "draws": len(energy)}
    result |= _measured(problem, spins, energy, temperature)
    result |= {name: _finite(found.stats[name]) for name in ("ess_min", "r_hat_max")}
    result |= {"swap_acceptance": _mean(found.stats.get("swap_acceptance"))}
    return Drawn(problem, spins, energy, result | _beside(problem, temperature, result))


def _spins_and_energy(state: Any) -> tuple[Any, Any]:
    return state.x.astype(np.int8), state.value


def _method(problem: Problem, name: str, temperature: float) -> tuple[Any, str]:
    if name == "auto":
        try:
            aligned(problem)
        except InputError:
            name = "tempering"
        else:
            name = "swendsen_wang"
        chosen, _ = _method(problem, name, temperature)
        why = "all couplings can be satisfied at once"
        if name == "tempering":
            why = "couplings are frustrated, fields act, or spins fall apart into several systems"
        return chosen, f"{name} (auto: {why})"
    if name == "tempering":
        return Tempering(HeatBath(), _ladder(problem, temperature)), name
    if name not in METHODS:
        raise InputError(f"sample: there is no method {name!r}: choose one of {', '.join(METHODS)}.")
    if name == "sweeps":
        from thalweg.methods.signs.sweeps import Sweeps

        return Sweeps(), name
    return {"heat_bath": HeatBath, "swendsen_wang": SwendsenWang, "wolff": Wolff}[name](), name


def _ladder(problem: Problem, temperature: float) -> jax.Array:
    """Factors on the temperature up to where a typical local field is weak."""
    starts, _, couplings, field = problem.to_csr()
    rows = np.add.reduceat(np.append(np.abs(couplings), 0.0), starts[:-1]) * (np.diff(starts) > 0)
    hottest = _HOTTEST * float(np.median(np.sqrt(rows**2 / np.maximum(np.diff(starts), 1)) + np.abs(field)))
    return geometric_ladder(1.0, max(2.0, hottest / temperature), _RUNGS)


def _measured(problem: Problem, spins: np.ndarray, energy: np.ndarray, temperature: float) -> dict[str, Any]:
    order = spins.mean(axis=2, dtype=float)
    overlap = _overlap(spins)
    return {
        "energy": float(energy.mean()),
        "energy_error": _finite(standard_error(energy)),
        "energy_per_spin": float(energy.mean()) / problem.size,
        "specific_heat": float(energy.var()) / temperature**2 / problem.size,
        "magnetisation": float(order.mean()),
        "magnetisation_absolute": float(np.abs(order).mean()),
        "overlap_squared": None if overlap is None else float((overlap**2).mean()),
        "lowest_energy": float(energy.min()),
    }


def _overlap(spins: np.ndarray) -> np.ndarray | None:
    """The overlap of neighbouring chains, the order parameter of a glass (Edwards & Anderson, 1975)."""
    if spins.shape[1] < 2:
        return None
    return (spins[:, 1:] * spins[:, :-1]).mean(axis=2, dtype=float)


def _beside(problem: Problem, temperature: float, result: dict[str, Any]) -> dict[str, Any]:
    """The exact mean energy, and by how many standard errors the measured one misses it."""
    if problem.size > _EXACT:
        return {"energy_exact": None, "energy_deviation": None, "log_z_exact": None}
    from thalweg.spins.tasks.exact import log_z_of

    exact = exact_energy(problem, temperature)
    error = result["energy_error"]
    deviation = (result["energy"] - exact) / error if error and error > 0 else None
    return {"energy_exact": exact, "energy_deviation": deviation, "log_z_exact": log_z_of(problem, temperature)}


def exact_energy(problem: Problem, temperature: float) -> float:
    """The mean energy from all states, offset included; for at most 20 spins.

    **Raises:** `InputError` for more spins.
    """
    heights = all_energies(problem)
    weights = np.exp(-(heights - heights.min()) / temperature)
    return float(heights @ weights / weights.sum())


def all_energies(problem: Problem) -> Float[np.ndarray, " states"]:
    """The energy of each of the `2^n` states, spin `i` being down where bit `i` of the state's number is not set.

    **Raises:** `InputError` for more than 20 spins.
    """
    if problem.size > _EXACT:
        raise InputError(f"{problem.source}: 2^{problem.size} states are too many: enumerate at most {_EXACT} spins.")
    numbers = np.arange(2**problem.size)
    heights = np.full(numbers.size, float(problem.offset))
    signs = 2.0 * ((numbers >> np.arange(problem.size)[:, None]) & 1) - 1
    for i, j, coupling in zip(problem.first, problem.second, problem.coupling, strict=True):
        heights -= float(coupling) * signs[i] * signs[j]
    return (heights - problem.field.astype(float) @ signs) / problem.denominator


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mean(values: Any) -> float | None:
    return None if values is None else float(np.mean(np.asarray(values)))
