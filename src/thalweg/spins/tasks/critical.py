"""The critical temperature of a lattice: cluster updates, crossings of the Binder cumulant, and their limit."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.diagnostics.critical import Moments, binder, moments, susceptibility
from thalweg.diagnostics.crossing import Crossings, crossings
from thalweg.landscapes import PairwiseSigns
from thalweg.methods.cluster import SwendsenWang
from thalweg.methods.parts import in_parts, part_name
from thalweg.methods.trace import Trace
from thalweg.verbs.sample import sample

_CHAINS = 8
_LOOK = 9  # temperatures of the first look, over the whole range where order can begin
_NEAR = 0.05  # half-width of the look at a pair, relative; over 1 / length it is less
_WINDOW = 0.6  # half the spacing of the last one over 1 / sqrt(sites): about as far as energies can be reweighted
_GAP = -0.02  # of two cumulants, several times their noise: without one the curves never part
_REACH = 1.7  # how far beyond the temperatures of the last look its curves are drawn


class Critical(NamedTuple):
    """A study of one family of systems.

    **Fields:** the `crossings` of its Binder cumulants; by size, the `moments` around them; the `temperatures` that
    were sampled last; the `look` at the whole range by size, `[temperatures, 2]` of temperature and cumulant.
    """

    crossings: Crossings
    moments: Mapping[int, Moments]
    temperatures: Float[np.ndarray, " values"]
    look: Mapping[int, Float[np.ndarray, "temperatures 2"]]


def critical(
    systems: Mapping[int, PairwiseSigns],
    *,
    window: tuple[float, float] | None = None,
    draws: int = 3000,
    power: float = 1.0,
    seed: int = 0,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    executor: Executor | None = None,
) -> Critical:
    """Find where the Binder cumulants of a family of unfrustrated systems cross.

    Four looks: two of the smallest sizes for where order begins, one of each pair of neighbouring sizes, ever closer,
    and one of all at two temperatures, which their energies carry to all others near by.

    **Arguments:** `systems`, by linear size (see `data.lattices.aligned`); `window`, temperatures to look between, by
    default found; `draws` per chain, of 8; `power`, see `diagnostics.crossing.crossings`; `done`, where finished parts
    are kept.

    **Raises:** `InputError` where the cumulants do not cross, which a system without a transition does not do.
    """
    if len(systems) < 2:
        raise InputError("critical: one size has nothing to cross: give at least two.")
    sizes = sorted(systems)
    looked = _Looks(systems, seed, done, hooks, executor)
    low, high = window or _whole_range(systems[sizes[0]])
    coarse = looked(0, sizes[:2], np.geomspace(low, high, _LOOK), max(200, draws // 10))
    low, high = _bracket(coarse, sizes[:2])
    closer = looked(1, sizes[:2], np.linspace(low, high, _LOOK), max(200, draws // 10))
    met = [float(np.mean(_bracket(closer, sizes[:2])))]
    for pair in pairwise(sizes):
        near = met[-1] * (1 + min(_NEAR, 1 / pair[0]) * np.linspace(-1, 1, 5))
        met.append(_crossed(looked(2, list(pair), near, max(400, draws // 5)), pair))
    heats, grid = _around(met[1:], systems[sizes[-1]].field.size)
    last = looked(3, sizes, heats, draws)
    order = {size: last[size].order for size in sizes}
    of = moments(
        order, heats, energies={size: last[size].energy for size in sizes}, grid=grid, key=jax.random.key(seed)
    )
    pictures = {size: np.stack([coarse[size].heats, _cumulant(coarse[size].order)], axis=1) for size in sizes[:2]}
    return Critical(crossings(of, power=power), of, heats, pictures)


def _around(met: list[float], sites: int) -> tuple[np.ndarray, np.ndarray]:
    """Temperatures for the last look, close enough for the energies of neighbours to overlap, and those to draw at."""
    half = _WINDOW / np.sqrt(sites) * met[-1]
    low, high = min(met) - half, max(met) + half
    heats = np.linspace(low, high, 1 + int(np.ceil((high - low) / (2.01 * half))))
    beyond = (_REACH - 1) * half
    return heats, np.linspace(low - beyond, high + beyond, 141)


class Draws(NamedTuple):
    """Order parameter and energy `[temperatures, draws, chains]` of one size."""

    heats: np.ndarray
    order: np.ndarray
    energy: np.ndarray


class _Looks:
    """All sizes at some temperatures, part by part."""

    def __init__(
        self,
        systems: Mapping[int, PairwiseSigns],
        seed: int,
        done: Store | None,
        hooks: tuple[Hook, ...],
        executor: Executor | None,
    ):
        self.systems, self.seed, self.done, self.hooks, self.executor = systems, seed, done, hooks, executor

    def __call__(self, look: int, sizes: list[int], heats: np.ndarray, draws: int) -> dict[int, Draws]:
        tasks = {}
        for size in sizes:
            of = self.systems[size]
            known = {"first": np.asarray(of.first), "second": np.asarray(of.second), "j": np.asarray(of.coupling)}
            for place, heat in enumerate(heats):
                name = part_name("look", seed=self.seed, look=look, heat=float(heat), draws=draws, **known)
                tasks[name] = size, place, float(heat)

        compute = functools.partial(
            _looked, tasks, {size: self.systems[size] for size in sizes}, self.seed, look, draws
        )
        found = in_parts(
            list(tasks), compute, done=self.done, hooks=self.hooks, task="critical", executor=self.executor
        )
        together = {size: [found[name] for name, task in tasks.items() if task[0] == size] for size in sizes}
        return {
            size: Draws(heats, np.stack([p["order"] for p in parts]), np.stack([p["energy"] for p in parts]))
            for size, parts in together.items()
        }


def _looked(
    tasks: Mapping[str, tuple[int, int, float]],
    systems: Mapping[int, PairwiseSigns],
    seed: int,
    look: int,
    draws: int,
    name: str,
) -> dict[str, np.ndarray]:
    size, place, heat = tasks[name]
    key = jax.random.fold_in(jax.random.key(seed), (look * 1_000_003 + size) * 101 + place)
    return _drawn(systems[size], heat, draws, key)


def _order_and_energy(chains: Any) -> tuple[np.ndarray, np.ndarray]:
    return chains.x.mean(axis=1), chains.value


def _drawn(system: PairwiseSigns, heat: float, draws: int, key: jax.Array) -> dict[str, np.ndarray]:
    start = jnp.ones(system.field.size)
    settings: dict[str, Any] = {"steps": draws, "warmup": max(100, draws // 10), "chains": _CHAINS}
    settings |= {"temperature": heat, "trace": Trace(_order_and_energy)}
    order, energy = sample(system, start, SwendsenWang(), key=key, **settings).trace
    return {"order": np.asarray(order), "energy": np.asarray(energy)}


def _whole_range(system: PairwiseSigns) -> tuple[float, float]:
    """From deep in any order to the mean-field temperature, above which there is none (Griffiths, 1967)."""
    felt = np.zeros(system.field.size)
    for end in (system.first, system.second):
        np.add.at(felt, np.asarray(end), np.asarray(system.coupling))
    return 0.15 * float(felt.mean()), 1.05 * float(felt.max())


def _cumulant(order: np.ndarray) -> np.ndarray:
    second, fourth = (order**2).mean(axis=(1, 2)), (order**4).mean(axis=(1, 2))
    return 1 - fourth / (3 * second**2)


def _bracket(looked: Mapping[int, Draws], sizes: list[int]) -> tuple[float, float]:
    """Two temperatures between which the cumulant of the larger size falls below that of the smaller one."""
    small, large = (_cumulant(looked[size].order) for size in sizes)
    heats, apart = looked[sizes[0]].heats, large - small
    # Deep in order both are 2/3 and their difference is noise: the crossing is below the widest gap.
    widest = int(np.argmin(apart))
    above = [place for place in range(widest) if apart[place] > 0]
    if apart[widest] > _GAP or not above:
        raise InputError(
            f"critical: the cumulants of sizes {sizes[0]} and {sizes[1]} do not cross between {heats[0]:.4g} and "
            f"{heats[-1]:.4g}: the system may have no transition, or give --temperatures around it."
        )
    return float(heats[above[-1]]), float(heats[above[-1] + 1])


def _crossed(looked: Mapping[int, Draws], pair: tuple[int, int]) -> float:
    """About where two cumulants meet: the root of a parabola through their difference that is nearest to the middle."""
    heats = looked[pair[0]].heats
    small, large = (_cumulant(looked[size].order) for size in pair)
    middle, half = float(heats.mean()), float(np.ptp(heats)) / 2
    roots = np.polynomial.Polynomial.fit(heats, large - small, 2).roots()
    inside = [float(root.real) for root in roots if abs(root.imag) < 1e-9 and abs(root.real - middle) <= 1.5 * half]
    return min(inside, key=lambda root: abs(root - middle), default=middle)


def curves(found: Critical) -> dict[int, dict[str, np.ndarray]]:
    """By size, the temperatures around the crossing with cumulant and susceptibility per site."""
    return {
        size: {
            "temperature": of.values,
            "binder": np.asarray(binder(of).value),
            "susceptibility": np.asarray(susceptibility(of, 1).value),
        }
        for size, of in found.moments.items()
    }
