"""The audit: honest and broken calculators, planted cutoffs, loops, curves, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.cluster import Octahedron
from command_line import call, isolate

from thalweg.atoms.data.ase_atoms import from_atoms, to_atoms
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.write import write
from thalweg.atoms.tasks.audit import Posed, audit
from thalweg.atoms.tasks.audit_forces import differences, loops, ridders
from thalweg.atoms.tasks.audit_parts import Effort
from thalweg.atoms.tasks.audit_smoothness import pair_line, search
from thalweg.atoms.tasks.audit_symmetry import symmetries
from thalweg.atoms.tasks.dissociation import judged
from thalweg.atoms.tasks.subject import brought, subject_of
from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome

pytestmark = pytest.mark.usefixtures("x64")
EPS = 2.0**-52
QUICK = Effort(frames=1, gradients=32, picoseconds=0.05, curves=False)


class Pairs(Calculator):
    """Morse's pairs under a smooth cutoff, in NumPy, with something done to what it answers."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, change: Any = lambda x, energy, forces: (energy, forces)):
        Calculator.__init__(self)
        self.change = change

    def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = tuple(all_changes)):
        x = atoms.positions
        i, j = np.triu_indices(len(x), 1)
        away = x[j] - x[i]
        r = np.linalg.norm(away, axis=1)
        share = np.minimum(r / 6.0, 0.999) ** 2
        bump, fall = np.exp(1 - 1 / (1 - share)), np.exp(-1.5 * (r - 2.5))
        energy = 0.4 * (fall**2 - 2 * fall)
        slope = 1.2 * (fall - fall**2) * bump - energy * bump * 2 * r / 36 / (1 - share) ** 2
        forces, pull = np.zeros_like(x), (slope / r)[:, None] * away
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        energy, forces = self.change(x, float(energy @ bump), forces)
        self.results = {"energy": energy, "forces": forces}


def curled(size: float) -> Any:
    """Forces with a part that is a rotation in the space of all positions: no energy has it."""

    def change(x: np.ndarray, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
        matrix = np.random.default_rng(1).normal(size=(x.size, x.size))
        curl = (matrix - matrix.T) @ (x - x.mean(axis=0)).ravel()
        return energy, forces + size * np.linalg.norm(forces) * curl.reshape(x.shape) / np.linalg.norm(curl)

    return change


def pulled(x: np.ndarray, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
    """A field along x: an energy that neither rotations nor translations keep."""
    return energy + 1e-6 * float(x[:, 0].sum()), forces - np.array([1e-6, 0.0, 0.0])


def single(x: np.ndarray, energy: float, forces: np.ndarray) -> tuple[float, np.ndarray]:
    return float(np.float32(energy)), forces.astype(np.float32)


@pytest.fixture
def copper() -> Frame:
    atoms = Octahedron("Cu", 2)
    atoms.positions += np.random.default_rng(0).normal(scale=0.08, size=atoms.positions.shape)
    return from_atoms(atoms, "copper")


def audited(calculator: Any, frame: Frame, effort: Effort = QUICK, cutoff: float | None = None, **options: Any) -> Any:
    of = subject_of(calculator, "it", frame, cutoff=cutoff, dtype=None)
    return audit(Posed(of, [frame], [], [frame], "here", None), effort, **options)


# Forces and energy


def test_a_curl_of_a_thousandth_is_exposed_and_an_honest_field_is_not(copper):
    honest = loops(subject_of(Pairs(), "it", copper, cutoff=None, dtype=None), copper, [0], gradients=32)
    broken = loops(subject_of(Pairs(curled(1e-3)), "it", copper, cutoff=None, dtype=None), copper, [0], gradients=32)
    # The limit of both is 1e-5; the planted part of the force is 1e-3, its work along a way some hundredths of that at
    # least; so few gradients integrate an honest field to some 1e-6.
    assert max(honest.closure, honest.misses) < 3e-6
    assert broken.closure > 3e-5
    assert broken.misses > 3e-5


def test_differences_see_what_is_wrong_with_forces_and_know_their_own_error(copper):
    def of(change: Any) -> dict[str, float]:
        return differences(subject_of(Pairs(change), "it", copper, cutoff=None, dtype=None), copper, [0])

    honest, short = of(lambda x, e, f: (e, f)), of(lambda x, e, f: (e, 1.001 * f))
    assert honest["force_fd_relative"] < 1e-9
    assert short["force_fd_relative"] == pytest.approx(1e-3 / 1.001, rel=1e-6)
    rounded = of(single)
    assert rounded["force_fd_relative"] < 10 * rounded["force_fd_uncertainty"]
    assert rounded["force_fd_uncertainty"] > 1e-7


def test_differences_are_extrapolated():
    steps = 0.5 / 2.0 ** np.arange(8)
    slope, error = ridders((np.sin(1 + steps) - np.sin(1 - steps)) / (2 * steps), 1e-16 / steps)
    assert abs(slope - np.cos(1)) < 1e-12
    assert error < 1e-11


# Symmetry and precision


def test_a_field_along_an_axis_breaks_rotations_and_translations_only(copper):
    found = symmetries(subject_of(Pairs(pulled), "it", copper, cutoff=None, dtype=None), copper, [0])
    for name in ("rotation", "reflection", "translation"):
        assert found[f"{name}_eV_per_atom"] > 1e-8
    assert found["permutation_eV_per_atom"] < 1e-12
    assert found["net_force_relative"] > 1e-7


def test_what_computes_in_float32_is_judged_by_that(copper):
    found = audited(Pairs(single), copper, QUICK._replace(runs=0))
    assert found.result["precision"] == "float32"
    held = {each.name: each for each in found.verdicts}
    assert held["rotation_eV_per_atom"].holds is True
    assert held["rotation_eV_per_atom"].limit > 1e-8
    assert held["closure_relative"].holds is True


# Smoothness


def line_of(energy: Any, force: Any) -> Any:
    return lambda t: (energy(np.asarray(t)), force(np.asarray(t)))


def test_a_cosine_cutoff_is_found_by_the_jump_of_its_second_derivative():
    cutoff = 5.0
    energy = lambda r: np.where(r < cutoff, 0.5 * (np.cos(np.pi * r / cutoff) + 1) / r, 0.0)  # noqa: E731

    def force(r: np.ndarray) -> np.ndarray:
        turn = np.pi / cutoff
        inside = 0.5 * turn * np.sin(turn * r) / r + 0.5 * (np.cos(turn * r) + 1) / r**2
        return np.where(r < cutoff, inside, 0.0)

    found = search(line_of(energy, force), 2.0, 12.0, EPS, 12.0)
    assert found.found.tolist() == [False, False, True]
    assert found.at[2] == pytest.approx(cutoff, abs=1e-5)
    # Where a corner lies between two points at the finest levels, up to half of it is seen.
    assert found.jumps[2] == pytest.approx(0.5 * (np.pi / cutoff) ** 2 / cutoff, rel=0.5)


def test_a_bump_is_smooth_and_a_step_is_not():
    def bump(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = r < 5 * np.sqrt(1 - 1 / 80)
        share = np.where(inside, r * r / 25, 0.0)
        value = np.where(inside, np.exp(1 - 1 / (1 - share)), 0.0)
        return value, value * 2 * r / 25 / (1 - share) ** 2

    assert not search(bump, 2.0, 12.0, EPS, 12.0).found.any()
    stepped = search(lambda r: (bump(r)[0] + 1e-9 * (r < 7), bump(r)[1]), 2.0, 12.0, EPS, 12.0)
    assert stepped.found.tolist() == [True, False, False]
    assert stepped.jumps[0] == pytest.approx(1e-9, rel=1e-3)
    assert stepped.at[0] == pytest.approx(7.0, abs=1e-5)


@pytest.mark.parametrize(("smooth", "kind"), [(False, 1), (True, 2)])
def test_lennard_jones_of_ase_is_found_at_its_cutoff(smooth, kind, copper):
    calculator = LennardJones(sigma=2.2, epsilon=0.4, rc=6.0, smooth=smooth)
    of = subject_of(calculator, "lj", copper, cutoff=6.0, dtype=None)
    found = search(*pair_line(of, 29, 29), EPS, 12.0)
    assert found.found.tolist() == [place == kind for place in range(3)]
    assert found.at[kind] == pytest.approx(6.0, abs=1e-5)
    if not smooth:
        ratio = (2.2 / 6.0) ** 6
        assert found.jumps[1] == pytest.approx(24 * 0.4 / 6.0 * (ratio - 2 * ratio**2), rel=1e-4)


# Curves


def test_holes_wells_and_jumps_of_curves_are_told_from_honest_ones():
    r = np.arange(0.8, 7.0, 0.02)
    morse = 4 * ((1 - np.exp(-2 * (r - 1.4))) ** 2 - 1)
    honest = judged("A-B", r, morse, np.stack([r[::9], morse[::9]]))
    assert (honest.minima, honest.hole, honest.jump) == (1, 0.0, 0.0)
    assert honest.off == pytest.approx(abs(morse[-1]), rel=1e-6)
    assert honest.deepest == pytest.approx(1.4, abs=0.011)
    fallen = judged("A-B", r, morse - 40 * np.exp(-(((r - 0.8) / 0.15) ** 2)), honest.labels)
    assert fallen.hole > 1
    twice = judged("A-B", r, morse - 0.3 * np.exp(-(((r - 4.0) / 0.3) ** 2)), honest.labels)
    assert twice.minima == 2
    torn = judged("A-B", r, morse + 0.01 * (r < 5), honest.labels)
    assert torn.jump == pytest.approx(0.01, rel=0.1)


# The whole


def test_an_audit_goes_on_where_it_was_stopped(copper):
    kept: dict[str, Any] = {}

    class Kept:
        get, put = staticmethod(kept.get), staticmethod(kept.__setitem__)

    stop = lambda report: Outcome.CANCELLED if report.step == 2 else None  # noqa: E731
    cut = lambda x, e, f: (e + 1e-3 * (np.linalg.norm(x[0] - x[1]) < 6.0), f)  # noqa: E731
    with pytest.raises(WalkError, match="stopped after 2 of"):
        audited(Pairs(cut), copper, cutoff=6.0, done=Kept(), hooks=(stop,))
    assert len(kept) == 2
    first = audited(Pairs(cut), copper, cutoff=6.0, done=Kept()).result
    again = audited(Pairs(cut), copper, cutoff=6.0).result
    assert first == again
    assert "cutoff_smoothness" in first["alarms"]
    assert first["jumps_of"] == ["energy"]
    assert first["nve_drift_eV_per_atom_ps"] < 1e-3
    assert not first["exploded"]


def test_the_command_audits_a_calculator_of_somebody_else(tmp_path: Path, monkeypatch, copper):
    isolate(tmp_path, monkeypatch)
    write("frames.xyz", [copper._replace(numbers=copper.numbers[:4], positions=copper.positions[:4])])
    Path("mine.py").write_text("from ase.calculators.emt import EMT\ndef make():\n    return EMT()\nNone_ = 3\n")
    words = ["atoms", "audit", "mine.py:make", "frames.xyz", "--picoseconds", "0.02", "--gradients", "32",
             "--cutoff", "5.0", "--json", "--quiet", "--out", "run"]  # fmt: skip
    answer = call(*words)
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    for name in ("rotation_eV_per_atom", "translation_eV_per_atom", "permutation_eV_per_atom", "force_fd_relative",
                 "closure_relative", "cutoff_smoothness", "nve_drift_eV_per_atom_ps"):  # fmt: skip
        assert np.isfinite(result[name])
        assert set(result["verdict"][name]) == {"holds", "limit", "tested", "source"}
    assert result["verdict"]["closure_relative"]["holds"] is True
    page = Path("run/report.html").read_text()
    assert "Leaving the cutoff" in page
    refused = call("atoms", "audit", "mine.py:None_", "frames.xyz", "--json")
    assert refused.exit_code == 1
    assert "is a int: name an ASE calculator" in refused.output


def test_what_cannot_be_audited_is_refused_in_a_sentence(tmp_path: Path, copper):
    place = tmp_path / "broken.py"
    place.write_text("def make():\n    raise ValueError('no weights')\n")
    with pytest.raises(InputError, match="calling it without arguments failed with ValueError: no weights"):
        brought(f"{place}:make")
    with pytest.raises(InputError, match="cannot compute copper"):
        subject_of(EMT(), "emt", copper._replace(numbers=np.full(6, 92)), cutoff=None, dtype=None)
    noise = np.random.default_rng(0)
    with pytest.raises(InputError, match="gives two answers for copper"):
        subject_of(Pairs(lambda x, e, f: (e + noise.normal(), f)), "it", copper, cutoff=None, dtype=None)
    assert to_atoms(copper).get_chemical_formula() == "Cu6"
