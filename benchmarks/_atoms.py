"""What the halves of the benchmarks of interatomic potentials share: frames, splits, budgets, errors and timings.

It needs NumPy and ASE only, so that every peer can import it in its own environment.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


MADE = Path(__file__).resolve().parents[1] / "build" / "acac_gfn2"  # by make_acac_gfn2.py


class Source(NamedTuple):
    """Where in THALWEG_DATA/atoms the frames of a set lie; without `test` they are cut from `frames`."""

    frames: str
    alone: str
    test: str | None = None
    tested: int = 0


SOURCES = {
    "ethanol": Source("ethanol/train.xyz", "ethanol/isolated_atoms.xyz", test="ethanol/test_MD.xyz"),
    "acac": Source("acac/train_300K.xyz", "acac/isolated_atoms.xyz", tested=50),
    # Its test frames are those of 600 K; `tested` of the frames at 300 K, where these began, are never learnt from.
    "acac-gfn2": Source(f"{MADE}/train.xyz", f"{MADE}/isolated.xyz", test=f"{MADE}/test_600K.xyz", tested=50),
    "3bpa": Source("3bpa/train_300K.xyz", "3bpa/iso_atoms.xyz", tested=50),
}


def data() -> Path:
    """The folder of the full data sets."""
    return Path(os.environ["THALWEG_DATA"]) / "atoms"


def blocks(path: Path) -> list[str]:
    """The frames of an extxyz file as their own text.

    The lattice of a frame without periodicity is left out: some peers would take it for a periodic box.
    """
    lines = path.read_text().splitlines(keepends=True)
    found, at = [], 0
    while at < len(lines) and lines[at].strip():
        end = at + int(lines[at]) + 2
        block = lines[at:end]
        if 'pbc="F F F"' in block[1]:
            block[1] = re.sub(r'Lattice="[^"]*" ', "", block[1])
        found.append("".join(block))
        at = end
    return found


def isolated(path: Path) -> dict[str, float]:
    """The energies of isolated atoms by symbol, in eV."""
    found = {}
    for block in blocks(path):
        _, header, atom = block.splitlines()
        energy = re.search(r"\benergy=(\S+)", header)
        assert energy is not None, f"{path}: an isolated atom without an energy"
        found[atom.split()[0]] = float(energy.group(1))
    return found


def split(name: str, folder: Path, training: int, validation: int, seed: int) -> dict[str, Any]:
    """Write the frames of one split into `folder` and return the task's part that names them.

    `training` frames are drawn by `seed`, the last `validation` of them to choose by and never to learn from. The test
    frames are the same for every seed: the set's own test file, or `tested` frames drawn once.
    """
    import numpy as np

    source = SOURCES[name]
    frames = blocks(data() / source.frames)
    order = np.random.default_rng(2026).permutation(len(frames))
    held, rest = order[: source.tested], order[source.tested :]
    test = [frames[i] for i in held] if source.test is None else blocks(data() / source.test)
    drawn = [frames[i] for i in np.random.default_rng(seed).permutation(rest)[:training]]
    assert len(drawn) == training, f"{name} has only {len(rest)} frames to learn from"
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": drawn[: training - validation], "valid": drawn[training - validation :], "test": test}
    for part, texts in parts.items():
        (folder / f"{part}.xyz").write_text("".join(texts))
    paths: dict[str, Any] = {part: str(folder / f"{part}.xyz") for part in parts}
    return paths | {"set": name, "seed": seed, "alone": isolated(data() / source.alone)}


def systems(folder: Path) -> dict[str, Any]:
    """Write the two frames that are timed, and return the task's part that names them."""
    import numpy as np
    from ase import Atoms
    from ase.io import write

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ethanol.xyz").write_text(blocks(data() / "ethanol" / "train.xyz")[0])
    water = data() / "water" / "data_0"
    kinds = np.array((water / "type_map.raw").read_text().split())[np.loadtxt(water / "type.raw", dtype=int)]
    first = {key: np.load(water / "set.000" / f"{key}.npy", allow_pickle=False)[0] for key in ("coord", "box")}
    boxed = Atoms(kinds, first["coord"].reshape(-1, 3), cell=first["box"].reshape(3, 3), pbc=True)
    write(folder / "water.xyz", boxed, format="extxyz")
    return {"systems": {name: str(folder / f"{name}.xyz") for name in ("ethanol", "water")}}


def read_task() -> dict[str, Any]:
    """The task on standard input; holds this process to `threads` cores, before any library makes its threads."""
    task = json.load(sys.stdin)
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[-task["threads"] :])
    for limit in THREAD_LIMITS:
        os.environ[limit] = str(task["threads"])
    return task


def read_frames(path: str) -> list[Any]:
    """The frames of a file as ASE's atoms with their energies and forces."""
    from ase.io import read

    found = read(path, index=":")
    return found if isinstance(found, list) else [found]


def labels(frames: list[Any]) -> tuple[list[float], list[Any]]:
    """Total energies in eV, and forces in eV/A, of labelled frames."""
    return [atoms.get_potential_energy() for atoms in frames], [atoms.get_forces() for atoms in frames]


def errors(frames: list[Any], energies: Any, forces: Any) -> dict[str, float]:
    """Mean absolute and root mean square errors: energies in meV a frame, force components in meV/A."""
    import numpy as np

    wanted, pulled = labels(frames)
    off = {"energy": np.asarray(energies, float).ravel() - np.asarray(wanted)}
    off["force"] = np.concatenate([(np.asarray(f, float) - g).ravel() for f, g in zip(forces, pulled, strict=True)])
    kinds = {"mae": lambda e: np.abs(e).mean(), "rmse": lambda e: np.sqrt((e**2).mean())}
    return {f"{what}_{kind}": round(1000 * float(of(e)), 3) for what, e in off.items() for kind, of in kinds.items()}


class Budget:
    """The seconds that a training may take, counted from when it was made: the clock's, or all threads' of the CPU."""

    def __init__(self, task: dict[str, Any]):
        self.now = {"cpu": time.process_time, "wall": time.perf_counter}[task["clock"]]
        self.clock, self.seconds = task["clock"], float(task["seconds"])
        self.began = self.now()

    def spent(self) -> float:
        """Seconds so far."""
        return self.now() - self.began

    def fraction(self) -> float:
        """The part of the budget that is spent."""
        return self.spent() / self.seconds


def falling(part: float, schedule: str, last: float) -> float:
    """The factor on the learning rate when `part` of the budget is spent: from 1 down to `last`."""
    import numpy as np

    if schedule == "exponential":
        return last ** min(part, 1.0)
    return last + (1 - last) * 0.5 * (1 + float(np.cos(np.pi * min(part, 1.0))))


def milliseconds(call: Callable[[], Any], least: int = 5, seconds: float = 4.0) -> dict[str, Any]:
    """Median and least milliseconds of `call`, after three calls that are not counted."""
    import numpy as np

    began = time.perf_counter()
    call()
    first = time.perf_counter() - began
    call()
    call()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < least or (time.perf_counter() - began < seconds and len(times) < 300):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    found = {"median_ms": float(np.median(times)), "least_ms": min(times)}
    return {key: round(value, 3) for key, value in found.items()} | {
        "calls": len(times),
        "first_seconds": round(first, 2),
    }


def steps_per_second(atoms: Any, calculator: Any, steps: int = 100) -> float:
    """Steps per second of ASE's velocity Verlet at 0.5 fs and 300 K with a peer's calculator."""
    import numpy as np
    from ase import units
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet

    atoms = atoms.copy()
    atoms.calc = calculator
    # The generator's name in ASE changed; its seed is all that is needed.
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.RandomState(0))
    moving = VelocityVerlet(atoms, timestep=0.5 * units.fs)
    moving.run(10)
    began = time.perf_counter()
    moving.run(steps)
    return round(steps / (time.perf_counter() - began), 1)


def attempted(call: Callable[[], Any]) -> Any:
    """What `call` returns, or what stopped it: one way of a peer that fails must not hide the others."""
    try:
        return call()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:400]}


def versions(*names: str) -> dict[str, str]:
    """The versions of a peer's packages."""
    return {name: version(name) for name in names}
