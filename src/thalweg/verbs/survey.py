"""`survey`: the minima of a landscape, the saddles between them, and how they hang together."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from thalweg.core.checks import check_scalar, fits, floating, positive, traced
from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Hook, Resumer, Store
from thalweg.core.refresh import refreshing
from thalweg.core.solution import Outcome
from thalweg.core.space import AbstractSpace, Box, Euclidean, Signs, innermost
from thalweg.diagnostics.disconnectivity import Tree, disconnectivity
from thalweg.methods.band import AbstractBand, flat_rows
from thalweg.methods.copies import AbstractCopies, NoCopies
from thalweg.methods.descent import AbstractDescent, refuse_walls
from thalweg.methods.fire import Fire
from thalweg.methods.lbfgs import Lbfgs
from thalweg.methods.registry import named
from thalweg.methods.saddle import AbstractSaddleSearch, EigenvectorFollowing
from thalweg.verbs.relax import reachable
from thalweg.verbs.survey_parts import BATCH, SMALL, Tools
from thalweg.verbs.survey_work import Budget, Jobs, Work, program_of


class Survey(eqx.Module):
    """The stationary points of a landscape that a survey found, each once modulo copies.

    **Fields:**

    - `minima`: configurations with a leading axis m, their `energies` ascending, and `found`, how many of the starts
      came to rest in each.
    - `saddles`: configurations with a leading axis s, verified to have one negative eigenvalue, which is in
      `eigenvalues`; their `saddle_energies` ascending; `joined`, the two minima below each (twice the same one where a
      saddle lies between two copies of it).
    - `connected`: whether saddles lead from every minimum to every other.
    - `stats`: `rounds`, `searches`, `pairs`, `steps` (of saddle searches), `refused` (points of rest that were no
      minima), `outcome` (the code of `DONE`, or of the hook that stopped it) and `seconds`.
    """

    minima: PyTree
    energies: Float[np.ndarray, " m"]
    saddles: PyTree
    saddle_energies: Float[np.ndarray, " s"]
    eigenvalues: Float[np.ndarray, " s"]
    joined: Int[np.ndarray, "s 2"]
    found: Int[np.ndarray, " m"]
    connected: bool
    stats: dict[str, Any]

    @property
    def tree(self) -> Tree:
        """The disconnectivity graph."""
        return disconnectivity(self.energies, self.saddle_energies, self.joined)

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        counts = f"{len(self.energies)} minima and {len(self.saddle_energies)} saddles"
        parts = int(np.sum(self.tree.parents < 0))
        return f"{counts}, all connected." if self.connected else f"{counts} in {parts} parts that are not connected."


class Searching(eqx.Module):
    """How a survey searches.

    **Arguments:** `search`, `descent` and `band`: methods or names; by default eigenvector following, L-BFGS (fire
    where the space is periodic) and the nudged elastic band. `climb_steps`, `band_steps`: at most so many steps of a
    saddle search and of a band. `lanes`: how many relaxations run abreast (`vmap`), of
    at most 8; by default one on a CPU, where a batch waits for its slowest lane, and all elsewhere.
    """

    search: AbstractSaddleSearch | str | None = None
    descent: AbstractDescent | str | None = None
    band: AbstractBand | str | None = None
    climb_steps: int = 200
    band_steps: int = 150
    lanes: int | None = None


def survey(
    energy: Landscape,
    starts: PyTree,
    *,
    guesses: PyTree | None = None,
    copies: AbstractCopies | None = None,
    space: AbstractSpace | None = None,
    key: Key[Array, ""],
    pairs: int = 8,
    searches: int = 8,
    rounds: int = 10,
    wanted: int = 1,
    refine: int = 0,
    images: int = 13,
    how: Searching | None = None,
    tol: float | None = None,
    max_steps: int = 5000,
    energy_tol: float | None = None,
    distance_tol: float | None = None,
    done: Store | None = None,
    throw: bool = True,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> Survey:
    """Map a landscape: its minima, the saddles between them, and which minima each saddle joins.

    The starts are relaxed. In rounds, bands between minima that no saddles join yet, and searches that begin at minima,
    look for saddles; two relaxations show what each joins, and new minima join the list, until all hang together.

    **Arguments:**

    - `energy`: any callable from a pytree to a scalar; `starts`: configurations with a leading axis on every leaf;
      `guesses`: the same, near saddles, to begin searches at.
    - `copies`: the symmetry modulo which points count; `space`: without walls; `key`: same key, same survey.
    - `pairs`, `searches`: at most so many bands, and searches from minima, in each of at most so many `rounds`;
      `wanted`: go on until so many minima are known, too; `refine`: after that, so many rounds that look for lower ways
      between the minima of the starts, around the highest saddle that they have to cross.
    - `images`: of a band, ends included; `how`: the methods and their budgets.
    - `tol`, `max_steps`: of a relaxation, as in `relax`.
    - `energy_tol`, `distance_tol`: two points within both, modulo copies, are one; by default sqrt(eps) times the
      largest energy, and 0.01 of the scatter of the starts about their mean (of the size of a single one).
    - `done`: keeps finished searches (`thalweg.runs.Points`), so that a killed survey goes on where it stood.
    - `throw`: raise where the minima are not connected at the end; `on_chunk`: hooks, called after every search.

    **Raises:** `InputError` for unusable starts; `WalkError` if not connected, or stopped by a hook.

    **Source:** Wales, Mol. Phys. 100, 3285 (2002); Carr, Trygubenko & Wales, J. Chem. Phys. 122, 234903 (2005).
    """
    space, hooks = Euclidean() if space is None else space, on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    budget = Budget(rounds, pairs, searches, wanted, refine)
    rows, like = _checked(energy, starts, space, hooks, budget)
    tops = rows[:0] if guesses is None else _rows(guesses, space, "guesses")[0]
    tolerances = _tolerances(rows, like, tol, energy_tol, distance_tol)
    tools = _tools(energy, space, like, how or Searching(), tolerances, max_steps, images)
    with Jobs(done, hooks, program_of(tools)) as jobs:
        work = Work(tools, copies or NoCopies(), jobs, key, energy_tol, tolerances[1])
        outcome = work.run(rows, tops, budget)
    return _concluded(Survey(**work.result(outcome)), outcome, throw)


def _concluded(found: Survey, outcome: Outcome, throw: bool) -> Survey:
    if throw and (outcome is not Outcome.DONE or not found.connected):
        remedy = "Raise rounds, or give more starts." if outcome is Outcome.DONE else outcome.value
        raise WalkError(f"survey: {found.sentence} {remedy}", found)  # pyright: ignore[reportArgumentType]
    return found


def _tolerances(rows: np.ndarray, like: PyTree, tol: Any, energy_tol: Any, distance_tol: Any) -> tuple[float, float]:
    tol = reachable(like) if tol is None else tol
    distance_tol = 0.01 * _scatter(rows) if distance_tol is None else distance_tol
    named_values = {"tol": tol, "distance_tol": distance_tol, "energy_tol": 1.0 if energy_tol is None else energy_tol}
    for name, value in named_values.items():
        positive(value, name, "survey")
    return float(tol), float(distance_tol)


def _tools(
    energy: Landscape, space: AbstractSpace, like: PyTree, how: Searching, tols: tuple, max_steps: int, images: int
) -> Tools:
    dtype = jnp.result_type(*jax.tree.leaves(like))
    return Tools(
        energy=energy,
        space=space,
        like=like,
        **_methods(how.search, how.descent, how.band, space),
        tol=jnp.asarray(tols[0], dtype),
        # Closer than what counts as another point.
        aside=jnp.asarray(0.2 * tols[1], dtype),
        max_steps=max_steps,
        climb_steps=how.climb_steps,
        band_steps=how.band_steps,
        images=images,
        lanes=(BATCH if jax.default_backend() != "cpu" else 1) if how.lanes is None else how.lanes,
    )


def _scatter(rows: np.ndarray) -> float:
    about = rows - rows.mean(axis=0) if len(rows) > 1 else rows
    return float(np.sqrt(np.mean(np.sum(about**2, axis=1))))


def _methods(search: Any, descent: Any, band: Any, space: AbstractSpace) -> dict[str, Any]:
    if search is None:
        search = EigenvectorFollowing(dense=SMALL)
    if descent is None:
        descent = Lbfgs(stride=0.2) if isinstance(innermost(space), Euclidean) else Fire()
    chosen = {"search": ("find_saddle", search), "descent": ("relax", descent), "band": ("find_path", band or "band")}
    return {name: named(verb, one) if isinstance(one, str) else one for name, (verb, one) in chosen.items()}


def _checked(
    energy: Any, starts: PyTree, space: AbstractSpace, hooks: tuple, budget: Budget
) -> tuple[np.ndarray, PyTree]:
    if traced(energy, starts, space):
        raise InputError("survey: it collects on the host and does not work inside jit or vmap: call it from outside.")
    if isinstance(energy, AbstractHostField):
        raise InputError("survey: it needs a compiled landscape, not a host field: use find_path between two minima.")
    if refreshing(energy):
        raise InputError("survey: an energy with lists keeps them for one configuration: pass it without lists.")
    if any(isinstance(hook, Resumer) for hook in hooks):
        raise InputError("survey: a checkpoint cannot resume a survey: pass done=Points(folder) instead.")
    if min(budget) < 0:
        raise InputError("survey: rounds, pairs, searches, wanted and refine must not be negative.")
    refuse_walls(space, "survey", (Box, Signs))
    rows, like = _rows(starts, space, "starts")
    fits(space, like, "survey")
    check_scalar(energy, like, "survey")
    return rows, like


def _rows(many: PyTree, space: AbstractSpace, name: str) -> tuple[np.ndarray, PyTree]:
    """Configurations as flat rows, and the first of them."""
    many = floating(many, "survey", name)
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(many)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise InputError(f"survey: {name} need one common leading axis on every leaf: stack the configurations.")
    return np.asarray(flat_rows(jax.vmap(space.wrap)(many))), jax.tree.map(lambda leaf: leaf[0], many)
