"""The peer's half of versus_devinterp: the same losses sampled by devinterp's SGLD, with and without RMSprop."""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from typing import Any

import torch
from devinterp.optim import SGMCMC

warnings.simplefilter("ignore")
RULES = {"sgld": SGMCMC.sgld, "rmsprop_sgld": SGMCMC.rmsprop_sgld}


def regular(w: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """A paraboloid."""
    return 0.5 * (given * w * w).sum()


def quartic(w: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Fourth powers."""
    return (w**4).sum()


def reduced_rank(w: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """A product of two matrices whose truth is zero."""
    return 0.5 * ((w[:4].reshape(2, 2) @ w[4:].reshape(2, 2)) ** 2).sum()


def twins(w: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Two tanh units that fit one."""
    made = torch.tanh((1 + w[0]) * given) + w[1] * torch.tanh((1 + w[2]) * given)
    return 0.5 * ((made - 2 * torch.tanh(given)) ** 2).mean()


LOSSES = {loss.__name__: loss for loss in (regular, quartic, reduced_rank, twins)}


def chain(problem: dict[str, Any], rule: str, rate: float, steps: int, seed: int) -> list[float]:
    """The loss after every step of one chain: its optimiser in a bare loop, without loaders and stores."""
    torch.manual_seed(seed)
    given = torch.tensor(problem["given"], dtype=torch.float64)
    w = torch.nn.Parameter(torch.tensor(problem["start"], dtype=torch.float64))
    settings = {"lr": rate, "nbeta": problem["strength"], "localization": problem["localisation"]}
    optimiser = RULES[rule]([w], **settings)
    loss_of, losses = LOSSES[problem["name"]], []
    for _ in range(steps + 1):
        optimiser.zero_grad()
        loss = loss_of(w, given)
        losses.append(loss.detach())
        loss.backward()
        optimiser.step()
    return torch.stack(losses).tolist()


def value(problem: dict[str, Any], chains: list[list[float]], burned: int) -> float:
    """Its estimate from the steps after the burn-in."""
    draws = torch.tensor(chains, dtype=torch.float64)
    return float(problem["strength"] * (draws[:, burned:].mean() - draws[0, 0]))


def solved(problem: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """A scan over rules and rates, then a long run with the one nearest to the known answer: its best setting."""
    steps, scanned = task["steps"], []
    for rule in RULES:
        for factor in task["factors"]:
            rate = factor / problem["stiffness"] * (1 if rule == "sgld" else task["rms_factor"])
            chains = [chain(problem, rule, rate, steps // 2, seed) for seed in (100, 101)]
            found = value(problem, chains, steps // 8)
            if found == found:
                scanned.append((abs(found - problem["exact"]), rule, rate, found))
    _, rule, rate, _ = min(scanned)
    began = time.process_time()
    burned = steps // 4
    chains = [chain(problem, rule, rate, steps + burned, seed) for seed in range(task["chains"])]
    seconds = time.process_time() - began
    draws = [run[burned + 1 :] for run in chains]
    scan = [{"rule": one[1], "lr": one[2], "value": one[3]} for one in scanned]
    return {
        "rule": rule,
        "lr": rate,
        "value": value(problem, chains, burned),
        "seconds": seconds,
        "draws": draws,
        "scan": scan,
    }


def main() -> None:
    """Read the task, measure, print."""
    task = json.load(sys.stdin)
    torch.set_num_threads(1)
    results = {problem["name"]: solved(problem, task) for problem in task["problems"]}
    print(json.dumps({"devinterp": version("devinterp"), "torch": torch.__version__, "problems": results}))


if __name__ == "__main__":
    main()
