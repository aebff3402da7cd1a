"""Surveys: published stationary points, copies, spaces, repeatability, resuming, and every way to end or refuse."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.core.space import Box, Periodic
from thalweg.landscapes import DoubleWell, MullerBrown
from thalweg.methods.copies import AbstractCopies, NoCopies, RigidCopies, apart
from thalweg.verbs.survey import Searching, survey

# Published to six decimals: Muller & Brown, Theor. Chim. Acta 53, 75 (1979).
MINIMA, SADDLES = (-146.699517, -108.166724, -80.767818), (-72.248940, -40.664844)


class Kept(dict):
    """A store in memory that counts what it is asked to keep."""

    def put(self, name, arrays):
        self[name] = {key: np.array(value) for key, value in arrays.items()}


def starts(count):
    return jax.random.uniform(
        jax.random.key(1), (count, 2), minval=jnp.array([-1.5, -0.5]), maxval=jnp.array([1.2, 2.0])
    )


def mapped(x, **options):
    settings: dict[str, Any] = {"how": Searching(descent="fire")} | options
    return survey(MullerBrown(), x, key=jax.random.key(0), **settings)


def test_muller_brown_whole(x64):
    found = mapped(starts(10))
    np.testing.assert_allclose(found.energies, MINIMA, atol=1e-6)
    np.testing.assert_allclose(found.saddle_energies, SADDLES, atol=1e-6)
    np.testing.assert_array_equal(found.joined, [[1, 2], [0, 2]])
    assert found.connected
    assert found.found.sum() == 10
    for x, low in zip(found.saddles, found.eigenvalues, strict=True):
        values = np.linalg.eigvalsh(jax.hessian(MullerBrown())(x))
        assert values[0] == pytest.approx(low, rel=1e-6)
        assert np.sum(values < 0) == 1
    for x in found.minima:
        assert np.all(np.linalg.eigvalsh(jax.hessian(MullerBrown())(x)) > 0)
    assert found.tree.barrier(0, 1) == pytest.approx(SADDLES[1], abs=1e-6)


def test_bands_alone_join_two_starts(x64):
    ends = jnp.array([[-0.558, 1.442], [0.623, 0.028]])
    found = mapped(ends, searches=0)
    np.testing.assert_allclose(found.energies, MINIMA, atol=1e-6)
    np.testing.assert_allclose(found.saddle_energies, SADDLES, atol=1e-6)
    assert found.connected
    assert found.found.tolist() == [1, 1, 0]


def test_a_killed_survey_goes_on_bit_for_bit(x64):
    whole, kept = mapped(starts(3)), Kept()
    reports = []

    def stop(report):
        reports.append(report)
        return Outcome.CANCELLED if report.step == 3 else None

    part = mapped(starts(3), done=kept, on_chunk=stop, throw=False)
    assert int(part.stats["outcome"]) == Outcome.CANCELLED.code
    assert [report.step for report in reports] == [1, 2, 3]
    with pytest.raises(WalkError, match=r"survey: .*Stopped on request"):
        mapped(starts(3), done=kept, on_chunk=stop)
    assert len(kept) == 3
    again = mapped(starts(3), done=kept)
    for name in ("minima", "energies", "saddles", "saddle_energies", "eigenvalues", "joined", "found"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    other = survey(MullerBrown(1.5), starts(3), key=jax.random.key(0), how=Searching(descent="fire"), done=kept)
    assert float(other.energies[0]) == pytest.approx(1.5 * MINIMA[0], abs=2e-6)  # not what was kept of another


class Mirrored(AbstractCopies):
    """Points of a pytree that may change all their signs."""

    def nearest(self, a, b):
        turned = jax.tree.map(jnp.negative, b)
        plain = sum(jnp.sum((x - y) ** 2) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
        other = sum(jnp.sum((x - y) ** 2) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(turned), strict=True))
        return b if plain <= other else turned


class Wells:
    """A double well over a pytree of two leaves."""

    def __call__(self, x):
        return DoubleWell()(x["u"]) + 2 * DoubleWell()(x["v"])


@pytest.mark.slow
def test_copies_count_once_and_any_pytree_will_do(x64):
    x = {"u": jnp.array([[0.9], [-0.8], [0.7]]), "v": jnp.array([[1.1], [-0.9], [-1.2]])}
    options = {
        "key": jax.random.key(0),
        "how": Searching(descent="fire"),
        "distance_tol": 0.01,
        "rounds": 4,
        "wanted": 4,
    }
    every = survey(Wells(), x, **options)
    assert len(every.energies) == 4
    assert every.connected
    np.testing.assert_allclose(every.saddle_energies, [1, 1, 2, 2][: len(every.saddle_energies)], atol=1e-9)
    half = survey(Wells(), x, copies=Mirrored(), **(options | {"wanted": 2, "throw": False}))
    assert len(half.energies) == 2
    assert half.found.tolist() in ([2, 1], [1, 2])
    assert jax.tree.structure(half.minima) == jax.tree.structure(x)


@pytest.mark.slow
def test_a_periodic_chain_is_one_well(x64):
    wave = lambda x: -jnp.cos(2 * jnp.pi * x[0]) + 2 * (x[1] - 50) ** 2  # noqa: E731
    space = Periodic(jnp.array([1.0, 100.0]))
    found = survey(
        wave, jnp.array([[0.05, 50.1], [0.95, 49.9]]), key=jax.random.key(0), space=space, searches=2, pairs=2
    )
    assert len(found.energies) == 1
    assert found.joined.tolist() == [[0, 0]]  # over the top into the next copy of itself
    assert float(found.saddle_energies[0]) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("points", [2, 13, 38])
def test_rigid_copies_are_found(points):
    generator = np.random.default_rng(points)
    x = generator.normal(size=(points, 3))
    for _ in range(5):
        turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
        y = (x @ turn)[generator.permutation(points)] + generator.normal(size=3)
        assert apart(RigidCopies(), x, y) < 1e-10
    z = generator.normal(size=(points, 3))
    prints = [RigidCopies().fingerprint(each) for each in (x, z)]
    assert np.linalg.norm(prints[0] - prints[1]) <= apart(RigidCopies(), x, z) + 1e-12
    assert apart(RigidCopies(), x, z) <= apart(NoCopies(), x - x.mean(0), z - z.mean(0))


def test_mirror_images_are_copies_only_where_asked():
    hand = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3.0]])
    other = hand * np.array([1, 1, -1.0])
    assert apart(RigidCopies(), hand, other) < 1e-12
    assert apart(RigidCopies(reflections=False), hand, other) > 0.1
    with pytest.raises(InputError, match=r"one array of points \[n, 3\]"):
        RigidCopies().nearest(np.zeros(3), np.zeros(3))


def test_what_is_not_connected_is_said(x64):
    with pytest.raises(WalkError, match=r"survey: 3 minima and 0 saddles in 3 parts .* Raise rounds") as told:
        mapped(starts(10), rounds=0)
    partial: Any = told.value.solution
    assert partial.found.sum() == 10


BAD = [
    ({"starts": jnp.zeros(())}, "common leading axis"),
    ({"space": lambda: Box(-1.0, 1.0)}, "walls of Box"),
    ({"rounds": -1}, "must not be negative"),
    ({"tol": 0.0}, "tol is 0.0, but it must be positive"),
    ({"starts": jnp.zeros((2, 2))}, "distance_tol is 0.0"),
    ({"how": Searching(search="newton")}, "no method 'newton'"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_bad_arguments_are_one_sentence(change, sentence):
    options = {"starts": jnp.array([[0.0, 1.0], [1.0, 0.0]])} | change
    if callable(options.get("space")):
        options["space"] = options["space"]()
    with pytest.raises(InputError, match=sentence):
        mapped(options.pop("starts"), **options)
