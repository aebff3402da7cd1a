"""Chapter 2: networks that see distances and orbitals, beside one that sees x, y and z."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from thalweg.atoms.chapter.quickly import quickly
from thalweg.report.blocks import Block, Citations, Claim, Prose, Table
from thalweg.report.chapter import Chapter, Stopwatch, Telling

_COMMAND = "thalweg atoms compare your_frames.xyz"
_AUDIT = "thalweg atoms audit your_potential your_test.xyz"
_TURNS = 24
_STORY = (
    "The energy of a molecule does not know how it is turned. A network that reads distances, or scalars made of "
    "orbitals, does not know either, whatever its weights; one that reads x, y and z has to be taught every direction, "
    "and never quite learns it."
)


def _turning(telling: Telling) -> Iterator[Block]:
    from thalweg.atoms.data.read import read
    from thalweg.atoms.figures.train import ORBITALS
    from thalweg.atoms.tasks.audit_symmetry import random_rotation
    from thalweg.atoms.tasks.trained import load_trained

    watch = Stopwatch()
    yield Prose(_STORY)
    telling.note("compiling three networks, and turning a water molecule")
    water = read("water")[0]
    shipped = load_trained("ethanol").cast(np.float64).net
    random = np.random.default_rng(0)
    turns = np.stack([random_rotation(random) for _ in range(_TURNS)])
    nets = {"gto": shipped, "radial": _fresh("radial", water, shipped), "naive": _fresh("naive", water, shipped)}
    energies = {name: _turned(net, water, turns) for name, net in nets.items()}
    yield _slider(nets["naive"], water)
    yield _energy_claim(energies, {name: _bent(nets[name], water) for name in ("gto", "radial")}, watch)
    yield _naive_claim(energies["naive"], watch)
    yield from _density_claims(shipped, water, turns[0], watch)
    if telling.effort == "quick":
        yield Prose("The three networks are taught side by side without `--quick`.")
    else:
        yield from _learning(telling, random, watch)
    yield Citations([ORBITALS])


def _fresh(kind: str, frame: Any, like: Any) -> Any:
    """A network with random weights, in double precision."""
    from thalweg.atoms.chapter.lessons import SMALL
    from thalweg.atoms.model.build import network

    key, atoms = jax.random.key(1), len(frame.numbers)
    return eqx.filter_jit(network)(kind, SMALL, like.elements, key, np.dtype(np.float64), atoms=atoms)


def _asked(energy: Any, points: Any) -> Any:
    return jax.lax.map(energy, points)


def _energies(net: Any, frame: Any, points: np.ndarray) -> np.ndarray:
    """What a network says of the atoms of a frame at several places; always as many, for one compilation."""
    from thalweg.atoms.energy import potential

    return np.asarray(quickly(_asked, potential(net, frame), jnp.asarray(points)))


def _turned(net: Any, frame: Any, turns: np.ndarray) -> np.ndarray:
    """The energies of a frame as it is and turned."""
    points = np.concatenate([frame.positions[None], np.einsum("tab,nb->tna", turns, frame.positions)])
    return _energies(net, frame, points)


def _bent(net: Any, frame: Any) -> float:
    """By how much the energy changes when an atom moves by a tenth of an Angstrom: by nothing for a dead network."""
    points = np.broadcast_to(frame.positions, (_TURNS + 1, *frame.positions.shape)).copy()
    points[1:, 1] += 0.1 / np.sqrt(3)
    found = _energies(net, frame, points)
    return float(abs(found[1] - found[0]))


def _about_z(degrees: np.ndarray) -> np.ndarray:
    angle, zero = np.deg2rad(degrees), np.zeros(len(degrees))
    rows = [[np.cos(angle), -np.sin(angle), zero], [np.sin(angle), np.cos(angle), zero], [zero, zero, zero + 1]]
    return np.moveaxis(np.array(rows), 2, 0)


def _slider(naive: Any, water: Any) -> Block:
    from thalweg.atoms.figures.molecule import molecule_slider

    # Laid into the plane that is looked at, about whose normal it turns.
    flat = np.linalg.svd(water.positions - water.positions.mean(axis=0))[2]
    water = water._replace(positions=water.positions @ flat.T)
    degrees = np.linspace(0, 360, 3 * _TURNS + 1)
    turns = _about_z(degrees[:-1]).reshape(3, _TURNS, 3, 3)
    rounds = np.concatenate([_turned(naive, water, part)[1:] for part in turns])
    points = np.einsum("tab,nb->tna", _about_z(degrees), water.positions)
    return molecule_slider(
        "Water turns, and with it what the naive network says", water.numbers, points, degrees,
        np.append(rounds, rounds[0]), labels=("angle (°)", "Energy of the naive network (eV)"),
        caption="A network that reads x, y and z, with random weights. The true energy is a straight line, and so are "
        "those of the other two networks.",
    )  # fmt: skip


def _energy_claim(energies: dict[str, np.ndarray], bent: dict[str, float], watch: Stopwatch) -> Claim:
    # By NumPy, whose largest of some numbers is not a number where one of them is none.
    worst = float(np.max([np.abs(energies[name] - energies[name][0]).max() for name in ("gto", "radial")]))
    least = float(np.min(list(bent.values())))
    return Claim(
        id="turning-energy",
        system="Water, float64; orbitals as shipped, and a network of distances with random weights",
        statement=f"Turned {_TURNS} times at random, the molecule keeps its energy in both networks.",
        measured=worst,
        expected=0.0,
        tolerance=1e-10,
        holds=worst <= 1e-10 and least > 1e-6,
        seconds=watch.lap(),
        source=f"Invariance by construction; that they see anything at all: a hydrogen moved by 0.1 A changes the "
        f"energy by at least {least:.2g} eV",
        command=_AUDIT,
        unit="eV",
    )


def _naive_claim(energies: np.ndarray, watch: Stopwatch) -> Claim:
    worst = float(np.abs(energies - energies[0]).max())
    return Claim(
        id="turning-naive",
        system="The same molecule, turned the same way; a network of x, y and z with random weights",
        statement="A network that reads coordinates says another energy for every direction.",
        measured=worst,
        expected="more than 0.001",
        tolerance="one-sided",
        holds=worst > 1e-3,
        seconds=watch.lap(),
        source="Nothing in it knows what a rotation is; without --quick it is taught turned frames, and asked again",
        command=_AUDIT,
        unit="eV",
    )


def _walked(net: Any, atoms: Any) -> Any:
    return [(density, raw) for density, raw, _ in net.walk(atoms)]


def _density_claims(net: Any, water: Any, turn: np.ndarray, watch: Stopwatch) -> Iterator[Claim]:
    """Water, water turned, and water with its atoms in line: the oxygen comes first."""
    from thalweg.atoms.tasks.audit_symmetry import turned
    from thalweg.atoms.tasks.prepare import framed

    arms = water.positions - water.positions[0]
    lengths = np.linalg.norm(arms, axis=1, keepdims=True)
    line = water._replace(positions=lengths * np.array([[0.0], [1.0], [-1.0]]) * arms[1] / lengths[1])
    three = framed([water, turned(water, turn), line], net.elements, net.cutoff, np.float64)
    walked = quickly(_walked, net, three.atoms(three.positions, jnp.zeros((3, 3, 3))))
    yield _wigner_claim([density for density, _ in walked], turn, watch)
    yield _direction_claim(walked[0], watch)


def _wigner_claim(densities: Any, turn: np.ndarray, watch: Stopwatch) -> Claim:
    from thalweg.atoms.model.harmonics import turning

    off, moves = [], []
    for density in densities:
        for degree, each in enumerate(density):
            before, after = np.asarray(each[..., :3]), np.asarray(each[..., 3:6])
            size = np.abs(before).max()
            expected = np.einsum("ab,kbn->kan", turning(degree, turn), before)
            off.append(np.abs(after - expected).max() / size)
            moves += [np.abs(after - before).max() / size] if degree else []
    worst, moved = float(np.max(off)), float(np.min(moves))
    return Claim(
        id="turning-wigner",
        system="The shipped network on water, both layers, degrees 0 to 2, float64",
        statement="When the molecule turns, the coefficients of its orbitals turn by Wigner's matrices.",
        measured=worst,
        expected=0.0,
        tolerance=1e-12,
        holds=worst <= 1e-12 and moved > 0.01,
        seconds=watch.lap(),
        source=f"Y(R r) = D(R) Y(r); without the matrices every one differs by at least {moved:.2g} of the largest",
        command=_AUDIT,
        unit="of the largest",
    )


def _direction_claim(walked: Any, watch: Stopwatch) -> Claim:
    raw = np.asarray(walked[1])
    channels = walked[0][0].shape[0]
    bent, straight = raw[:, 0], raw[:, 6]
    apart = np.abs(bent - straight) / np.abs(raw).max()
    blind, sighted = float(apart[:channels].max()), float(apart[channels:].max())
    return Claim(
        id="turning-directions",
        system="The oxygen of water as it is, and with its hydrogens in line at the same distances",
        statement="Distances to a centre alone do not tell the two apart; orbitals with a direction do.",
        measured=blind,
        expected=0.0,
        tolerance=1e-14,
        holds=blind <= 1e-14 and sighted > 1e-3,
        seconds=watch.lap(),
        source=f"Equal distances, equal densities of degree 0; what degrees 1 and 2 say differs by {sighted:.2g}",
        command=_COMMAND,
        unit="of the largest",
    )


def _learning(telling: Telling, random: np.random.Generator, watch: Stopwatch) -> Iterator[Block]:
    from thalweg.atoms.chapter.lessons import TIMES, lesson
    from thalweg.atoms.data.read import read
    from thalweg.atoms.figures.lessons import lessons_figure
    from thalweg.atoms.tasks.training import material

    steps = 900
    given = material("ethanol", seed=0)
    test = [frame for frame in read("ethanol") if frame.info["split"] == "test" and frame.info["temperature"] < 400]
    found = []
    for name in ("radial", "gto", "naive"):
        telling.note(f"compiling, and teaching a network: {name}")
        found.append(lesson(name, given, test, steps))
    yield lessons_figure(found)
    system = f"{len(given.frames)} frames of ethanol at 300 K with GFN2-xTB labels, {len(test)} others to test, float32"
    last = {each.name: float(each.errors[-1]) for each in found}
    rows = [(each.name, int(each.steps[-1]), last[each.name]) for each in found]
    yield Table(("network", "steps of 8 frames", "error of forces (meV/A)"), rows, "At the end of the lesson.")
    yield Claim(
        id="turning-learning",
        system=system,
        statement=f"After {steps} steps a network of distances errs less than half as much as one of coordinates after "
        f"{TIMES * steps:,}, which was shown every frame turned at random.",
        measured=last["radial"] / last["naive"],
        expected="below 1/2",
        tolerance="one-sided",
        holds=last["radial"] < 0.5 * last["naive"],
        seconds=watch.lap(),
        source="Mean absolute errors of forces; the command tunes the network of coordinates first",
        command=_COMMAND,
        unit="of its error",
    )
    yield Claim(
        id="turning-orbitals",
        system=f"{system}; one layer of orbitals of degrees 0 and 1, or of degree 0 only",
        statement="Orbitals with a direction learn more in the same steps than distances do.",
        measured=last["gto"] / last["radial"],
        expected="below 0.9",
        tolerance="one-sided",
        holds=last["gto"] < 0.9 * last["radial"],
        seconds=watch.lap(),
        source="The same program with the coefficients of directed orbitals held at zero",
        command=_COMMAND,
        unit="of its error",
    )
    yield _augmented_claim(found[-1].net, test[0], random, watch)


def _augmented_claim(net: Any, frame: Any, random: np.random.Generator, watch: Stopwatch) -> Claim:
    from thalweg.atoms.tasks.audit_symmetry import random_rotation

    turns = np.stack([random_rotation(random) for _ in range(_TURNS)])
    wide = jax.tree.map(lambda leaf: leaf.astype(np.float64) if eqx.is_inexact_array(leaf) else leaf, net)
    energies = _turned(wide, frame, turns)
    spread = float(np.std(energies))
    return Claim(
        id="turning-taught",
        system="Ethanol, a frame that was not learnt from; the naive network after its lesson, float64",
        statement="Having been shown tens of thousands of turned frames, coordinates still tell directions apart.",
        measured=spread,
        expected="more than 0.001",
        tolerance="one-sided",
        holds=spread > 1e-3,
        seconds=watch.lap(),
        source=f"Standard deviation of the energy over {_TURNS} random rotations",
        command=_AUDIT,
        unit="eV",
    )


def chapters() -> tuple[Chapter, ...]:
    """The chapter of networks that turn with what they see."""
    return (Chapter("turning", 2, "A molecule turns, and its energy stays", _COMMAND, 80.0, _turning),)
