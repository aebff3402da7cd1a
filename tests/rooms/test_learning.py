"""Two identical neurons: Hessian blocks, growth rates, bit-for-bit audits, and whatever a user's CSV may hold."""

from __future__ import annotations

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, isolate
from faults import only_our_errors
from jax.flatten_util import ravel_pytree

from thalweg.core.errors import InputError
from thalweg.learning.data import parabola, read_csv
from thalweg.learning.energy import ACTIVATIONS, HiddenLayerLoss, Neurons, pair_directions, tied
from thalweg.learning.tasks import symmetry
from thalweg.learning.tasks.study import study

pytestmark = pytest.mark.usefixtures("x64")
DECAY, ETA = 1e-3, 0.1
SMOOTH = ("tanh", "gelu", "softplus")


def loss_of(activation: str = "tanh", **options) -> HiddenLayerLoss:
    return HiddenLayerLoss(*parabola(), DECAY, activation, **options)


@pytest.fixture(scope="module")
def saddles() -> dict[str, symmetry.Saddle]:
    """The saddle of each activation, relaxed once for all tests."""
    with jax.enable_x64(True):
        return {name: symmetry.find_saddle(loss_of(name)) for name in (*SMOOTH, "relu")}


# The Hessian


@eqx.filter_jit
def looked(loss: HiddenLayerLoss, neurons: Neurons) -> tuple[jax.Array, Neurons]:
    return jax.value_and_grad(loss)(neurons)


@eqx.filter_jit
def blocks(loss: HiddenLayerLoss, neurons: Neurons) -> tuple[jax.Array, jax.Array]:
    """The blocks H11 and H12 of the whole Hessian of two neurons, parameters in the order w, b, v."""
    flat, unravel = ravel_pytree(neurons)
    full = jax.hessian(lambda z: loss(unravel(z)))(flat)
    first, second = jnp.array([0, 2, 4]), jnp.array([1, 3, 5])
    return full[jnp.ix_(first, first)], full[jnp.ix_(first, second)]


@eqx.filter_jit
def formula(loss: HiddenLayerLoss, neurons: Neurons) -> jax.Array:
    """The antisymmetric block by hand: `E[r grad^2 (v phi(w x + b))]` plus the decay."""
    phi = ACTIVATIONS[loss.activation]
    once = jax.vmap(jax.grad(phi))
    twice = jax.vmap(jax.grad(jax.grad(phi)))
    x, v = loss.x[:, 0], neurons.v[0]
    inner = neurons.w[0, 0] * x + neurons.b[0]
    residual = loss.prediction(neurons) - loss.y

    def mean(q):
        return jnp.mean(residual * q)

    ww, wb, bb = v * mean(twice(inner) * x**2), v * mean(twice(inner) * x), v * mean(twice(inner))
    wv, bv = mean(once(inner) * x), mean(once(inner))
    return jnp.array([[ww, wb, wv], [wb, bb, bv], [wv, bv, 0.0]]) + loss.decay * jnp.eye(3)


@pytest.mark.parametrize("activation", SMOOTH)
def test_the_antisymmetric_block_is_the_difference_of_hessian_blocks_and_the_formula(activation, saddles):
    loss, saddle = loss_of(activation), saddles[activation]
    same, cross = blocks(loss, saddle.neurons)
    apart = pair_directions(jax.tree.map(lambda leaf: leaf[:1], saddle.neurons), -1)
    found = eqx.filter_jit(symmetry._curvature)(loss, saddle.neurons, apart)
    # Second derivatives of order one, summed over 64 points in float64: rounding stays below 1e-13.
    np.testing.assert_allclose(found, same - cross, atol=1e-10)
    np.testing.assert_allclose(found, formula(loss, saddle.neurons), atol=1e-10)
    assert np.abs(cross).max() > 1e-3  # the Gauss-Newton part is there to cancel
    np.testing.assert_allclose(saddle.eigenvalues, np.linalg.eigvalsh(same - cross), atol=1e-10)
    stiffest = max(np.linalg.eigvalsh(same - cross)[-1], np.linalg.eigvalsh(same + cross)[-1])
    np.testing.assert_allclose(saddle.stiffest, stiffest, rtol=1e-10)


@pytest.mark.parametrize("activation", SMOOTH)
def test_the_saddle_is_at_rest_tied_and_lowest_along_the_softest_direction(activation, saddles):
    loss, saddle = loss_of(activation), saddles[activation]
    assert all(bool((leaf[0] == leaf[1]).all()) for leaf in jax.tree.leaves(saddle.neurons))
    # The tied relaxation stops at a force of 1e-10; the untied one is that force spread over two neurons.
    height, slopes = looked(loss, saddle.neurons)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slopes)) < 1e-9
    assert abs(float(height) - saddle.loss) < 1e-12
    assert saddle.eigenvalues[0] < -1e-3
    along = ravel_pytree(saddle.softest)[0]
    assert abs(float(jnp.linalg.norm(along)) - 1) < 1e-12
    assert all(bool((leaf[0] == -leaf[1]).all()) for leaf in jax.tree.leaves(saddle.softest))
    step = 1e-3
    down = float(looked(loss, symmetry.nudged(saddle, step))[0]) - saddle.loss
    # Half h step^2; the cubic term vanishes by the exchange symmetry, the quartic one is about step^2 relative to it.
    np.testing.assert_allclose(down, 0.5 * saddle.eigenvalues[0] * step**2, rtol=1e-2)


# Growth


@pytest.mark.parametrize("activation", SMOOTH)
def test_a_nudge_grows_at_the_predicted_rate(activation, saddles):
    growth = symmetry.measure_growth(loss_of(activation), saddles[activation], eta=ETA)
    assert growth.predicted == float(np.log1p(-ETA * saddles[activation].eigenvalues[0])) > 0
    assert growth.relative_error is not None
    assert growth.relative_error < 1e-5  # the bar of the room
    assert growth.relative_error == abs(growth.measured / growth.predicted - 1)


def test_relu_does_not_part_and_claims_no_relative_error(saddles):
    growth = symmetry.measure_growth(loss_of("relu"), saddles["relu"], eta=ETA)
    assert growth.relative_error is None
    # phi'' = 0 almost everywhere: the rate is rounding, against 5e-4 and more for the smooth activations.
    assert abs(growth.predicted) < 1e-9
    assert abs(growth.measured) < 1e-9


def test_a_learning_rate_beyond_the_stability_limit_is_refused(saddles):
    limit = 2 / saddles["tanh"].stiffest
    for eta in (0.0, -0.1, 1.001 * limit):
        with pytest.raises(InputError, match=rf"the learning rate {eta} must lie between 0 and {limit:.3g}"):
            symmetry.measure_growth(loss_of(), saddles["tanh"], eta=eta)


# Bits


def test_the_elementwise_form_stays_bit_identical_for_40000_steps():
    assert symmetry.identical_until(loss_of(), symmetry.single_neuron(1, jnp.float64), eta=ETA, steps=40_000) is None


def test_the_audit_sees_the_first_bit_that_differs(saddles):
    # A difference of one last place in one weight is there before the first step.
    twins = tied(symmetry.single_neuron(1, jnp.float64))
    nearly = Neurons(twins.w, twins.b, twins.v.at[1].set(jnp.nextafter(twins.v[1], 1.0)))
    found = [symmetry.split(loss_of(), start, eta=ETA, steps=40, every=10)[1] for start in (twins, nearly)]
    assert found == [None, 0]


def test_the_two_forms_are_one_function():
    words = jax.random.normal(jax.random.key(0), (4, 5, 3))
    inputs, target = jax.random.normal(jax.random.key(1), (20, 3)), jnp.ones(20)
    for w, b, v in zip(words, words[:, :, 1], words[:, :, 2], strict=True):
        neurons = Neurons(w, b, v)
        pair = [HiddenLayerLoss(inputs, target, DECAY, form=form) for form in ("elementwise", "matmul")]
        heights, slopes = zip(*[looked(loss, neurons) for loss in pair], strict=True)
        # Sums of a hundred products of order one: some tens of roundings of 1e-16.
        np.testing.assert_allclose(heights[0], heights[1], rtol=1e-13)
        for one, other in zip(jax.tree.leaves(slopes[0]), jax.tree.leaves(slopes[1]), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


@pytest.fixture(scope="module")
def studies():
    """One study from a nudged saddle, long enough to part, and one from exact twins."""
    with jax.enable_x64(True):
        return {nudge: study(parabola(), nudge=nudge, steps=4_000) for nudge in (1e-4, None)}


def test_a_nudged_study_parts_and_the_loss_falls(studies):
    result = studies[1e-4].result
    assert result["bit_identical_until"] == 0
    assert result["seeded_by"] == "nudge"
    assert result["loss_after"] < 0.5 * result["loss_before"]
    assert result["distance"] > 0.1
    found = studies[1e-4].parting
    assert len(found.loss) == len(found.distance) == 4_000 // found.every + 1
    np.testing.assert_allclose(found.distance[0], np.sqrt(2) * 1e-4, rtol=1e-6)  # both move by 1 / sqrt(2), apart
    assert (np.diff(found.loss) <= 1e-12).all()  # gradient descent below its stability limit


def test_exact_twins_stay_twins_and_nothing_is_said_to_have_seeded_them(studies):
    result = studies[None].result
    assert result["bit_identical_until"] is None
    assert result["seeded_by"] == "nothing"
    assert result["distance"] == 0
    assert result["eigenvalue"] == studies[1e-4].result["eigenvalue"]


def test_what_parts_without_a_nudge_was_seeded_by_rounding(studies, saddles, monkeypatch):
    # Whether rounding parts the matrix form differs between processors: the walk is played, the verdict is real.
    monkeypatch.setattr(symmetry, "find_saddle", lambda loss, seed: saddles["tanh"])
    monkeypatch.setattr(symmetry, "split", lambda loss, start, **options: (studies[None].parting, 292))
    result = study(parabola(), nudge=None, form="matmul", steps=4_000).result
    assert (result["bit_identical_until"], result["seeded_by"]) == (292, "rounding")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"activation": "swish"}, r"there is no activation 'swish': choose one of tanh, relu, gelu, softplus, sigmoid"),
        ({"eta": -0.1}, r"the learning rate -0\.1 must lie between 0 and"),
        ({"eta": 5.0}, r"the learning rate 5\.0 must lie between 0 and 0\.333 \(2 / the largest curvature\)"),
        ({"decay": -1.0}, "the decay must not be negative"),
        ({"nudge": 0.0}, r"a nudge must be positive \(or none\)"),
    ],
)
def test_unusable_options_are_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        study(parabola(), **options)


def test_the_study_asks_for_float64():
    with jax.enable_x64(False), pytest.raises(InputError, match="the audit needs float64"):
        study(parabola())


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
    np.testing.assert_allclose(y, np.arange(30) ** 2 / 50)


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
    "loss_after distance seed seconds compile_seconds out".split()
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
    assert answer["seeded_by"] == "nudge"
    assert answer["relative_error"] < 1e-5
    assert answer["loss_after"] < answer["loss_before"]
    files = {path.name for path in (elsewhere / "run").iterdir()}
    assert {"result.json", "report.html", "manifest.json", "config.toml", "state.safetensors"} <= files
    assert "Two neurons part" in (elsewhere / "run" / "report.html").read_text()


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
        (("--data", "nowhere.csv"), 1, "nowhere.csv: cannot be read"),
        (("--nudge", "some"), 2, "give a number, or `none`"),
        (("--nudge", "-1"), 1, "a nudge must be positive"),
        (("--steps", "0"), 2, "0 is not in the range"),
    ],
)
def test_mistakes_are_one_sentence_and_an_exit_code(elsewhere, words, code, sentence):
    table(elsewhere, "x,y\n1,2\nthree,4\n", "bad.csv")
    ran = call("learning", "symmetry", *words, "--quiet")
    assert ran.exit_code == code
    assert sentence in ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.output
