"""The peer's half of versus_foolbox: its minimal attacks on the same nets and digits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version

import foolbox
import torch
from _attacked import Net, measured
from _nets import digits


def attacks(net: Net, x: torch.Tensor, y: torch.Tensor) -> dict[str, dict[str, Callable[[], torch.Tensor]]]:
    """The attacks of each norm by name, each with its minimal push as the answer."""
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    kinds = foolbox.attacks

    def run(attack: foolbox.attacks.base.Attack) -> Callable[[], torch.Tensor]:
        return lambda: attack(model, x, foolbox.criteria.Misclassification(y), epsilons=None)[1]

    l2 = {
        "DDN 1000": run(kinds.DDNAttack(steps=1000)),
        "FMN 1000": run(kinds.L2FMNAttack(steps=1000)),
        "Carlini-Wagner 9 x 500": run(kinds.L2CarliniWagnerAttack(binary_search_steps=9, steps=500)),
        "DeepFool 50": run(kinds.L2DeepFoolAttack(steps=50)),
    }
    linf = {
        "FMN 1000": run(kinds.LInfFMNAttack(steps=1000)),
        "DeepFool 50": run(kinds.LinfDeepFoolAttack(steps=50)),
    }
    return {"l2": l2, "linf": linf}


def main() -> None:
    """Read the task, measure, print."""
    task = json.load(sys.stdin)
    torch.set_num_threads(1)
    found: dict = {"versions": {name: version(name) for name in ("torch", "foolbox")}}
    for name in task["nets"]:
        net = Net(name)
        x, y = map(torch.tensor, digits(task["first"], task["last"]))
        right = net(x).argmax(1) == y
        x, y = x[right], y[right]
        rows = []
        for norm, named in attacks(net, x, y).items():
            for label, attack in named.items():
                torch.manual_seed(0)
                try:
                    rows.append({"attack": label, "norm": norm} | measured(net, x, y, norm, attack))
                except Exception as error:
                    rows.append({"attack": label, "norm": norm, "failed": repr(error)[:300]})
        found[name] = rows
    print(json.dumps(found))


if __name__ == "__main__":
    main()
