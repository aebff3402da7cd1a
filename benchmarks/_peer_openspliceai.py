"""OpenSpliceAI's half of the benchmark of splice sites: its network, trained until its time is over."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

import numpy as np
import torch
from openspliceai.train.train import initialize_model_and_optim
from torch.nn.functional import cross_entropy, one_hot

SCORED = 5000  # bases per window, as theirs
LEAST = 1e-6  # of the rate at the end


def network(context: int) -> torch.nn.Module:
    """Their network for `context` bases around each, with its output before the softmax."""
    stdout, sys.stdout = sys.stdout, sys.stderr  # it prints
    model, *_ = initialize_model_and_optim(torch.device("cpu"), context, 10, "MultiStepLR")
    sys.stdout = stdout
    model.apply_softmax = False
    return model


def letters(codes: np.ndarray) -> torch.Tensor:
    """One-hot bases `[windows, 4, length]`; an unknown one is zero."""
    return one_hot(torch.from_numpy(codes.astype(np.int64)), 5)[..., :4].transpose(1, 2).float()


def trained(task: dict[str, Any], codes: np.ndarray, targets: np.ndarray) -> tuple[torch.nn.Module, int]:
    """The network after `seconds` of the CPU: AdamW at their rate, which falls with the time on a half cosine.

    Windows begin anywhere; bases without a target are not scored.
    """
    model, half = network(task["context"]), task["context"] // 2
    optimiser = torch.optim.AdamW(model.parameters(), lr=task["rate"])
    random = np.random.default_rng(task["seed"])
    scored = np.flatnonzero(targets >= 0)
    began, steps = time.process_time(), 0
    model.train()
    while (gone := (time.process_time() - began) / task["seconds"]) < 1:
        for group in optimiser.param_groups:
            group["lr"] = task["rate"] * max(0.5 * (1 + math.cos(math.pi * gone)), LEAST)
        starts = random.choice(scored, task["batch"]) - random.integers(0, SCORED, task["batch"])
        starts = np.clip(starts, half, targets.size - SCORED - half)
        around = np.stack([codes[at - half : at + SCORED + half] for at in starts])
        wanted = torch.from_numpy(np.stack([targets[at : at + SCORED] for at in starts]).astype(np.int64))
        loss = cross_entropy(model(letters(around)), wanted, ignore_index=-1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
    return model, steps


@torch.no_grad()
def chances(model: torch.nn.Module, context: int, codes: np.ndarray) -> np.ndarray:
    """Probabilities `[bases, 3]` of every base of one long row, which has unknown bases at its ends."""
    model.eval()
    half, found = context // 2, np.zeros((codes.size, 3), np.float32)
    row = np.pad(codes, (half, half + SCORED), constant_values=4)
    for at in range(0, codes.size, SCORED):
        scores = model(letters(row[None, at : at + SCORED + 2 * half]))
        part = torch.softmax(scores, 1)[0].T.numpy()
        found[at : at + SCORED] = part[: codes.size - at]
    return found


def main() -> None:
    task = json.loads(sys.stdin.read())
    torch.set_num_threads(task["threads"])
    torch.manual_seed(task["seed"])
    with np.load(task["data"], allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    began = time.process_time()
    model, steps = trained(task, arrays["training_codes"], arrays["training_targets"])
    seconds = time.process_time() - began
    began = time.process_time()
    np.save(task["out"], chances(model, task["context"], arrays["test_codes"]))
    looked = time.process_time() - began
    count = sum(each.numel() for each in model.parameters())
    print(json.dumps({"steps": steps, "seconds": seconds, "parameters": count, "prediction_seconds": looked}))


if __name__ == "__main__":
    main()
