"""The peer's half of versus_advlib: adversarial-library's minimal attacks on the same nets and digits."""

from __future__ import annotations

import json
import sys
import types
from importlib.metadata import version

import torch


class _Absent(types.ModuleType):
    """A module of which nothing is ever called: the library imports these two for pictures and perceptual distances."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


for absent in ("torchvision", "visdom"):
    sys.modules.setdefault(absent, _Absent(absent))

from _attacked import Net, measured  # noqa: E402
from adv_lib.attacks import alma, ddn, fab, fmn, pdpgd, sdf  # noqa: E402


def attacks(net: Net, x: torch.Tensor, y: torch.Tensor) -> dict[str, dict]:
    """The attacks of each norm by name."""
    l2 = {
        "DDN 1000": lambda: ddn(net, x, y, steps=1000),
        "ALMA 1000, alpha 0.9": lambda: alma(net, x, y, num_steps=1000, distance="l2", init_lr_distance=1.0),
        "ALMA 1000, alpha 0.5": lambda: alma(net, x, y, num_steps=1000, distance="l2", init_lr_distance=1.0, α=0.5),
        "ALMA 1000, alpha 0.2": lambda: alma(net, x, y, num_steps=1000, distance="l2", init_lr_distance=1.0, α=0.2),
        "ALMA 100, alpha 0.5": lambda: alma(net, x, y, num_steps=100, distance="l2", init_lr_distance=1.0, α=0.5),
        "SuperDeepFool": lambda: sdf(net, x, y),
        "FAB 100": lambda: fab(net, x, y, norm=2, n_iter=100, restarts=1),
    }
    linf = {
        "FMN 1000": lambda: fmn(net, x, y, norm=float("inf"), steps=1000),
        "FMN 100": lambda: fmn(net, x, y, norm=float("inf"), steps=100),
        "PDPGD 1000": lambda: pdpgd(net, x, y, norm=float("inf"), num_steps=1000),
        "FAB 100": lambda: fab(net, x, y, norm=float("inf"), n_iter=100, restarts=1),
    }
    return {"l2": l2, "linf": linf}


def main() -> None:
    """Read the task, measure, print."""
    from _nets import digits

    task = json.load(sys.stdin)
    torch.set_num_threads(1)
    found: dict = {"versions": {name: version(name) for name in ("torch", "adv-lib")}}
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
