"""Our half of `versus_potential_speed.py`, in a process of its own as the peers' halves are."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import _atoms


def called(path: str, **shape: Any) -> dict[str, Any]:
    """Milliseconds of one call for energy and forces of a frame in float32, its neighbours given."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    from thalweg.atoms.data.read import read
    from thalweg.atoms.energy import potential
    from thalweg.atoms.model.build import network
    from thalweg.atoms.model.gto import Shape
    from thalweg.atoms.tasks.training import parameters

    frame = read(path)[0]
    elements = sorted({int(number) for number in frame.numbers})
    net = network("gto", Shape(**shape), elements, jax.random.key(0), np.float32)
    # No skin: the peers are given the pairs within the cutoff, too.
    energy = potential(net, frame, skin=0.0, dtype=np.float32)
    pull = eqx.filter_jit(lambda energy, x: jax.value_and_grad(energy)(x))
    x = jnp.asarray(frame.positions, jnp.float32)
    found = _atoms.milliseconds(lambda: jax.block_until_ready(pull(energy, x)))
    pairs = sum(int((~np.asarray(far)).sum()) for far in energy.far)
    return found | {"parameters": parameters(net), "pairs": pairs}


def moved(path: str) -> dict[str, float | None]:
    """Steps per second of our own loop, and of ASE with our calculator, with the potential that we ship."""
    from thalweg.atoms import Calculator
    from thalweg.atoms.data.read import read
    from thalweg.atoms.tasks.md import Settings, dynamics
    from thalweg.atoms.tasks.trained import load_trained

    speeds: dict[str, float | None] = {}
    for dtype in ("float32", "mixed"):
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(steps=20_000, every=200, dtype=dtype)
            found = dynamics(load_trained("ethanol"), read(path)[0], settings, Path(folder))
        speeds[f"thalweg atoms md, {dtype}"] = found.result["steps_per_second"]
    frame = _atoms.read_frames(path)[0]
    speeds["ASE calculator, float32"] = _atoms.steps_per_second(frame, Calculator("ethanol", dtype="float32"))
    return speeds


def main() -> None:
    """Both systems, then the steps on ethanol."""
    task = _atoms.read_task()
    import jax

    rows: list[dict[str, Any]] = [
        {"system": name, "model": "thalweg gto", "way": "jax.jit"} | called(path)
        for name, path in task["systems"].items()
    ]
    jax.config.update("jax_enable_x64", True)  # as the command does
    rows.append({"system": "ethanol", "model": "thalweg gto", "steps_per_second": moved(task["systems"]["ethanol"])})
    print(json.dumps({"rows": rows, "versions": _atoms.versions("jax", "jaxlib", "equinox")}))


if __name__ == "__main__":
    main()
