"""A NaN planted into the walk over every room's landscape: one sentence with the step, the leaf and the checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract.promises import ROOMS
from contract.test_promises_landscapes import POSED
from faults import planted_nan

from thalweg.core.errors import WalkError
from thalweg.methods.data import Batches
from thalweg.runs.checkpoint import saved_step
from thalweg.runs.hooks import Checkpoint
from thalweg.verbs.train import from_loss, train

AT, STEPS = 29, 60


class Point(eqx.Module):
    """A point on a landscape, beside another leaf that stays sound."""

    place: object
    beside: jax.Array


def walked(room: str, folder: Path, at: int):
    posed = POSED[room]()
    start = Point(posed.start, jnp.zeros(2))
    rule = from_loss(lambda point, batch, key: posed.energy(point.place) + (point.beside**2).sum())
    first = lambda point: jax.tree.leaves(point.place)[0]  # noqa: E731
    checkpoint = Checkpoint(folder / "state.safetensors", every_seconds=None, every_steps=5)
    data = Batches((jnp.zeros((4, 1)),), 4)
    return train(
        start, planted_nan(rule, at, first), data, optax.sgd(1e-4), key=jax.random.key(0), steps=STEPS,
        on_chunk=(checkpoint,),
    )  # fmt: skip


@pytest.mark.parametrize("room", ROOMS)
def test_a_planted_nan_names_step_leaf_and_checkpoint(room, tmp_path, x64):
    place = re.escape(str(tmp_path / "state.safetensors"))
    sentence = rf"^train: step {AT} made .*\.place.* non-finite; the last good checkpoint is {place} at step (\d+)"
    with pytest.raises(WalkError, match=sentence) as caught:
        walked(room, tmp_path, AT)
    assert "\n" not in str(caught.value)
    found = re.search(sentence, str(caught.value))
    assert found
    assert saved_step(tmp_path / "state.safetensors") == int(found[1]) < AT
    assert caught.value.solution.stats["steps"] == AT - 1
    leaves = jax.tree.leaves(eqx.filter(caught.value.solution.value, eqx.is_inexact_array))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
