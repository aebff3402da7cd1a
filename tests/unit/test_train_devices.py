"""A batch shared by two devices: the same training as on one, up to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import equinox as eqx, jax, jax.numpy as jnp, numpy as np, optax
from thalweg.core.errors import InputError
from thalweg.methods.data import Batches
from thalweg.runs import Checkpoint
from thalweg.verbs.train import from_loss, train

points = jax.random.normal(jax.random.key(0), (64, 3))
net = eqx.nn.MLP(3, "scalar", 8, 1, key=jax.random.key(1))
seen = []

def loss(net, batch, key):
    jax.debug.inspect_array_sharding(batch[0], callback=lambda sharding: seen.append(sharding.num_devices))
    return jnp.mean((jax.vmap(net)(batch[0]) - batch[1]) ** 2)

def learnt(devices, size=8, steps=60, hooks=()):
    found = train(net, from_loss(loss), Batches((points, jnp.sin(points.sum(1))), size), optax.adam(1e-2),
                  key=jax.random.key(2), steps=steps, ema=0.99, devices=devices, on_chunk=hooks)
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(eqx.filter(found.value, eqx.is_array))])

one, two = learnt(None), learnt(jax.devices())
keep = lambda: (Checkpoint(sys.argv[1]),)
learnt(jax.devices(), steps=30, hooks=keep())
gone_on = learnt(jax.devices(), hooks=keep())
try:
    learnt(jax.devices(), size=7)
    sentence = ""
except InputError as error:
    sentence = str(error)
print(json.dumps({"off": float(jnp.abs(one - two).max()), "moved": float(jnp.abs(two).max()), "on": len(two.devices()),
                  "seen": sorted(set(seen)), "same_bits": bool((two == gone_on).all()), "sentence": sentence}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    place = tmp_path_factory.mktemp("two") / "state.safetensors"
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(place)],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    return json.loads(found.stdout.splitlines()[-1])


def test_two_devices_share_every_batch_and_learn_the_same(told):
    assert told["on"] == 2
    assert 2 in told["seen"]
    # Sums over halves of a batch are rounded otherwise: 60 steps of Adam in float32, each off by some 1e-7.
    assert told["off"] <= 1e-5 < told["moved"]


def test_a_training_on_two_devices_goes_on_to_the_same_bits(told):
    assert told["same_bits"]


def test_batches_that_cannot_be_shared_are_refused(told):
    assert "cannot be shared by 2 devices" in told["sentence"]
