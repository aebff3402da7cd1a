"""Our half of the attack benchmarks."""

from __future__ import annotations

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _nets import FIRST, LAST, digits, weights

from thalweg.robust.classifier import JaxClassifier
from thalweg.robust.data import Classified
from thalweg.robust.tasks.attack import attack
from thalweg.robust.tasks.bring import Posed, correct_ones

SEEDS = (0, 1, 2)
BUDGETS = {"l2": (120, 250, 460), "linf": (100, 200)}


class Net(eqx.Module):
    """One of the two nets, as a user would write it in JAX."""

    weights: dict[str, jax.Array]

    def __call__(self, x: jax.Array) -> jax.Array:
        own = self.weights
        for layer in ("conv1", "conv2"):
            x = jax.lax.conv_general_dilated(x[None], own[f"{layer}_weight"], (2, 2), ((1, 1), (1, 1)))[0]
            x = jax.nn.relu(x + own[f"{layer}_bias"][:, None, None])
        x = jax.nn.relu(own["dense1_weight"] @ x.ravel() + own["dense1_bias"])
        return own["dense2_weight"] @ x + own["dense2_bias"]


def posed(name: str) -> Posed:
    """The digits that are scored, as far as the net reads them right."""
    x, y = digits(FIRST, LAST)
    net = Net({key: jnp.asarray(value) for key, value in weights(name).items()})
    return correct_ones(JaxClassifier(net, name, np.float32), Classified(x, y, 0.0, 1.0))


def ours(of: Posed) -> list[dict[str, Any]]:
    """Each budget with each seed; compilation is left out, by a first attack that is not counted."""
    rows = []
    for norm, budgets in BUDGETS.items():
        for budget in budgets:
            attack(of._replace(x=of.x[:100], labels=of.labels[:100], places=of.places[:100]), norm, budget=budget)
            for seed in SEEDS:
                began = time.process_time()
                found = attack(of, norm, budget=budget, seed=seed)
                spent = time.process_time() - began
                rows.append(
                    {"attack": f"thalweg {budget}", "norm": norm, "seed": seed, "cpu_seconds": round(spent, 2)}
                    | {name: found.result[name] for name in ("success_rate", "median", "mean", "forwards", "gradients")}
                    | {"norms": [round(float(one), 6) for one in found.norm]}
                )
    return rows


def compared(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """How much shorter our pushes are than the best of the peers, image by image and in the median and mean."""
    told = {}
    for norm, budgets in BUDGETS.items():
        peers = [row for row in theirs if row["norm"] == norm and "norms" in row]
        best = np.min([row["norms"] for row in peers], axis=0)
        leading = min(peers, key=lambda row: row["mean"])
        for budget in budgets:
            rows = [row for row in mine if row["norm"] == norm and row["attack"] == f"thalweg {budget}"]
            lengths = np.array([row["norms"] for row in rows])
            told[f"{norm} {budget}"] = {
                "median": [round(float(one), 5) for one in np.median(lengths, axis=1)],
                "mean": [round(float(one), 5) for one in lengths.mean(axis=1)],
                "best_peer": leading["attack"],
                "mean_over_best_peer": round(float(lengths.mean() / leading["mean"]), 4),
                "median_over_best_peer": round(float(np.median(lengths) / leading["median"]), 4),
                "mean_over_best_of_all_peers_by_image": round(float(lengths.mean() / best.mean()), 4),
                "longer_than_best_of_all_peers": round(float((lengths > 1.001 * best).mean()), 4),
                "cpu_seconds_over_best_peer": round(
                    float(np.mean([row["cpu_seconds"] for row in rows]) / leading["cpu_seconds"]), 4
                ),
            }
    return told


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without the lengths of each push."""
    return [{name: value for name, value in row.items() if name != "norms"} for row in rows]
