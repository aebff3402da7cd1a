"""A survey under way: searches one after another, kept as they finish, and the network that they build."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Closer, Hook, Report, Store
from thalweg.core.solution import Outcome, Solution
from thalweg.core.space import Euclidean
from thalweg.diagnostics.disconnectivity import disconnectivity
from thalweg.methods.copies import AbstractCopies
from thalweg.methods.network import Network
from thalweg.methods.parts import part_name
from thalweg.verbs.survey_parts import BATCH, Tools, climbed, is_minimum, joined, relaxed


class Budget(NamedTuple):
    """How many rounds, and how many pairs and searches in each; how many minima are wanted; rounds of refinement."""

    rounds: int
    pairs: int
    searches: int
    wanted: int
    refine: int


class Stopped(Exception):
    """A hook asked to stop."""

    def __init__(self, outcome: Outcome):
        self.outcome = outcome


class Jobs:
    """Searches one after another: finished ones are kept, and the world is let in between them."""

    def __init__(self, done: Store | None, hooks: tuple[Hook, ...], program: str):
        self.done, self.hooks, self.program = done, hooks, program
        self.began, self.count, self.first = time.perf_counter(), 0, 0
        self.told = Report(0, 0, {}, Outcome.WALKING, 0.0)

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self.hooks:
            if isinstance(hook, Closer):
                hook.close(self.told)

    def __call__(self, kind: str, compute: Callable[[], dict[str, np.ndarray]], **of: Any) -> dict[str, np.ndarray]:
        """What `compute` says, or what is kept of it; `of` is all that it follows from."""
        name = part_name(f"survey-{kind}", program=self.program, **of)
        kept = None if self.done is None else self.done.get(name)
        self.first += kept is not None
        if kept is None:
            kept = compute()
            if self.done is not None:
                self.done.put(name, kept)
        self.count += 1
        self.told = Report(self.count, self.count, kept, Outcome.WALKING, time.perf_counter() - self.began, self.first)
        answers = [answer for answer in [hook(self.told) for hook in self.hooks] if answer is not None]
        if answers:
            self.told = self.told._replace(outcome=answers[0])
            raise Stopped(answers[0])
        return kept


class Work:
    """A survey under way."""

    def __init__(
        self, tools: Tools, copies: AbstractCopies, jobs: Jobs, key: Any, energy_tol: Any, distance_tol: float
    ):
        self.tools, self.jobs, self.key, self.energy_tol = tools, jobs, key, energy_tol
        unravel = ravel_pytree(tools.like)[1]
        displaced = eqx.filter_jit(lambda a, b: ravel_pytree(tools.space.displacement(unravel(a), unravel(b)))[0])
        plain = type(tools.space) is Euclidean

        def distance(a: np.ndarray, b: np.ndarray) -> float:
            return float(np.linalg.norm(b - a if plain else np.asarray(displaced(a, b))))

        self.network = Network(copies, _splitter(tools.like), _flat, distance, np.nan, distance_tol)
        self.found: list[int] = []
        self.targets: list[int] = []
        self.stats: dict[str, Any] = {"rounds": 0, "searches": 0, "pairs": 0, "steps": 0, "refused": 0}

    def run(self, rows: np.ndarray, guesses: np.ndarray, budget: Budget) -> Outcome:
        """All of the survey, or as much of it as the hooks let pass."""
        try:
            self.begin(rows)
            for number, row in enumerate(guesses):
                self.climb(row, jax.random.fold_in(jax.random.fold_in(self.key, 3), number))
            self.connect(budget)
            self.refine(budget)
        except Stopped as stop:
            if not self.network.minima:
                raise WalkError(
                    f"survey: stopped before the starts came to rest. {stop.outcome.value}",
                    Solution(rows, jnp.asarray(np.nan), jnp.asarray(stop.outcome.code)),
                ) from None
            return stop.outcome
        return Outcome.DONE

    def begin(self, rows: np.ndarray) -> None:
        """Relax the starts in batches of one size, and keep the minima among them."""
        ends, heights, landed = [], [], []
        for first in range(0, len(rows), BATCH):
            batch = rows[first : first + BATCH]
            kept = self.jobs("relax", lambda batch=batch: relaxed(self.tools, batch), rows=batch)
            for store, name in ((ends, "rows"), (heights, "energies"), (landed, "landed")):
                store.extend(kept[name])
        if not any(landed):
            raise WalkError(
                "survey: none of the starts came to rest: raise max_steps or loosen tol.",
                Solution(np.stack(ends), jnp.asarray(np.nan), jnp.asarray(Outcome.STEPS.code)),
            )
        self.network.energy_tol = self._energy_tol([h for h, good in zip(heights, landed, strict=True) if good])
        for row, height, good in zip(ends, heights, landed, strict=True):
            place = self.place(row, float(height)) if good else None
            if place is not None:
                self.found[place] += 1
        self.targets = sorted(range(len(self.found)), key=lambda i: (self.network.energies[i], i))
        if not self.targets:
            raise InputError("survey: the starts came to rest at points that are no minima: give other starts.")

    def _energy_tol(self, heights: list) -> float:
        if self.energy_tol is not None:
            return float(self.energy_tol)
        eps = float(jnp.finfo(self.tools.tol.dtype).eps)
        return eps**0.5 * max(1.0, float(np.max(np.abs(heights))))

    def place(self, row: np.ndarray, height: float) -> int | None:
        """The place of a point of rest in the network, made where it is new; `None` where it is no minimum."""
        place = self.network.known(row, height)
        if place is not None:
            return place
        if not bool(is_minimum(self.tools, jnp.asarray(row))):
            self.stats["refused"] += 1
            return None
        self.found.append(0)
        return self.network.add_minimum(row, height)

    def connect(self, budget: Budget) -> None:
        """Rounds of bands and searches until all minima hang together."""
        for _ in range(budget.rounds):
            if self.network.basins().max() == 0 and len(self.network.minima) >= budget.wanted and self.stats["rounds"]:
                return
            self.stats["rounds"] += 1
            for link in self.network.missing_links(self.targets, budget.pairs):
                self.join(link)
            order = sorted(range(len(self.found)), key=lambda i: (self.network.searched[i], self.network.energies[i]))
            for place in [order[i % len(order)] for i in range(budget.searches)]:
                self.explore(place)

    def refine(self, budget: Budget) -> None:
        """Rounds that look for ways below the highest saddle that the targets have to cross."""
        for _ in range(budget.refine):
            top = self.highest()
            if top is None:
                return
            level, flanks = top
            self.stats["rounds"] += 1
            for link in self.network.missing_links(self.targets, budget.pairs, level):
                self.join(link)
            for _ in range(budget.searches):
                self.explore(min(flanks, key=lambda i: (self.network.searched[i], flanks.index(i))))

    def highest(self) -> tuple[float, list[int]] | None:
        """The highest barrier between the targets, and the minima on the way over it, those beside it first.

        `None` where the targets do not hang together, or there is only one.
        """
        net, lowest = self.network, self.targets[0]
        tree = disconnectivity(net.energies, net.saddle_energies, net.joined)
        heights = [tree.barrier(lowest, target) for target in self.targets[1:]]
        if not heights or not np.isfinite(heights).all():
            return None
        way, flanks = tree.route(lowest, self.targets[1 + int(np.argmax(heights))]), []
        top = int(np.argmax([net.saddle_energies[saddle] for saddle in way]))
        for place in sorted(range(len(way)), key=lambda i: abs(i - top)):
            flanks += [end for end in net.joined[way[place]] if end not in flanks]
        return max(heights), flanks

    def join(self, link: tuple[int, int]) -> None:
        """A band between two minima, and what its tops lead to."""
        net, (a, b) = self.network, link
        times = net.tried[link] = net.tried.get(link, 0) + 1
        key = jax.random.fold_in(jax.random.fold_in(self.key, 1), times)
        first, last = net.minima[a], net.nearest(net.minima[a], net.minima[b])

        def compute() -> dict[str, np.ndarray]:
            return joined(self.tools, first, last, key)

        self.stats["pairs"] += 1
        self.absorb(self.jobs("pair", compute, a=first, b=last, key=_words(key)))

    def explore(self, place: int) -> None:
        """A search that leaves a minimum in a random direction."""
        net = self.network
        times = net.searched[place] = net.searched[place] + 1
        self.climb(net.minima[place], jax.random.fold_in(jax.random.fold_in(self.key, 2), times))

    def climb(self, row: np.ndarray, key: Any) -> None:
        """A saddle search from a point."""

        def compute() -> dict[str, np.ndarray]:
            # At rest a search looks for a direction itself.
            return climbed(self.tools, row[None], np.zeros_like(row[None]), key)

        self.absorb(self.jobs("climb", compute, row=row, key=_words(key)))

    def absorb(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the saddles of a search, and the minima below them, into the network."""
        self.stats["searches"] += int(arrays["searches"])
        self.stats["steps"] += int(arrays["steps"])
        for number in range(len(arrays["energy"])):
            sides = zip(arrays["sides"][number], arrays["side_energies"][number], strict=True)
            ends = [self.place(row, float(height)) for row, height in sides]
            if ends[0] is not None and ends[1] is not None:
                height, bend = float(arrays["energy"][number]), float(arrays["eigenvalue"][number])
                self.network.add_saddle(arrays["saddle"][number], height, bend, (ends[0], ends[1]))

    def result(self, outcome: Outcome) -> dict[str, Any]:
        """The fields of a `Survey`, in ascending order."""
        net, n = self.network, ravel_pytree(self.tools.like)[0].size
        order = np.argsort(net.energies, kind="stable")
        rank = np.argsort(order)
        tops = np.argsort(net.saddle_energies, kind="stable")
        dtype = self.tools.tol.dtype
        saddles = np.asarray(net.saddles, dtype).reshape(-1, n)[tops]
        unravel = jax.vmap(ravel_pytree(self.tools.like)[1])
        return {
            "minima": unravel(jnp.asarray(np.asarray(net.minima)[order])),
            "energies": np.asarray(net.energies)[order],
            "saddles": unravel(jnp.asarray(saddles)),
            "saddle_energies": np.asarray(net.saddle_energies)[tops],
            "eigenvalues": np.asarray(net.eigenvalues)[tops],
            "joined": np.sort(rank[np.asarray(net.joined, int).reshape(-1, 2)[tops]], axis=1),
            "found": np.asarray(self.found)[order],
            "connected": bool(net.basins().max() == 0),
            "stats": self.stats | {"outcome": outcome.code, "seconds": time.perf_counter() - self.jobs.began},
        }


def _splitter(like: PyTree) -> Callable[[np.ndarray], PyTree]:
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, like))
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def split(row: np.ndarray) -> PyTree:
        parts = np.split(np.asarray(row), ends)
        shaped = [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)

    return split


def _flat(x: PyTree) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(x)])


def _words(key: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(key))


def program_of(tools: Tools) -> str:
    """What all searches follow from, as a hash: the compiled landscape, the methods and their settings."""
    dynamic, static = eqx.partition(tools, eqx.is_array)
    text = jax.jit(lambda x: (tools.energy(x), tools.space.project(x, x))).lower(tools.like).as_text()
    words = [text, repr(static), *(str(np.asarray(leaf).tolist()) for leaf in jax.tree.leaves(dynamic))]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
