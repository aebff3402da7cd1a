"""Two identical units: Hessian blocks, growth rates, bit-for-bit audits, and whatever a user's CSV may hold."""

from __future__ import annotations

import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from command_line import call, isolate
from faults import only_our_errors
from jax.flatten_util import ravel_pytree

from thalweg.core.errors import InputError
from thalweg.learning.data import parabola, read_csv
from thalweg.learning.model.dense import ACTIVATIONS, Dense
from thalweg.learning.model.families import family
from thalweg.learning.model.pair import choose_pair
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.symmetry.audit import Split, audit, seeded_by
from thalweg.learning.tasks.symmetry.growth import along_a_training, linearised, measure_at_saddle, optimiser_of
from thalweg.learning.tasks.symmetry.saddle import Saddle, find_saddle
from thalweg.learning.tasks.symmetry.study import rate, study
from thalweg.learning.tasks.symmetry.tangent import follow

pytestmark = pytest.mark.usefixtures("x64")
DECAY, ETA = 1e-3, 0.1
grown: Any = measure_at_saddle  # whose answers are told apart by the tests, not by their types
trained: Any = along_a_training


def twins(activation: str = "tanh", **options) -> Problem:
    """Two hidden units without a bias of the output, on the parabola."""
    return family("tanh", parabola(), activation=activation, output_bias=False, **{"width": 2, **options})


@pytest.fixture(scope="module")
def saddle() -> Saddle:
    """The saddle of two tanh neurons, relaxed once for all tests."""
    with jax.enable_x64(True):
        return found("tanh")


def found(activation: str, **options) -> Saddle:
    problem = twins(activation, **options)
    return find_saddle(problem, choose_pair(problem), DECAY)


# The Hessian


@eqx.filter_jit
def looked(loss, params):
    return jax.value_and_grad(loss)(params)


@eqx.filter_jit
def blocks(loss, params) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The blocks H11 and H12 of the whole Hessian of two neurons, numbers in the order w, b, v; and all of it."""
    flat, unravel = ravel_pytree(params)
    full = jax.hessian(lambda z: loss(unravel(z)))(flat)
    first, second = jnp.array([0, 2, 4]), jnp.array([1, 3, 5])
    return full[jnp.ix_(first, first)], full[jnp.ix_(first, second)], full


@eqx.filter_jit
def formula(problem: Any, params, activation: str) -> jax.Array:
    """The antisymmetric block by hand: `E[r grad^2 (v phi(w x + b))]` plus the decay."""
    phi = ACTIVATIONS[activation]
    once, twice = jax.vmap(jax.grad(phi)), jax.vmap(jax.grad(jax.grad(phi)))
    x, v = problem.loss.x[:, 0], params[1].weight[0, 0]
    inner = params[0].weight[0, 0] * x + params[0].bias[0]
    residual = problem.predict(params)[:, 0] - problem.loss.y[:, 0]

    def mean(q):
        return jnp.mean(residual * q)

    ww, wb, bb = v * mean(twice(inner) * x**2), v * mean(twice(inner) * x), v * mean(twice(inner))
    wv, bv = mean(once(inner) * x), mean(once(inner))
    return jnp.array([[ww, wb, wv], [wb, bb, bv], [wv, bv, 0.0]]) + DECAY * jnp.eye(3)


def check_block(activation: str, saddle: Saddle) -> None:
    problem = twins(activation)
    same, cross, full = blocks(problem.at(DECAY), saddle.params)
    values, vectors = saddle.eigenvalues, saddle.vectors
    block = vectors.T @ np.diag(values) @ vectors
    # Second derivatives of order one, summed over 64 points in float64: rounding stays below 1e-13.
    np.testing.assert_allclose(block, same - cross, atol=1e-10)
    np.testing.assert_allclose(block, formula(problem, saddle.params, activation), atol=1e-10)
    assert np.abs(cross).max() > 1e-3  # the Gauss-Newton part is there to cancel
    np.testing.assert_allclose(saddle.stiffest, np.linalg.eigvalsh(full)[-1], rtol=1e-10)


def test_the_antisymmetric_block_is_the_difference_of_hessian_blocks_and_the_formula(saddle):
    check_block("tanh", saddle)


def test_the_saddle_is_at_rest_tied_and_lowest_along_the_softest_direction(saddle):
    energy = twins().at(DECAY)
    assert saddle.at_rest
    assert saddle.parts
    assert not bool(saddle.pair.differ(saddle.params))
    # The tied relaxation stops at a force of 1e-10; the untied one is that force spread over two neurons.
    height, slopes = looked(energy, saddle.params)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes)) < 1e-9
    assert abs(float(height) - saddle.loss) < 1e-12
    step = 1e-3
    down = float(looked(energy, saddle.nudged(step))[0]) - saddle.loss
    # Half h step^2; the cubic term vanishes by the exchange symmetry, the quartic one is about step^2 relative to it.
    np.testing.assert_allclose(down, 0.5 * saddle.eigenvalues[0] * step**2, rtol=1e-2)
    np.testing.assert_allclose(saddle.pair.distance(saddle.nudged(step)), np.sqrt(2) * step, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["gelu", "softplus"])
def test_other_activations_have_the_same_block_and_the_same_law(activation):
    saddle = found(activation)
    check_block(activation, saddle)
    growth = grown(twins(activation), saddle, optimiser_of("gd", ETA), DECAY)
    assert growth.relative_error < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("width", [3, 8, 17])
def test_wider_layers_have_a_saddle_where_two_of_their_units_part(width):
    problem, saddle = twins(width=width), found("tanh", width=width)
    slopes = looked(problem.at(DECAY), saddle.params)[1]
    # All units are free but the tied pair: the whole gradient vanishes, as far as the relaxation went (1e-10).
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes)) < 1e-9
    assert saddle.parts
    assert grown(problem, saddle, optimiser_of("gd", ETA), DECAY).relative_error < 1e-5


# Growth


def test_a_nudge_grows_at_the_predicted_rate(saddle):
    growth = grown(twins(), saddle, optimiser_of("gd", ETA), DECAY)
    np.testing.assert_allclose(
        growth.predicted, np.log1p(-ETA * saddle.eigenvalues[0]), rtol=1e-12
    )  # positive: it parts
    assert growth.relative_error < 1e-5  # the bar of the room


def test_momentum_grows_by_the_larger_root_of_its_characteristic_polynomial(saddle):
    growth = grown(twins(), saddle, optimiser_of("momentum", ETA), DECAY)
    # Heavy ball: z[t+1] = (1 + m - eta h) z[t] - m z[t-1], hence mu^2 - (1 + m - eta h) mu + m = 0.
    roots = np.roots([1.0, -(1.9 - ETA * saddle.eigenvalues[0]), 0.9])
    np.testing.assert_allclose(growth.predicted, np.log(np.abs(roots).max()), rtol=1e-9)
    assert growth.relative_error < 1e-5


def test_adam_has_no_derivative_at_rest(saddle):
    rule = optimiser_of("adam", 0.01)
    assert not np.isfinite(linearised(saddle, rule)).all()
    assert grown(twins(), saddle, rule, DECAY) is None


@pytest.mark.slow
def test_adam_follows_its_tangent_maps_trained(saddle):
    rule = optimiser_of("adam", 0.01)
    growth = trained(twins(), saddle, rule, DECAY, steps=400)
    assert growth.at == "trajectory"
    assert growth.tangent_error < 1e-3  # the bar of the room
    assert growth.relative_error < 1e-3
    assert abs(growth.predicted) > 1e-3  # there is something to tell apart from nothing


@pytest.mark.slow
@pytest.mark.parametrize(("name", "eta"), [("gd", 0.1), ("momentum", 0.1)])
def test_tangent_maps_follow_a_training(name, eta, saddle):
    problem = twins()
    start = problem.start(jax.random.key(1))
    parting = follow(
        problem.at(DECAY), start, saddle.pair, saddle.softest, optimiser_of(name, eta), steps=1000, amplitude=1e-7
    )
    assert parting.steps > 50
    assert parting.error < 1e-3  # the bar of the room
    # The comparison can fail: the start is not the end.
    assert np.linalg.norm(parting.predicted - parting.start) > 0.1


@pytest.mark.slow
def test_any_optax_rule_has_a_linearised_step(saddle):
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.05, momentum=0.8, nesterov=True))
    assert grown(twins(), saddle, rule, DECAY).relative_error < 1e-5


@pytest.mark.slow
def test_relu_does_not_part_and_claims_no_relative_error():
    saddle = found("relu")
    growth = grown(twins("relu"), saddle, optimiser_of("gd", ETA), DECAY)
    assert growth.relative_error is None
    # phi'' = 0 almost everywhere: the rate is rounding, against 5e-4 and more for the smooth activations.
    assert abs(growth.predicted) < 1e-9
    assert abs(growth.measured) < 1e-9


def test_a_learning_rate_beyond_the_stability_limit_is_refused(saddle):
    limit = 2 / saddle.stiffest
    for eta in (0.0, -0.1, 1.001 * limit):
        with pytest.raises(InputError, match=rf"the learning rate {eta} must lie between 0 and {limit:.3g} \(2 / the"):
            rate(twins(), saddle, "gd", eta, DECAY)
    with pytest.raises(InputError, match=r"the learning rate 1.0 must lie between 0 and .* \(3\.8 / the largest"):
        rate(twins(), saddle, "momentum", 1.0, DECAY)


# Bits


def bits(problem: Problem, steps: int, start=None, **options) -> int | None:
    pair = choose_pair(problem)
    begun = pair.tied(problem.start(jax.random.key(0))) if start is None else start
    return audit(
        problem, pair, begun, optimiser_of("gd", ETA), DECAY, steps=steps, every=steps, **options
    ).identical_until


def test_the_elementwise_form_stays_bit_identical_for_40000_steps():
    assert bits(twins(), 40_000) is None


def test_the_audit_sees_the_first_bit_that_differs():
    problem = twins()
    pair = choose_pair(problem)
    exact = pair.tied(problem.start(jax.random.key(0)))
    # A difference of one last place in one weight is there before the first step; the sign of a zero is a bit as well.
    nearly = eqx.tree_at(
        lambda p: p[1].weight, exact, exact[1].weight.at[0, 1].set(jnp.nextafter(exact[1].weight[0, 1], 9.0))
    )
    signed = eqx.tree_at(lambda p: p[0].bias, exact, jnp.array([0.0, -0.0]))
    assert [bits(problem, 40, start) for start in (exact, nearly, signed)] == [None, 0, 0]


def test_minibatches_and_imbalanced_data_cannot_part_twins_and_noise_can():
    x, y = parabola()
    lopsided = np.concatenate([np.repeat(x[:3], 30, axis=0), x]), np.concatenate([np.repeat(y[:3], 30, axis=0), y])
    problem = family("tanh", lopsided, width=2, output_bias=False)
    assert bits(problem, 2_000, batch=16) is None
    assert bits(problem, 2_000, noise=1e-6) == 1  # they are equal before the first step, and not after it


def test_what_seeded_a_split_is_what_was_there():
    never = Split(np.zeros(2), np.zeros(2), None, 10, None)
    # Whether rounding parts the matrix form differs between processors: the walk is played, the verdict is real.
    parted = never._replace(identical_until=292)
    seeds = ((1e-6, None), (None, 1e-3), (None, None))
    assert [seeded_by(parted, *each) for each in seeds] == ["nudge", "noise", "rounding"]
    assert seeded_by(never, None, 1e-3) == "nothing"


def test_the_two_forms_are_one_function():
    @jax.jit
    def both():
        layers = Dense().drawn((3, 5, 2), jax.random.key(0))
        inputs = jnp.cos(jnp.arange(60.0)).reshape(20, 3)
        return [Dense("tanh", form)(layers, inputs) for form in ("elementwise", "matmul")]

    # Sums of a hundred products of order one: some tens of roundings of 1e-16.
    np.testing.assert_allclose(*both(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"decay": -1.0}, "the decay must not be negative"),
        ({"nudge": 0.0}, r"a nudge must be positive \(or none\)"),
        ({"noise": -1.0}, "the noise is -1.0"),
        ({"layer": 2}, "there is no layer 2"),
        ({"pair": (0, 2)}, r"hidden layer 1 has the units 0 to 1, of which 0,2 is no pair"),
    ],
)
def test_unusable_options_are_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        study(twins(), **options)


def test_the_study_asks_for_float64():
    problem = twins()
    with jax.enable_x64(False), pytest.raises(InputError, match="the audit needs float64"):
        study(problem)


# A user's own table


def table(folder, text: str | bytes, name: str = "table.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


ROWS = "".join(f"{i / 7:.4f},{-0.25 * i},{i * i / 50}\n" for i in range(30))


def test_a_table_is_read_with_its_last_column_as_the_target(tmp_path):
    x, y = read_csv(table(tmp_path, "dose,time,answer\n" + ROWS))
    assert x.shape == (30, 2)
    np.testing.assert_allclose(x[7], [1.0, -1.75])
    np.testing.assert_allclose(y[:, 0], np.arange(30) ** 2 / 50)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x,y\n1,2\n3,nan\n5,6\n", r":3: NaN or infinity"),
        ("x,y\n1,2\n3,4\n5,1e999\n", r":4: NaN or infinity"),
        ("x,y\n1,2\n3,four\n", r":3: could not convert string to float: 'four'"),
        ("x,y\n\n1,2\n3,4,5\n", r":4: 3 columns, but the header has 2"),
        ("x,y\n1,2\n3\n", r":3: 1 columns, but the header has 2"),
        ("x,y\n1,2\n,4\n", r":3: could not convert"),
        ("", ": line 1 must be a header"),
        ("y\n1\n2\n", ": line 1 must be a header"),
        ("x,y\n", ": there are 0 rows of numbers"),
        ("x,y\n1,2\n", ": there are 1 rows of numbers"),
        (b"x,y\n1,2\n\xff\xfe\x00,4\n", ": cannot be read as a CSV file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", ": cannot be read as a CSV file"),
    ],
)
def test_a_bad_table_is_refused_with_file_and_line(tmp_path, text, place):
    path = table(tmp_path, text)
    with pytest.raises(InputError, match=rf"^{path}{place}"):
        read_csv(path)
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read"):
        read_csv(tmp_path / "nowhere.csv")


def test_a_damaged_table_is_read_or_refused_in_one_sentence(tmp_path):
    (tmp_path / "damaged").mkdir()
    refused = only_our_errors(read_csv, table(tmp_path, "a,b,y\n" + ROWS), tmp_path / "damaged", count=30)
    assert len(refused) > 60
    numbers = [sentence for name, sentence in refused.items() if "made nan" in name or "made oops" in name]
    assert numbers
    assert all("table.csv:" in sentence for sentence in numbers)


# The command

KEYS = set(
    "eigenvalue eigenvalues rate_predicted rate_measured relative_error bit_identical_until seeded_by loss_before "
    "loss_after distance rate_at tangent_error model layer pair optimiser eta notes seed seconds compile_seconds "
    "out".split()
)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    return tmp_path


def test_the_command_prints_the_documented_keys(elsewhere):
    ran = call("learning", "symmetry", "--steps", "4000", "--nudge", "1e-4", "--json", "--quiet", "--out", "run")
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    assert set(answer) == KEYS
    assert (answer["seeded_by"], answer["bit_identical_until"]) == ("nudge", 0)
    assert answer["relative_error"] < 1e-5
    assert answer["tangent_error"] < 1e-3
    assert answer["loss_after"] < 0.5 * answer["loss_before"]
    files = {path.name for path in (elsewhere / "run").iterdir()}
    assert {"result.json", "report.html", "manifest.json", "config.toml", "state.safetensors"} <= files
    assert "Two neurons part" in (elsewhere / "run" / "report.html").read_text()


@pytest.mark.slow
def test_a_table_of_two_inputs_with_exact_twins(elsewhere):
    rows = "".join(f"{np.cos(i):.4f},{np.sin(2 * i):.4f},{np.cos(i) * np.sin(2 * i):.4f}\n" for i in range(30))
    path = table(elsewhere, "dose,time,answer\n" + rows)
    ran = call("learning", "symmetry", "--data", str(path), "--nudge", "none", "--steps", "50", "--json", "--quiet")
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    assert (answer["bit_identical_until"], answer["seeded_by"], answer["distance"]) == (None, "nothing", 0)
    assert len(answer["eigenvalues"]) == 4  # two weights, a bias and the output weight


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--activation", "swish"), 1, "there is no activation 'swish'"),
        (("--eta", "-1"), 1, "the learning rate -1.0 must lie between 0 and"),
        (("--data", "bad.csv"), 1, "bad.csv:3: could not convert string to float: 'three'"),
        (("--nudge", "some"), 2, "give a number, or `none`"),
        (("--pair", "0"), 2, "give two numbers with a comma"),
        (("net.py:model", "--width", "3"), 1, "--width is for built-in networks, not for net.py:model"),
        (("net.py:model",), 1, "there is no file net.py"),
    ],
)
def test_mistakes_are_one_sentence_and_an_exit_code(elsewhere, words, code, sentence):
    table(elsewhere, "x,y\n1,2\nthree,4\n", "bad.csv")
    ran = call("learning", "symmetry", *words, "--quiet")
    assert ran.exit_code == code
    assert sentence in ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.output
