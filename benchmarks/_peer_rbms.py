"""The peers' half of versus_rbms: rbms (PCD-1 and its annealed importance sampling) and scikit-learn's BernoulliRBM."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from rbms.bernoulli_bernoulli.classes import BBRBM
from rbms.partition_function.ais import compute_partition_function_ais
from rbms.training.pcd import fit_batch_pcd
from sklearn.neural_network import BernoulliRBM


class Held:
    """What rbms asks of a data set."""

    def __init__(self, data: torch.Tensor):
        self.data, self.names = data, np.arange(len(data))


def by_rbms(task: dict, data: torch.Tensor, seed: int) -> dict:
    """rbms' own gradient and optimiser in a loop over batches in memory, without its files and logs."""
    torch.manual_seed(seed)
    began = time.perf_counter()
    with torch.no_grad():
        model = BBRBM.init_parameters(task["hidden"], Held(data), torch.device("cpu"), torch.float32)
        for part in model.parameters():
            part.grad = torch.zeros_like(part)  # rbms fills it in place
        chains = model.init_chains(task["rbms_chains"])
        optimiser = torch.optim.SGD(model.parameters(), lr=task["rbms_rate"], maximize=True)
        for _ in range(task["epochs"] * len(data) // task["batch"]):
            batch = data[torch.randperm(len(data))[: task["batch"]]]
            optimiser.zero_grad(set_to_none=False)
            chains, _ = fit_batch_pcd((batch, torch.ones(len(batch), 1)), chains, model, 1, 1.0)
            optimiser.step()
    return parameters(model.weight_matrix, model.vbias, model.hbias) | {"seconds": time.perf_counter() - began}


def by_sklearn(task: dict, data: np.ndarray, seed: int) -> dict:
    """scikit-learn's stochastic maximum likelihood."""
    began = time.perf_counter()
    net = BernoulliRBM(
        n_components=task["hidden"],
        learning_rate=0.05,
        batch_size=task["batch"],
        n_iter=task["epochs"],
        random_state=seed,
    ).fit(data)
    seconds = time.perf_counter() - began
    return parameters(net.components_.T, net.intercept_visible_, net.intercept_hidden_) | {"seconds": seconds}


def parameters(weights, visible_bias, hidden_bias) -> dict:
    """A machine as lists."""
    parts = {"weights": weights, "visible_bias": visible_bias, "hidden_bias": hidden_bias}
    return {name: np.asarray(part, float).tolist() for name, part in parts.items()}


def annealed(task: dict) -> dict:
    """Repeated estimates of log Z of one machine, which come without an error bar."""
    parts = {name: torch.tensor(value) for name, value in task["machine"].items()}
    model = BBRBM(parts["weights"], parts["visible_bias"], parts["hidden_bias"])
    found, seconds = [], []
    with torch.no_grad():
        for seed in range(task["repeats"]):
            torch.manual_seed(seed)
            began = time.perf_counter()
            found.append(compute_partition_function_ais(task["ais_chains"], task["ais_rungs"], model))
            seconds.append(time.perf_counter() - began)
    return {"log_z": found, "seconds": min(seconds)}


def main() -> None:
    """Read the task, measure, print."""
    task = json.load(sys.stdin)
    torch.set_num_threads(task["threads"])
    result: dict = {"torch": torch.__version__}
    if "machine" in task:
        result["annealed"] = annealed(task)
    else:
        data = np.array(task["data"], np.float32)
        result["scikit-learn"] = [by_sklearn(task, data, seed) for seed in range(task["seeds"])]
        result["rbms"] = [by_rbms(task, torch.tensor(data), seed) for seed in range(task["rbms_seeds"])]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
