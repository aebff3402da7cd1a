"""What the experiment asks of a pair of species, what is planned, and what comes out."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

import optax
from jaxtyping import Float, Int, PyTree
from numpy import ndarray

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.genome.tasks.plasticity.arms import ARMS, MAPS, PLAIN
from thalweg.methods.gradient_energy import Energies

MEASURES = ("gain", "retained", "retained_methylated", "retained_unmethylated")


class AbstractLab(abc.ABC):
    """The networks and genomes of the experiment, behind a few questions: a real pair of species, or a made one."""

    @property
    @abc.abstractmethod
    def told(self) -> Mapping[str, Any]:
        """All that the answers follow from (settings, hashes of the data), in plain numbers, text and arrays."""

    @property
    @abc.abstractmethod
    def levels(self) -> Float[ndarray, " genes"]:
        """The methylation level in [0, 1] of each gene of the first species in which maps are measured."""

    @property
    @abc.abstractmethod
    def optimiser(self) -> optax.GradientTransformation:
        """The optimiser of the fine-tuning, learning rate and all; the same object each time."""

    @abc.abstractmethod
    def template(self) -> PyTree:
        """A network of the structure of those that are trained, whatever its numbers."""

    @abc.abstractmethod
    def pretrained(self, seed: int, hooks: tuple[Hook, ...]) -> PyTree:
        """A network that has learnt the first species; asked with the same seed it has the same structure and bits."""

    @abc.abstractmethod
    def energies(self, model: PyTree, levels: Float[ndarray, " genes"], seed: int) -> tuple[Energies, Energies]:
        """Gradient energies of the network on the genes whose `levels` are given: on one half of them and the other."""

    @abc.abstractmethod
    def fisher(self, model: PyTree, seed: int) -> PyTree:
        """The diagonal of the Fisher information on the first species, like the trained arrays of the network."""

    @abc.abstractmethod
    def tuned(
        self, model: PyTree, optimiser: optax.GradientTransformation, seed: int, hooks: tuple[Hook, ...]
    ) -> PyTree:
        """The network after its training on the second species; of one seed all arms see the same batches."""

    @abc.abstractmethod
    def scores(self, model: PyTree) -> Mapping[str, float]:
        """Held-out scores, higher is better.

        **Returns:** `gain` on the second species; `retained` on the first one, and of that `retained_methylated` and
        `retained_unmethylated`; all on genes in which no map was measured.
        """


class Plan(NamedTuple):
    """What is run.

    **Fields:** the number of `seeds`; the `arms`; the strengths of maps (`betas`) and of both penalties, equally many,
    so that no arm has more tries at the frontier; `ranked`: maps are replaced by their ranks, spread from 0 to 1 (the
    second, exploratory run: a share of energies hardly differs between connections); `strata` of genes within which
    levels are permuted; `start`, the first seed.
    """

    seeds: int = 10
    arms: tuple[str, ...] = ARMS
    betas: tuple[float, ...] = (0.25, 0.5, 0.75, 0.95)
    l2sp: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)
    ewc: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)
    ranked: bool = False
    strata: tuple[int, ...] | None = None
    start: int = 0

    def strengths(self, arm: str) -> tuple[float, ...]:
        """The strengths of an arm, weakest first."""
        if arm == PLAIN:
            return (0.0,)
        return self.betas if arm in MAPS else {"l2sp": self.l2sp, "ewc": self.ewc}[arm]

    def check(self, levels: Float[ndarray, " genes"]) -> None:
        """See whether the plan makes sense for genes of these levels.

        **Raises:** `InputError`.
        """
        if self.seeds < 2:
            raise InputError(f"plasticity: {self.seeds} seed gives no interval: take at least 2, and 10 for a result.")
        if unknown := [arm for arm in self.arms if arm not in ARMS]:
            raise InputError(f"plasticity: there is no arm {unknown[0]!r}: choose among {', '.join(ARMS)}.")
        if PLAIN not in self.arms:
            raise InputError("plasticity: the plain arm is what all others are measured by: leave it in.")
        if wrong := [beta for beta in self.betas if not 0 < beta < 1]:
            raise InputError(f"plasticity: a map of strength {wrong[0]} is wanted: choose above 0 and below 1.")
        counts = {arm: len(self.strengths(arm)) for arm in self.arms if arm != PLAIN}
        if len(set(counts.values())) > 1 or 0 in counts.values():
            raise InputError(f"plasticity: the arms have {counts} strengths: give all equally many, or the frontier of "
                             "some has more tries.")  # fmt: skip
        if levels.ndim != 1 or len(levels) < 2 or not ((levels >= 0) & (levels <= 1)).all():
            raise InputError(
                "plasticity: the levels must be shares in [0, 1] of two genes at least: check the methylation."
            )
        if self.strata is not None and len(self.strata) != len(levels):
            raise InputError(f"plasticity: {len(self.strata)} strata do not fit {len(levels)} genes: give each one.")


class MapSeen(NamedTuple):
    """What the maps of an arm look like over connections.

    **Fields:** for each seed the `mean` and standard deviation (`sd`), the `repeatability` (the correlation of the two
    maps that follow from halves of the genes, NaN where nothing is measured or nothing compares) and the `likeness`
    (the correlation with the map of methylation, NaN where one of both is even); `counts` of all seeds together in
    equal bins over [0, 1].
    """

    mean: Float[ndarray, " seeds"]
    sd: Float[ndarray, " seeds"]
    repeatability: Float[ndarray, " seeds"]
    likeness: Float[ndarray, " seeds"]
    counts: Int[ndarray, " bins"]


class Outcomes(NamedTuple):
    """What was measured.

    **Fields:** the `plan`; `before[measure]` of shape `[seeds]`; `after[arm][measure]` of `[strengths, seeds]`; the
    `maps` of the arms that have one.
    """

    plan: Plan
    before: dict[str, Float[ndarray, " seeds"]]
    after: dict[str, dict[str, Float[ndarray, "strengths seeds"]]]
    maps: dict[str, MapSeen]
