"""A restricted Boltzmann machine on binarised digits: exact test log-likelihood, and log Z with its error bar.

64 visible and 16 hidden units, 1400 images to learn from and 397 to test on. Our settings are the defaults; they were
chosen on 200 of the 1400 (`--valid` learns from the other 1200 and tells those). Peers run in turn, at their good
settings; all likelihoods are exact, in float64, by one function.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import jax
import numpy as np
from _machine import described, write_result
from _peers import run_peer
from sklearn.datasets import load_digits

from thalweg.session import CompileClock
from thalweg.spins.energy import RestrictedBoltzmann
from thalweg.spins.tasks.exact import exact_log_z
from thalweg.spins.tasks.learn import learn
from thalweg.spins.tasks.likelihood import mean_log_likelihood
from thalweg.spins.tasks.partition import LogZ, annealed, tempered

SEEDS, REPEATS, HIDDEN = 5, 40, 16
_PARTS = ("weights", "visible_bias", "hidden_bias")


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images to learn from and to test on."""
    pixels = (np.asarray(load_digits(return_X_y=True)[0]) >= 8).astype(np.int8)
    pixels = pixels[np.random.default_rng(0).permutation(len(pixels))]
    return (pixels[:1200], pixels[1200:1400]) if "--valid" in sys.argv else (pixels[:1400], pixels[1400:])


def told(machine: RestrictedBoltzmann, test: np.ndarray) -> float:
    """The exact mean log-likelihood of the test images."""
    return mean_log_likelihood(machine, test, exact_log_z(machine))


def ours(method: Any, data: np.ndarray, test: np.ndarray) -> tuple[dict[str, Any], RestrictedBoltzmann]:
    """Five seeds with the defaults; the first compiles."""
    runs, machine = [], None
    for seed in range(SEEDS):
        clock, began, spent = CompileClock(), time.perf_counter(), time.process_time()
        found = learn(data, method=method, log_z="none", seed=seed)
        seconds, process = time.perf_counter() - began, time.process_time() - spent
        machine = found.machine
        assert isinstance(machine, RestrictedBoltzmann)
        compiled = clock.seconds
        runs.append([told(machine, test), seconds - compiled, process, compiled])
    heights, seconds, process, compiled = np.array(runs).T
    assert isinstance(machine, RestrictedBoltzmann)
    return summary(heights, seconds) | {
        "process_seconds": np.round(process, 2).tolist(),
        "compile_seconds": np.round(compiled, 2).tolist(),
        "settings": {name: found.result[name] for name in ("updates", "batch", "chains", "rate", "l2")},
    }, machine


def summary(heights: Any, seconds: Any) -> dict[str, Any]:
    """Mean and spread over seeds."""
    return {
        "test_log_likelihood": [round(float(height), 3) for height in heights],
        "mean": round(float(np.mean(heights)), 3),
        "spread": round(float(np.std(heights, ddof=1)), 3) if len(heights) > 1 else None,
        "seconds": [round(float(one), 2) for one in seconds],
    }


def peers(data: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """scikit-learn and rbms, 400 epochs; of two sizes of batches the one that serves each better on the test images."""
    results: dict[str, Any] = {}
    for batch in (10, 100):
        task = {"data": data.tolist(), "hidden": HIDDEN, "epochs": 400, "batch": batch, "threads": 2}
        task |= {"seeds": SEEDS, "rbms_seeds": 1, "rbms_rate": 0.05, "rbms_chains": 100}
        found = run_peer("rbms", "_peer_rbms.py", task)
        for name in ("scikit-learn", "rbms"):
            with jax.enable_x64(True):
                heights = [
                    told(RestrictedBoltzmann(*(np.array(one[part]) for part in _PARTS)), test) for one in found[name]
                ]
            row = summary(heights, [one["seconds"] for one in found[name]]) | {"batch": batch}
            if name not in results or row["mean"] > results[name]["mean"]:
                results[name] = row
    return results


def constants(machine: RestrictedBoltzmann, data: np.ndarray) -> dict[str, Any]:
    """log Z of one machine many times over: how far off, and how often within the interval."""
    exact, results = exact_log_z(machine), {}
    for name, estimate in (("annealed", annealed), ("tempered", tempered)):
        found: list[LogZ] = []
        seconds: list[float] = []
        for seed in range(REPEATS + 1):
            began = time.perf_counter()
            found.append(estimate(machine, means=data.mean(axis=0), seed=seed))
            seconds.append(time.perf_counter() - began)
        off = np.array([one.value - exact for one in found[1:]])  # the first compiles
        covered = [one.low <= exact <= one.high for one in found[1:]]
        results[name] = spread(off, min(seconds[1:])) | {
            "median_seconds": round(float(np.median(seconds[1:])), 3),
            "told_error": round(float(np.mean([one.error for one in found[1:]])), 4),
            "covered": float(np.mean(covered)),
        }
    parts = {part: np.asarray(getattr(machine, part), float).tolist() for part in _PARTS}
    task = {"machine": parts, "repeats": REPEATS, "ais_chains": 1000, "ais_rungs": 100, "threads": 2}
    theirs = run_peer("rbms", "_peer_rbms.py", task)["annealed"]
    return results | {"exact": exact, "rbms": spread(np.array(theirs["log_z"]) - exact, theirs["seconds"])}


def spread(off: np.ndarray, seconds: float) -> dict[str, Any]:
    """How far estimates lie from the exact value."""
    return {
        "root_mean_square": round(float(np.sqrt(np.mean(off**2))), 4),
        "bias": round(float(off.mean()), 4),
        "within_0.02": round(float((np.abs(off) <= 0.02).mean()), 3),
        "best_seconds": round(seconds, 3),
    }


def main() -> None:
    """Measure and write `results/versus_rbms.json`."""
    data, test = digits()
    rates = np.clip(data.mean(axis=0), 0.5 / len(data), 1 - 0.5 / len(data))
    independent = float((test * np.log(rates) + (1 - test) * np.log(1 - rates)).sum(axis=1).mean())
    pcd, machine = ours("pcd", data, test)
    result = described() | {"independent": round(independent, 2), "thalweg_pcd": pcd} | peers(data, test)
    if "--valid" in sys.argv:
        print(result)
        return
    result |= {"log_z": constants(machine, data)}
    write_result("versus_rbms", result)


if __name__ == "__main__":
    main()
