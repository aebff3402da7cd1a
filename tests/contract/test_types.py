"""The shapes and types in the signatures are what is really passed: checked at run time in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
from jaxtyping import install_import_hook
with install_import_hook("thalweg", "beartype.beartype"):
    import thalweg
    from thalweg.verbs.constrained import relax_constrained
    from thalweg.learning.tasks.symmetry import study
    from thalweg.robust.tasks import fit, push, closure
    from thalweg.robust import data
import jax, jax.numpy as jnp, numpy as np, optax
jax.config.update("jax_enable_x64", True)
"""
VERBS = """
energy, start = thalweg.landscapes.MullerBrown(), jnp.array([0.6, 0.1])
for method in ("fire", "lbfgs", "projected"):
    assert thalweg.relax(energy, start, method).done
box = thalweg.Box(-1.0, 1.0)
assert thalweg.relax(energy, start, space=box, trace=thalweg.Trace(lambda walk: walk.state.value)).done
assert relax_constrained(energy, lambda x: x[0] - 0.5, start, stiffness=1e3).done
thalweg.closure(energy, thalweg.Bent(start, start + 1, jnp.ones(2)))
model = {"w": jnp.zeros(2)}
batches = thalweg.Batches((jnp.ones((4, 2)), jnp.ones(4)), 2)
loss = lambda model, batch, key: jnp.mean((batch[0] @ model["w"] - batch[1]) ** 2)
thalweg.train(model, thalweg.from_loss(loss), batches, optax.sgd(0.1), key=jax.random.key(0), steps=3, ema=0.9)
"""
# Checked while tracing, which needs no compilation; what runs on the host runs once, and shortly.
WALKS = """
from thalweg.methods.baoab import Baoab
from thalweg.methods.hamiltonian import Mala
from thalweg.methods.heat_bath import HeatBath
from thalweg.methods.overdamped import Overdamped
from thalweg.methods.tempering import Tempering, geometric_ladder
energy, start, key = thalweg.landscapes.MullerBrown(), jnp.array([0.6, 0.1]), jax.random.key(0)
tempered = Tempering(Mala(), geometric_ladder(1.0, 2.0, 2))
go = dict(key=key, steps=5, warmup=20, throw=False)
bent = Overdamped(mobility=lambda x: 1 / (1 + x**2))
for method in ("metropolis", "nuts", bent, tempered):
    jax.eval_shape(lambda x: thalweg.sample(energy, x, method, **go), start)
ring = lambda x: -jnp.sum(x * jnp.roll(x, 1))
bath = HeatBath(colours=jnp.arange(4) % 2)
jax.eval_shape(lambda x: thalweg.sample(ring, x, bath, space=thalweg.Signs(), **go), jnp.ones(4))
assert thalweg.sample(energy, start, "metropolis", key=key, steps=5).done
for method in ("verlet", Baoab(1.0, 1.0)):
    move = lambda x: thalweg.simulate(energy, x, x, method, dt=1e-3, steps=5, key=key, throw=False)
    jax.eval_shape(move, start)
assert thalweg.simulate(energy, start, dt=1e-3, steps=5).done
jax.eval_shape(lambda x: thalweg.find_saddle(energy, x, throw=False), start)
thalweg.find_path(energy, start, jnp.array([-0.55, 1.44]), images=5, max_steps=3, throw=False)
family = lambda value: lambda x: jnp.sum((x**2 - 1) ** 2) + value * jnp.sum(x)
solve = lambda energy, x, key: thalweg.relax(energy, x, max_steps=5, throw=False)
observe = lambda energy, solution: {"x": solution.value}
thalweg.sweep(family, np.linspace(0.0, 1.0, 2), solve, jnp.ones(1), observe=observe, key=key)
thalweg.follow_branch(family, jnp.ones(1), 0.0, bounds=(-0.1, 0.1), max_steps=3, throw=False)
"""
ROOMS = """
study.study(study.problems(None, None)[0], steps=50)
train_set, test_set = data.digits()
net = fit.in_double(fit.fit(train_set, steps=200))
x, y = jnp.asarray(test_set.x[:40]), jnp.asarray(test_set.y[:40])
right = np.asarray(fit.logits(net, x).argmax(1) == y)
pushes = push.minimal_pushes(net, x[right][:2], y[right][:2], lower=0.0, upper=1.0)
closure.work_of_pushes(net, x[right][:2], y[right][:2], pushes.x, key=jax.random.key(0))
"""


def walked(script: str) -> None:
    command = [sys.executable, "-c", BEGIN + script + "print('walked')"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.stdout.strip() == "walked", done.stderr[-2000:]


def test_the_signatures_of_core_and_verbs_hold_at_run_time():
    walked(VERBS)


@pytest.mark.slow
def test_the_signatures_of_the_other_verbs_hold_at_run_time():
    walked(WALKS)


@pytest.mark.slow
def test_the_signatures_of_the_rooms_hold_at_run_time():
    walked(ROOMS)
