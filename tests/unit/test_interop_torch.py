"""PyTorch modules as force fields, against central differences and against the same nets written in JAX."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.energy import force
from thalweg.core.errors import InputError, PrecisionError, WalkError
from thalweg.core.space import Box
from thalweg.interop import HostField, as_jax, from_torch, torch_energy
from thalweg.verbs.relax import relax

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
nn = torch.nn


def make(kind: str, seed: int = 0) -> tuple[Any, Any, tuple[int, ...]]:
    """A module in float32, its twin in JAX for one item and any weights, and the shape of an item."""
    torch.manual_seed(seed)
    if kind == "mlp":
        net = nn.Sequential(nn.Linear(6, 16), nn.Softplus(), nn.Linear(16, 4))

        def twin(weights, x):
            w, b, u, c = weights
            return u @ jax.nn.softplus(w @ x + b) + c

        return net, twin, (6,)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(27, 4))

    def conv_twin(weights, x):
        w, b, u, c = weights
        y = jax.lax.conv_general_dilated(x[None], w, (2, 2), [(1, 1), (1, 1)])[0] + b[:, None, None]
        return u @ jnp.tanh(y).ravel() + c

    return net, conv_twin, (2, 6, 6)


def weights_of(net: Any) -> list[jax.Array]:
    return [jnp.array(parameter.detach().numpy()) for parameter in net.parameters()]


def margin(output: Any) -> Any:
    """By how much the first output leads the softened rest of them."""
    return output[:, 0] - torch.logsumexp(output[:, 1:], 1)


def margin_in_jax(output: jax.Array) -> jax.Array:
    return output[0] - jax.nn.logsumexp(output[1:])


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_forces_agree_with_central_differences(x64, kind):
    net, _, shape = make(kind)
    field = torch_energy(net.double(), margin)
    x, v = jax.random.normal(jax.random.key(1), (2, *shape))
    step = 1e-5
    slope = (field(x + step * v) - field(x - step * v)) / (2 * step)
    # Truncation h^2 and rounding 1e-16 / h are both near 1e-10 here.
    assert float(slope) == pytest.approx(-float(jnp.vdot(force(field, x), v)), rel=1e-7)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_values_and_forces_agree_with_jax_in_float32(kind):
    net, twin, shape = make(kind)
    check_twins(net, twin, jax.random.normal(jax.random.key(2), (5, *shape)), 1e-6)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_values_and_forces_agree_with_jax_in_float64(x64, kind):
    net, twin, shape = make(kind)
    check_twins(net.double(), twin, jax.random.normal(jax.random.key(2), (5, *shape)), 1e-12)


def check_twins(net, twin, x, tolerance):
    """The field and the callback against JAX; sums of about 30 terms of order one leave ten units of rounding."""
    weights = weights_of(net)

    def native(x):
        return margin_in_jax(twin(weights, x))

    called = as_jax(net)
    values, slopes = jax.vmap(jax.value_and_grad(native))(x)
    got, forces = torch_energy(net, margin).value_and_force_batch(x)
    assert forces.dtype == x.dtype
    np.testing.assert_allclose(got, values, atol=tolerance)
    np.testing.assert_allclose(forces, -slopes, atol=tolerance)
    through = jax.jit(jax.vmap(jax.value_and_grad(lambda x: margin_in_jax(called(x)))))(x)
    np.testing.assert_allclose(through[0], values, atol=tolerance)
    np.testing.assert_allclose(through[1], slopes, atol=tolerance)
    np.testing.assert_allclose(from_torch(net)(x), jax.vmap(lambda x: twin(weights, x))(x), atol=tolerance)


@pytest.mark.parametrize("method", ["fire", "lbfgs", "projected"])
def test_relax_reaches_the_minimum_of_the_jax_twin(x64, method):
    net, twin, _ = make("mlp")
    net = net.double()
    weights = weights_of(net)
    space = Box(-1.0, 0.02) if method == "projected" else None

    def bound(x):
        return (x**2).sum(1) + margin(net(x))

    def bound_in_jax(x):
        return jnp.sum(x**2) + margin_in_jax(twin(weights, x))

    ours = relax(torch_energy(bound, dtype=torch.float64), jnp.full(6, 0.2), method, space=space, tol=1e-9)
    theirs = relax(bound_in_jax, jnp.full(6, 0.2), method, space=space, tol=1e-9)
    if space is not None:
        assert bool(jnp.any(ours.value == 0.02)), "no wall was met: the test would not see the box"
    # The square's curvature of 2 outweighs the net's: forces below 1e-9 bound the distance.
    np.testing.assert_allclose(ours.value, theirs.value, atol=5e-9)
    assert float(ours.energy) == pytest.approx(float(theirs.energy), abs=1e-12)


def test_only_the_input_gets_a_gradient_and_the_mode_is_restored():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 1), nn.Flatten(0)).train()
    net[2].eval()
    modes = [part.training for part in net.modules()]
    before = copy.deepcopy(net.state_dict())
    field = torch_energy(net)
    x = jax.random.normal(jax.random.key(0), (4, 3))
    field.check_deterministic(x)
    from_torch(net).check_deterministic(x)
    assert [part.training for part in net.modules()] == modes
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert all(bool((before[name] == now).all()) for name, now in net.state_dict().items())


def test_weights_are_read_at_each_call():
    net = nn.Linear(3, 1)
    field, called = torch_energy(net, lambda out: out[:, 0]), jax.jit(as_jax(net))
    x = jnp.ones(3)
    before = float(field(x)), float(called(x)[0])
    with torch.no_grad():
        net.bias += 1
    after = float(field(x)), float(called(x)[0])
    # Two float32 roundings of numbers near one.
    assert np.subtract(after, before) == pytest.approx([1, 1], abs=1e-6)


def test_the_input_is_handed_over_without_a_copy():
    seen = []

    def energy(x):
        seen.append((x.data_ptr(), x.is_contiguous(), tuple(x.shape)))
        return (x**2).sum((1, 2, 3))

    x = jnp.ones((2, 3, 4, 5))
    torch_energy(energy).value_and_force_batch(x)
    assert seen == [(x.unsafe_buffer_pointer(), True, (2, 3, 4, 5))]


def test_a_module_that_works_in_place_cannot_change_the_input():
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 1))
    x = -jnp.ones((2, 3))
    from_torch(net)(x)
    with pytest.raises(InputError, match="in-place operation"):
        torch_energy(net, lambda out: out[:, 0]).value_and_force_batch(x)
    assert bool((x == -1).all())


def test_calls_are_counted_forward_and_backward():
    net, _, shape = make("mlp")
    field = torch_energy(net, margin)
    assert isinstance(field, HostField)
    x = jnp.ones((7, *shape))
    field.value_and_force_batch(x)
    field.value_batch(x)
    field(x[0])
    assert (field.calls, field.evaluations, field.gradients) == (3, 15, 7)


def linear() -> Any:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


BAD_FIELDS = {
    "Linear refused an input of float32 .*cannot be multiplied": lambda: torch_energy(nn.Linear(4, 2), margin),
    r"energy has shape \[2, 2\], not \[2\]": lambda: torch_energy(linear()),
    r"energy has shape \[\], not \[2\]": lambda: torch_energy(linear(), lambda out: out.sum()),
    "the input is float32 but the module computes in float64": lambda: torch_energy(linear().double(), margin),
    "on the meta device": lambda: torch_energy(linear().to("meta"), margin),
    "is on cpu, not on meta: move it": lambda: from_torch(linear(), device="meta"),
    "Sequential is on the meta device": lambda: from_torch(nn.Sequential(linear(), linear().to("meta"))),
    "computes in float32: convert it first": lambda: from_torch(linear(), dtype="float64"),
    "a str cannot be called": lambda: from_torch("net"),  # pyright: ignore[reportArgumentType]
    "autograd cannot follow .* leave out .detach": lambda: torch_energy(linear(), lambda out: out.detach()[:, 0]),
    "autograd cannot follow the output back": lambda: torch_energy(lambda x: linear()(x.detach())[:, 0]),
    "a tensor of int64": lambda: torch_energy(linear(), lambda out: out.argmax(1)),
    "a tuple: return one tensor": lambda: torch_energy(lambda x: (x, x)),
    "reduce refused an input of float32": lambda: torch_energy(linear(), lambda out: out[:, 5]),
}


@pytest.mark.parametrize("sentence", BAD_FIELDS)
def test_a_field_that_cannot_work_is_one_sentence(sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        BAD_FIELDS[sentence]().value_and_force_batch(jnp.ones((2, 3)))
    assert "\n" not in str(caught.value)


def test_an_input_on_another_device_is_refused_unless_the_device_is_named():
    function = from_torch(linear())
    function.device = torch.device("meta")  # stands for an accelerator that this machine may lack
    with pytest.raises(InputError, match="the input is on cpu but the module is on meta: pass device='meta'"):
        function(jnp.ones((2, 3)))


def test_float64_that_would_be_rounded_is_refused():
    with pytest.raises(PrecisionError, match="jax_enable_x64"):
        from_torch(linear().double())(np.ones((2, 3)))
    with pytest.raises(PrecisionError, match="the output is float64"):
        from_torch(lambda x: x.double())(jnp.ones((2, 3)))
    with pytest.raises(InputError, match="values of dtype float64, but x is float32"):
        torch_energy(lambda x: x.double().sum(1)).value_and_force_batch(jnp.ones((2, 3)))


def test_dropout_and_batch_statistics_are_found():
    x = jax.random.normal(jax.random.key(0), (4, 3))
    torch.manual_seed(0)
    with pytest.raises(InputError, match=r"two answers to one input: .*dropout"):
        from_torch(lambda x: nn.functional.dropout(x, 0.5)).check_deterministic(x)
    with pytest.raises(InputError, match="alone and in a batch"):
        from_torch(lambda x: x - x.mean(0)).check_deterministic(x)
    hidden = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), linear()).train()
    with pytest.raises(InputError, match="two answers to one input"):
        torch_energy(lambda x: margin(hidden(x))).check_deterministic(x)


@pytest.mark.parametrize("method", ["fire", "projected"])
def test_the_step_that_made_a_nan_is_named(method):
    # The logarithm is NaN past zero, and its slope leads there.
    cliff = torch_energy(lambda x: torch.log(x).sum(1))
    with pytest.raises(WalkError, match=r"relax: step \d+ made .* non-finite"):
        relax(cliff, jnp.full(2, 0.5), method)


def test_the_callback_is_of_first_order_only():
    net, _, shape = make("mlp")
    called = as_jax(net)
    x = jnp.ones(shape)
    assert jax.jit(jax.jacrev(called))(x).shape == (4, *shape)
    assert jax.vmap(jax.vmap(called))(jnp.ones((2, 3, *shape))).shape == (2, 3, 4)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(called, (x,), (x,))
    with pytest.raises(ValueError, match="do not support JVP"):
        jax.grad(lambda x: jnp.sum(jax.grad(lambda x: called(x)[0])(x)))(x)


def test_a_scalar_callback_takes_one_forward_per_gradient():
    forwards = []

    def energy(x):
        forwards.append(tuple(x.shape))
        return (x**3).sum(1)

    gradient = jax.jit(jax.vmap(jax.grad(as_jax(energy))))
    np.testing.assert_allclose(gradient(jnp.full((4, 2), 2.0)), 12.0)
    assert forwards == [(1, 2), (4, 2)], "one item while tracing, then the batch in one call"


def test_the_callback_refuses_while_tracing():
    with pytest.raises(InputError, match="float32 but the module computes in float64"):
        jax.jit(as_jax(linear().double()))(jnp.ones(3))
    with pytest.raises(InputError, match="refused an input"):
        jax.jit(as_jax(linear()))(jnp.ones(4))
    relaxed = relax(as_jax(lambda x: (x**2).sum(1)), jnp.ones(3), "lbfgs")
    np.testing.assert_allclose(relaxed.value, 0, atol=1e-6)
