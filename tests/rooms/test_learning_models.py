"""Models of a user's own in the room of learning: what is brought, which units it has, and whether that is so."""

from __future__ import annotations

import textwrap
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from thalweg.core.errors import InputError
from thalweg.interop import HostField
from thalweg.learning.data import parabola
from thalweg.learning.energy import DataLoss
from thalweg.learning.model.pair import choose_pair
from thalweg.learning.model.problem import Problem
from thalweg.learning.model.units import Slot, Units, permuted
from thalweg.learning.tasks.bring import as_problem, bring
from thalweg.learning.tasks.symmetry.saddle import curvatures
from thalweg.learning.tasks.symmetry.study import study

pytestmark = pytest.mark.usefixtures("x64")

NETS = """
import equinox as eqx
import jax
import jax.numpy as jnp

from thalweg.learning.model.units import Slot, Units


def mlp(key):
    return eqx.nn.MLP(1, 1, 3, 2, activation=jnp.tanh, key=key)


class Picture(eqx.Module):
    layers: list

    def __init__(self, key):
        one, two, three = jax.random.split(key, 3)
        self.layers = [lambda x: x.reshape(1, 4, 4), eqx.nn.Conv2d(1, 3, 3, key=one), jnp.tanh,
                       eqx.nn.MaxPool2d(1), jnp.ravel, eqx.nn.Dropout(0.5),
                       eqx.nn.Linear(12, 4, key=two), eqx.nn.LayerNorm(4), jax.nn.relu,
                       eqx.nn.Linear(4, 2, key=three)]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Written(eqx.Module):
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    skip: bool = False

    def __call__(self, x):
        inner = jax.nn.silu(self.first(x))
        return self.second(inner + inner[0] if self.skip else inner)


one, two = jax.random.split(jax.random.key(3))
written = Written(eqx.nn.Linear(1, 4, key=one), eqx.nn.Linear(4, 1, key=two))
mixed = Written(eqx.nn.Linear(1, 4, key=one), eqx.nn.Linear(4, 1, key=two), skip=True)


class Plain:
    @staticmethod
    def predict(params, x):
        return jnp.tanh(x @ params["w"].T) @ params["v"][:, None]

    @staticmethod
    def start(key):
        w, v = jax.random.split(key)
        return {"w": jax.random.normal(w, (3, 1)), "v": jax.random.normal(v, (3,))}

    units = (Units("own layer", 3, (Slot(1, 0), Slot(0, 0)), True),)


class Wrong(Plain):
    units = (Units("own layer", 3, (Slot(1, 0),), False),)


def lonely(params, x):
    return x @ params


def odd_one(a, b, c):
    return a


number = 3
"""


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    path = tmp_path_factory.mktemp("nets") / "nets.py"
    path.write_text(NETS)
    return path


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    return random.normal(size=(12, 16)), random.normal(size=(12, 2))


def slots(units: Units) -> list[tuple[int, ...]]:
    return [tuple(slot) for slot in units.slots]


def test_a_function_of_key_that_makes_a_perceptron(nets):
    problem: Any = bring(f"{nets}:mlp")
    assert [(units.width, units.odd) for units in problem.units] == [(3, True), (3, True)]
    # Leaves are weight and bias of each layer in turn.
    assert [slots(units) for units in problem.units] == [
        [(0, 0, 1), (1, 0, 1), (2, 1, 1)],
        [(2, 0, 1), (3, 0, 1), (4, 1, 1)],
    ]
    params = problem.start(jax.random.key(1))
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(params))
    hidden = problem.hidden(params)
    assert [part.shape for part in hidden] == [(64, 3), (64, 3)]
    moved = permuted(params, problem.units[0], jnp.array([2, 0, 1]))
    np.testing.assert_allclose(problem.hidden(moved)[0], hidden[0][:, [2, 0, 1]], rtol=1e-12)
    np.testing.assert_allclose(problem.hidden(moved)[1], hidden[1], rtol=1e-10)


def test_a_convolutional_network_keeps_the_places_of_a_flattened_channel_together(nets, pictures):
    problem = bring(f"{nets}:Picture", pictures)
    channels, dense = problem.units
    assert (channels.width, channels.odd) == (3, True)
    assert slots(channels)[-1] == (2, 1, 4)  # four pixels of a channel
    assert (dense.width, dense.odd) == (4, False)
    assert len(dense.slots) == 5  # weight, bias, the two of the normalisation, and the next weight


def test_layers_that_are_called_by_the_users_own_code_are_held_against_the_loss(nets):
    written = bring(f"{nets}:written")
    # The activation is not among the fields, so that only the loss can tell that it is not odd.
    assert [(units.width, units.odd) for units in written.units] == [(4, False)]
    assert written.hidden is None
    mixed = bring(f"{nets}:mixed")
    assert mixed.units == ()
    assert "exchanging its units changes the loss" in mixed.notes[0]
    with pytest.raises(InputError, match=r"no layer of two or more exchangeable units \(hidden layer 1: exchanging"):
        choose_pair(mixed)


def test_an_instance_gives_its_own_numbers_for_the_first_key_and_others_of_their_size(nets):
    problem = bring(f"{nets}:written")
    own, other = (ravel_pytree(problem.start(jax.random.key(seed)))[0] for seed in (0, 1))
    with jax.enable_x64(True):
        wanted = eqx.nn.Linear(1, 4, key=jax.random.split(jax.random.key(3))[0]).weight
    np.testing.assert_array_equal(own[:4], wanted[:, 0])
    assert not np.isclose(own, other).any()
    assert 0.2 < float(jnp.linalg.norm(other) / jnp.linalg.norm(own)) < 5


def test_a_plain_function_declares_its_units_and_they_are_checked(nets):
    problem = bring(f"{nets}:Plain.predict")
    assert problem.units[0].name == "own layer"
    with pytest.raises(InputError, match="exchanging units of own layer changes the loss: mend its slots"):
        bring(f"{nets}:Wrong.predict")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lonely", r"is a function of params and x: write start\(key\), which makes the params, beside it"),
        ("odd_one", r"takes \(a, b, c\): name a function of \(params, x\), of key, of data, or without arguments"),
        ("number", "is a int: name a Problem, a module, or a function"),
        ("nobody", "has no attribute 'nobody'"),
    ],
)
def test_what_is_no_model_is_one_sentence(nets, name, sentence):
    with pytest.raises(InputError, match=sentence):
        bring(f"{nets}:{name}")


def test_a_model_that_does_not_take_the_data_says_so(nets, pictures):
    with pytest.raises(InputError, match=r"failed on inputs of shape \[12, 16\] with TypeError"):
        bring(f"{nets}:mlp", pictures)
    with pytest.raises(InputError, match=r"predicts \[64, 2\] for targets of shape \[64, 1\]"):
        as_problem(eqx.nn.MLP(1, 2, 2, 1, key=jax.random.key(0)))


def test_a_problem_comes_whole_and_with_its_own_data(nets):
    own = bring(f"{nets}:Plain.predict")
    assert as_problem(own) is own
    assert as_problem(lambda: own) is own
    assert as_problem(lambda data: own, parabola()) is own
    with pytest.raises(InputError, match="has its own data"):
        as_problem(own, parabola())


def predict(params, x):
    return jnp.tanh(x @ params["w"].T + params["b"]) @ params["v"].T


def start(key):
    w, b, v = jax.random.split(key, 3)
    return {"w": jax.random.normal(w, (3, 1)), "b": jax.random.normal(b, (3,)), "v": jax.random.normal(v, (1, 3))}


UNITS = (Units("layer", 3, (Slot(2, 0), Slot(0, 0), Slot(1, 1)), True),)


def on_host(loss) -> HostField:
    """The same loss as somebody else's program."""
    both = jax.jit(jax.vmap(jax.value_and_grad(loss)))
    return HostField(lambda x: jax.tree.map(np.asarray, both(x)))


@pytest.mark.slow
def test_the_block_of_any_pair_is_the_difference_of_hessian_blocks_also_by_differences():
    loss = DataLoss(predict, *parabola())
    problem = Problem("own", loss, start, UNITS)
    pair = choose_pair(problem, 1, (2, 0))
    params = pair.tied(start(jax.random.key(4)))
    flat, unravel = ravel_pytree(params)  # b, v, w
    full = jax.hessian(lambda z: loss(unravel(z)))(flat)
    first, second = np.array([8, 2, 5]), np.array([6, 0, 3])
    wanted = np.linalg.eigvalsh(full[np.ix_(first, first)] - full[np.ix_(first, second)])
    values, vectors, stiffest, _ = curvatures(loss, params, pair)
    np.testing.assert_allclose(values, wanted, atol=1e-12)
    np.testing.assert_allclose(stiffest, np.linalg.eigvalsh(full)[-1], rtol=1e-12)
    differenced = curvatures(on_host(loss), params, pair)
    # Central differences of gradients at eps^(1/3): errors of about eps^(2/3), 4e-11, times third derivatives.
    np.testing.assert_allclose(differenced[0], values, atol=1e-8)
    np.testing.assert_allclose(np.abs(differenced[1] @ vectors.T), np.eye(3), atol=1e-6)


@pytest.mark.slow
def test_a_program_of_somebody_else_is_studied_by_differenced_gradients():
    loss = DataLoss(predict, *parabola())
    exact = study(Problem("own", loss, start, UNITS), steps=200)
    found: Any = study(Problem("foreign", on_host(loss), start, UNITS), steps=200)
    assert found.saddle.at_rest
    assert found.growth.relative_error < 1e-3  # the eigenvalue is a difference of gradients
    assert (found.parting.identical_until, found.seeded_by) == (0, "nudge")
    assert len(found.parting.distance) == len(exact.parting.distance) == 201
    with pytest.raises(InputError, match="is measured at rest alone: choose gd or momentum"):
        study(Problem("foreign", on_host(loss), start, UNITS), optimiser="adam", steps=10)


@pytest.mark.slow
def test_a_convolutional_network_grows_by_its_linearised_step(nets, pictures):
    found: Any = study(bring(f"{nets}:Picture", pictures), steps=100, decay=1e-2)
    assert found.growth.relative_error is None or found.growth.relative_error < 1e-3
    assert found.growth.tangent_error < 1e-3  # the bar of the room


TORCH = """
import torch

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
normalised = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))


class Picture(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = torch.nn.Conv2d(1, 3, 3), torch.nn.Linear(12, 2)

    def forward(self, x):
        return self.out(torch.relu(self.conv(x.reshape(-1, 1, 4, 4))).flatten(1))
"""


def test_pytorch_modules(tmp_path, pictures):
    torch = pytest.importorskip("torch")
    path = tmp_path / "torch_nets.py"
    path.write_text(textwrap.dedent(TORCH))
    problem: Any = bring(f"{path}:net")
    params = problem.start(jax.random.key(0))
    assert list(params) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert problem.units == (Units("hidden layer 1", 3, (Slot(1, 0), Slot(0, 0), Slot(3, 1)), True),)
    x, y = parabola()

    def same(params, x):
        return jnp.tanh(x @ params["0.weight"].T + params["0.bias"]) @ params["2.weight"].T + params["2.bias"]

    mine = DataLoss(same, x, y)
    value, force = problem.loss.value_and_force_batch(jax.tree.map(lambda leaf: leaf[None], params))
    height, slopes = jax.value_and_grad(mine)(params)
    np.testing.assert_allclose(value[0], height, rtol=1e-12)
    for name, slope in slopes.items():
        np.testing.assert_allclose(-force[name][0], slope, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(problem.predict(params), same(params, jnp.asarray(x)), rtol=1e-12)
    pair = choose_pair(problem)
    exact, differenced = (curvatures(loss, pair.tied(params), pair)[0] for loss in (mine, problem.loss))
    np.testing.assert_allclose(differenced, exact, atol=1e-8)  # as for any host field
    assert "buffers" in bring(f"{path}:normalised").notes[0]
    conv = bring(f"{path}:Picture", pictures)
    assert [(units.width, units.odd, units.slots[-1].block) for units in conv.units] == [(3, False, 4)]
    assert conv.start(jax.random.key(0))["conv.weight"].dtype == jnp.float32
    assert torch.get_default_dtype() == torch.float32
