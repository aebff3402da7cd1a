"""Continuation: folds, branch points and switching against closed forms, with and without zero modes."""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import AbstractEnergy
from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.interop.host import HostField
from thalweg.methods.continuation import PseudoArclength
from thalweg.verbs.continuation import follow_branch, switch_branch

# Values are roots of smooth functions found to the last bits: errors of a few ulp; the aim was 1e-6.
EXACT = 1e-12


class Normal(eqx.Module):
    """`E = sum_k (base + value linear + value^2 square)_k x^k`: every normal form, compiled once for all of them."""

    base: jax.Array
    linear: jax.Array
    square: jax.Array

    def __call__(self, value):
        return Polynomial(self.base + value * self.linear + value**2 * self.square)


class Polynomial(AbstractEnergy):
    """`E(x) = sum_k coefficients_k x^(k + 1)` of one number."""

    coefficients: jax.Array

    def __call__(self, x):
        # Not `x ** arange(1, 5)`: the derivatives of a power with an array as its exponent are NaN at zero.
        return jnp.sum(jnp.polyval(jnp.append(self.coefficients[::-1], 0), x["a"]))


def normal(base=(0.0, 0.0, 0.0, 0.0), linear=(0.0, 0.0, 0.0, 0.0), square=(0.0, 0.0, 0.0, 0.0)):
    return Normal(jnp.array(base), jnp.array(linear), jnp.array(square))


def at(x: float):
    return {"a": jnp.array([float(x)])}


def kinds(branch):
    return [point.kind for point in branch.points]


def values(branch):
    return np.array([float(point.value) for point in branch.points])


LIMIT = 2 / 3**1.5  # where a well of x^4/4 - x^2/2 - tilt x vanishes


@pytest.mark.slow
def test_a_tilted_double_well_is_followed_round_both_folds(x64):
    tilted = normal((0, -0.5, 0, 0.25), (-1.0, 0, 0, 0))
    branch = follow_branch(tilted, at(-1.2), -0.5, bounds=(-1, 1))
    assert branch.done
    assert branch.endings == ("bound", "bound")
    assert [float(branch.value[0]), float(branch.value[-1])] == [-1, 1]
    assert kinds(branch) == ["fold", "fold"]
    assert np.abs(values(branch) - [LIMIT, -LIMIT]).max() < EXACT
    assert [(int(point.index_before), int(point.index_after)) for point in branch.points] == [(0, 1), (1, 0)]
    x = branch.x["a"][:, 0]
    assert float(jnp.abs(x**3 - x - branch.value).max()) < EXACT
    assert np.array_equal(np.asarray(branch.index), np.asarray(3 * x**2 - 1 < 0).astype(int))
    assert (np.diff(np.asarray(branch.arclength)) > 0).all()
    slope = (3 * x**2 - 1) * branch.tangent_x["a"][:, 0] - branch.tangent_value
    assert float(jnp.abs(slope).max()) < 1e-10  # a null vector of the Jacobian


def test_a_pitchfork_is_found_from_its_handle_and_from_its_prongs(x64):
    family, bounds = normal((0, 0, 0, 0.25), (0, -0.5, 0, 0)), (-1, 1)
    handle = follow_branch(family, at(0), -0.5, bounds=bounds)
    assert kinds(handle) == ["pitchfork"]
    assert abs(values(handle)[0]) < EXACT
    assert float(jnp.abs(handle.x["a"]).max()) == 0
    prongs = switch_branch(family, handle.points[0], bounds=bounds)
    x = prongs.x["a"][:, 0]
    assert float(jnp.abs(x**2 - prongs.value).max()) < EXACT
    assert float(x[0] * x[-1]) == pytest.approx(-1, abs=1e-9)  # both prongs, from bound to bound
    assert (np.asarray(prongs.index) == 0).all()
    through = follow_branch(family, at(1), 1.0, bounds=bounds)
    assert kinds(through) == ["pitchfork"]
    assert abs(values(through)[0]) < EXACT
    back = switch_branch(family, through.points[0], bounds=bounds)
    assert float(jnp.abs(back.x["a"]).max()) < EXACT
    assert {float(back.value[0]), float(back.value[-1])} == {-1, 1}


def test_other_normal_forms(x64):
    crossing = normal((0, 0, 1 / 3, 0), (0, -0.5, 0, 0))
    branch = follow_branch(crossing, at(0), -0.5, bounds=(-1, 1))
    assert kinds(branch) == ["transcritical"]
    other = switch_branch(crossing, branch.points[0], bounds=(-1, 1))
    assert float(jnp.abs(other.x["a"][:, 0] - other.value).max()) < EXACT
    circle = follow_branch(normal((-1, 0, 1 / 3, 0), square=(1.0, 0, 0, 0)), at(1), 0.0, bounds=(-2, 2))
    assert circle.endings == ("loop",)
    assert circle.done
    assert np.abs(np.sort(values(circle)) - [-1, 1]).max() < EXACT
    assert float(circle.arclength[-1]) == pytest.approx(2 * np.pi, rel=2e-3)  # a polygon of steps of at most 0.1
    imperfect = normal((-0.01, 0, 0, 0.25), (0, -0.5, 0, 0))
    assert kinds(follow_branch(imperfect, at(1), 1.0, bounds=(-1, 1))) == []
    broken = follow_branch(imperfect, at(-1), 1.0, bounds=(-1, 1))
    assert kinds(broken) == ["fold"]
    assert abs(values(broken)[0] - 3 * (0.01 / 2) ** (2 / 3)) < EXACT


# Deep linear networks: loss (p - s)^2 / 2 + value / 2 sum w^2 with p the product of the layers

S = 1.3


class Decayed(AbstractEnergy):
    """The regularised loss of a deep linear net, its layers sorted by name."""

    decay: jax.Array

    def __call__(self, x):
        layers = [x[name] for name in sorted(x)]
        product = functools.reduce(lambda inner, outer: outer @ inner, layers)
        return 0.5 * jnp.sum((product - S) ** 2) + self.decay / 2 * sum(jnp.sum(layer**2) for layer in layers)


def layers(*widths: int, fill: float):
    pairs = zip(widths[1:], widths, strict=False)
    return {f"w{place}": fill * jnp.ones(shape) for place, shape in enumerate(pairs)}


@pytest.mark.slow
def test_two_vector_layers_leave_collapse_by_a_pitchfork_with_zero_modes(x64):
    bounds = (0.1, 2.5)
    collapsed = follow_branch(Decayed, layers(1, 2, 1, fill=0.0), 2.0, bounds=bounds)
    (point,) = collapsed.points
    assert (point.kind, point.multiplicity) == ("pitchfork", 2)
    assert abs(float(point.value) - S) < EXACT
    learnt = switch_branch(Decayed, point, bounds=bounds)
    product = jnp.einsum("kij,kjl->k", learnt.x["w1"], learnt.x["w0"])
    assert float(jnp.abs(product - (S - learnt.value)).max()) < EXACT
    assert (np.asarray(learnt.index) == 0).all()  # the rotations' zero modes are no descents
    back = follow_branch(Decayed, jax.tree.map(lambda leaf: leaf[0], learnt.x), bounds[0], bounds=bounds)
    assert kinds(back) == ["pitchfork"]
    assert abs(values(back)[0] - S) < EXACT


@pytest.mark.parametrize("width", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_three_layers_lose_what_they_learnt_at_a_fold(width, x64):
    # Every layer of norm one, product one: stationary where s - 1 is the decay.
    learnt = jax.tree.map(lambda leaf: leaf / leaf.size**0.5, layers(1, width, width, 1, fill=1.0))
    branch = follow_branch(Decayed, learnt, S - 1, bounds=(0.1, 2.5))
    assert kinds(branch) == ["fold"]
    assert abs(values(branch)[0] - 0.75 * S * (S / 4) ** (1 / 3)) < EXACT
    assert branch.endings == ("bound", "bound")  # stable to the one side, unstable to the other


@pytest.mark.slow
def test_float32_stays_float32_where_x64_is_on(x64):
    tilted = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), normal((0, -0.5, 0, 0.25), (-1.0, 0, 0, 0)))
    branch = follow_branch(tilted, {"a": jnp.array([-1.2], jnp.float32)}, -0.5, bounds=(-1, 1))
    arrays = jax.tree.leaves(eqx.filter(branch, eqx.is_inexact_array))
    assert {leaf.dtype.name for leaf in arrays} == {"float32"}
    assert kinds(branch) == ["fold", "fold"]
    assert np.abs(values(branch) - [LIMIT, -LIMIT]).max() < 1e-6  # eps is 1.2e-7


# Ends and refusals


def test_an_end_that_is_no_bound_says_so_and_keeps_the_branch(x64):
    family = normal((0, -0.5, 0, 0.25), (-1.0, 0, 0, 0))
    with pytest.raises(WalkError, match=r"^follow_branch: at the value .* raise `max_steps`") as caught:
        follow_branch(family, at(-1.2), -0.5, bounds=(-1, 1), direction="up", max_steps=5)
    assert len(caught.value.solution.value.value) == 6
    kept = follow_branch(family, at(-1.2), -0.5, bounds=(-1, 1), direction="up", max_steps=5, throw=False)
    assert kept.endings == ("steps",)
    assert int(kept.outcome[0]) == Outcome.STEPS.code
    # A step that must not shrink cannot follow the bend of the fold.
    stiff = PseudoArclength(step=0.5, longest=0.5, shortest=0.4)
    assert follow_branch(family, at(-1.2), -0.5, stiff, bounds=(-1, 1), throw=False).endings[1] == "stalled"


def test_refusals_are_one_sentence(x64):
    family = normal((0, -0.5, 0, 0.25), (-1.0, 0, 0, 0))
    go = functools.partial(follow_branch, bounds=(-1, 1))
    with pytest.raises(InputError, match="at most 1000"):
        go(family, {"a": jnp.zeros(1001)}, 0.0)
    with pytest.raises(InputError, match="outside of the bounds"):
        go(family, at(1), 2.0)
    with pytest.raises(InputError, match="relax it there first"):
        go(normal((1.0, 0, 0, 0)), at(1), 0.0)  # a slope without a stationary point
    with pytest.raises(InputError, match="direction"):
        go(family, at(1), 0.0, direction="left")  # type: ignore[arg-type]
    branch = go(family, at(-1.2), -0.5)
    with pytest.raises(InputError, match="no other branch"):
        switch_branch(family, branch.points[0], bounds=(-1, 1))
    with pytest.raises(InputError, match="host field"):
        go(lambda value: HostField(lambda x: (x.sum(1), x)), at(1), 0.0)
    with pytest.raises(InputError, match="inside jit"):
        jax.jit(lambda value: go(family, at(1), value).value)(0.0)
