"""Finished batches of a sweep: kept, found again, told apart, and refused when they are damaged."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.sweepable import Tilted

from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Store
from thalweg.core.solution import Outcome, Solution
from thalweg.runs import Points
from thalweg.verbs.sweep import sweep

VALUES = np.linspace(-1, 1, 10, dtype=np.float32)


def still(energy, x0, key):
    return Solution(x0, energy(x0), jnp.array(Outcome.DONE.code))


def go(points, factor=1.0, **options):
    """A sweep whose functions are closures made anew in each call."""
    options = {"family": Tilted, "values": VALUES, "batch": 3} | options
    observe = lambda energy, solution: {"energy": factor * solution.energy}  # noqa: E731
    family, values = options.pop("family"), options.pop("values")
    return sweep(family, values, still, jnp.ones(2), observe=observe, key=jax.random.key(0), done=points, **options)


def files(points: Points) -> set[str]:
    return {path.name for path in points.folder.iterdir()}


def test_arrays_come_back_bit_for_bit(tmp_path):
    points = Points(tmp_path / "new")
    assert isinstance(points, Store)
    arrays = {
        "end/0": np.array([[np.nan, -0.0]], np.float32),
        "low": np.asarray(jnp.ones(3, jnp.bfloat16)),
        "complex": np.array([1 + 2j]),
        "flag": np.array(True),
        "empty": np.zeros((0, 2)),
    }
    assert points.get("a") is None
    points.put("a", arrays)
    back = points.get("a")
    assert back is not None
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()
    with pytest.raises(InputError, match="cannot name"):
        points.get("../a")


@pytest.mark.parametrize("options", [{}, {"follow": True, "order": "both"}], ids=["scattered", "follow"])
def test_a_stopped_sweep_goes_on_where_it_was(tmp_path, options):
    points, done = Points(tmp_path), []

    def stop(report):
        done.append(report.step)
        return Outcome.CANCELLED if report.step == 2 else None

    with pytest.raises(WalkError, match="which `done` keeps"):
        go(points, on_chunk=stop, **options)
    early = files(points)
    assert len(early) == 2
    firsts = []
    table = go(points, on_chunk=lambda report: firsts.append(report.first), **options)
    assert firsts[-1] == 2  # two batches came from the store, the others were computed
    assert early < files(points)
    assert table.drop_attrs().equals(go(None, **options).drop_attrs())
    again = go(points, **options)
    assert again.attrs["traces"] == 0  # nothing was compiled
    assert again.drop_attrs().equals(table.drop_attrs())


def test_sweeps_that_differ_in_anything_share_no_file(tmp_path):
    points, seen = Points(tmp_path), 0
    differing = [
        {},
        {"factor": 2.0},  # a number in a closure, which no qualified name would show
        {"values": VALUES + 1},
        {"batch": 4},
        {"family": lambda tilt: Tilted(2 * tilt)},
        {"label": "mine"},
        {"label": "yours"},
        {"follow": True, "batch": 4},
    ]
    for options in differing:
        table = go(points, **options)
        assert table.drop_attrs().equals(go(None, **{k: v for k, v in options.items() if k != "label"}).drop_attrs())
        assert len(files(points)) > seen, options
        seen = len(files(points))


def test_what_cannot_be_told_apart_needs_a_label(tmp_path):
    def host(tilt):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return lambda x: jax.pure_callback(lambda x: np.float32(x.sum()), shape, x, vmap_method="sequential")

    with pytest.raises(InputError, match="label="):
        go(Points(tmp_path), family=host)
    assert float(go(Points(tmp_path), family=host, label="sum of x").energy[0, 0]) == 2


def test_a_damaged_batch_is_named(tmp_path):
    points = Points(tmp_path)
    go(points)
    victim = sorted(points.folder.iterdir())[1]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    with pytest.raises(InputError, match=victim.name) as caught:
        go(points)
    assert "delete it" in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="need a folder"):
        Points(tmp_path / "file")
