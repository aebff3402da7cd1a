"""Relaxation: published minima, spaces, host programs, and every way in which it can end or refuse to begin."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core.energy import AbstractEnergy, AbstractHostField, force
from thalweg.core.errors import InputError, PrecisionError, WalkError
from thalweg.core.solution import Outcome
from thalweg.core.space import Box, Frozen, Periodic, Signs
from thalweg.landscapes import DoubleWell, LennardJones, MullerBrown
from thalweg.methods.fire import Fire
from thalweg.methods.gradient import Gradient
from thalweg.methods.lbfgs import Lbfgs
from thalweg.methods.trace import Trace
from thalweg.verbs.relax import relax

MINIMA = [((-0.5, 1.5), -146.699517), ((0.6, 0.0), -108.166724), ((0.0, 0.5), -80.767818)]
NAMES = ["fire", "lbfgs", "projected", "flow"]


# Published numbers


@pytest.mark.parametrize("method", NAMES)
def test_muller_brown_minima(method, x64):
    for start, minimum in MINIMA:
        solution = relax(MullerBrown(), jnp.array(start), method, tol=1e-8)
        assert abs(float(solution.energy) - minimum) < 1e-6  # six published decimals
        assert solution.done
        assert float(solution.stats["force_norm"]) < 1e-8
        assert solution.energy.dtype == jnp.float64


def test_an_optax_optimiser_is_a_method(x64):
    solution = relax(MullerBrown(), jnp.array([0.6, 0.0]), Gradient(optax.adam(1e-2)), tol=1e-6)
    assert abs(float(solution.energy) - MINIMA[1][1]) < 1e-6


@pytest.mark.slow
def test_thirteen_points_find_the_icosahedron(x64):
    # Wales & Doye, J. Phys. Chem. A 101, 5111 (1997): LJ13 has its global minimum at -44.326801. About one random
    # start in forty ends there, so that 300 starts miss it with a probability below 1e-3.
    starts = 1.2 * jax.random.normal(jax.random.key(0), (300, 13, 3))
    batch = jax.jit(jax.vmap(lambda x: relax(LennardJones(), x, tol=1e-6, max_steps=4000, throw=False)))(starts)
    lowest = float(jnp.where(batch.outcome == Outcome.DONE.code, batch.energy, jnp.inf).min())
    assert abs(lowest - -44.326801) < 1e-6  # six published decimals


# Anything that is a pytree, in any space


class Mismatch(AbstractEnergy):
    """The squared error of a small net on a few points."""

    inputs: jax.Array
    targets: jax.Array

    def __call__(self, x):
        hidden = jnp.tanh(self.inputs[:, None] * x["w"] + x["b"])
        return 0.5 * jnp.mean((hidden @ x["v"] - self.targets) ** 2) + 1e-2 * jnp.sum(x["v"] ** 2 + x["w"] ** 2)


def test_the_weights_of_a_net_relax_like_anything_else(x64):
    inputs = jnp.linspace(-1, 1, 16)
    weights = {"w": jnp.array([0.5, -1.0, 2.0]), "b": jnp.array([0.0, 0.3, -0.2]), "v": jnp.array([1.0, 0.5, -0.5])}
    energy = Mismatch(inputs, inputs**2)
    solution = relax(energy, weights, "projected", tol=1e-9)
    assert jax.tree.structure(solution.value) == jax.tree.structure(weights)
    assert float(solution.energy) < 0.5 * float(energy(weights))
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(force(energy, solution.value))) < 1e-9


@pytest.mark.parametrize("method", [None, "fire"])
def test_walls_hold_and_the_force_against_them_is_rest(method, x64):
    solution = relax(DoubleWell(), jnp.array([0.5, 0.4, -0.2]), method, space=Box(-2.0, jnp.array([0.7, 2.0, 2.0])))
    # A force below the tolerance 1e-6 at a curvature of 8.
    np.testing.assert_allclose(solution.value, [0.7, 1, -1], atol=1e-6)
    assert float(solution.value[0]) == 0.7
    assert solution.done


@pytest.mark.parametrize("method", [None, "flow"])
def test_periodic_walks_go_around(method, x64):
    # The minimum at 0.1 is nearest across the border of the cell.
    energy = lambda x: -jnp.sum(jnp.cos(2 * jnp.pi * (x - 0.1)))  # noqa: E731
    solution = relax(energy, jnp.array([0.95, 3.4]), method, tol=1e-6, space=Periodic(1.0))
    np.testing.assert_allclose(solution.value, [0.1, 0.1], atol=1e-6)  # a force below 1e-6 at a curvature of 39


@pytest.mark.parametrize("method", [None, "lbfgs"])
def test_frozen_coordinates_do_not_move(method, x64):
    start = jnp.array([0.5, 0.4])
    solution = relax(DoubleWell(), start, method, space=Frozen(jnp.array([True, False])))
    np.testing.assert_allclose(solution.value, [1, 0.4], atol=1e-6)
    assert float(solution.value[1]) == 0.4


@pytest.mark.parametrize("method", ["lbfgs", "flow"])
def test_methods_that_know_no_walls_say_so_however_deep_the_walls_are(method):
    x = jnp.array([0.5, 0.4])
    for space in (Box(-1.0, 0.9), Frozen(True, Box(-1.0, 0.9)), Frozen(True, Frozen(True, Box(-1.0, 0.9)))):
        with pytest.raises(InputError, match=f"{method} does not know the walls of Box: use method='projected'"):
            relax(DoubleWell(), x, method, space=space)


# Recording and compiling


def test_a_trace_records_the_walk(x64):
    trace = Trace(lambda walk: {"x": walk.state.x, "energy": walk.state.value}, every=5)
    solution = relax(MullerBrown(), jnp.array([0.6, 0.0]), tol=1e-8, trace=trace)
    assert len(solution.trace["energy"]) == solution.stats["steps"] // 5 + 1
    np.testing.assert_array_equal(solution.trace["x"][0], [0.6, 0.0])
    np.testing.assert_allclose(solution.trace["energy"], jax.vmap(MullerBrown())(solution.trace["x"]), rtol=1e-12)


class Counted(AbstractEnergy):
    """A bowl that counts how often it is traced."""

    stiffness: jax.Array = eqx.field(converter=jnp.asarray)
    traces: Tally = eqx.field(static=True)

    def __call__(self, x):
        self.traces.count += 1
        return self.stiffness * jnp.sum(x**2)


class Tally:
    """A count that a static field may hold, because it is only equal to itself."""

    count = 0


def test_an_energy_compiles_once_for_all_its_parameters():
    traces = Tally()
    relax(Counted(1.0, traces), jnp.ones(3), tol=1e-3)
    first = traces.count
    for stiffness in (0.5, 0.7, 1.3):
        relax(Counted(stiffness, traces), jnp.ones(3), tol=1e-3)
    assert traces.count == first > 0


# Endings


def test_a_short_budget_says_what_to_do_and_keeps_the_lowest_point():
    with pytest.raises(WalkError, match=r"^relax: The step budget ran out.*raise `max_steps`") as caught:
        relax(MullerBrown(), jnp.array([0.6, 0.0]), max_steps=3)
    solution = caught.value.solution
    assert Outcome.of(solution.outcome) is Outcome.STEPS
    assert solution.stats["steps"] == 3
    assert float(solution.energy) <= float(MullerBrown()(jnp.array([0.6, 0.0])))
    np.testing.assert_allclose(MullerBrown()(solution.value), solution.energy, rtol=1e-6)  # float32


@pytest.mark.parametrize("method", ["fire", "lbfgs", "projected"])
def test_the_rounding_floor_is_an_ending_of_its_own(method):
    with pytest.raises(WalkError, match="rounding floor is reached, use float64") as caught:
        relax(MullerBrown(), jnp.array([0.6, 0.0]), method, tol=1e-30)
    assert Outcome.of(caught.value.solution.outcome) is Outcome.STALLED
    assert abs(float(caught.value.solution.energy) - MINIMA[1][1]) < 1e-4  # float32 at a height of 100


def cliff(x):
    """A slope that ends in NaN beyond 2."""
    return jnp.where(x[0] < 2, -x[0], jnp.nan)


@pytest.mark.parametrize("method", ["fire", "projected"])
def test_a_value_that_stops_being_finite_is_named_with_its_step(method):
    sentence = r"^relax: step \d+ made .*value.* non-finite; no checkpoint was kept\. .*lower the step size"
    with pytest.raises(WalkError, match=sentence) as caught:
        relax(cliff, jnp.zeros(1), method)
    solution = caught.value.solution
    assert Outcome.of(solution.outcome) is Outcome.NONFINITE
    assert 0 <= float(solution.value[0]) < 2
    assert np.isfinite(float(solution.energy))


def test_without_throw_the_ending_comes_back():
    solution = relax(cliff, jnp.zeros(1), throw=False)
    assert not solution.done
    assert solution.sentence == Outcome.NONFINITE.value


def test_a_hook_can_stop_a_relaxation():
    def stop(report):
        return Outcome.CANCELLED if report.step >= 1 else None

    solution = relax(MullerBrown(), jnp.array([0.6, 0.0]), on_chunk=stop, throw=False)
    assert Outcome.of(solution.outcome) is Outcome.CANCELLED


@pytest.mark.parametrize("max_steps", [0, 1])
def test_a_start_at_rest_is_an_arrival_whatever_the_budget(max_steps):
    solution = relax(DoubleWell(), jnp.array([1.0, -1.0]), max_steps=max_steps)
    assert solution.stats["steps"] == 0
    np.testing.assert_array_equal(solution.value, [1, -1])


# Programs of somebody else


class Programme(AbstractHostField):
    """The double well in NumPy, in the dtype of `x`; counts its calls."""

    def __init__(self):
        self.calls = 0

    def value_and_force_batch(self, x):
        self.calls += 1
        x = np.asarray(x)
        return np.sum((x**2 - 1) ** 2, -1), -4 * x * (x**2 - 1)


@pytest.mark.parametrize("method", ["fire", "lbfgs", "projected"])
def test_a_host_field_walks_like_its_compiled_twin(method, x64):
    start, host = jnp.array([0.5, -0.3, 1.7]), Programme()
    theirs = relax(host, start, method, tol=1e-9)
    ours = relax(DoubleWell(), start, method, tol=1e-9)
    # Both end with a force below 1e-9 at a curvature of 8.
    np.testing.assert_allclose(theirs.value, ours.value, atol=1e-9)
    assert abs(theirs.stats["steps"] - ours.stats["steps"]) <= 1  # rounding may move the end by one step
    assert host.calls == theirs.stats["steps"] + 1


def test_a_host_field_keeps_to_its_space(x64):
    solution = relax(Programme(), jnp.array([0.5, 0.4]), space=Box(-2.0, jnp.array([0.7, 2.0])))
    np.testing.assert_allclose(solution.value, [0.7, 1], atol=1e-6)


def test_a_host_field_cannot_flow():
    with pytest.raises(InputError, match="a gradient flow needs a compiled landscape"):
        relax(Programme(), jnp.ones(2), "flow")


# Refusals


def test_an_unknown_method_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"no method 'newton': choose one of .*fire, flow, lbfgs"):
        relax(DoubleWell(), jnp.ones(2), "newton")


@pytest.mark.parametrize("space", [lambda: Frozen(True, Signs()), lambda: Frozen(True, Frozen(True, Signs()))])
def test_signs_are_not_followed_downhill(space):
    with pytest.raises(InputError, match="signs have no downhill direction: search them"):
        relax(DoubleWell(), jnp.ones(2), space=space())
    with pytest.raises(InputError, match="signs have no downhill direction: search them"):
        relax(DoubleWell(), jnp.ones(2), "fire", space=Signs())
    with pytest.raises(InputError, match="does not offer its couplings"):
        relax(DoubleWell(), jnp.ones(2), space=Signs())


def test_float64_without_x64_is_refused():
    with pytest.raises(PrecisionError, match="float64 but this process computes in float32"):
        relax(DoubleWell(), np.ones(2))


BAD = [
    ({"x0": jnp.array([1, 2])}, "no gradient"),
    ({"x0": jnp.array([jnp.nan])}, "not finite"),
    ({"energy": lambda x: x}, "sum it first"),
    ({"energy": MullerBrown(), "x0": jnp.ones((3, 3))}, "cannot be evaluated on an x of this shape"),
    ({"energy": MullerBrown(), "x0": jnp.ones(1)}, "cannot be evaluated on an x of this shape"),
    ({"tol": 0.0}, "tol is 0.0, but it must be positive"),
    ({"max_steps": -1}, "max_steps"),
    ({"trace": lambda: Trace(lambda walk: walk.state.x, every=0)}, "every 0 steps"),
    ({"space": lambda: Box(1.0, -1.0)}, "lower bound above"),
    ({"space": Box(jnp.zeros(3), jnp.ones(3))}, "shape"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[f"{[*change]} {sentence}" for change, sentence in BAD])
def test_bad_arguments_are_one_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence):
        made(change)


def made(change: dict[str, Any]) -> Any:
    """Relax with some arguments changed; what is refused when it is built is built here."""
    built: dict[str, Any] = {
        name: value() if name in ("trace", "space") and callable(value) else value for name, value in change.items()
    }
    plain: dict[str, Any] = {"energy": DoubleWell(), "x0": jnp.array([0.5, 0.4])}
    return relax(**(plain | built))


def test_inside_a_transformation_nothing_can_be_thrown():
    with pytest.raises(InputError, match="pass throw=False"):
        jax.vmap(lambda x: relax(DoubleWell(), x))(jnp.ones((2, 2)))


def test_a_batch_of_walks_ends_lane_by_lane(x64):
    starts = jnp.array([[0.5, 0.5], [1.0, 1.0], [1e3, 0.5]])
    batch = jax.vmap(lambda x: relax(DoubleWell(), x, Fire(), max_steps=100, tol=1e-8, throw=False))(starts)
    assert [Outcome.of(code) for code in batch.outcome] == [Outcome.DONE, Outcome.DONE, Outcome.STEPS]
    assert batch.stats["steps"][1] == 0
    alone = relax(DoubleWell(), starts[0], Fire(), max_steps=100, tol=1e-8)
    np.testing.assert_allclose(batch.value[0], alone.value, atol=1e-9)  # a force below 1e-8 at a curvature of 8


def test_a_stride_bounds_every_move(x64):
    trace = Trace(lambda walk: walk.state.x)
    solution = relax(DoubleWell(), jnp.array([3.0, -2.0]), Lbfgs(stride=0.1), trace=trace)
    moves = np.linalg.norm(np.diff(np.asarray(solution.trace), axis=0), axis=1)
    assert moves.max() <= 0.1 * (1 + 1e-9)  # the rounding of float64 positions of order one
