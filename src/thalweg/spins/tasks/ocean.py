"""The searches in the clothes of Ocean: a sampler of dimod, so that its user changes one line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.core.errors import InputError, require
from thalweg.core.hooks import Hook
from thalweg.core.space import Signs
from thalweg.methods.signs.graph import sign_graph
from thalweg.runs.hooks import TimeLimit
from thalweg.session import CompileClock, hear_kernels
from thalweg.spins.data.bqm import from_bqm
from thalweg.spins.tasks.solve import METHODS, search_named, shift
from thalweg.verbs.relax import relax

if TYPE_CHECKING:
    import dimod
else:
    dimod = require("dimod", extra="spins")

_SECONDS = 1.0


class ThalwegSampler(dimod.Sampler):
    """A `dimod.Sampler` that looks for lowest states; each read is a search of its own.

    It draws no equilibrium samples: that is what `sample` is for.
    """

    @property
    def parameters(self) -> dict[str, Any]:
        """The keywords that `sample` takes."""
        return {name: [] for name in ("num_reads", "seconds", "units", "target", "seed")} | {"method": ["methods"]}

    @property
    def properties(self) -> dict[str, Any]:
        """What there is to choose from."""
        return {"methods": [name for name in METHODS if name != "meanfield"], "category": "software"}

    def sample(
        self,
        bqm: dimod.BinaryQuadraticModel,
        num_reads: int = 1,
        seconds: float | None = None,
        method: str = "auto",
        seed: int | None = None,
        target: float | None = None,
        units: int | None = None,
        **kwargs: Any,
    ) -> dimod.SampleSet:
        """The lowest state that each read meets, with its energy computed anew from the biases.

        **Arguments:** `num_reads`, how many searches; `seconds`, at most for each, compilation not counted (1 by
        default, unlimited with `units`); `units`, of work at most for each: the number that a read reports repeats it;
        `method`, one of `properties["methods"]`; `seed`, a random one by default, which `info` tells; `target`, the
        energy of the BQM at which a read stops. Other keywords are passed over with a warning.

        **Returns:** a `SampleSet` with the variables and the vartype of `bqm`; per read `updates`, `units` and
        `one_flip_optimal`; in `info` the `method` in words, the `seed` and the `timing` in seconds.

        **Raises:** `InputError` for an option without sense or a BQM with biases that are not finite.
        """
        self.remove_unknown_kwargs(**kwargs)
        if num_reads < 1:
            raise InputError(f"sample: {num_reads} reads find nothing: ask for at least one.")
        if method not in self.properties["methods"]:
            raise InputError(f"sample: no method {method!r}: choose one of {', '.join(self.properties['methods'])}.")
        if seed is not None and seed < 0:
            raise InputError(f"sample: the seed is {seed}: give a number of at least 0.")
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
        if not bqm.num_variables:
            empty = np.zeros((num_reads, 0), np.int8), []
            energies = np.full(num_reads, float(bqm.offset))
            return dimod.SampleSet.from_samples(empty, bqm.vartype, energies, info={"seed": seed})
        hear_kernels()
        began, clock = time.perf_counter(), CompileClock()
        signs, found, told = _reads(from_bqm(bqm), num_reads, seconds, units, method, seed, target)
        states = signs if bqm.vartype is dimod.SPIN else (signs + 1) // 2
        timing = {"seconds": time.perf_counter() - began, "compile_seconds": clock.seconds}
        info = {"method": told, "seed": seed, "timing": timing}
        labelled, energies = (states, list(bqm.variables)), found.pop("energy")
        return dimod.SampleSet.from_samples(labelled, bqm.vartype, energies, info=info, sort_labels=False, **found)


def _reads(problem, num_reads: int, seconds, units, method: str, seed: int, target):
    """The signs of each read, what else is known of it, and the method in words."""
    graph = sign_graph(problem, "sample")
    lowest = None if target is None else target - shift(problem)
    if seconds is None and units is None:
        seconds = _SECONDS
    signs, stats, told = [], [], method
    for read in range(num_reads):
        # Words of entropy, so that read 1 of seed 0 is not read 0 of seed 1.
        own = int(np.random.SeedSequence([seed, read]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        search, told = search_named(method, graph, seed=own, target=lowest)
        hooks: tuple[Hook, ...] = ()
        if seconds is not None:
            clock = CompileClock()
            hooks = (TimeLimit(seconds, lambda clock=clock: clock.seconds),)
        most = 2**31 - 1 if units is None else units
        ended = relax(problem, None, search, space=Signs(), max_steps=most, throw=False, on_chunk=hooks)
        signs.append(np.asarray(ended.value).astype(np.int8))
        stats.append(ended.stats)
    found = {
        "energy": [float(problem.energy(each)) for each in signs],
        "updates": [int(each["updates"]) for each in stats],
        "units": [int(each["steps"]) for each in stats],
        "one_flip_optimal": [bool(each["one_flip_optimal"]) for each in stats],
    }
    return np.stack(signs), found, told
