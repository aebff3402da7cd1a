"""SchNetPack's half of the benchmarks of potentials: calls and steps timed, or a training that ends with its budget."""

from __future__ import annotations

import json
import typing
import warnings
from typing import Any

import _atoms

TASK = _atoms.read_task()  # sets the threads, so it comes before PyTorch

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.utils.data.dataloader  # noqa: E402

torch.set_num_threads(TASK["threads"])
warnings.filterwarnings("ignore")
# SchNetPack takes this name from PyTorch, which no longer has it.
torch.utils.data.dataloader.T_co = typing.TypeVar("T_co", covariant=True)  # type: ignore[attr-defined]

import schnetpack as spk  # noqa: E402
import schnetpack.transform as transforms  # noqa: E402
from schnetpack import properties  # noqa: E402
from schnetpack.data.loader import _atoms_collate_fn  # noqa: E402
from schnetpack.interfaces import AtomsConverter, SpkCalculator  # noqa: E402
from torch_ema import ExponentialMovingAverage  # noqa: E402

CUTOFF = 5.0
UNIT = 23.060547830619026  # kcal/mol in an eV: the unit of the library's own settings for these sets
MODELS = {"SchNet 64": ("SchNet", 64), "PaiNN 64": ("PaiNN", 64), "PaiNN 128": ("PaiNN", 128)}
# The library's rmd17 experiment: AdamW at 1e-3, batches of 10, losses 0.01 and 0.99, an average of 0.995.
SETTINGS = {
    "model": "PaiNN 128",
    "batch": 10,
    "rate": 0.001,
    "schedule": "cosine",
    "last": 0.001,
    "ema": 0.995,
    "energy": 0.01,
    "forces": 0.99,
}


def network(model: str) -> torch.nn.Module:
    """Three interactions, 20 Gaussians, a cosine cutoff: energies and forces as its tutorials build them."""
    kind, features = MODELS[model]
    representation = getattr(spk.representation, kind)(
        n_atom_basis=features,
        n_interactions=3,
        radial_basis=spk.nn.GaussianRBF(n_rbf=20, cutoff=CUTOFF),
        cutoff_fn=spk.nn.CosineCutoff(CUTOFF),
    )
    return spk.model.NeuralNetworkPotential(
        representation=representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[
            spk.atomistic.Atomwise(n_in=features, output_key="energy"),
            spk.atomistic.Forces(energy_key="energy", force_key="forces"),
        ],
    )


def inputs(frame: Any) -> dict[str, torch.Tensor]:
    """The library's own form of a frame, with its neighbours."""
    convert = AtomsConverter(neighbor_list=transforms.MatScipyNeighborList(cutoff=CUTOFF), dtype=torch.float32)
    return convert(frame.copy())


def count(model: torch.nn.Module) -> int:
    """The learnable numbers."""
    return sum(p.numel() for p in model.parameters())


def called(frame: Any, name: str, way: str) -> dict[str, Any]:
    """Milliseconds of one call for energy and forces of `frame`, its neighbours given."""
    torch.manual_seed(0)
    model = network(name)
    parameters = count(model)
    model.requires_grad_(False).eval()
    given = inputs(frame)
    wanted = model(dict(given))["forces"].detach()
    run: Any = torch.jit.script(model) if way == "TorchScript" else model
    run = torch.compile(model) if way == "torch.compile" else run
    found = _atoms.milliseconds(lambda: run(dict(given)))
    off = (run(dict(given))["forces"].detach() - wanted).abs().max()
    return found | {"parameters": parameters, "force_change": float(off / wanted.abs().max())}


def moved(frame: Any, name: str) -> float:
    """Steps per second of the library's ASE calculator."""
    neighbours = transforms.SkinNeighborList(transforms.MatScipyNeighborList(cutoff=CUTOFF), cutoff_skin=0.5)
    calculator = SpkCalculator(network(name), neighbor_list=neighbours, energy_unit="eV", position_unit="Ang")
    return _atoms.steps_per_second(frame, calculator)


def timed(task: dict[str, Any]) -> dict[str, Any]:
    """Every model, system and way."""
    rows = []
    for name, path in task["systems"].items():
        frame = _atoms.read_frames(path)[0]
        for model in task.get("models", MODELS):
            for way in ("eager", "TorchScript", "torch.compile"):
                found = _atoms.attempted(lambda f=frame, m=model, w=way: called(f, m, w))
                rows.append({"system": name, "model": model, "way": way} | found)
                print(rows[-1], flush=True)
            if name == "ethanol":
                speed = _atoms.attempted(lambda f=frame, m=model: moved(f, m))
                rows.append({"system": name, "model": model, "way": "ASE calculator", "steps_per_second": speed})
                print(rows[-1], flush=True)
    return {"rows": rows}


def samples(frames: list[Any], mean: float) -> list[dict[str, torch.Tensor]]:
    """Every frame as one sample; its energy less `mean` for each atom, in kcal/mol."""
    made = []
    for atoms in frames:
        one = inputs(atoms)
        one["energy"] = torch.tensor([UNIT * (atoms.get_potential_energy() - mean * len(atoms))], dtype=torch.float32)
        one["forces"] = torch.tensor(UNIT * atoms.get_forces(), dtype=torch.float32)
        made.append(one)
    return made


def predicted(model: torch.nn.Module, found: list[dict[str, torch.Tensor]], mean: float) -> tuple[list, list]:
    """Total energies in eV and forces in eV/A."""
    energies, forces = [], []
    for start in range(0, len(found), 50):
        some = found[start : start + 50]
        out = model(_atoms_collate_fn([dict(one) for one in some]))
        sizes = [int(one[properties.n_atoms]) for one in some]
        bound = out["energy"].detach().double().numpy().ravel() / UNIT
        energies += [float(e) + mean * n for e, n in zip(bound, sizes, strict=True)]
        forces += np.split(out["forces"].detach().double().numpy() / UNIT, np.cumsum(sizes)[:-1])
    return energies, forces


def trained(task: dict[str, Any]) -> dict[str, Any]:
    """The library's losses, optimiser and average; its rate falls with the budget instead of by its long patience.

    Lightning and the database are left out: neighbours are found once and the batches come from memory.
    """
    settings = SETTINGS | task.get("settings", {})
    torch.manual_seed(task["seed"])
    generator = np.random.default_rng(task["seed"])
    frames = {part: _atoms.read_frames(task[part]) for part in ("train", "valid", "test")}
    budget = _atoms.Budget(task)
    mean = float(np.mean([atoms.get_potential_energy() / len(atoms) for atoms in frames["train"]]))
    found = {part: samples(frames[part], mean) for part in ("train", "valid")}
    model = network(settings["model"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["rate"], weight_decay=0.0)
    average = ExponentialMovingAverage(model.parameters(), decay=settings["ema"])
    best, kept, epochs, steps = np.inf, None, 0, 0
    while budget.fraction() < 1:
        order = generator.permutation(len(found["train"]))
        for start in range(0, len(order) - settings["batch"] + 1, settings["batch"]):
            batch = _atoms_collate_fn([dict(found["train"][i]) for i in order[start : start + settings["batch"]]])
            wanted = {key: batch[key] for key in ("energy", "forces")}
            for group in optimizer.param_groups:
                group["lr"] = settings["rate"] * _atoms.falling(
                    budget.fraction(), settings["schedule"], settings["last"]
                )
            out = model(batch)
            loss = sum(settings[k] * torch.nn.functional.mse_loss(out[k], wanted[k]) for k in wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            average.update()
            steps += 1
            if budget.fraction() >= 1:
                break
        epochs += 1
        if epochs % settings.get("every", 5) == 0 or budget.fraction() >= 1:
            with average.average_parameters():
                now = _atoms.errors(frames["valid"], *predicted(model, found["valid"], mean))
                if now["force_mae"] < best:
                    best, kept = now["force_mae"], {key: value.clone() for key, value in model.state_dict().items()}
            print(epochs, round(budget.spent(), 1), now, flush=True)
    spent = budget.spent()
    if kept is not None:
        model.load_state_dict(kept)
    result = _atoms.errors(frames["test"], *predicted(model, samples(frames["test"], mean), mean))
    batches = len(found["train"]) // settings["batch"]
    counts = {"epochs": round(steps / batches, 2), "steps": steps, "seconds": round(spent, 1)}
    counts["parameters"] = count(model)
    return result | counts | {"model": settings["model"], "settings": settings, "clock": budget.clock}


def main() -> None:
    """Do the task and print its result."""
    found = {"time": timed, "train": trained}[TASK["mode"]](TASK)
    print(json.dumps(found | {"versions": _atoms.versions("schnetpack", "torch")}))


if __name__ == "__main__":
    main()
