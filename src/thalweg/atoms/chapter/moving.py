"""Chapter 7: ethanol moves on the potential that comes with the package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from thalweg.report.blocks import Block, Citations, Claim, Prose
from thalweg.report.chapter import Chapter, Stopwatch, Telling

_SYSTEM = "Ethanol on the shipped potential, which learnt GFN2-xTB labels"
_COMMAND = "thalweg atoms md your_potential your_start.xyz --ensemble nve --temperature 300 --steps 20000"
_AUDIT = "thalweg atoms audit your_potential your_test.xyz"
_STORY = (
    "The energy of atoms is a landscape over their positions. A network whose activation functions are orbitals tells "
    "it, back-propagation gives the forces, and Newton does the rest: nothing in here is a force field by hand."
)
_FRAMES = 4  # whose forces and symmetries are looked at
_DRIFT = 1e-5  # eV per atom and ps


def _moving(telling: Telling) -> Iterator[Block]:
    from thalweg.atoms.data.read import read
    from thalweg.atoms.figures.dynamics import drift_figure
    from thalweg.atoms.tasks.subject import subject_of
    from thalweg.atoms.tasks.trained import load_trained
    from thalweg.methods.verlet import Verlet

    watch = Stopwatch()
    trained = load_trained("ethanol")
    frames = [frame for frame in read("ethanol") if frame.info["split"] == "test"]
    cool = [frame for frame in frames if frame.info["temperature"] < 400]
    yield Prose(_STORY)
    picoseconds = 2 if telling.effort == "quick" else 10
    telling.note(f"compiling, and moving ethanol for {picoseconds} ps")
    run = _run(trained, cool[0], picoseconds)
    yield _slider(cool[0].numbers, run)
    yield drift_figure(run["time"], run["total"] / len(cool[0].numbers))
    yield _drift_claim(run, picoseconds, len(cool[0].numbers), watch)
    telling.note("compiling in double precision, and asking for forces")
    subject = subject_of(trained, "the shipped potential", cool[0], cutoff=None, dtype=np.float64)
    yield _forces_claim(subject, cool, watch)
    yield _symmetry_claim(subject, cool, watch)
    yield _error_claim(subject, trained, cool, watch)
    if telling.effort == "full":
        from thalweg.atoms.chapter.again import again

        yield from again(telling, trained, cool, watch)
    yield Citations([Verlet.bibtex])


def _run(trained: Any, frame: Any, picoseconds: float) -> dict[str, np.ndarray]:
    """A run at constant energy from 300 K, in steps of 0.5 fs, seen every 4 fs."""
    import jax.numpy as jnp
    from ase import units

    from thalweg.atoms.energy import potential
    from thalweg.atoms.tasks.landscapes import FixedLists
    from thalweg.atoms.tasks.md_start import begin
    from thalweg.methods.trace import Trace
    from thalweg.verbs.simulate import simulate

    start = begin(frame, 300.0, 1, seed=0)
    # All pairs of a molecule: nothing is ever built anew. Positions in float64, the network in its own float32.
    energy = FixedLists.of(potential(trained.net, frame))
    end = simulate(
        energy, jnp.asarray(frame.positions), jnp.asarray(start.velocities[0]), dt=0.5 * units.fs,
        steps=round(2000 * picoseconds), mass=jnp.asarray(start.masses), trace=Trace(_seen, 8),
    )  # fmt: skip
    points, value, kinetic, total, time = (np.asarray(each, np.float64) for each in end.trace)
    moving = 3 * len(frame.numbers) - 6
    return {"points": points, "potential": value, "total": total, "time": time / (1000 * units.fs),
            "heat": 2 * kinetic / (moving * units.kB)}  # fmt: skip


def _seen(walk: Any) -> tuple[Any, ...]:
    return walk.x, walk.value, walk.kinetic, walk.conserved, walk.time


def _slider(numbers: np.ndarray, run: dict[str, np.ndarray]) -> Block:
    from thalweg.atoms.figures.molecule import molecule_slider

    shown = 101
    return molecule_slider(
        "Ethanol at 300 K", numbers, run["points"][:shown], 1000 * run["time"][:shown], run["potential"][:shown],
        labels=("time (fs)", "Potential energy (eV)"),
        caption="The first 400 fs at constant energy, relative to the isolated atoms. What the potential energy "
        "loses, the motion of the atoms gains.",
    )  # fmt: skip


def _drift_claim(run: dict[str, np.ndarray], picoseconds: float, atoms: int, watch: Stopwatch) -> Claim:
    from thalweg.atoms.tasks.conserved import line_through

    line = line_through(run["time"], run["total"] / atoms)
    allowed = _DRIFT * 10 / picoseconds
    told = f"standard error {line.error:.1e} eV/atom/ps, {run['heat'].mean():.0f} K in the mean"
    return Claim(
        id="moving-drift",
        system=_SYSTEM,
        statement=f"In {picoseconds} ps at constant energy, 300 K and steps of 0.5 fs, the energy does not drift.",
        measured=line.slope,
        expected=0.0,
        tolerance=allowed,
        holds=abs(line.slope) <= allowed,
        seconds=watch.lap(),
        source=f"Least squares over {len(run['time']):,} records; {told}. In so short a run energy that wanders "
        "between slow and fast vibrations looks like drift: six runs of 10 ps, from other starts and in both "
        "precisions, had slopes up to 6.6e-6",
        command=_COMMAND,
        unit="eV/atom/ps",
    )


def _forces_claim(subject: Any, frames: list[Any], watch: Stopwatch) -> Claim:
    from thalweg.atoms.tasks.audit_forces import differences

    found = [differences(subject, frame, [0, place]) for place, frame in enumerate(frames[:_FRAMES])]
    worst = float(np.max([each["force_fd_relative"] for each in found]))
    return Claim(
        id="moving-forces",
        system=f"{_SYSTEM}, float64, {_FRAMES} frames",
        statement="The forces are the slopes of the energy: they equal its central differences.",
        measured=worst,
        expected=0.0,
        tolerance=1e-6,
        holds=worst <= 1e-6,
        seconds=watch.lap(),
        source="Ridders' extrapolation of central differences; also exposes forces that a network predicts by itself",
        command=_AUDIT,
        unit="of the force",
    )


def _symmetry_claim(subject: Any, frames: list[Any], watch: Stopwatch) -> Claim:
    from thalweg.atoms.tasks.audit_symmetry import symmetries

    names = [f"{kind}_eV_per_atom" for kind in ("rotation", "reflection", "translation", "permutation")]
    found = [symmetries(subject, frame, [1, place]) for place, frame in enumerate(frames[:_FRAMES])]
    worst = float(np.max([each[name] for each in found for name in names]))
    return Claim(
        id="moving-symmetry",
        system=f"{_SYSTEM}, float64, {_FRAMES} frames",
        statement="Turning, mirroring and moving the molecule, and exchanging its equal atoms, leave the energy alone.",
        measured=worst,
        expected=0.0,
        tolerance=1e-10,
        holds=worst <= 1e-10,
        seconds=watch.lap(),
        source="Distances and invariants of densities are all that is read; 1e-10 is the bar of this room",
        command=_AUDIT,
        unit="eV/atom",
    )


def _error_claim(subject: Any, trained: Any, frames: list[Any], watch: Stopwatch) -> Claim:
    from thalweg import samples
    from thalweg.atoms.chapter.again import off

    expected = float(samples.card("ethanol_gfn2_potential")["test_300K_force_mae_meV_A"])
    energy, force = off(subject, trained, frames)
    return Claim(
        id="moving-errors",
        system=f"{_SYSTEM}: {len(frames)} frames that it never saw",
        statement=f"The shipped potential is as good as its card says; its energies are off by {energy:.2f} meV.",
        measured=force,
        expected=expected,
        tolerance=0.02 * expected,
        holds=abs(force - expected) <= 0.02 * expected,
        seconds=watch.lap(),
        source="Mean absolute error of force components; the card's third digit, and float32 against float64",
        command="thalweg atoms evaluate your_potential your_test.xyz",
        unit="meV/A",
    )


def chapters() -> tuple[Chapter, ...]:
    """The chapter of ethanol that moves."""
    return (Chapter("moving", 7, "Ethanol moves on a network of orbitals", _COMMAND, 60.0, _moving),)
