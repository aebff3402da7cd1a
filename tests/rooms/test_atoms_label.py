"""Labels by reference methods: the right numbers, kept through interruptions, and failures that are named."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("tblite", reason="needs thalweg[label]")
pytest.importorskip("vesin", reason="needs thalweg[atoms]")

from command_line import call

from thalweg import samples
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.read import read
from thalweg.atoms.tasks.label import label, labelling
from thalweg.core.errors import InputError, MissingExtra, ThalwegError, WalkError
from thalweg.core.hooks import Report
from thalweg.core.solution import Outcome
from thalweg.runs import Points

PRINTED = 0.6e-8  # half of the last digit of the sample, and a little for its own rounding


def bare(frame: Frame) -> Frame:
    return frame._replace(energy=None, forces=None)


def energy(frame: Frame) -> float:
    assert frame.energy is not None
    return frame.energy


def hydrogens(distance: float, **more) -> Frame:
    return Frame(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, distance]]), np.zeros((3, 3)), **more)


@pytest.fixture(scope="module")
def ethanol() -> list[Frame]:
    return read("ethanol@:45")


@pytest.fixture(scope="module")
def labels(ethanol) -> list[Frame]:
    return label([bare(frame) for frame in ethanol])


def test_gfn2_gives_the_labels_of_the_sample(ethanol, labels):
    for one, other in zip(labels, ethanol, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=PRINTED)
        assert np.abs(one.forces - other.forces).max() < PRINTED
        assert one.info == {**other.info, "labels": "GFN2-xTB"}
    # Atoms by themselves, in their ground states, as the sample's card has them: the same program computed it.
    card = samples.card("ethanol_gfn2")["isolated_atoms"]
    for number, symbol in ((1, "H"), (6, "C"), (8, "O")):
        alone = label([Frame(np.array([number]), np.zeros((1, 3)), np.zeros((3, 3)))])[0]
        assert alone.energy == pytest.approx(card[symbol], abs=PRINTED)


def test_crystals_get_a_stress(labels):
    cell = 4.0 * np.eye(3)
    frame = Frame(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 0.7]]), cell, (True, True, True))
    (found,) = label([frame])
    assert found.stress is not None
    # Against central differences of the energy in the length of the box: 1e-3 of strain leaves errors of its square.
    strained = label([frame._replace(cell=cell * (1 + e), positions=frame.positions * (1 + e)) for e in (1e-3, -1e-3)])
    slope = (energy(strained[0]) - energy(strained[1])) / 2e-3
    assert np.trace(found.stress) == pytest.approx(slope / cell[0, 0] ** 3, rel=1e-3)
    assert labels[0].stress is None
    with pytest.raises(ThalwegError, match="periodic in some directions only"):
        label([frame._replace(periodic=(True, True, False))])


def test_interrupted_labels_go_on_with_what_is_kept(ethanol, labels, tmp_path):
    def stop(report: Report) -> Outcome | None:
        return Outcome.CANCELLED if report.step == 2 else None

    done = Points(tmp_path / "blocks")
    with pytest.raises(WalkError, match="2 of 3 parts, which are kept"):
        label(ethanol, done=done, hooks=(stop,))
    seen: list[int] = []
    again = label(ethanol, done=done, hooks=(lambda report: seen.append(report.first),))  # pyright: ignore
    assert seen[-1] == 2  # two parts came from the store
    # What is kept comes back with its bits; what tblite computes again agrees to a few roundings of its own sums, which
    # depend on where its arrays happen to lie in memory.
    for one, other in zip(again, labels, strict=True):
        assert one.forces is not None
        assert other.forces is not None
        assert one.energy is not None
        assert one.energy == pytest.approx(other.energy, rel=0, abs=1e-9)
        np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-9)
    once_more = label(ethanol, done=done)
    for one, other in zip(once_more, again, strict=True):
        assert one.energy == other.energy
        assert np.asarray(one.forces).tobytes() == np.asarray(other.forces).tobytes()
    order = np.random.default_rng(0).permutation(30)
    mixed = label([ethanol[at] for at in order])  # nothing is handed from frame to frame
    found, wanted = np.array([frame.energy for frame in mixed]), np.array([labels[at].energy for at in order])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_failures_are_named_or_left_out(ethanol, tmp_path):
    frames = [ethanol[0], hydrogens(0.05, place="b.xyz, frame 1"), ethanol[2],
              Frame(np.array([118]), np.zeros((1, 3)), np.zeros((3, 3)), place="b.xyz, frame 3")]  # fmt: skip
    done = Points(tmp_path)
    with pytest.raises(ThalwegError, match=r"b.xyz, frame 1: cannot be labelled \(atoms H 0 and H 1 are 0.05 A apart"):
        label(frames, done=done)
    notes: list[str] = []
    found = labelling(frames, skip_failed=True, done=done, note=notes.append)
    assert len(found.frames) == 2
    assert len(found.failed) == len(notes) == 2
    assert "No support for elements" in found.failed[1]
    with pytest.raises(ThalwegError, match=r"b.xyz, frame 1"):  # also from the store, where it is kept as failed
        label(frames, done=done)
    with pytest.raises(InputError, match=r"frame 0: 26 electrons \(charge 0\) cannot have the multiplicity 2"):
        label(ethanol[:1], multiplicity=2)
    charged = label([ethanol[0]._replace(info={"charge": 1}), ethanol[0]])
    assert energy(charged[0]) > energy(charged[1]) + 5  # eV: less than any ionisation
    with pytest.raises(InputError, match="its charge is 'many'"):
        label([ethanol[0]._replace(info={"charge": "many"})])
    with pytest.raises(InputError, match="choose gfn2 or pbe"):
        label(ethanol, "dft")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="no frames"):
        label([])


@pytest.mark.skipif(importlib.util.find_spec("pyscf") is not None, reason="PySCF is installed")
def test_without_pyscf_there_is_an_install_line(ethanol):
    with pytest.raises(MissingExtra, match="pip install"):
        label(ethanol, "pbe")


def test_pbe_forces_are_those_of_its_energy():
    pytest.importorskip("pyscf", reason="needs PySCF")
    step = 0.002
    frames = label([hydrogens(0.8 + shift) for shift in (-step, 0.0, step)], "pbe")
    slope = (energy(frames[2]) - energy(frames[0])) / (2 * step)
    assert frames[1].forces is not None
    assert frames[1].forces[1, 2] == pytest.approx(
        -slope, rel=5e-4
    )  # anharmonicity: about 200 eV/A^3 times step^2 / 6, and a margin
    with pytest.raises(ThalwegError, match="molecules only"):
        label([hydrogens(0.8)._replace(cell=5 * np.eye(3), periodic=(True, True, True))], "pbe")


def test_command(tmp_path):
    out = tmp_path / "run"
    answer = call("atoms", "label", "ethanol@:5", "--json", "--quiet", "--out", str(out))
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert (told["frames"], told["labelled"], told["failed"], told["method"]) == (5, 5, 0, "gfn2")
    again = read(told["file"])
    assert len(again) == 5
    assert again[0].energy == pytest.approx(-309.78881417, abs=PRINTED)


@pytest.mark.slow
def test_sigkill_and_resume(tmp_path):
    out = tmp_path / "run"
    script = "from thalweg.cli import main; main()"
    line = [sys.executable, "-c", script, "atoms", "label", "ethanol", "--quiet", "--json", "--out"]
    process = subprocess.Popen([*line, str(out)], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while len(list((out / "blocks").glob("*.safetensors"))) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(list((out / "blocks").glob("*.safetensors")))
    assert 3 <= kept < 20
    assert not (out / "labelled.xyz").exists()
    subprocess.run([*line, str(out)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*line, str(tmp_path / "whole"), "--where", "local:2"], check=True, stdout=subprocess.DEVNULL)
    assert (out / "labelled.xyz").read_bytes() == (tmp_path / "whole" / "labelled.xyz").read_bytes()
