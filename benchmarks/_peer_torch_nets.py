"""The peer's half of versus_torch_nets: the same small nets in PyTorch, one by one and by `torch.func.vmap`."""

from __future__ import annotations

import json
import sys
import time

import torch
from torch.func import functional_call, grad, stack_module_state, vmap


def net(inputs: int, hidden: int) -> torch.nn.Sequential:
    """The same net as ours, without an output bias."""
    return torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1, bias=False))


def height(predictions: torch.Tensor, y: torch.Tensor, decay: float, parameters) -> torch.Tensor:
    """Half the mean squared residual and half the decay times all squares."""
    squares = sum((p * p).sum() for p in parameters)
    return 0.5 * ((predictions.squeeze(-1) - y) ** 2).mean() + 0.5 * decay * squares


def one_by_one(task: dict, x: torch.Tensor, y: torch.Tensor) -> dict:
    """Net-steps per second of the ordinary training loop; the decay by the optimiser, which is the faster way."""
    best = 0.0
    for _ in range(task["repeats"]):
        model = net(x.shape[1], task["hidden"])
        optimiser = torch.optim.SGD(model.parameters(), lr=task["rate"], weight_decay=1e-3)
        began = time.perf_counter()
        for _ in range(task["loop_steps"]):
            optimiser.zero_grad(set_to_none=True)
            (0.5 * ((model(x).squeeze(-1) - y) ** 2).mean()).backward()
            optimiser.step()
        best = max(best, task["loop_steps"] / (time.perf_counter() - began))
    return {"net_steps_per_second": best}


def vectorised(task: dict, nets: int, columns: bool, x: torch.Tensor, y: torch.Tensor) -> dict:
    """Net-steps per second of `nets` nets stepped together; gradients by `vmap(grad)`, updates in place.

    With `columns` the net is written by hand with the items as columns, instead of as the module that it is.
    """
    models = [net(x.shape[1], task["hidden"]) for _ in range(nets)]
    parameters, _ = stack_module_state(models)  # type: ignore[arg-type]
    base = net(x.shape[1], task["hidden"]).to("meta")
    decay = torch.linspace(0, 1e-2, nets)

    across = x.T.contiguous()

    def energy(p: dict, d: torch.Tensor) -> torch.Tensor:
        if columns:
            predictions = (p["2.weight"] @ torch.tanh(p["0.weight"] @ across + p["0.bias"][:, None])).T
        else:
            predictions = functional_call(base, p, (x,))  # type: ignore[arg-type]
        return height(predictions, y, d, p.values())

    slopes = vmap(grad(energy))
    parameters = {name: p.detach() for name, p in parameters.items()}

    def step() -> None:
        with torch.no_grad():
            for name, slope in slopes(parameters, decay).items():
                parameters[name].add_(slope, alpha=-task["rate"])

    for _ in range(5):
        step()
    best = 0.0
    for _ in range(task["repeats"]):
        began = time.perf_counter()
        for _ in range(task["vmap_steps"]):
            step()
        best = max(best, nets * task["vmap_steps"] / (time.perf_counter() - began))
    return {"nets": nets, "form": "columns" if columns else "module", "net_steps_per_second": best}


def main() -> None:
    """Read the task, measure, print."""
    task = json.load(sys.stdin)
    torch.set_num_threads(task["threads"])
    x, y = torch.tensor(task["x"]), torch.tensor(task["y"])
    result = {"torch": torch.__version__, "threads": torch.get_num_threads(), "loop": one_by_one(task, x, y)}
    ways = [(nets, columns) for nets in task["vmap_nets"] for columns in (False, True)]
    result["vmap"] = [vectorised(task, *way, x, y) for way in ways]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
