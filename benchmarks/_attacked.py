"""What the halves of the attack benchmarks share in PyTorch: the nets, and the counting of what an attack asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _nets import weights


class Net(torch.nn.Module):
    """One of the two nets, which counts the inputs that pass through it forwards and backwards."""

    def __init__(self, name: str):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 4, 2, 1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 4, 2, 1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(1568, 100),
            torch.nn.ReLU(),
            torch.nn.Linear(100, 10),
        )
        own = weights(name)
        with torch.no_grad():
            for place, layer in ((0, "conv1"), (2, "conv2"), (5, "dense1"), (7, "dense2")):
                self.layers[place].weight.copy_(torch.tensor(own[f"{layer}_weight"]))
                self.layers[place].bias.copy_(torch.tensor(own[f"{layer}_bias"]))
        self.requires_grad_(False).eval()
        self.forwards = self.gradients = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        self.forwards += len(x)
        logits = self.layers(x)
        if logits.requires_grad:
            logits.register_hook(self._counted)
        return logits

    def _counted(self, slope: torch.Tensor) -> None:
        self.gradients += len(slope)


def measured(
    net: Net, x: torch.Tensor, y: torch.Tensor, norm: str, attack: Callable[[], torch.Tensor]
) -> dict[str, Any]:
    """What one attack finds and costs; a push counts if the net reads it wrongly inside the box."""
    net.forwards = net.gradients = 0
    began = time.process_time()
    pushed = attack().detach()
    spent = time.process_time() - began
    counts = net.forwards / len(x), net.gradients / len(x)
    with torch.no_grad():
        wrong = (net(pushed).argmax(1) != y) & (pushed >= 0).flatten(1).all(1) & (pushed <= 1).flatten(1).all(1)
        doubled = net.layers.double()(pushed.double()).argmax(1) != y
        net.layers.float()
    step = (pushed - x).flatten(1).double()
    lengths = step.norm(dim=1) if norm == "l2" else step.abs().amax(dim=1)
    lengths = torch.where(wrong, lengths, torch.inf).numpy()
    return {
        "success_rate": float(wrong.double().mean()),
        "success_rate_float64": float((wrong & doubled).double().mean()),
        "median": float(np.median(lengths)),
        "mean": float(np.mean(lengths)),
        "forwards": round(counts[0], 1),
        "gradients": round(counts[1], 1),
        "cpu_seconds": round(spent, 2),
        "norms": [round(float(one), 6) for one in lengths],
    }
