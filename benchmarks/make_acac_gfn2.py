"""Makes build/acac_gfn2: acetylacetone at 300 K with labels of GFN2-xTB, and frames of dynamics on GFN2-xTB at 600 K.

The frames at 300 K are the 500 of the set acac (BOTNet's); each of ten runs at 600 K starts from one of them that no
split learns from, thermalises for half a picosecond, and gives a frame every 50 fs of the next half.
"""

from __future__ import annotations

import os
from pathlib import Path

import _atoms
import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from tblite.ase import TBLite

from thalweg import samples
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.read import read
from thalweg.atoms.data.write import write
from thalweg.atoms.tasks.label import label

HERE = Path(__file__).resolve().parents[1] / "build" / "acac_gfn2"
RUNS, TIMESTEP, WARM_UP, FRAMES, EVERY = 10, 0.5, 1000, 10, 100


def hot(start: Frame, seed: int) -> list[Frame]:
    """Frames of one run at 600 K."""
    random = np.random.RandomState(seed)
    atoms = Atoms(start.numbers, start.positions)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=random)
    moving = Langevin(atoms, TIMESTEP * units.fs, temperature_K=600, friction=0.01 / units.fs, rng=random)
    moving.run(WARM_UP)
    found = []
    for _ in range(FRAMES):
        moving.run(EVERY)
        found.append(start._replace(positions=atoms.get_positions(), energy=None, forces=None, place=f"run {seed}"))
    return found


def main() -> None:
    """Label, run, label."""
    HERE.mkdir(parents=True, exist_ok=True)
    place = Path(os.environ["THALWEG_DATA"]) / "atoms" / "acac" / "train_300K.xyz"
    cold = [frame._replace(info={}, cell=np.zeros((3, 3))) for frame in read(str(place))]
    write(HERE / "train.xyz", label(cold, "gfn2"))
    # The last of the order in which `_atoms.split` draws are its test frames: no split learns from them.
    held = np.random.default_rng(2026).permutation(len(cold))[:RUNS]
    walked = [frame for seed, at in enumerate(held) for frame in hot(cold[at], seed)]
    write(HERE / "test_600K.xyz", label(walked, "gfn2"))
    known = samples.card("ethanol_gfn2")["isolated_atoms"]
    alone = "".join(f"1\nProperties=species:S:1:pos:R:3 energy={known[name]}\n{name} 0 0 0\n" for name in "HCO")
    (HERE / "isolated.xyz").write_text(alone)
    assert _atoms.isolated(HERE / "isolated.xyz").keys() == {"H", "C", "O"}


if __name__ == "__main__":
    main()
