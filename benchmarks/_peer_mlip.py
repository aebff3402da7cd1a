"""The half of mlip (InstaDeep) in the benchmarks of potentials: calls and steps timed, or its trainer on a budget."""

from __future__ import annotations

import json
import logging
from typing import Any

import _atoms

TASK = _atoms.read_task()  # sets the threads, so it comes before JAX

import jax  # noqa: E402
import numpy as np  # noqa: E402
from mlip.data import ChemicalSystem, DatasetInfo, ExtxyzReader, GraphDatasetBuilder  # noqa: E402
from mlip.graph import Graph  # noqa: E402
from mlip.inference import run_batched_inference  # noqa: E402
from mlip.models import ForceField, Mace, Nequip, Visnet  # noqa: E402
from mlip.models.loss import MSELoss  # noqa: E402
from mlip.simulation.ase.mlip_ase_calculator import MLIPForceFieldASECalculator  # noqa: E402
from mlip.simulation.jax_md import JaxMDSimulationEngine  # noqa: E402
from mlip.training import OptimizerConfig, TrainingLoop, get_default_mlip_optimizer  # noqa: E402

CUTOFF = 5.0
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "MACE 64": (Mace, {"num_channels": 64, "node_symmetry": 1}),
    "MACE 28": (Mace, {"num_channels": 28, "node_symmetry": 1}),
    "NequIP 32": (Nequip, {"target_irreps": "32x0e + 32x0o + 16x1o + 16x1e + 8x2e + 8x2o", "l_max": 2}),
    "ViSNet 64": (Visnet, {"num_channels": 64, "num_layers": 3}),
}
# The optimiser and weights are the library's; NequIP and ViSNet want the smaller rate that its guide speaks of.
SETTINGS = {
    "model": "MACE 28",
    "batch": 5,
    "rate": 0.01,
    "last": 0.01,
    "warm_steps": 100,
    "energy": 1.0,
    "forces": 25.0,
}


def field(model: str, info: DatasetInfo, seed: int = 0) -> ForceField:
    """A force field with random weights."""
    kind, settings = MODELS[model]
    return ForceField.from_mlip_network(kind(kind.Config(**settings), info), seed=seed)


def blank(frame: Any) -> DatasetInfo:
    """What the library must know of a data set, for a frame without labels."""
    alone = {int(z): 0.0 for z in sorted(set(frame.numbers))}
    return DatasetInfo(atomic_energies_map=alone, graph_cutoff_angstrom=CUTOFF, avg_num_neighbors=float(len(frame)))


def count(parameters: Any) -> int:
    """The numbers in a tree of parameters."""
    return sum(int(np.size(leaf)) for leaf in jax.tree_util.tree_leaves(parameters))


def called(frame: Any, model: str) -> dict[str, Any]:
    """Milliseconds of one compiled call for energy and forces of `frame`, its neighbours given."""
    graph = Graph.from_chemical_system(ChemicalSystem.from_ase_atoms(frame), CUTOFF)
    force_field = field(model, blank(frame))
    compiled = jax.jit(force_field.predictor.apply)
    graph = jax.tree_util.tree_map(jax.numpy.asarray, graph)
    found = _atoms.milliseconds(lambda: jax.block_until_ready(compiled(force_field.params, graph)))
    return found | {"edges": int(graph.senders.shape[0]), "parameters": count(force_field.params)}


def moved(frame: Any, model: str) -> dict[str, float]:
    """Steps per second of the ASE calculator, and of the library's own loop once it is compiled."""
    force_field = field(model, blank(frame))
    ase = _atoms.steps_per_second(frame, MLIPForceFieldASECalculator(frame.copy(), 1.25, force_field))
    steps = 1000
    config = JaxMDSimulationEngine.Config(
        num_steps=2 * steps, num_episodes=2, snapshot_interval=100, timestep_fs=0.5, temperature_kelvin=300.0
    )
    engine, marks = JaxMDSimulationEngine(frame.copy(), force_field, config), []
    engine.attach_logger(lambda state: marks.append(_atoms.time.perf_counter()))
    engine.run()
    return {"ase": ase, "own": round(steps / (marks[1] - marks[0]), 1)}


def timed(task: dict[str, Any]) -> dict[str, Any]:
    """Every model on both systems, and the steps on ethanol."""
    rows = []
    for name, path in task["systems"].items():
        frame = _atoms.read_frames(path)[0]
        for model in task.get("models", MODELS):
            found = _atoms.attempted(lambda f=frame, m=model: called(f, m))
            rows.append({"system": name, "model": f"mlip {model}", "way": "jax.jit"} | found)
            print(rows[-1], flush=True)
            if name == "ethanol":
                speeds = _atoms.attempted(lambda f=frame, m=model: moved(f, m))
                rows.append({"system": name, "model": f"mlip {model}", "steps_per_second": speeds})
                print(rows[-1], flush=True)
    return {"rows": rows}


def learnt(task: dict[str, Any], settings: dict[str, Any], epochs: int) -> tuple[TrainingLoop, list[float]]:
    """The library's loop over `epochs`, at the end of which its rate has fallen, and the budget's clock at each end."""
    budget = _atoms.Budget(task)
    readers = {"train": ExtxyzReader(task["train"]), "valid": ExtxyzReader(task["valid"])}
    # Formation energies: total energies in single precision are too coarse to learn from.
    wanted = GraphDatasetBuilder.Config(
        graph_cutoff_angstrom=CUTOFF, batch_size=settings["batch"], use_formation_energies=True
    )
    builder = GraphDatasetBuilder(readers, wanted)
    sets = builder.get_datasets()
    steps = epochs * len(sets["train"])
    warm = min(settings["warm_steps"], steps // 10)
    rates = OptimizerConfig(
        weight_decay=5e-7 if settings["model"].startswith("MACE") else 0.0,
        grad_norm=10.0,
        init_learning_rate=settings["rate"] / 10,
        peak_learning_rate=settings["rate"],
        final_learning_rate=settings["rate"] * settings["last"],
        warmup_steps=warm,
        transition_steps=max(steps - warm, 1),
    )
    loop = TrainingLoop(
        train_dataset=sets["train"],
        validation_dataset=sets["valid"],
        force_field=field(settings["model"], builder.dataset_info, task["seed"]),
        loss=MSELoss(lambda _: settings["energy"], lambda _: settings["forces"]),
        optimizer=get_default_mlip_optimizer(rates),
        config=TrainingLoop.Config(num_epochs=epochs, random_seed=task["seed"], run_eval_at_start=False),
    )
    marks: list[float] = []
    # One entry an epoch says which model is the best so far.
    loop.io_handler.attach_logger(
        lambda category, entry, epoch: marks.append(budget.spent()) if category.name == "BEST_MODEL" else None
    )
    loop.run()
    return loop, marks


def trained(task: dict[str, Any]) -> dict[str, Any]:
    """The library's loop with as many epochs as its own measured pace puts into the budget."""
    settings = SETTINGS | task.get("settings", {})
    _, marks = learnt(task, settings, settings.get("measured_epochs", 4))
    each = float(np.median(np.diff(marks)))
    epochs = max(int((task["seconds"] - (marks[0] - each)) / each), 2)
    print(f"{each:.2f} s an epoch, {marks[0] - each:.1f} s before; {epochs} epochs", flush=True)
    loop, marks = learnt(task, settings, epochs)
    best = loop.best_model
    alone = best.dataset_info.atomic_energies_map
    frames = _atoms.read_frames(task["test"])
    # The atoms' own energies are added in double precision; weights that are NumPy's fail in e3j under jit.
    bare = ForceField(best.replace_config(add_atomic_energies=False).predictor, jax.device_put(best.params))
    found = run_batched_inference([atoms.copy() for atoms in frames], bare, batch_size=20)
    energies = [
        float(one.energy) + sum(alone[int(z)] for z in atoms.numbers) for one, atoms in zip(found, frames, strict=True)
    ]
    counts = {"epochs": epochs, "seconds": round(marks[-1], 1), "epoch_seconds": round(each, 3)}
    counts["parameters"] = count(best.params)
    result = _atoms.errors(frames, energies, [np.asarray(one.forces) for one in found]) | counts
    return result | {"model": f"mlip {settings['model']}", "settings": settings, "clock": task["clock"]}


def main() -> None:
    """Do the task and print its result."""
    logging.disable(logging.INFO)
    found = {"time": timed, "train": trained}[TASK["mode"]](TASK)
    print(json.dumps(found | {"versions": _atoms.versions("mlip", "jax", "jax-md", "e3nn-jax")}))


if __name__ == "__main__":
    main()
