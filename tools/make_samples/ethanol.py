"""Makes ethanol_gfn2.xyz and water_gfn2.xyz: geometries of our own, labelled with GFN2-xTB.

Needs: tblite ase numpy tomli-w. Run: OMP_NUM_THREADS=1 python ethanol.py (about 10 minutes on one core).
`python ethanol.py --check` labels the stored frames again and reports the largest difference.
"""

from __future__ import annotations

import io
import sys

import ase.io
import numpy as np
from _card import SAMPLES, versions, write, write_card
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.optimize import BFGS
from tblite.ase import TBLite

CHAINS = (  # split, temperature in kelvin, frames kept, seed; the test chains share no trajectory with the others
    ("train", 300, 70, 1),
    ("train", 300, 70, 2),
    ("train", 300, 70, 3),
    ("train", 300, 70, 4),
    ("test", 300, 60, 5),
    ("test", 500, 60, 6),
)
TIME_STEP, FRICTION = 0.5 * units.fs, 0.01 / units.fs
EVERY, WARM_UP = 500, 4000  # steps: 250 fs between frames, 2 ps thrown away
MULTIPLICITY = {"H": 2, "C": 3, "O": 3}  # the atoms' ground states
LICENCE = "Apache-2.0 (made for this package)"


def calculator(accuracy: float, multiplicity: int = 1) -> TBLite:
    return TBLite(method="GFN2-xTB", accuracy=accuracy, multiplicity=multiplicity, verbosity=0)


def labelled(atoms: Atoms, **info: object) -> Atoms:
    """A copy with its GFN2-xTB energy (eV) and forces (eV/A), converged far below the printed digits."""
    frame = Atoms(atoms.symbols, np.round(atoms.positions, 8))  # label what the file will hold, not what MD held
    frame.calc = calculator(1e-3)
    energy, forces = frame.get_potential_energy(), frame.get_forces()
    frame.info.update(info)
    frame.calc = SinglePointCalculator(frame, energy=round(float(energy), 8), forces=forces)
    return frame


def chain(split: str, temperature: int, frames: int, seed: int) -> list[Atoms]:
    """Langevin dynamics from ASE's ethanol, one frame every `EVERY` steps after `WARM_UP`."""
    rng = np.random.default_rng(seed)
    atoms = molecule("CH3CH2OH")
    atoms.calc = calculator(0.1)
    thermalize_momenta(atoms, temperature, rng=rng)
    Stationary(atoms)
    ZeroRotation(atoms)
    # fixcm=True would not sample the canonical law (ASE's own warning); the drift is taken off the stored frames.
    dynamics = Langevin(atoms, TIME_STEP, temperature_K=temperature, friction=FRICTION, rng=rng, fixcm=False)
    dynamics.run(WARM_UP)
    kept = []
    for _ in range(frames):
        dynamics.run(EVERY)
        centred = Atoms(atoms.symbols, atoms.positions - atoms.get_center_of_mass())
        kept.append(labelled(centred, split=split, temperature=temperature, chain=seed))
    print(f"chain {seed}: {frames} frames at {temperature} K", file=sys.stderr, flush=True)
    return kept


def water() -> Atoms:
    """A single molecule relaxed until no force exceeds 1e-4 eV/A."""
    atoms = molecule("H2O")
    atoms.calc = calculator(1e-3)
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    return labelled(atoms)


def correlation(frames: list[Atoms], measure) -> float:
    """Autocorrelation of a measure between neighbouring frames of one chain, averaged over the 300 K chains."""
    products, squares = [], []
    for seed in sorted({f.info["chain"] for f in frames if f.info["temperature"] == 300}):
        values = np.array([measure(f) for f in frames if f.info["chain"] == seed])
        values = values - values.mean()
        products.append(np.mean(values[1:] * values[:-1]))
        squares.append(np.mean(values**2))
    return float(np.sum(products) / np.sum(squares))


def torsion(frame: Atoms) -> float:
    """Cosine of the C-C-O-H dihedral: about -1 is trans, about +0.5 gauche."""
    return float(np.cos(np.deg2rad(frame.get_dihedral(0, 1, 2, 3))))


def force_error(frame: Atoms, step: float = 1e-3) -> float:
    """Largest difference (eV/A) between the forces and fourth-order central differences of the energy."""
    forces, worst, calc = frame.get_forces(), 0.0, calculator(1e-4)
    for index in np.ndindex(3, 3):
        heights = []
        for shift in (-2, -1, 1, 2):
            moved = Atoms(frame.symbols, frame.positions)
            moved.positions[index] += shift * step
            moved.calc = calc
            heights.append(moved.get_potential_energy())
        slope = (heights[0] - 8 * heights[1] + 8 * heights[2] - heights[3]) / (12 * step)
        worst = max(worst, abs(float(slope + forces[index])))
    return worst


def store(name: str, frames: list[Atoms]) -> None:
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    write(SAMPLES / name, text.getvalue().encode())


def isolated(symbol: str) -> float:
    atom = Atoms(symbol, [[0.0, 0.0, 0.0]])
    atom.calc = calculator(1e-3, MULTIPLICITY[symbol])
    return round(float(atom.get_potential_energy()), 8)


def check() -> None:
    for name in ("ethanol_gfn2.xyz", "water_gfn2.xyz"):
        frames = ase.io.read(SAMPLES / name, index=":")
        again = [labelled(frame) for frame in frames]
        energy = max(
            abs(a.get_potential_energy() - b.get_potential_energy()) for a, b in zip(frames, again, strict=True)
        )
        force = max(float(np.abs(a.get_forces() - b.get_forces()).max()) for a, b in zip(frames, again, strict=True))
        print(f"{name}: {len(frames)} frames, |dE| {energy:.1e} eV, |dF| {force:.1e} eV/A")


def main() -> None:
    frames = [frame for settings in CHAINS for frame in chain(*settings)]
    drop = water()
    store("ethanol_gfn2.xyz", frames)
    store("water_gfn2.xyz", [drop])
    made = versions("tblite", "ase", "numpy")
    common = {
        "licence": LICENCE,
        "units": "positions A, energy eV, forces eV/A; energies are GFN2-xTB totals at 300 K electronic temperature",
        "script": "tools/make_samples/ethanol.py",
        "versions": made,
    }
    write_card(
        "ethanol_gfn2",
        {"ethanol_gfn2.xyz": "400 frames, extended XYZ; info keys split, temperature (K), chain"},
        {
            "what": "ethanol in vacuum: 280 training and 60 test frames at 300 K, 60 test frames at 500 K",
            "origin": "made for this package: Langevin dynamics with GFN2-xTB from ASE's molecule('CH3CH2OH')",
            "made": "6 independent chains, 0.5 fs steps, friction 0.01/fs, 2 ps discarded, one frame every 250 fs,"
            " each centred on its centre of mass",
            "method": "GFN2-xTB, Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019)",
            **common,
            "isolated_atoms": {symbol: isolated(symbol) for symbol in MULTIPLICITY},
            "isolated_atoms_multiplicity": MULTIPLICITY,
            "neighbour_correlation": {
                "energy": round(correlation(frames, lambda f: f.get_potential_energy()), 3),
                "cosine_CCOH_torsion": round(correlation(frames, torsion), 3),
            },
            "largest_force_error_eV_per_A": float(f"{max(force_error(f) for f in frames[::100]):.1e}"),
        },
    )
    write_card(
        "water_gfn2",
        {"water_gfn2.xyz": "one frame, extended XYZ"},
        {
            "what": "one water molecule at its GFN2-xTB minimum",
            "origin": "made for this package: ASE's molecule('H2O'), relaxed with BFGS",
            "made": "relaxed until no force exceeds 1e-4 eV/A",
            "method": "GFN2-xTB, Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019)",
            **common,
            "isolated_atoms": {symbol: isolated(symbol) for symbol in ("H", "O")},
        },
    )


if __name__ == "__main__":
    check() if sys.argv[1:] == ["--check"] else main()
