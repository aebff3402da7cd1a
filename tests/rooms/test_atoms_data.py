"""Frames of atoms: what is read, what is refused and how, and what is written."""

from __future__ import annotations

import gzip
import pickle
import shutil
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

pytest.importorskip("ase", reason="needs thalweg[atoms]")
pytest.importorskip("vesin", reason="needs thalweg[atoms]")

from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read as ase_read
from ase.io import write as ase_write

from thalweg import samples
from thalweg.atoms.data.ase_atoms import from_atoms, to_atoms
from thalweg.atoms.data.check import labelled, sound
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.read import files, read
from thalweg.atoms.data.reference import reference_energies
from thalweg.atoms.data.units import units_agree
from thalweg.atoms.data.write import Trajectory, text_of_frame, write
from thalweg.core.errors import InputError, ThalwegError

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


def refused(path: Path, text: str | bytes, *words: str, **options) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read(path, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in (str(path), *words):
        assert word in sentence, sentence
    return sentence


# Reading


def test_samples_and_selections(ethanol, tmp_path, monkeypatch):
    assert len(ethanol) == 400
    first = ethanol[0]
    assert first.energy == -309.78881417
    assert first.periodic == (False, False, False)
    assert first.volume is None
    assert first.info["split"] == "train"
    assert first.place.endswith("ethanol_gfn2.xyz, frame 0")
    path = samples.path("ethanol_gfn2")
    assert files("ethanol") == [path]
    picked = read(f"{path}@2:6:2")
    assert [frame.place.split()[-1] for frame in picked] == ["2", "4"]
    assert read(f"{path}@-1")[0].energy == ethanol[-1].energy
    assert len(read("water")) == 1
    for wrong in ("@400", "@x", "@5:5"):
        with pytest.raises(InputError, match="picks none"):
            read(f"{path}{wrong}")
    for opener, name in ((gzip.open, "a.xyz.gz"), (open, "b.extxyz")):
        with opener(tmp_path / name, "wt") as file:
            file.write(path.read_text())
        assert np.array_equal(read(tmp_path / name)[7].positions, ethanol[7].positions)
    again = pickle.loads(pickle.dumps(Frame(first.numbers, first.positions, first.cell)))
    assert np.array_equal(again.positions, first.positions)


def test_what_ase_reads_and_what_it_holds(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    energy = atoms.get_potential_energy()
    ase_write(tmp_path / "copper.traj", atoms)
    assert read(tmp_path / "copper.traj")[0].energy == energy
    ase_write(tmp_path / "copper.cif", atoms)
    assert read(tmp_path / "copper.cif")[0].periodic == (True, True, True)
    held = read([atoms, atoms])
    assert held[1].energy == energy
    assert held[1].place == "the Atoms, frame 1"
    atoms.positions[0, 0] += 0.1  # what was computed belongs to other positions now
    assert read(atoms)[0].energy is None
    assert read(held)[0] is held[0]
    with pytest.raises(InputError, match="item 0"):
        read([3])  # pyright: ignore[reportArgumentType]


def test_keys_of_labels(tmp_path):
    def file(header: str, columns: str = "", row: str = "") -> Path:
        (tmp_path / "a.xyz").write_text(
            f"1\nProperties=species:S:1:pos:R:3{columns} {header}\nH 0 0 0 {row}\n".replace(" \n", "\n")
        )
        return tmp_path / "a.xyz"

    notes: list[str] = []
    both = read(file("REF_energy=-1 energy=-2", ":forces:R:3:REF_forces:R:3", "1 1 1 2 2 2"), note=notes.append)[0]
    assert both.energy == -1
    assert both.forces is not None
    assert both.forces.tolist() == [[2, 2, 2]]
    assert any("REF_energy (1 frames), not from energy" in note for note in notes)
    assert read(file("free_energy=-3"))[0].energy == -3
    assert read(file("energy=-4 dft=-5"), energy_key="dft")[0].energy == -5
    with pytest.raises(InputError, match=r"has no energy; it has dft_energy.*--energy-key"):
        labelled(read(file("dft_energy=-4")))
    refused(tmp_path / "b.xyz", "1\nenergy=low\nH 0 0 0\n", "frame 0", "energy is 'low'")
    stress = "1 2 3 4 5 6"
    lattice = 'Lattice="2 0 0 0 2 0 0 0 2"'
    whole = read(file(f'{lattice} stress="{stress}"'))[0].stress
    assert whole is not None
    assert whole.tolist() == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]
    virial = read(file(f'{lattice} virials="8 0 0 0 16 0 0 0 24"'))[0].stress
    assert virial is not None
    assert np.diag(virial) == pytest.approx([-1, -2, -3])  # a volume from a determinant
    assert read(file(f'stress="{stress}" pbc="F F F"'))[0].stress is None
    box = read(file('Lattice="50 0 0 0 50 0 0 0 50" pbc="F F F"'))[0]
    assert box.periodic == (False, False, False)
    assert box.volume is None


def test_damaged_text_is_one_sentence(head, tmp_path):
    path, lines = tmp_path / "bad.xyz", head.splitlines()
    refused(path, "", "is empty")
    refused(path, "\n".join(lines[:28]), "frame 2, line 23", "9 atoms", "after 4")
    refused(path, "\n".join(["8", *lines[1:]]), "frame 1, line 11", "number of atoms")
    refused(path, "\n".join(["10", *lines[1:]]), "line 13", "check the number of atoms of frame 0")
    refused(path, head.replace("-0.89766018", "", 1), "frame 0, line 3", "6 columns where 7")
    refused(path, "0\n\n", "has no atoms")
    refused(path, "\n".join([*lines[:11], "", "what", ""]), "'what' stands where the number of atoms should")
    refused(path, head.replace("C  ", "Qq ", 1), "frame 0", "'Qq'", "no element")
    refused(path, head.replace("1.06285743", "1.06x", 1), "frame 0, line 3", "'1.06x' is no number")
    refused(path, head.replace("1.06285743", "nan", 1), "frame 0", "position of atom 0", "not finite")
    refused(path, head.replace("-0.13372554", "inf", 1), "frame 0", "force of atom 0", "not finite")
    refused(path, head.replace("energy=-309.78881417", "energy=nan", 1), "frame 0", "energy is not finite")
    refused(path, head.replace('pbc="F F F"', 'pbc="T T T"', 1), "frame 0", "no volume")
    refused(path, head.replace('pbc="F F F"', 'pbc="F F maybe"', 1), "frame 0, line 2", "pbc")
    refused(path, head.replace("pos:R:3", "pos:R:2", 1), "frame 0, line 2", "Properties")
    refused(path, head.replace("forces:R:3", "forces:R:99999999", 1), "frame 0, line 2", "name:type:columns")
    refused(path, head.encode() + b"\xff\xfe", "is no text")
    refused(tmp_path / "cut.xyz.gz", gzip.compress(head.encode())[:-40], "cannot be read")
    refused(tmp_path / "odd.cif", "nonsense", "ASE cannot read it")
    with pytest.raises(InputError, match="no such file"):
        read("nowhere.xyz")
    flat = f'1\nLattice="2 0 0 4 0 0 0 0 2"\nH 0 0 0\n{head}'
    refused(path, flat, "frame 0", "no volume")
    thin = f'1\nLattice="2 0 0 0 2 0 0 0 0.001"\nH 0 0 0\n{head}'
    refused(path, thin, "frame 0", "0.001 A thick")
    refused(path, head.replace("1.06285743", "1e9", 1), "frame 0: atom 0", "beyond 100000 A")
    # Blank lines between frames are passed over; ASE would leave out what follows them.
    path.write_text("\n".join([*lines[:11], "", *lines[11:22]]) + "\n\n")
    assert len(read(path)) == 2


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2), st.binary(min_size=1, max_size=3)), max_size=4),
    st.integers(0, 2000),
    st.booleans(),
)
def test_mutated_files_give_frames_or_one_sentence(head, tmp_path, changes, cut, cuts):
    content = bytearray(head.encode())
    for place, kind, new in changes:
        place %= len(content)
        content[place : place + (len(new) if kind == 0 else 0 if kind == 1 else 3)] = new if kind < 2 else b""
    path = tmp_path / "mutated.xyz"
    path.write_bytes(content[:cut] if cuts else content)
    try:
        frames = read(path)
    except ThalwegError as error:
        sentence = str(error)
    else:
        sentence = f"{path}"
        for frame in frames:
            sound(frame)
    assert "\n" not in sentence
    assert str(path) in sentence


def given(value):
    assert value is not None
    return value


def deepmd(folder: Path, frames: list[Frame], **arrays) -> Path:
    part = folder / "set.000"
    part.mkdir(parents=True)
    (folder / "type.raw").write_text("\n".join("0" for _ in frames[0].numbers))
    held = {
        "coord": np.stack([frame.positions.ravel() for frame in frames]),
        "box": np.stack([frame.cell.ravel() for frame in frames]),
        "energy": np.array([frame.energy for frame in frames]),
        "force": np.stack([np.ravel(given(frame.forces)) for frame in frames]),
        "virial": np.stack([-given(frame.volume) * np.ravel(given(frame.stress)) for frame in frames]),
    }
    for name, array in (held | arrays).items():
        np.save(part / f"{name}.npy", np.asarray(array, np.float32))
    return folder


def test_folders_of_deepmd(tmp_path):
    frames = [crystal(seed=seed) for seed in range(3)]
    folder = deepmd(tmp_path / "one", frames)
    with pytest.raises(InputError, match=r"nothing says which elements.*--type-map"):
        read(folder)
    for listed in (["Cu"], None):
        if listed is None:
            (folder / "type_map.raw").write_text("Cu\n")
        found = read(folder, type_map=listed)
        assert len(found) == 3
        for one, other in zip(found, frames, strict=True):
            assert np.array_equal(one.numbers, other.numbers)
            for name in ("positions", "forces", "stress"):  # stored as float32
                assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-6)
    assert found[2].place == f"{folder}, frame 2"
    (folder / "type_map.raw").write_text("Qq\n")
    with pytest.raises(InputError, match="'Qq', which is no element"):
        read(folder)
    wrong = deepmd(tmp_path / "two", frames, force=np.zeros((3, 7)))
    with pytest.raises(InputError, match=r"force.npy: holds float32 of shape \[3, 7\]"):
        read(wrong, type_map=["Cu"])
    lost = deepmd(tmp_path / "three", frames, coord=np.full((3, 12), np.nan))
    with pytest.raises(InputError, match="frame 0: the position of atom 0"):
        read(lost, type_map=["Cu"])
    (lost / "set.000" / "energy.npy").write_bytes(b"\x93NUMPY damaged")
    with pytest.raises(InputError, match=r"energy.npy: cannot be read"):
        read(lost, type_map=["Cu"])
    shutil.rmtree(lost / "set.000")
    with pytest.raises(InputError, match=r"no set.000"):
        read(lost, type_map=["Cu"])
    (tmp_path / "four").mkdir()
    with pytest.raises(InputError, match=r"without a type.raw"):
        read(tmp_path / "four")


def test_real_sets(data, monkeypatch):
    train = read("ethanol/train.xyz")
    assert len(train) == 1000
    labelled(train)
    assert units_agree(train).verdict == "agree"
    assert min(frame.info["distance"] for frame in read("ethanol/test_dimers.xyz")) == 0.35  # read, as all scans
    notes: list[str] = []
    water = read("water/data_0", note=notes.append)
    assert water[0].numbers.tolist() == [8] * 64 + [1] * 128
    assert any("single precision, in steps of 2 meV" in note for note in notes)
    energies, how = reference_energies(train, read("ethanol/isolated_atoms.xyz"))
    assert energies[1] == -13.568422383046626
    assert "isolated atoms" in how
    every = read(data / "atoms" / "water")  # the folder above: both systems, three sets
    assert len(every) == 240
    assert units_agree(every).verdict == "agree"


# Writing


def test_round_trips(ethanol, tmp_path):
    cut = crystal(info={"name": "a b", "n": 3, "x": 0.1, "list": np.array([1.0, 2.5, 3.5]), "yes": True})
    slab = crystal(periodic=(True, True, False), stress=None)
    frames = [*ethanol[:5], cut, slab, ethanol[0]._replace(energy=None, forces=None)]
    write(tmp_path / "a.xyz", frames)
    for again in (read(tmp_path / "a.xyz"), read(ase_read(tmp_path / "a.xyz", ":"))):
        for one, other in zip(again, frames, strict=True):
            assert np.array_equal(one.numbers, other.numbers)
            assert one.periodic == other.periodic
            assert one.energy == other.energy
            for name in ("positions", "cell", "forces"):
                here, there = getattr(one, name), getattr(other, name)
                assert (here is None) == (there is None)
                assert here is None or np.abs(here - there).max() <= PRINTED
            assert (one.stress is None) == (other.stress is None)
            assert one.stress is None or np.allclose(one.stress, other.stress, rtol=1e-12, atol=0)
            said = {key: value for key, value in other.info.items() if key != "free_energy"}  # a label not taken
            assert one.info.keys() == said.keys()
            assert all(np.array_equal(one.info[key], said[key]) for key in said)
    passed_over = ethanol[0]._replace(info={"REF_energy": -1.0}, columns={"REF_forces": np.ones((9, 3))})
    write(tmp_path / "b.xyz", [passed_over])
    assert read(tmp_path / "b.xyz")[0].energy == ethanol[0].energy
    assert to_atoms(cut).get_stress(voigt=False) == pytest.approx(cut.stress)
    with pytest.raises(InputError, match="not finite"):
        write(tmp_path / "b.xyz", [ethanol[0], ethanol[1]._replace(energy=np.nan)])
    assert len(read(tmp_path / "b.xyz")) == 1  # the file that was there is whole
    with pytest.raises(InputError, match="no frames"):
        write(tmp_path / "c.xyz", [])


def test_trajectory_grows_and_goes_on(ethanol, tmp_path):
    path = tmp_path / "new" / "t.xyz"
    with Trajectory(path) as trajectory:
        trajectory.append(ethanol[:3])
        trajectory.append(ethanol[3:4])
        assert trajectory.frames == 4
    whole = path.read_bytes()
    text = text_of_frame(ethanol[4]).encode()
    for cut in (1, 2, 40, len(text) // 2, len(text) - 1):  # a process that died while it wrote the fifth
        path.write_bytes(whole + text[:cut])
        with Trajectory(path, None) as trajectory:
            assert trajectory.frames == 4
        assert path.read_bytes() == whole
    with Trajectory(path, 2) as trajectory:
        trajectory.append(ethanol[2:4])
    assert path.read_bytes() == whole
    with pytest.raises(InputError, match="holds 4 whole frames, but 7"):
        Trajectory(path, 7)
    assert len(read(path)) == 4
    with Trajectory(path) as trajectory:
        assert trajectory.frames == 0
    assert path.read_bytes() == b""
    path.write_text("no trajectory\nat all\n")
    with pytest.raises(InputError, match="line 1"):
        Trajectory(path, None)
    assert path.read_text() == "no trajectory\nat all\n"
