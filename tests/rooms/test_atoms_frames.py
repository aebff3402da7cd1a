"""Frames of atoms: what they must be before anything is computed from them, and the lists of neighbours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("ase", reason="needs thalweg[atoms]")
pytest.importorskip("vesin", reason="needs thalweg[atoms]")

from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from thalweg import samples
from thalweg.atoms.data.ase_atoms import from_atoms
from thalweg.atoms.data.check import apart, known, labelled, overlaps, sound
from thalweg.atoms.data.frame import Frame, elements_of
from thalweg.atoms.data.lists import neighbour_lists
from thalweg.atoms.data.read import read
from thalweg.atoms.data.reference import reference_energies
from thalweg.atoms.data.units import agreement, units_agree
from thalweg.core.errors import InputError

PRINTED = 0.6e-8  # half of the last digit that extended XYZ prints, and a little for its own rounding


@pytest.fixture(scope="module")
def ethanol() -> list[Frame]:
    return read("ethanol")


@pytest.fixture(scope="module")
def head() -> str:
    """The text of the first three frames of a real file."""
    return "".join(samples.path("ethanol_gfn2").read_text().splitlines(keepends=True)[:33])


def crystal(shake: float = 0.1, seed: int = 0, **more) -> Frame:
    atoms = bulk("Cu", cubic=True)
    atoms.positions += np.random.default_rng(seed).normal(0, shake, (4, 3))
    atoms.calc = EMT()
    atoms.get_stress()
    return from_atoms(atoms, f"crystal, frame {seed}")._replace(**more)


# Checks


def test_labels_elements_and_overlaps(ethanol):
    some = [ethanol[0], ethanol[1]._replace(forces=None, place="b.xyz, frame 1")]
    with pytest.raises(InputError, match=r"b.xyz, frame 1: has no forces, as 1 of 2 frames"):
        labelled(some)
    labelled(some, forces=False)
    with pytest.raises(InputError, match=r"frame 0: atom 2 is O, but the model knows only H, C"):
        known(ethanol, (1, 6))
    assert elements_of(ethanol) == (1, 6, 8)
    apart(ethanol)
    pair = Frame(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 0.35]]), np.zeros((3, 3)), place="pair")
    apart([pair])  # as near as scans of dimers go
    with pytest.raises(InputError, match=r"pair: atoms H 0 and H 1 are 0.1 A apart"):
        apart([pair._replace(positions=np.array([[0, 0, 0], [0, 0, 0.1]]))])
    through = pair._replace(positions=np.array([[0, 0, 0], [0, 0, 2.95]]), cell=3 * np.eye(3), periodic=(True,) * 3)
    assert overlaps([through])[0].distance == pytest.approx(0.05)  # through the wall of the cell
    twice = [pair._replace(positions=np.zeros((2, 3)))] * 2
    with pytest.raises(InputError, match="1 further frames"):
        apart(twice)
    for wrong in (
        {"numbers": np.array([1, 119])},
        {"numbers": np.array([0, 1])},
        {"forces": np.zeros((3, 3))},
        {"stress": np.full((3, 3), np.inf)},
        {"cell": np.full((3, 3), np.nan)},
        {"periodic": (False, True, False)},
    ):
        with pytest.raises(InputError, match=r"^pair: "):
            sound(pair._replace(**wrong))


@pytest.mark.parametrize(
    ("energy", "force", "said"),
    [
        (1 / 27.2114, 1, "energies in Hartree and forces in eV/A"),
        (23.0605, 1, "energies in kcal/mol and forces in eV/A"),
        (27.2114, 1, "differ by 27"),
        (0.0434, 1, "differ by 0.04"),
        (1, 1 / 51.4221, "forces in Hartree/Bohr"),
        (1, -1, "gradients"),
    ],
)
def test_units_that_contradict_each_other(ethanol, energy, force, said):
    mixed = [frame._replace(energy=frame.energy * energy, forces=frame.forces * force) for frame in ethanol]
    with pytest.raises(InputError, match=said):
        units_agree(mixed)
    notes: list[str] = []
    units_agree(mixed, "trust", note=notes.append)
    assert said in notes[0]


def test_sound_units_raise_no_alarm(ethanol):
    # Subsets, turned frames, crystals and scattered clusters. No chance is involved: the seeds are fixed.
    assert agreement(ethanol).verdict == "agree"
    for seed in range(4):
        rng = np.random.default_rng(seed)
        for count in (2, 10, 40, 150):
            some = [ethanol[at] for at in rng.permutation(len(ethanol))[:count]]
            turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            turn *= np.linalg.det(turn)
            some = [frame._replace(positions=frame.positions @ turn, forces=frame.forces @ turn) for frame in some]
            assert agreement(some).verdict in ("agree", "unknown")
    for shake in (0.05, 0.2, 0.5):
        assert agreement([crystal(shake, seed) for seed in range(40)]).verdict in ("agree", "unknown")
    assert agreement([crystal(0.1, seed) for seed in range(40)]).verdict == "agree"
    assert agreement(ethanol[:1]).verdict == "unknown"
    assert agreement([ethanol[0], ethanol[0]]).verdict == "unknown"


def test_reference_energies(ethanol):
    def alone(number: int, energy: float) -> Frame:
        return Frame(np.array([number]), np.zeros((1, 3)), np.zeros((3, 3)), energy=energy, place=f"atom {number}")

    card = samples.card("ethanol_gfn2")["isolated_atoms"]
    atoms = [alone(1, card["H"]), alone(6, card["C"]), alone(8, card["O"])]
    energies, how = reference_energies(ethanol, atoms)
    assert energies == {1: card["H"], 6: card["C"], 8: card["O"]}
    assert how.endswith("those of isolated atoms.")
    assert reference_energies([*ethanol, *atoms])[0] == energies
    fitted, how = reference_energies(ethanol)
    assert "only 1 of 3" in how  # a single composition
    mean = np.mean([frame.energy for frame in ethanol])
    assert 6 * fitted[1] + 2 * fitted[6] + fitted[8] == pytest.approx(mean, abs=1e-9)  # float64 at 300 eV
    assert fitted[1] / 6 == pytest.approx(fitted[8], rel=1e-9)  # of least norm: along the composition
    made = [Frame(np.array(z), np.arange(3.0 * len(z)).reshape(-1, 3), np.zeros((3, 3)), energy=e) for z, e in
            (([1, 1], -4.0), ([1, 8], -12.0), ([1, 1, 8], -14.0))]  # fmt: skip
    assert reference_energies(made)[0] == pytest.approx({1: -2.0, 8: -10.0}, rel=1e-9)
    assert reference_energies(made, [alone(1, -2.0)])[0] == pytest.approx({1: -2.0, 8: -10.0}, rel=1e-9)
    with pytest.raises(InputError, match="from one method"):
        reference_energies(ethanol, [atom._replace(energy=(atom.energy or 0) / 27.2114) for atom in atoms])
    with pytest.raises(InputError, match="isolated H"):
        reference_energies([*atoms, alone(1, -3.0)])
    with pytest.raises(InputError, match="has no energy"):
        reference_energies([frame._replace(energy=None) for frame in ethanol])


# Lists


def counted(frame: Frame, cutoff: float) -> set[tuple[int, int, int, int, int]]:
    """All pairs by trying every image that could matter."""
    reach = [0, 0, 0]
    if any(frame.periodic):
        steep = np.linalg.norm(np.linalg.pinv(frame.cell), axis=0)
        spread = np.ptp(frame.positions @ np.linalg.pinv(frame.cell), axis=0)
        reach = [int(np.ceil(cutoff * h + s)) if p else 0
                 for p, h, s in zip(frame.periodic, steep, spread, strict=True)]  # fmt: skip
    found = set()
    for image in itertools.product(*(range(-most, most + 1) for most in reach)):
        vectors = frame.positions[None] + np.array(image) @ frame.cell - frame.positions[:, None]
        near = np.linalg.norm(vectors, axis=-1) < cutoff
        if image == (0, 0, 0):
            np.fill_diagonal(near, False)
        found |= {(int(i), int(j), *image) for i, j in np.argwhere(near)}
    return found


@pytest.mark.parametrize(
    "periodic", [(False, False, False), (True, True, True), (True, False, True), (False, False, True)]
)
def test_lists_against_counting(periodic):
    rng = np.random.default_rng(sum(2**place * each for place, each in enumerate(periodic)))
    frames = []
    for count in (1, 2, 5, 9):
        cell = np.where(np.array(periodic)[:, None], 2.7 * np.eye(3) + rng.uniform(-0.6, 0.6, (3, 3)), 0.0)
        # Some atoms lie outside of the cell, as in a trajectory that was not wrapped.
        frames.append(Frame(rng.choice([1, 8, 14], count), rng.uniform(-3, 6, (count, 3)), cell, periodic))
    cutoff, elements = 4.1, (1, 6, 8, 14)  # larger than the cell: atoms see images of themselves
    lists = neighbour_lists(frames, elements, cutoff)
    assert lists.index[1].shape == (4, 9, 0)  # no carbon anywhere
    for at, frame in enumerate(frames):
        count = len(frame.numbers)
        assert lists.real[at].tolist() == [True] * count + [False] * (9 - count)
        assert [elements[s] for s in lists.species[at, :count]] == frame.numbers.tolist()
        assert (lists.species[at, count:] == -1).all()
        found = []
        for one, (index, offset, far) in enumerate(zip(lists.index, lists.offset, lists.far, strict=True)):
            own = np.broadcast_to(np.arange(9)[:, None], far[at].shape)
            assert (index[at][far[at]] == own[far[at]]).all()  # empty slots show the atom itself
            assert not offset[at][far[at]].any()
            assert far[at, count:].all()
            atoms, slots = np.nonzero(~far[at])
            assert (lists.species[at, index[at, atoms, slots]] == one).all()
            found += [(int(i), int(index[at, i, s]), *map(int, offset[at, i, s])) for i, s in zip(atoms, slots,
                      strict=True)]  # fmt: skip
            vectors = lists.positions[at, index[at]] - lists.positions[at, :, None] + offset[at] @ lists.cells[at]
            assert (np.linalg.norm(vectors, axis=-1)[~far[at]] < cutoff).all()
        assert len(found) == len(set(found))
        assert set(found) == counted(frame, cutoff)


def test_lists_of_molecules_and_their_padding(ethanol):
    lists = neighbour_lists(ethanol[:50], (1, 6, 8), 20.0)
    assert [index.shape for index in lists.index] == [(50, 9, 6), (50, 9, 2), (50, 9, 1)]
    assert [int((~far).sum()) for far in lists.far] == [50 * 48, 50 * 16, 50 * 8]
    again = neighbour_lists(ethanol[:50], (1, 6, 8), 20.0)
    assert all(np.array_equal(*both) for both in zip(lists.index, again.index, strict=True))
    wide = neighbour_lists(ethanol[:2], (1, 6, 8), 2.0, atoms=11, slots=(7, 3, 3))
    assert [index.shape for index in wide.index] == [(2, 11, 7), (2, 11, 3), (2, 11, 3)]
    assert neighbour_lists([], (1, 6), 3.0).index[0].shape == (0, 0, 0)
    with pytest.raises(InputError, match="the cutoff is -1"):
        neighbour_lists(ethanol, (1, 6, 8), -1)
    with pytest.raises(InputError, match="is O"):
        neighbour_lists(ethanol, (1, 6), 3.0)
    lost = Frame(
        np.array([1, 1]), np.array([[0, 0, 0], [900.0, 0, 0]]), 3 * np.eye(3), (True, True, True), place="lost"
    )
    with pytest.raises(InputError, match="lost: atoms lie more than 127 cells"):
        neighbour_lists([lost], (1,), 4.0)


def test_an_atom_that_flew_off(ethanol):
    # vesin 0.6.2 ends the process for such long and narrow frames, unless it is asked with care.
    away = ethanol[0].positions.copy()
    away[0, 0] = 99_000.0
    far = neighbour_lists([ethanol[0]._replace(positions=away)], (1, 6, 8), 0.9).far
    near = np.linalg.norm(away[:, None] - away, axis=-1) < 0.9
    assert sum(int((~each).sum()) for each in far) == near.sum() - 9
    assert not overlaps([ethanol[0]._replace(positions=away)])
    for place in (2e5, np.nan, np.inf):
        away[0, 0] = place
        with pytest.raises(InputError, match="reach beyond 100000 A"):
            neighbour_lists([ethanol[0]._replace(positions=away)], (1, 6, 8), 3.0)


def test_atoms_by_themselves():
    single = Atoms("H", pbc=False)
    frame = from_atoms(single, "one")
    assert neighbour_lists([frame], (1,), 5.0).index[0].shape == (1, 1, 0)
    with pytest.raises(InputError, match="holds no atoms"):
        from_atoms(Atoms(), "none")
