"""What every result says about where and with what it was measured."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_VERSIONS = (
    "thalweg",
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "optimistix",
    "diffrax",
    "quadax",
    "blackjax",
    "numpy",
    "scikit-learn",
    "numba",
)


def described() -> dict[str, Any]:
    """Machine, versions, load and date."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _VERSIONS},
    }


def write_result(name: str, result: dict[str, Any]) -> None:
    """Write `results/NAME.json` and print it."""
    path = Path(__file__).with_name("results") / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(result, indent=2) + "\n"
    path.write_text(text)
    print(text)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
