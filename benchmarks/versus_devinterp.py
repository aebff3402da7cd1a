"""Local learning coefficients of losses with known answers, against devinterp's SGLD at its best step size.

Its rule (with or without RMSprop) and step size are those of a scan that come nearest to the known answer, which no
user has; ours runs with its defaults. Effective draws of both are counted by the same function; seconds include burn-in
or warmup and leave compiling out; they are of processor time, one thread each, float64.
Peers: `sh tools/peers.sh devinterp`.
"""

from __future__ import annotations

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _machine import described, write_result
from _peers import run_peer
from jaxtyping import Array, Float

from thalweg.diagnostics.convergence import effective_sample_size
from thalweg.verbs.learning_coefficient import learning_coefficient

STEPS, CHAINS, N = 1600, 4, 1_000_000


def regular(given: Array, w: Array) -> Float[Array, ""]:
    """A paraboloid."""
    return 0.5 * jnp.sum(given * w * w)


def quartic(given: Array, w: Array) -> Float[Array, ""]:
    """Fourth powers."""
    return jnp.sum((w * w) ** 2)


def reduced_rank(given: Array, w: Array) -> Float[Array, ""]:
    """A product of two matrices whose truth is zero."""
    return 0.5 * jnp.sum((w[:4].reshape(2, 2) @ w[4:].reshape(2, 2)) ** 2)


def twins(given: Array, w: Array) -> Float[Array, ""]:
    """Two tanh units that fit one."""
    made = jnp.tanh((1 + w[0]) * given) + w[1] * jnp.tanh((1 + w[2]) * given)
    return 0.5 * jnp.mean((made - 2 * jnp.tanh(given)) ** 2)


def reduced_rank_exact(strength: float, pull: float) -> float:
    """The mean under the localised law: one matrix integrated out, the other's singular values by quadrature."""
    logs = np.linspace(-50, 5, 1200)
    first, second = np.meshgrid(np.exp(logs), np.exp(logs))
    weight = np.sqrt(first * second) * np.exp(-pull * (first + second) / 2) * abs(first - second)
    weight /= (pull + strength * first) * (pull + strength * second)
    each = sum(strength * square / (pull + strength * square) for square in (first, second))
    return float(np.sum(weight * each) / np.sum(weight))


def twins_exact(inputs: np.ndarray, strength: float) -> float:
    """The mean of the excess by quadrature, along the two curved directions and the quartic one."""
    slope = inputs / np.cosh(inputs) ** 2
    bend = -2 * inputs * np.tanh(inputs) * slope
    basis = np.stack([np.tanh(inputs), slope], axis=1)
    drawn = np.linalg.lstsq(basis, bend, rcond=None)[0]
    narrow = np.mean((bend - basis @ drawn) ** 2)
    root = np.linalg.inv(np.linalg.cholesky(basis.T @ basis / inputs.size)).T / np.sqrt(strength)
    third = np.linspace(-1, 1, 161) * 3.2 * (strength * narrow) ** -0.25
    z, y, v = (axis.ravel() for axis in np.meshgrid(np.linspace(-9, 9, 37), np.linspace(-9, 9, 37), third))
    s = root[0, 0] * z + root[0, 1] * y - drawn[0] * v**2
    t = root[1, 0] * z + root[1, 1] * y - drawn[1] * v**2
    points = jnp.asarray(np.stack([v, 1 + s, (t - v) / (1 + s)], axis=1))
    excess = strength * np.asarray(jax.lax.map(eqx.Partial(twins, jnp.asarray(inputs)), points, batch_size=4096))
    weight = np.exp(-excess) / (1 + s)
    return float(np.sum(weight * excess) / np.sum(weight))


def problems() -> list[tuple[Any, dict[str, Any]]]:
    """The losses and what is known of each; `stiffness`, about the largest curvature times n beta where chains walk."""
    strength = N / np.log(N)
    curvatures, inputs = np.geomspace(0.1, 10, 10), np.linspace(-3, 3, 12)
    zero = lambda size: [0.0] * size  # noqa: E731
    settings = [
        (regular, {"given": curvatures, "start": zero(10), "stiffness": 10 * strength, "exact": 5.0}),
        (quartic, {"given": [0.0], "start": zero(4), "stiffness": 12 * strength**0.5, "exact": 1.0}),
        (reduced_rank, {"given": [0.0], "start": zero(8), "stiffness": 4 * strength, "localisation": 1.0}),
        (twins, {"given": inputs, "start": [0.0, 1.0, 0.0], "stiffness": 2 * strength}),
    ]
    settings[2][1]["exact"] = reduced_rank_exact(strength, 1.0)
    settings[3][1]["exact"] = twins_exact(inputs, strength)
    limits = {"regular": 5.0, "quartic": 1.0, "reduced_rank": 1.5, "twins": 1.25}
    common = {"strength": strength, "localisation": 0.0}
    return [
        (loss, common | given | {"name": loss.__name__, "limit": limits[loss.__name__], "given": [*given["given"]]})
        for loss, given in settings
    ]


def ours(loss: Any, problem: dict[str, Any]) -> dict[str, Any]:
    """The value, its interval and the seconds, with every setting at its default but the steps."""
    bound = eqx.Partial(loss, jnp.asarray(problem["given"]))
    start, found, seconds = jnp.asarray(problem["start"]), None, []
    for _ in range(2):
        began = time.process_time()
        settings = {"localisation": problem["localisation"], "steps": 2000, "warmup": 1000, "chains": CHAINS}
        found = learning_coefficient(bound, start, n=N, key=jax.random.key(0), **settings)
        seconds.append(time.process_time() - began)
    assert found is not None
    return {
        "value": found.value,
        "interval": found.interval,
        "effective_draws": round(found.ess),
        "r_hat": round(found.r_hat, 4),
        "trusted": found.trusted,
        "reason": found.reason,
        "seconds": round(seconds[1], 2),
        "first_call_seconds": round(seconds[0], 2),
    }


def judged(who: dict[str, Any], exact: float) -> dict[str, Any]:
    """The same with its error and price."""
    price = who["seconds"] / max(who["effective_draws"], 1)
    return who | {"relative_error": round(who["value"] / exact - 1, 4), "seconds_per_effective_draw": price}


def main() -> None:
    """Measure both in turn and write `results/versus_devinterp.json`."""
    with jax.enable_x64(True):
        cases = problems()
        mine = [ours(*case) for case in cases]
    task = {"problems": [problem for _, problem in cases], "steps": STEPS, "chains": CHAINS}
    peer = run_peer(
        "devinterp", "_peer_devinterp.py", task | {"factors": [10.0, 3.0, 1.0, 0.3, 0.1], "rms_factor": 0.3}
    )
    results = []
    for (_, problem), own in zip(cases, mine, strict=True):
        theirs = peer["problems"][problem["name"]]
        draws = np.array(theirs.pop("draws")).T
        theirs["effective_draws"] = round(float(effective_sample_size(draws, "mean")))
        pair = judged(own, problem["exact"]), judged(theirs, problem["exact"])
        ratio = pair[1]["seconds_per_effective_draw"] / pair[0]["seconds_per_effective_draw"]
        known = {"problem": problem["name"], "exact_at_this_n": problem["exact"], "limit": problem["limit"]}
        results.append(
            known | {"thalweg": pair[0], "devinterp": pair[1], "cheaper_per_effective_draw": round(ratio, 1)}
        )
    versions = {"devinterp": peer["devinterp"], "torch": peer["torch"]}
    write_result("versus_devinterp", described() | versions | {"n": N, "problems": results})


if __name__ == "__main__":
    main()
