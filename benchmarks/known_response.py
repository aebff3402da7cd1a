"""Made-up companies that answer two drivers by a known law: how near the network's Jacobian comes to the true one.

Five worlds of 40 companies and 200 years; the first 185 are learnt from, the rest is forecast from three origins with
the true drivers. `outside` tells the share of the drivers after the training that lie beyond those in it: there no
data speaks. The recipe was chosen on other worlds (see `law_recipe`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _machine import described, write_result

from thalweg.portfolio.data.synthetic import synthetic
from thalweg.portfolio.model.forecaster import AbstractForecaster
from thalweg.portfolio.tasks.baselines import damped_drift, ets
from thalweg.portfolio.tasks.fit import fitted
from thalweg.portfolio.tasks.recovery import law_recipe, recovery
from thalweg.session import start

WORLDS = (0, 1, 2, 3, 4)
COMPANIES, YEARS, NOISE = 40, 200, 0.01


def network(panel: Any, drivers: np.ndarray) -> AbstractForecaster:
    """The network of the recipe for slopes."""
    return fitted(panel, law_recipe(), drivers=drivers).forecaster


def main() -> None:
    """Measure and write `results/known_response.json`."""
    rows = []
    for seed in WORLDS:
        world = synthetic(COMPANIES, YEARS, seed=seed, noise=NOISE)
        found = recovery(world, network, {"ets": ets, "damped_drift": damped_drift})
        trained = int((world.panel.years <= found.origins[0]).sum())
        before, after = world.drivers[:trained], world.drivers[trained:]
        beyond = (after < before.min(axis=0)) | (after > before.max(axis=0))
        rows.append({"world": seed, "jacobian_error": round(found.jacobian_error, 4),
                     "wape": {name: round(value, 3) for name, value in found.wape.items()},
                     "outside": round(float(beyond.mean()), 3)})  # fmt: skip
        print(rows[-1], flush=True)
    write_result("known_response", described() | {"companies": COMPANIES, "years": YEARS, "noise": NOISE,
                                                  "worlds": rows})  # fmt: skip


if __name__ == "__main__":
    with start(None, note=print):
        main()
