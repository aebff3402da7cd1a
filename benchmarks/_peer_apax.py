"""Apax's half of the benchmarks of potentials: calls and steps timed, or its own trainer on a budget."""

from __future__ import annotations

import csv
import json
import tempfile
import types
from pathlib import Path
from typing import Any

import _atoms

TASK = _atoms.read_task()  # sets the threads, so it comes before JAX and TensorFlow

import jax  # noqa: E402
import numpy as np  # noqa: E402
from apax.config import parse_config  # noqa: E402
from apax.data.input_pipeline import CachedInMemoryDataset  # noqa: E402
from apax.md import ASECalculator  # noqa: E402
from apax.md.simulate import run_md  # noqa: E402
from apax.train import trainer  # noqa: E402
from apax.train.run import run  # noqa: E402

# `default` is apax's full template; the smaller nets differ only in what is named.
MODELS = {
    "default": {},
    "small": {"n_radial": 4, "n_contr": 5, "nn": [64, 64], "basis": {"name": "bessel", "n_basis": 8, "r_max": 5.0}},
}
SETTINGS = {
    "model": "default",
    "batch": 4,
    "rate": 0.001,
    "schedule": {"name": "linear", "end_value": 1e-6},
    "forces": 4.0,
    "optimiser": "adam",
}


def configuration(task: dict[str, Any], folder: str, name: str, epochs: int, settings: dict[str, Any]) -> dict:
    """Apax's full template, with the budget's epochs and the settings that its tutorial chooses for ethanol."""
    basis = {"name": "bessel", "n_basis": 16, "r_max": 5.0}
    rate = settings["rate"]
    return {
        "n_epochs": epochs,
        "seed": task.get("seed", 1),
        "ckpt_interval": 100000,
        "data": {
            "directory": folder,
            "experiment": name,
            "train_data_path": task["train"],
            "val_data_path": task["valid"],
            "batch_size": settings["batch"],
            "valid_batch_size": 50,
            "shift_method": "per_element_regression_shift",
            "shift_options": {"energy_regularisation": 1.0},
            "scale_method": "per_element_force_rms_scale",
        },
        "model": {"name": "gmnn", "basis": basis, "n_radial": 5, "n_contr": 8, "nn": [256, 256]}
        | MODELS[settings["model"]],
        "loss": [{"name": "energy", "weight": 1.0}, {"name": "forces", "weight": settings["forces"]}],
        "metrics": [{"name": "energy", "reductions": ["mae"]}, {"name": "forces", "reductions": ["mae"]}],
        "optimizer": {
            "name": settings["optimiser"],
            "emb_lr": rate,
            "nn_lr": rate,
            "scale_lr": rate / 10,
            "shift_lr": 3 * rate,
            "schedule": settings["schedule"],
        },
        "callbacks": [{"name": "csv"}],
        "progress_bar": {"disable_epoch_pbar": True, "disable_batch_pbar": True},
    }


def count(parameters: Any) -> int:
    """The numbers in a tree of parameters."""
    return sum(int(np.size(leaf)) for leaf in jax.tree_util.tree_leaves(parameters))


def called(frame: Any, size: str) -> dict[str, Any]:
    """Milliseconds of one compiled call for energy and forces of `frame`, its neighbours given."""
    settings = SETTINGS | {"model": size}
    config = parse_config(configuration({"train": "-", "valid": "-"}, "-", "-", 1, settings))
    frames = CachedInMemoryDataset([frame], 5.0, 1, 1, ignore_labels=True, cache_path=tempfile.gettempdir())
    sample, box = frames.init_input()
    model = config.model.get_builder()(config.model.model_dump()).build_energy_derivative_model(
        apply_mask=True, init_box=box
    )
    parameters = model.init(jax.random.key(0), *sample)
    if frame.pbc.all():  # in a box apax takes fractional positions
        sample = (sample[0] @ np.linalg.inv(box), *sample[1:])
    compiled = jax.jit(model.apply)
    found = _atoms.milliseconds(lambda: jax.block_until_ready(compiled(parameters, *sample)))
    used = {"edges": int(sample[2].shape[1]), "parameters": count(parameters)}
    return found | used | {"parameters_used": count(parameters) - idle(parameters, frame)}


def idle(parameters: Any, frame: Any) -> int:
    """The parameters that belong to elements which the frame has not: apax keeps those of all 119."""
    kinds, found = len(set(frame.numbers)), 0
    for leaf in jax.tree_util.tree_leaves(parameters):
        shape = np.shape(leaf)
        many = sum(1 for side in shape if side == 119)
        found += int(np.size(leaf)) - int(np.size(leaf) * (kinds / 119) ** many)
    return found


def moved(task: dict[str, Any], frame: Any, model: Path) -> dict[str, float]:
    """Steps per second of the ASE calculator, and of apax's own loop once it is compiled."""
    ase = _atoms.steps_per_second(frame, ASECalculator(model))
    with tempfile.TemporaryDirectory() as folder:
        spent = []
        for name, steps in (("short", 2000), ("long", 12000)):
            moving = {
                "ensemble": {"name": "nvt", "dt": 0.5, "temperature_schedule": {"name": "constant", "T0": 300.0}},
                "duration": 0.5 * steps,
                "n_inner": 500,
                "sampling_rate": 100,
                "initial_structure": task["systems"]["ethanol"],
                "sim_dir": f"{folder}/{name}",
                "disable_pbar": True,
            }
            began = _atoms.time.perf_counter()
            run_md(str(model / "config.yaml"), moving)
            spent.append(_atoms.time.perf_counter() - began)
    return {"ase": ase, "own": round(10000 / (spent[1] - spent[0]), 1)}


def timed(task: dict[str, Any]) -> dict[str, Any]:
    """Both sizes on both systems, and the steps on ethanol with a model that has seen one epoch."""
    rows = []
    for name, path in task["systems"].items():
        frame = _atoms.read_frames(path)[0]
        for size in MODELS:
            found = _atoms.attempted(lambda f=frame, s=size: called(f, s))
            rows.append({"system": name, "model": f"apax GMNN {size}", "way": "jax.jit"} | found)
            print(rows[-1], flush=True)
    ethanol = _atoms.read_frames(task["systems"]["ethanol"])[0]
    for size in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            once = {"train": task["systems"]["ethanol"], "valid": task["systems"]["ethanol"]}
            settings = SETTINGS | {"model": size, "batch": 1}
            run(configuration(once, folder, size, 1, settings))
            speeds = _atoms.attempted(lambda f=folder, s=size: moved(task, ethanol, Path(f) / s))
        rows.append({"system": "ethanol", "model": f"apax GMNN {size}", "steps_per_second": speeds})
        print(rows[-1], flush=True)
    return {"rows": rows}


def epoch_seconds(task: dict[str, Any], folder: str, settings: dict[str, Any]) -> tuple[float, float]:
    """Seconds of one epoch by the budget's clock, and those of everything else, by a run of a few epochs."""
    epochs = settings.get("measured_epochs", 6)
    budget = _atoms.Budget(task)
    trainer.time = types.SimpleNamespace(time=budget.spent)  # the log's epoch_time is then by the budget's clock
    run(configuration(task, folder, "measured", epochs, settings))
    whole = budget.spent()
    with (Path(folder) / "measured" / "log.csv").open() as file:
        found = [float(row["epoch_time"]) for row in csv.DictReader(file)]
    each = float(np.median(found[1:]))
    return each, max(whole - each * epochs, 0.0)


def trained(task: dict[str, Any]) -> dict[str, Any]:
    """Apax's trainer with as many epochs as its own measured pace puts into the budget, so its schedule ends there."""
    settings = SETTINGS | task.get("settings", {})
    with tempfile.TemporaryDirectory() as folder:
        each, before = epoch_seconds(task, folder, settings)
        epochs = max(int((task["seconds"] - before) / each), 2)
        print(f"{each:.3f} s an epoch, {before:.1f} s before; {epochs} epochs", flush=True)
        budget = _atoms.Budget(task)
        run(configuration(task, folder, "whole", epochs, settings))
        spent = budget.spent()
        calculator = ASECalculator(Path(folder) / "whole")
        frames = _atoms.read_frames(task["test"])
        evaluated = calculator.batch_eval([atoms.copy() for atoms in frames], 50, silent=True)
        energies, forces = _atoms.labels(evaluated)
        parameters = count(calculator.params) - idle(calculator.params, frames[0])
    counts = {"epochs": epochs, "seconds": round(spent, 1), "parameters": parameters, "epoch_seconds": round(each, 3)}
    result = _atoms.errors(frames, energies, forces) | counts
    return result | {"model": f"apax GMNN {settings['model']}", "settings": settings, "clock": budget.clock}


def main() -> None:
    """Do the task and print its result."""
    found = {"time": timed, "train": trained}[TASK["mode"]](TASK)
    print(json.dumps(found | {"versions": _atoms.versions("apax", "jax", "jax-md", "tensorflow")}))


if __name__ == "__main__":
    main()
