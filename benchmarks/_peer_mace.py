"""MACE's half of the benchmarks of potentials: calls and steps timed, or a training that ends with its budget."""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import _atoms

TASK = _atoms.read_task()  # sets the threads, so it comes before PyTorch

import numpy as np  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(TASK["threads"])
torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 loads its constants in the way of PyTorch before 2.6
warnings.filterwarnings("ignore")

from e3nn import o3  # noqa: E402
from e3nn.util import jit  # noqa: E402
from mace import data, modules, tools  # noqa: E402
from mace.calculators import MACECalculator  # noqa: E402
from mace.tools import scripts_utils, torch_geometric  # noqa: E402
from mace.tools.compile import prepare  # noqa: E402
from mace.tools.train import take_step  # noqa: E402
from torch_ema import ExponentialMovingAverage  # noqa: E402

CUTOFF = 5.0
SIZES = {"64x0e+64x1o": 3, "28x0e+28x1o": 3}  # hidden features, and the highest l of the harmonics


def network(size: str, alone: dict[int, float], neighbours: float, scale: float, shift: float) -> torch.nn.Module:
    """Two layers with MACE's defaults; `scale` and `shift` per atom are those of the training energies and forces."""
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=CUTOFF,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=SIZES.get(size, 3),
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(alone),
        hidden_irreps=o3.Irreps(size),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.array([alone[z] for z in sorted(alone)]),
        avg_num_neighbors=neighbours,
        atomic_numbers=sorted(alone),
        correlation=3,
        radial_MLP=[64, 64, 64],
        atomic_inter_scale=scale,
        atomic_inter_shift=shift,
    )


def graphs(frames: list[Any], numbers: list[int], labelled: bool = True) -> list[data.AtomicData]:
    """MACE's own form of the frames."""
    keys = data.KeySpecification(info_keys={"energy": "energy_label"}, arrays_keys={"forces": "forces_label"})
    table, made = tools.AtomicNumberTable(sorted(numbers)), []
    for atoms in frames:
        plain = atoms.copy()
        if labelled:
            plain.info["energy_label"] = atoms.get_potential_energy()
            plain.arrays["forces_label"] = atoms.get_forces()
        configuration = data.config_from_atoms(plain, key_specification=keys)
        made.append(data.AtomicData.from_config(configuration, z_table=table, cutoff=CUTOFF))
    return made


def loader(found: list[data.AtomicData], size: int, shuffle: bool = False) -> Any:
    """Batches of graphs."""
    return torch_geometric.dataloader.DataLoader(found, batch_size=size, shuffle=shuffle, drop_last=shuffle)


def called(frame: Any, size: str, way: str) -> dict[str, Any]:
    """Milliseconds of one call for energy and forces of `frame`, its neighbours given."""
    torch.manual_seed(0)
    alone = dict.fromkeys(sorted({int(z) for z in frame.numbers}), 0.0)
    graph = graphs([frame], list(alone), labelled=False)[0]
    arguments = (size, alone, graph.edge_index.shape[1] / len(frame), 1.0, 0.0)
    plain = network(*arguments).requires_grad_(False)
    batch = next(iter(loader([graph], 1))).to_dict()
    batch["positions"].requires_grad_(True)
    wanted = plain(batch)["forces"].detach()
    kept = way == "torch.compile"  # the traced gradient needs its graph, as in MACE's own calculator
    if way == "torch.compile":
        model: Any = prepare(network)(*arguments).requires_grad_(False)
        model.load_state_dict(plain.state_dict(), strict=False)
        model = torch.compile(model, mode="default", fullgraph=True)
    else:
        model = jit.compile(plain) if way == "TorchScript" else plain
    found = _atoms.milliseconds(lambda: model(batch, training=kept, compute_force=True))
    off = (model(batch, training=kept, compute_force=True)["forces"].detach() - wanted).abs().max()
    parameters = sum(p.numel() for p in plain.parameters())
    return found | {"parameters": parameters, "force_change": float(off / wanted.abs().max())}


def moved(frame: Any, size: str, compiled: bool) -> float:
    """Steps per second of MACE's ASE calculator."""
    alone = dict.fromkeys(sorted({int(z) for z in frame.numbers}), 0.0)
    model = network(size, alone, 8.0, 1.0, 0.0)
    ways = {"compile_mode": "default", "fullgraph": True} if compiled else {}
    calculator = MACECalculator(models=[model], device="cpu", default_dtype="float32", **ways)
    return _atoms.steps_per_second(frame, calculator)


def timed(task: dict[str, Any]) -> dict[str, Any]:
    """Every size, system and way."""
    rows = []
    for name, path in task["systems"].items():
        frame = _atoms.read_frames(path)[0]
        for size in task.get("sizes", SIZES):
            for way in ("eager", "TorchScript", "torch.compile"):
                found = _atoms.attempted(lambda f=frame, s=size, w=way: called(f, s, w))
                rows.append({"system": name, "model": f"MACE {size}", "way": way} | found)
                print(rows[-1], flush=True)
            if name == "ethanol":
                for compiled in (False, True):
                    speed = _atoms.attempted(lambda f=frame, s=size, c=compiled: moved(f, s, c))
                    way = "ASE calculator" + (", torch.compile" if compiled else "")
                    rows.append({"system": name, "model": f"MACE {size}", "way": way, "steps_per_second": speed})
                    print(rows[-1], flush=True)
    return {"rows": rows}


def groups(model: torch.nn.Module, rate: float) -> dict[str, Any]:
    """MACE's own parameter groups, its weight decay on some of them, and AMSGrad."""
    wanted = argparse.Namespace(
        lr=rate, weight_decay=5e-7, amsgrad=True, beta=0.9, freeze=None, lr_params_factors="{}", optimizer="adam"
    )
    return {"optimizer": scripts_utils.get_optimizer(wanted, scripts_utils.get_params_options(wanted, model))}


def predicted(model: torch.nn.Module, found: list[data.AtomicData]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies and forces of the graphs."""
    energies, forces = [], []
    for batch in loader(found, 10):
        out = model(batch.to_dict(), training=False)
        energies.append(out["energy"].detach().numpy())
        starts = batch.ptr[1:-1].tolist()
        forces += np.split(out["forces"].detach().numpy(), starts)
    return np.concatenate(energies), forces


SETTINGS = {
    "size": "28x0e+28x1o",
    "batch": 5,
    "rate": 0.01,
    "schedule": "exponential",
    "last": 0.01,
    "ema": 0.99,
    "second_stage": 0.75,
    "dtype": "float32",
}


def trained(task: dict[str, Any]) -> dict[str, Any]:
    """MACE's loss, optimiser, average and second stage; the schedule follows the budget that is spent."""
    settings = SETTINGS | task.get("settings", {})
    tools.set_seeds(task["seed"])
    tools.set_default_dtype(settings["dtype"])
    frames = {part: _atoms.read_frames(task[part]) for part in ("train", "valid", "test")}
    from ase.data import atomic_numbers

    alone = {atomic_numbers[symbol]: energy for symbol, energy in task["alone"].items()}
    alone = {z: alone[z] for z in sorted({int(z) for atoms in frames["train"] for z in atoms.numbers})}
    budget = _atoms.Budget(task)
    found = {part: graphs(frames[part], list(alone)) for part in ("train", "valid")}
    batches = loader(found["train"], settings["batch"], shuffle=True)
    bound = [(a.get_potential_energy() - sum(alone[int(z)] for z in a.numbers)) / len(a) for a in frames["train"]]
    strength = float(np.sqrt(np.mean(np.concatenate([a.get_forces() for a in frames["train"]]) ** 2)))
    neighbours = float(np.mean([g.edge_index.shape[1] / g.num_nodes for g in found["train"]]))
    model = network(settings["size"], alone, neighbours, strength, float(np.mean(bound)))
    return loop(model, batches, found["valid"], frames, alone, budget, settings)


def loop(model, batches, valid, frames, alone, budget, settings) -> dict[str, Any]:
    """Steps until the budget is spent; the best average of the second stage by the validation frames is tested."""
    optimizer = groups(model, settings["rate"])["optimizer"]
    average = ExponentialMovingAverage(model.parameters(), decay=settings["ema"])
    weights = {0: (1.0, 100.0), 1: (1000.0, 100.0)}  # mace_run_train's, before and in the second stage
    losses = {stage: modules.WeightedEnergyForcesLoss(*pair) for stage, pair in weights.items()}
    output = {"forces": True, "virials": False, "stress": False}
    best, kept, epochs, steps = np.inf, None, 0, 0
    while budget.fraction() < 1:
        for batch in batches:
            part = budget.fraction()
            stage = int(part >= settings["second_stage"])
            for group in optimizer.param_groups:
                group["lr"] = settings["rate"] * _atoms.falling(part, settings["schedule"], settings["last"])
            take_step(model, losses[stage], batch, optimizer, average, output, 10.0, torch.device("cpu"))
            steps += 1
            if budget.fraction() >= 1:
                break
        epochs += 1
        with average.average_parameters():
            now = _atoms.errors(frames["valid"], *predicted(model, valid))
            score = now["force_mae"] + now["energy_mae"] / 10
            if budget.fraction() >= settings["second_stage"] and score < best:
                best, kept = score, {key: value.clone() for key, value in model.state_dict().items()}
        print(epochs, round(budget.spent(), 1), now, flush=True)
    spent = budget.spent()
    if kept is not None:
        model.load_state_dict(kept)
    result = _atoms.errors(frames["test"], *predicted(model, graphs(frames["test"], list(alone))))
    counts = {"epochs": round(steps / len(batches), 2), "steps": steps, "seconds": round(spent, 1)}
    counts["parameters"] = sum(p.numel() for p in model.parameters())
    return result | counts | {"model": f"MACE {settings['size']}", "settings": settings, "clock": budget.clock}


def main() -> None:
    """Do the task and print its result."""
    found = {"time": timed, "train": trained}[TASK["mode"]](TASK)
    print(json.dumps(found | {"versions": _atoms.versions("mace-torch", "torch", "e3nn")}))


if __name__ == "__main__":
    main()
