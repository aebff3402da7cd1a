"""Inverse Ising: couplings of a glass from its samples, beside coniii's pseudo-likelihood.

Nine spins and 5000 samples, drawn from all 512 states: coniii first, then ours, on the same samples; and a hundred
spins with 5e4 samples, which the peer is not asked for. Errors are root mean squares over the couplings.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from _machine import described, write_result
from _peers import run_peer

from thalweg.spins.tasks.inverse import inverse_ising

GLASSES, REPEATS = 3, 5


def glass(n: int, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Couplings of spread `scale / sqrt(n)` and small fields."""
    words = np.random.default_rng(seed)
    upper = np.triu(words.normal(size=(n, n)) * scale / np.sqrt(n), 1)
    return upper + upper.T, 0.1 * words.normal(size=n)


def drawn(coupling: np.ndarray, field: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Independent samples from the law over all states."""
    n = len(field)
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    logs = 0.5 * np.einsum("si,ij,sj->s", signs, coupling, signs) + signs @ field
    p = np.exp(logs - np.logaddexp.reduce(logs))
    return signs[np.random.default_rng(seed).choice(2**n, size=count, p=p)].astype(np.int8)


def walked(coupling: np.ndarray, field: np.ndarray, count: int, sweeps: int, seed: int) -> np.ndarray:
    """The ends of independent heat-bath chains."""
    words = np.random.default_rng(seed)
    signs = 1.0 - 2 * words.integers(0, 2, (len(field), count))
    for _ in range(sweeps):
        for spin in range(len(field)):
            up = words.random(count) < 1 / (1 + np.exp(-2 * (coupling[spin] @ signs + field[spin])))
            signs[spin] = np.where(up, 1.0, -1.0)
    return signs.T.astype(np.int8)


def off(found: np.ndarray, coupling: np.ndarray) -> float:
    """The root mean square error over pairs."""
    pairs = np.triu_indices(len(coupling), 1)
    return round(float(np.sqrt(np.mean((found - coupling)[pairs] ** 2))), 5)


def small(seed: int) -> dict[str, Any]:
    """Both on one glass of nine spins."""
    coupling, field = glass(9, 0.7, seed)
    samples = drawn(coupling, field, 5000, seed)
    theirs = run_peer("coniii", "_peer_coniii.py", {"samples": samples.tolist(), "repeats": 1})
    matrix = np.zeros((9, 9))
    matrix[np.triu_indices(9, 1)] = theirs["multipliers"][9:]
    seconds, process = [], []
    for _ in range(REPEATS + 1):  # the first compiles
        began, spent = time.perf_counter(), time.process_time()
        found = inverse_ising(samples)
        seconds.append(time.perf_counter() - began)
        process.append(time.process_time() - spent)
    assert found.coupling_error is not None
    pairs = np.triu_indices(9, 1)
    pulls = (found.coupling - coupling)[pairs] / found.coupling_error[pairs]
    return {
        "seed": seed,
        "coniii": {"rms": off(matrix, coupling), "seconds": round(min(theirs["seconds"]), 3)},
        "thalweg": {
            "rms": off(found.coupling, coupling),
            "seconds": round(min(seconds[1:]), 4),
            "process_seconds": round(min(process[1:]), 4),
            "first_call_seconds": round(seconds[0], 2),
            "rms_over_told_error": round(float(np.sqrt(np.mean(pulls**2))), 2),
        },
    }


def large() -> dict[str, Any]:
    """Ours on a hundred spins."""
    coupling, field = glass(100, 0.6, 0)
    samples = walked(coupling, field, 50_000, 40, 0)
    runs = []
    for _ in range(2):  # the first compiles
        began, spent = time.perf_counter(), time.process_time()
        found = inverse_ising(samples)
        runs.append((round(time.perf_counter() - began, 2), round(time.process_time() - spent, 2)))
    return {
        "spins": 100,
        "samples": len(samples),
        "rms": off(found.coupling, coupling),
        "first_call_seconds": runs[0][0],
        "seconds": runs[1][0],
        "process_seconds": runs[1][1],
        "steps": int(found.solution.stats["steps"]),
    }


def main() -> None:
    """Measure and write `results/versus_coniii.json`."""
    write_result("versus_coniii", described() | {"nine": [small(seed) for seed in range(GLASSES)], "hundred": large()})


if __name__ == "__main__":
    main()
