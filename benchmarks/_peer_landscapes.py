"""The peers' half of versus_landscapes: pele and ASE on Lennard-Jones clusters, from the points they are given."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import ase
import numpy as np
import pele.optimize
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.mep import NEB as AseNEB
from ase.optimize import BFGS, FIRE
from pele.potentials import LJ
from pele.systems import LJCluster
from pele.transition_states import FindTransitionState


class Pairs(Calculator):
    """The free cluster by NumPy, over all pairs at once: faster here than ASE's own, and the same landscape as ours."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's own way

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Energy and forces."""
        Calculator.calculate(self, atoms, properties, system_changes)
        x = self.atoms.positions
        apart = x[:, None] - x[None]
        squared = (apart**2).sum(-1) + np.eye(len(x))
        sixth = squared**-3
        np.fill_diagonal(sixth, 0.0)
        self.results["energy"] = 2.0 * (sixth**2 - sixth).sum()
        slope = 24.0 * (2.0 * sixth**2 - sixth) / squared
        self.results["forces"] = (slope[:, :, None] * apart).sum(1)
        self.calls = getattr(self, "calls", 0) + 1


def timed(function: Callable) -> tuple[float, list]:
    """Seconds of the second of two runs, and its result."""
    function()
    began = time.perf_counter()
    found = function()
    return time.perf_counter() - began, found


def relaxed_by_pele(starts: np.ndarray, tol: float) -> dict:
    """L-BFGS in C++, pele's fastest; `tol` bounds the root mean square of the gradient."""
    potential = LJ()
    quench = pele.optimize.lbfgs_cpp
    seconds, found = timed(lambda: [quench(x.ravel(), potential, tol=tol, nsteps=10_000) for x in starts])
    calls = [int(each.nfev) for each in found]
    return {"seconds": seconds, "evaluations": sum(calls), "arrived": sum(bool(each.success) for each in found)}


def relaxed_by_ase(starts: np.ndarray, fmax: float, optimiser: type) -> dict:
    """ASE's optimisers; `fmax` bounds the largest force on a point."""
    began, calls, arrived = time.perf_counter(), 0, 0
    for x in starts:
        atoms = Atoms("Ar" * len(x), positions=x, calculator=Pairs())
        arrived += bool(optimiser(atoms, logfile=None).run(fmax=fmax, steps=10_000))
        calls += atoms.calc.calls
    return {"seconds": time.perf_counter() - began, "evaluations": calls, "arrived": arrived}


def band_by_ase(a: np.ndarray, b: np.ndarray, images: int, fmax: float) -> dict:
    """ASE's NEB with improved tangents: first without, then with the climbing image, as its manual advises."""
    band = [Atoms("Ar" * len(a), positions=a) for _ in range(images - 1)]
    band.append(Atoms("Ar" * len(b), positions=b))
    for image in band:
        image.calc = Pairs()
    began = time.perf_counter()
    neb = AseNEB(band, method="improvedtangent", climb=False, k=5.0)
    neb.interpolate()
    arrived = FIRE(neb, logfile=None).run(fmax=10 * fmax, steps=5000)
    neb.climb = True
    arrived = FIRE(neb, logfile=None).run(fmax=fmax, steps=5000) and arrived
    heights = [image.get_potential_energy() for image in band]
    seconds = time.perf_counter() - began
    calls = sum(image.calc.calls for image in band)
    return {"seconds": seconds, "evaluations": calls, "barrier": max(heights) - heights[0], "arrived": bool(arrived)}


def connected_by_pele(a: np.ndarray, b: np.ndarray) -> dict:
    """pele's double-ended connect: bands, saddles and the way down until the two minima hang together."""
    system = LJCluster(len(a))
    database = system.create_database()
    potential = system.get_potential()
    ends = []
    for x in (a, b):
        rest = pele.optimize.lbfgs_cpp(x.ravel(), potential, tol=1e-8)
        ends.append(database.addMinimum(rest.energy, rest.coords))
    began = time.perf_counter()
    connect = system.get_double_ended_connect(*ends, database, verbosity=0)
    connect.connect()
    seconds = time.perf_counter() - began
    result = {"seconds": seconds, "success": bool(connect.success()), "saddles": len(database.transition_states())}
    if connect.success():
        heights = [float(height) for height in connect.returnPath()[2]]
        result |= {"barrier": max(heights) - heights[0], "heights": heights}
    return result


def saddles_by_pele(points: np.ndarray, tol: float) -> dict:
    """Where pele's eigenvector following ends from each point: energy, lowest eigenvalue, seconds."""
    potential = LJ()
    began = time.perf_counter()
    found = [FindTransitionState(x.ravel(), potential, tol=tol, iprint=-1, verbosity=-1).run() for x in points]
    seconds = time.perf_counter() - began
    kept = [
        {"energy": float(r.energy), "eigenvalue": float(r.eigenval), "rms": float(r.rms), "success": bool(r.success)}
        for r in found
    ]
    return {"seconds": seconds, "saddles": kept}


def main() -> None:
    """Read the task, measure, print."""
    task = json.load(sys.stdin)
    result: dict = {"pele": "0.1.2", "ase": ase.__version__, "numpy": np.__version__}
    for name, starts in task.get("starts", {}).items():
        x = np.asarray(starts)
        result[name] = {"pele_lbfgs_cpp": relaxed_by_pele(x, task["rms"])}
        few = x[: task["ase_starts"]]
        result[name] |= {"ase_fire": relaxed_by_ase(few, task["fmax"], FIRE), "ase_starts": len(few)}
        result[name] |= {"ase_bfgs": relaxed_by_ase(few, task["fmax"], BFGS)}
    if "ends" in task:
        a, b = (np.asarray(end) for end in task["ends"])
        result["ase_neb"] = band_by_ase(a, b, task["images"], task["fmax_band"])
        result["pele_connect"] = connected_by_pele(a, b)
    if "saddles" in task:
        result["pele_saddles"] = saddles_by_pele(np.asarray(task["saddles"]), 1e-8)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
