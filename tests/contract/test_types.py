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
    from thalweg.learning.tasks import symmetry, study
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
ROOMS = """
from thalweg.learning.data import parabola
study.study(parabola(), steps=50)
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
def test_the_signatures_of_the_rooms_hold_at_run_time():
    walked(ROOMS)
