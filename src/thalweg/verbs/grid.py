"""The table of a sweep: which pairs of value and seed are computed together, and how they come back as one dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray
from jaxtyping import PyTree

from thalweg.core.solution import Outcome
from thalweg.verbs.lanes import END, Task


class Grid(NamedTuple):
    """All pairs of a value and a seed, in each pass over the values (0 up, 1 down)."""

    values: PyTree
    seeds: int
    passes: tuple[int, ...]
    batch: int

    @property
    def size(self) -> int:
        """The number of values."""
        return len(jax.tree.leaves(self.values)[0])

    def at(self, rows: Any) -> PyTree:
        """Some of the values."""
        return jax.tree.map(lambda leaf: leaf[rows], self.values)

    def batches(self, follow: bool) -> int:
        """How many batches there are."""
        return len(self.passes) * -(-self.size // self.batch) if follow else -(-self.size * self.seeds // self.batch)

    def scattered(self) -> Iterator[Task]:
        """Batches of pairs, all of one size: the last pair repeats until the last batch is full."""
        pairs = self.size * self.seeds
        for first in range(0, pairs, self.batch):
            rows, seeds = np.divmod(np.minimum(np.arange(first, first + self.batch), pairs - 1), self.seeds)
            yield Task(self.at(rows), np.stack([np.zeros_like(rows), rows, seeds], axis=1).astype(np.int32))

    def blocks(self) -> Iterator[Task]:
        """Blocks of values in the order of the passes, for all seeds."""
        for way in self.passes:
            rows = np.arange(self.size)[:: -1 if way else 1]
            for first in range(0, self.size, self.batch):
                block = rows[first : first + self.batch]
                seeds = np.broadcast_to(np.arange(self.seeds), (len(block), self.seeds))
                indices = np.stack([np.full_like(seeds, way), np.broadcast_to(block[:, None], seeds.shape), seeds], -1)
                yield Task(self.at(block), indices.astype(np.int32))


def dataset(grid: Grid, found: list[dict[str, np.ndarray]], follow: bool, attributes: dict) -> xarray.Dataset:
    """The arrays of all batches as variables over passes, values and seeds."""
    both = len(grid.passes) > 1
    lead = ("direction", "value", "seed") if both else ("value", "seed")
    variables = {}
    for name in sorted(name for name in found[0] if not name.startswith(END)):
        array = np.concatenate([arrays[name] for arrays in found])
        if follow:
            shape = (len(grid.passes), grid.size, *array.shape[1:])
            passes = zip(grid.passes, array.reshape(shape), strict=True)
            array = np.stack([one[::-1] if way else one for way, one in passes])
            array = array if both else array[0]
        else:
            array = array[: grid.size * grid.seeds].reshape(grid.size, grid.seeds, *array.shape[1:])
        own = tuple(f"{name}_{axis}" for axis in range(array.ndim - len(lead)))
        variables[name] = ((*lead, *own), array)
    axes: dict[str, Any] = coordinates(grid.values) | {"seed": np.arange(grid.seeds)}
    if both:
        axes["direction"] = ["up", "down"]
    table = xarray.Dataset(variables, axes, attributes)
    table["outcome"].attrs = {  # the conventions of CF, so that other programs read them too
        "flag_values": [outcome.code for outcome in Outcome],
        "flag_meanings": " ".join(outcome.name.lower() for outcome in Outcome),
        "sentences": json.dumps({outcome.code: outcome.value for outcome in Outcome}),
    }
    return table


def coordinates(values: PyTree) -> dict[str, Any]:
    """A scalar array as the coordinate `value`; anything else as an index, with a coordinate for each leaf."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return {"value": values}
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(values):
        name = f"value.{jax.tree_util.keystr(path, simple=True, separator='.')}" if path else "value.array"
        found[name] = (("value", *(f"{name}_{axis}" for axis in range(leaf.ndim - 1))), leaf)
        found["value"] = np.arange(len(leaf))
    return found
