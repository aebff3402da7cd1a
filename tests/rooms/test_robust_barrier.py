"""Barriers: ridges, saddles and basins known in closed form, walls as mirrors, and what a stopped task keeps."""

from __future__ import annotations

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, isolate

from thalweg.core.energy import force
from thalweg.core.errors import InputError, WalkError
from thalweg.core.mirror import Mirrored, Seen, seen
from thalweg.core.solution import Outcome
from thalweg.core.space import Box
from thalweg.interop import host_field
from thalweg.landscapes import DoubleWell
from thalweg.methods.projected_flow import ProjectedFlow
from thalweg.robust.classifier import JaxClassifier
from thalweg.robust.energy import Ambiguity, Collision, Confidence, LogOdds, Overtaking
from thalweg.robust.figures.barrier import barrier_page, greys
from thalweg.robust.tasks.barrier import Barrier, barrier
from thalweg.robust.tasks.barrier_parts import Effort
from thalweg.robust.tasks.bring import Posed
from thalweg.robust.tasks.ridge import polygon_profile
from thalweg.robust.tasks.smoothness import kinked
from thalweg.runs import Points
from thalweg.verbs.path import find_path
from thalweg.verbs.relax import relax

pytestmark = pytest.mark.usefixtures("x64")
EFFORT = Effort(images=9, flow=200, path=100, saddle=40)


class Hills(eqx.Module):
    """Logits `-|x - centre|^2 / 2`: the differences between them are linear, but for a `kink` where x_0 = 0.25."""

    centres: jax.Array = eqx.field(converter=jnp.asarray)
    kink: jax.Array = eqx.field(default=0.0, converter=jnp.asarray)

    def __call__(self, x):
        bent = self.kink * jnp.abs(x[0] - 0.25) * (jnp.arange(len(self.centres)) == 0)
        return bent - 0.5 * jnp.sum((x - self.centres) ** 2, axis=1)


def posed(centres, x, labels, kink=0.0) -> Posed:
    # Classes that are not asked for lie so far off that they have no share; one shape compiles once.
    far = [[0.0, 100.0]] * (4 - len(centres))
    classifier = JaxClassifier(Hills(np.asarray([*centres, *far], float), kink), "hills")
    x = jnp.asarray(x, jnp.float64)
    return Posed(classifier, x, jnp.asarray(labels), np.arange(len(x)), 0, -2.0, 2.0)


# Two classes at (-1, 0) and (1, 0), and two more above and below, which lift the ridge x = 0 on either side of (0, 0).
HEIGHT = 3.0
FOUR = [[-1, 0], [1, 0], [0, HEIGHT], [0, -HEIGHT]]
INPUTS, PARTNERS = [[-0.8, 0.3], [0.9, -0.2]], [[0.1, 0.3], [-0.1, -0.2]]


@pytest.fixture(scope="module")
def found() -> Barrier:
    with jax.enable_x64(True):
        return barrier(posed(FOUR, INPUTS, [0, 1]), partners=jnp.asarray(PARTNERS), effort=EFFORT)


# The landscapes


def test_both_landscapes_are_the_known_entropies_in_logits():
    logits = jnp.asarray([[2.0, -1.0, 0.3], [0.1, 0.1, -4.0], [-3.0, 0.0, 9.0]])
    for ours, known in ((LogOdds(), Confidence()), (Ambiguity(), Collision())):
        # Functions of each other: log(exp(H) - 1); the difference loses up to four digits where H is 1e-4.
        np.testing.assert_allclose(jax.vmap(ours)(logits), jnp.log(jnp.expm1(jax.vmap(known)(logits))), rtol=1e-10)


@pytest.mark.slow
def test_for_two_classes_the_ridge_is_level_and_smooth_and_the_valley_never_flattens_out():
    for margin in (0.0, 0.3, -5.0, 400.0):
        height, slope = jax.value_and_grad(Ambiguity())(jnp.asarray([margin, 0.0]))
        np.testing.assert_allclose(height, -abs(margin) - np.log1p(np.exp(-2 * abs(margin))) + np.log(2), atol=1e-13)
        np.testing.assert_allclose(slope, np.tanh(margin) * np.array([-1, 1]), atol=1e-13)
    # Where float64 calls the class certain, both still fall by one logit per logit.
    for head in (LogOdds(), Ambiguity()):
        np.testing.assert_allclose(jax.grad(head)(jnp.asarray([900.0, 0.0, -3.0]))[0], -1.0, atol=1e-12)


# Walls as mirrors


class Slope(eqx.Module):
    """Downhill to either side along the first coordinate, and against a wall along the second."""

    def __call__(self, x):
        return -(x[0] ** 2) + 3 * x[1] + 0.1 * x[0] * x[1]


WALLS = Mirrored(np.array([-1.0, 0.0]), np.array([1.0, 2.0]))


def test_a_landscape_seen_from_mirrored_coordinates_keeps_its_force():
    on_host = host_field(lambda x: (float(Slope()(x)), np.asarray(jax.grad(Slope())(jnp.asarray(x)))))
    u = jnp.asarray([0.7, 2.9])
    straight = jax.grad(Slope())(WALLS(u)) * np.array([np.sin(0.7), np.sin(2.9)])  # both walls are 2 apart
    for inside in (seen(Slope(), WALLS), seen(on_host, WALLS)):
        np.testing.assert_allclose(force(inside, u), -straight, rtol=1e-14)
    np.testing.assert_allclose(WALLS.within(WALLS(u)), u, rtol=1e-12)
    # Exactly on a wall the angle is zero; a hair inside it is the hair.
    np.testing.assert_array_equal(WALLS.within(jnp.asarray([-1.0, 2.0]), 0.05), [0.05, np.pi - 0.05])


def test_a_wall_that_holds_a_coordinate_counts_as_positive_curvature():
    # At (0, 0) the wall holds the second coordinate against the force -3: curvature 3 (2 - 0) / 2.
    bend = jax.hessian(Seen(Slope(), WALLS))(jnp.asarray([np.pi / 2, 0.0]))
    np.testing.assert_allclose(np.diag(bend), [-2.0, 3.0], atol=1e-12)


def test_walls_that_leave_no_room_are_refused():
    with pytest.raises(InputError, match="exchange or widen"):
        Mirrored(1.0, 1.0)


# The flow


def test_the_flow_does_not_leap_over_a_ridge():
    start = jnp.asarray([0.02, -0.02])
    end = relax(DoubleWell(10.0), start, ProjectedFlow(accuracy=1e-3, stride=0.05), throw=False)
    np.testing.assert_allclose(end.value, [1.0, -1.0], atol=2e-3)  # within twice its accuracy


def test_the_flow_of_a_constant_force_ends_exactly_in_the_corner():
    slope = jnp.asarray([1.0, -0.5, 0.25])
    box = Box(jnp.zeros(3), jnp.asarray([1.0, 2.0, 3.0]))
    end = relax(lambda x: slope @ x, jnp.full(3, 0.5), ProjectedFlow(accuracy=1e-3, stride=0.1), space=box)
    np.testing.assert_array_equal(end.value, [0.0, 2.0, 0.0])


# Kinks


@pytest.mark.parametrize(
    ("activation", "kinks"), [(jax.nn.relu, True), (lambda x: jax.nn.softplus(30 * x) / 30, False), (jnp.abs, True)]
)
def test_kinks_are_told_from_stiffness(activation, kinks):
    net = eqx.nn.MLP(5, 3, 16, 2, activation, dtype=jnp.float64, key=jax.random.key(1))
    field = JaxClassifier(net, "net").field(Overtaking(jnp.asarray(0), jnp.asarray(1), 0.0), each=False)
    assert kinked(field, jnp.full(5, -2.0), jnp.linspace(-1.0, 3.0, 5)) is kinks


def test_a_linear_classifier_has_no_kinks():
    field = JaxClassifier(Hills(np.asarray(FOUR, float)), "hills").field(
        Overtaking(jnp.asarray(0), jnp.asarray(1), 0.0), each=False
    )
    assert not kinked(field, jnp.asarray([-2.0, 0.1]), jnp.asarray([2.0, 0.3]))


# The ridge


def test_the_saddle_between_two_classes_lies_where_the_others_are_least(found):
    share = np.exp(0.5 - 0.5 * HEIGHT**2)  # of a third class beside one of the two, at the saddle
    height = np.log((1 + 4 * share + share**2) / (1 + share**2))
    for row, arrays in zip(found.rows, found.arrays, strict=True):
        assert row["smooth"]
        assert row["saddle"]["index"] == 1
        assert not row["saddle"]["level"]
        # The search ends at a force of 5e-7, and the softest curvature is above 0.1.
        np.testing.assert_allclose(arrays["saddle"], [0.0, 0.0], atol=5e-6)
        np.testing.assert_allclose(np.abs(arrays["mode"]), [1.0, 0.0], atol=1e-5)
        np.testing.assert_allclose(row["saddle"]["energy"], height, atol=1e-9)
        bend = jax.hessian(lambda x: Ambiguity()(Hills(np.asarray(FOUR, float))(x)))(jnp.zeros(2))
        np.testing.assert_allclose([row["saddle"]["along"], row["saddle"]["across"]], np.diag(bend), rtol=1e-6)


def test_heights_count_from_the_input_and_both_ways_join_the_minima(found):
    for row, clean in zip(found.rows, INPUTS, strict=True):
        logits = np.asarray(Hills(np.asarray(FOUR, float))(jnp.asarray(clean)))
        shares = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(row["clean_energy"], np.log((1 - shares.max()) / shares.max()), rtol=1e-12)
        # On the line through the saddle the ridge is where two shares of 1 / (2 + 2 s) meet: odds of 1 + 2 s.
        share = np.exp(0.5 - 0.5 * HEIGHT**2)
        np.testing.assert_allclose(row["straight_height"] + row["clean_energy"], np.log(1 + 2 * share), atol=1e-3)
        assert row["classes_on_path"] == [row["label"], 1 - row["label"]]
        # Both integrals have the fall to their tolerance of 4e-11.
        assert row["work_gap"] < 1e-9


def test_inputs_on_a_slope_are_not_at_the_bottom_and_keep_their_class(found):
    for row, arrays in zip(found.rows, found.arrays, strict=True):
        assert row["same_class"]
        assert row["partner_class_kept"]
        assert not row["at_bottom"]
        # By symmetry the lowest point of a class is on its wall at height 0; the flow is followed to a few hundredths.
        wall = -2.0 if row["label"] == 0 else 2.0
        np.testing.assert_allclose(arrays["minima"][0], [wall, 0.0], atol=0.05)
        np.testing.assert_allclose(arrays["minima"][1], [-wall, 0.0], atol=0.05)


def test_an_input_in_its_corner_is_at_the_bottom():
    corner = posed([[-1, -1], [1, 1]], [[-2.0, -2.0]], [0])
    row = barrier(corner, partners=jnp.asarray([[0.3, 0.1]]), effort=EFFORT).rows[0]
    assert row["at_bottom"]
    assert row["clean_distance"] == 0
    assert row["clean_gradient"] == 0
    # Two classes: margins of 8 in either corner, and a ridge that is level everywhere.
    np.testing.assert_allclose([row["ridge_height"], row["ridge_height_of_partner"]], 8.0, atol=1e-9)
    assert row["saddle"]["index"] == 1
    assert row["saddle"]["level"]
    np.testing.assert_allclose(row["saddle"]["along"], -8.0, rtol=1e-6)  # -|slope of the margin|^2


@pytest.mark.slow
def test_walls_can_hold_a_saddle():
    # One further class above: along the ridge x = 0 it is ever less likely, down to the wall.
    height = 1.2
    three = posed([*FOUR[:2], [0, height]], [[-0.8, 0.1]], [0])
    found = barrier(three, partners=jnp.asarray([[0.2, 0.1]]), effort=EFFORT)
    share = np.exp(-2 * height - 0.5 * (height**2 - 1))
    row, total = found.rows[0], (2 + share) ** 2 / (2 + share**2)
    assert row["saddle"]["index"] == 1
    assert row["saddle"]["across"] is None
    np.testing.assert_allclose(found.arrays[0]["saddle"], [0.0, -2.0], atol=1e-5)
    np.testing.assert_allclose(row["saddle"]["energy"], np.log(total - 1), atol=1e-9)


@pytest.mark.slow
def test_a_net_with_kinks_gets_its_ridge_point_and_says_why():
    bent = posed(FOUR, INPUTS[:1], [0], kink=0.5)
    found = barrier(bent, partners=jnp.asarray([[0.6, 0.1]]), effort=EFFORT)
    row = found.rows[0]
    assert not row["smooth"]
    assert row["saddle"] is None
    assert "kinks" in row["saddle_reason"]
    assert np.isnan(found.arrays[0]["saddle"]).all()
    logits = np.sort(np.asarray(bent.classifier.logits(jnp.asarray(found.arrays[0]["ridge"])[None]))[0])
    # Bisected to rounding: one step of float64 along a path of some units.
    assert abs(logits[-1] - logits[-2]) < 1e-12


def test_a_profile_finds_every_crossing():
    classifier = posed(FOUR, INPUTS, [0, 1]).classifier
    profile = polygon_profile(classifier, jnp.asarray([[-2.0, 1.5], [2.0, 1.5], [2.0, 0.0]]))
    assert profile.visited == [0, 2, 1]
    # Class 0 gives way to 2 where -x - h y = (1 - h^2) / 2, and 2 to 1 at the mirror image.
    edge = 1.5 * HEIGHT + 0.5 * (1 - HEIGHT**2)
    np.testing.assert_allclose(profile.x[:, 0], [-edge, edge], atol=1e-14)
    np.testing.assert_array_equal(profile.sides, [[0, 2], [2, 1]])


def test_a_path_without_its_saddles():
    field = posed(FOUR, INPUTS, [0, 1]).classifier.field(Ambiguity(), each=False)
    ends = jnp.asarray([[-1.0, 0.1], [1.0, 0.1]])
    path = find_path(field, *ends, images=EFFORT.images, max_steps=5, saddles=False, throw=False)
    assert path.saddles == ()
    assert not path.connected
    np.testing.assert_array_equal(path.barrier, path.band_barrier)


# What is answered and kept


def test_the_answer_has_its_keys_and_the_page_needs_no_pictures(found, tmp_path):
    keys = {"n", "ridge_height_median", "straight_height_median", "lowering_median", "clean_gradient_median"}
    keys |= {"at_bottom", "same_class", "partner_class_kept", "saddles", "smooth", "work_gap_max", "inputs"}
    result = found.result
    assert keys <= set(result)
    assert result["n"] == len(result["inputs"]) == 2
    assert result["saddles"] == 2
    json.dumps(result, allow_nan=False)
    found.save(tmp_path / "paths.npz")
    with np.load(tmp_path / "paths.npz", allow_pickle=False) as file:
        assert file["images"].shape == (2, EFFORT.images, 2)
        np.testing.assert_allclose(file["saddle"], np.zeros((2, 2)), atol=5e-6)
    assert len(barrier_page(found).sections) == 3


@pytest.mark.parametrize(
    ("shape", "picture"), [((2, 5, 6), (5, 6)), ((2, 3, 5, 6), (5, 6)), ((2, 5, 6, 1), (5, 6)), ((2, 7), None)]
)
def test_pictures_are_recognised(shape, picture):
    grey = greys(np.ones(shape))
    assert (None if grey is None else grey.shape[1:]) == picture


def test_a_stopped_task_goes_on_to_the_same_bits(found, tmp_path):
    def stop(report):
        return Outcome.CANCELLED

    arguments = posed(FOUR, INPUTS, [0, 1])
    with pytest.raises(WalkError, match="1 of 2 parts"):
        barrier(arguments, partners=jnp.asarray(PARTNERS), effort=EFFORT, done=Points(tmp_path), hooks=(stop,))
    assert len(list(tmp_path.iterdir())) == 1
    heard = []
    again = barrier(
        arguments, partners=jnp.asarray(PARTNERS), effort=EFFORT, done=Points(tmp_path), hooks=(heard.append,)
    )
    assert [report.first for report in heard] == [1, 1]  # the first part came from the store
    assert again.rows == found.rows
    for mine, other in zip(again.arrays, found.arrays, strict=True):
        for name in other:
            np.testing.assert_array_equal(mine[name], other[name])


@pytest.mark.parametrize(
    ("partners", "said"),
    [
        ([[-0.5, 0.0], [-0.1, -0.2]], "partner 0 is read as its input"),
        ([[2.5, 0.0], [-0.1, -0.2]], "a partner leaves the bounds"),
        ([[0.1, 0.3]], "pass one each"),
    ],
)
def test_partners_that_are_none_are_refused(partners, said):
    with pytest.raises(InputError, match=said):
        barrier(posed(FOUR, INPUTS, [0, 1]), partners=jnp.asarray(partners), effort=EFFORT)


MODEL = """
import jax.numpy as jnp

def model(x):
    centres = jnp.asarray([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.5]], x.dtype)
    return -0.5 * jnp.sum((x - centres) ** 2, axis=1)
"""


@pytest.mark.slow  # the attack compiles for 20 s
def test_the_command_measures_and_reports(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    Path("net.py").write_text(MODEL, encoding="utf-8")
    np.savez("data.npz", x=np.array([[-0.8, 0.1]]), y=np.array([0]))
    words = ["robust", "barrier", "net.py:model", "data.npz", "--lower", "-2", "--upper", "2", "--images", "9"]
    answered = call(*words, "--json", "--quiet", "--out", "run")
    assert answered.exit_code == 0, answered.output
    result = json.loads(answered.stdout)
    assert result["n"] == 1
    assert result["smooth"]
    assert result["same_class"] == 1
    assert {"paths.npz", "report.html", "result.json"} <= {path.name for path in Path("run").iterdir()}
