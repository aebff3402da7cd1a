"""The peer's half of versus_curvlinops: the Hessian of the same net in PyTorch, by curvlinops."""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import torch
from curvlinops import HessianLinearOperator
from curvlinops.papyan2020traces.spectrum import fast_lanczos, lanczos_approximate_spectrum
from scipy.sparse.linalg import eigsh


def net(weights: dict, dtype: torch.dtype) -> torch.nn.Sequential:
    """The same net, with the same numbers."""
    layers: list[torch.nn.Module] = []
    for number in range(3):
        w, b = (torch.tensor(weights[f"{kind}{number}"], dtype=dtype) for kind in "wb")
        layer = torch.nn.Linear(w.shape[0], w.shape[1]).to(dtype)
        layer.weight.data, layer.bias.data = w.T.contiguous(), b
        layers += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def best_of(repeats: int, work) -> float:
    """The least seconds of several runs, after one that warms up."""
    work()
    spent = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def main() -> None:
    """Read the task, measure, print."""
    task = json.load(sys.stdin)
    torch.set_num_threads(task["threads"])
    dtype = getattr(torch, task["dtype"])
    x, y = (torch.tensor(task[name], dtype=dtype) for name in "xy")
    model = net(task["weights"], dtype)
    # Twice the mean of half squares: its Hessian is halved below.
    operator = HessianLinearOperator(
        model,
        torch.nn.MSELoss(),
        list(model.parameters()),
        [(x, y[:, None])],
        check_deterministic=False,
    )
    size = operator.shape[0]
    vectors = torch.randn(size, task["columns"], dtype=dtype)

    def singly() -> None:
        for _ in range(task["products"]):
            operator @ vectors[:, 0]

    single = task["products"] / best_of(task["repeats"], singly)
    block = task["columns"] / best_of(task["repeats"], lambda: operator @ vectors)
    scipy = operator.to_scipy()
    began = time.process_time()
    values: Any = eigsh(scipy, k=task["top"], which="LA", return_eigenvectors=False)
    eigen_seconds = time.process_time() - began
    krylov, probes = task["krylov"], task["probes"]
    lowest: Any = eigsh(scipy, k=1, which="SA", return_eigenvectors=False)
    edges = (float(lowest[0]), float(values.max()))
    density_seconds = best_of(
        task["repeats"],
        lambda: lanczos_approximate_spectrum(operator, krylov, num_repeats=probes, boundaries=edges),
    )
    runs = [fast_lanczos(operator, krylov) for _ in range(probes)]
    moments = [
        [float((vectors[0] ** 2 * (nodes / 2) ** order).sum()) for order in (1, 2, 3)] for nodes, vectors in runs
    ]
    result = {
        "curvlinops": version("curvlinops-for-pytorch"),
        "torch": torch.__version__,
        "products_per_second": {"one_by_one": single, "in_blocks": block},
        "top": sorted((float(value) / 2 for value in values), reverse=True),
        "eigen_seconds": eigen_seconds,
        "density_seconds": density_seconds,
        "moments": moments,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
