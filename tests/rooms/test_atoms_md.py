"""Dynamics: what is conserved, what is sampled, and what is on the disk whenever the process dies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("ase", reason="needs thalweg[atoms]")
pytest.importorskip("vesin", reason="needs thalweg[atoms]")

from ase import units
from toy_atoms import cluster, crystal, morse

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.read import read
from thalweg.atoms.energy import potential
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.tasks.md import Dynamics, Settings, dynamics
from thalweg.atoms.tasks.md_start import begin, freedom
from thalweg.atoms.tasks.trained import Trained
from thalweg.core.errors import InputError, WalkError
from thalweg.core.solution import Outcome
from thalweg.methods.trace import Trace
from thalweg.verbs.simulate import simulate

NVE = Settings("nve", temperature=100.0, timestep=2.0, steps=230, every=7, dtype="float64")


def run(folder: Path, settings: Settings = NVE, frame: Frame | None = None, trained: Trained | None = None,
        **more: Any) -> Dynamics:  # fmt: skip
    folder.mkdir(exist_ok=True)
    return dynamics(trained or morse(), frame or cluster(), settings, folder, **more)


# Where it starts


def test_velocities_are_those_of_the_temperature_and_move_nothing_as_a_whole(x64):
    start = begin(cluster(), 300.0, 2, 0)
    assert not np.array_equal(start.velocities[0], start.velocities[1])
    for v in start.velocities:
        momenta = start.masses[:, None] * v
        kinetic = 0.5 * float((momenta * v).sum())
        assert kinetic == pytest.approx(0.5 * 6 * units.kB * 300, rel=1e-12)
        middle = start.masses @ start.frame.positions / start.masses.sum()
        np.testing.assert_allclose(momenta.sum(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(np.cross(start.frame.positions - middle, momenta).sum(axis=0), 0, atol=1e-12)
    straight = Frame(np.array([10, 18]), np.array([[0, 0, 0], [0, 0, 2.5]]), np.zeros((3, 3)))
    assert [freedom(frame, thermostat=False) for frame in (straight, cluster(), crystal(1))] == [1, 6, 9]
    again = straight._replace(columns={"momenta": np.array([[0, 0, 1.0], [0, 0, -1.0]])})
    own = begin(again, 300.0, 1, 0)
    np.testing.assert_allclose(own.velocities[0] * own.masses[:, None], again.columns["momenta"])


# What is conserved


def followed(skin: float) -> Any:
    """Constant energy in a periodic box that its atoms stream through, wrapped into it after every 100 steps."""
    frame = crystal(1)
    start = begin(frame, 200.0, 1, 3)
    stream = np.array([0.13, -0.05, 0.02])  # 0.026 A in a step: an atom crosses the cell in 140 of them
    mass, v = jnp.asarray(start.masses)[:, None], jnp.asarray(start.velocities[0] + stream)
    x, energy = jnp.asarray(frame.positions), potential(morse().net, frame, skin=0.4)
    # Lists as long as those with a skin: one program serves both.
    energy = eqx.tree_at(lambda of: of.skin, energy, jnp.asarray(skin))
    found, rebuilds = [], 0
    for _ in range(3):
        part = simulate(energy, x, v, dt=2.0 * units.fs, steps=100, mass=mass, trace=CONSERVED)
        found.append(np.asarray(part.trace["conserved"])[1:])
        rebuilds += int(part.stats["rebuilds"])
        x, v = part.value, part.stats["velocity"]
        x = x - jnp.floor(x @ jnp.linalg.inv(energy.cell)) @ energy.cell
    return np.concatenate(found), np.asarray(x), rebuilds


def conserved(walk: Any) -> dict[str, Any]:
    return {"conserved": walk.conserved}


CONSERVED = Trace(conserved)


def test_a_skin_and_wrapping_change_nothing(x64):
    exact, end, every_step = followed(0.0)
    energies, x, rebuilds = followed(0.4)
    assert every_step == 300
    assert 3 < rebuilds < 100
    # The same terms in another order: roundings of 2^-53 of 20 eV, spread for 0.6 ps by a warm crystal.
    np.testing.assert_allclose(energies, exact, atol=1e-11)
    apart, cell = x - end, crystal(1).cell
    np.testing.assert_allclose(apart - np.round(apart @ np.linalg.inv(cell)) @ cell, 0, atol=1e-8)
    # Per atom and step, by the line through the energies: far below the 7e-6 eV of lists that wrapping spoils.
    drift = np.polyfit(np.arange(len(exact)), exact, 1)[0] / 4
    assert abs(drift) < 1e-8


def test_constant_energy_is_written_as_it_is_walked(x64, tmp_path):
    told = run(tmp_path / "a")
    frames = read(tmp_path / "a" / "trajectory.xyz")
    assert [frame.info["step"] for frame in frames] == list(range(0, 231, 7))
    assert told.ok
    assert told.result["frames"] == len(frames)
    assert (told.result["ended"], told.result["steps"]) == ("steps", 230)
    conserved = np.array([frame.info["conserved_eV"] for frame in frames])
    # Velocity Verlet keeps a shadow energy: what is left oscillates by some (omega dt)^2 / 8 = 3e-3 of 0.05 eV.
    assert np.ptp(conserved) < 5e-4
    assert abs(told.result["drift_eV_per_atom_ps"]) < 1e-4
    for frame in frames:
        kinetic = 0.5 * (frame.columns["momenta"] ** 2 / begin(frame, 0.0, 1, 0).masses[:, None]).sum()
        # Eight digits of a file.
        assert frame.energy + kinetic == pytest.approx(frame.info["conserved_eV"], abs=1e-6)
        assert frame.info["temperature_K"] == pytest.approx(2 * kinetic / (6 * units.kB), rel=1e-5)
    np.testing.assert_allclose(frames[0].positions, cluster().positions, atol=1e-8)


# What is on the disk


class Dying:
    """A hook that ends the process's part in it at a step."""

    def __init__(self, step: int):
        self.step = step

    def __call__(self, report: Any) -> None:
        if report.step >= self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("ensemble", [pytest.param("nve", marks=pytest.mark.slow), "nvt"])
def test_a_walk_that_dies_goes_on_to_the_same_bits(x64, tmp_path, ensemble):
    settings = Settings(ensemble, temperature=100.0, timestep=2.0, steps=230, every=7, dtype="float64")
    whole = run(tmp_path / "whole", settings)
    expected = (tmp_path / "whole" / "trajectory.xyz").read_bytes()
    path = tmp_path / "b" / "trajectory.xyz"
    for step in (0, 100, 230):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b", settings, hooks=(Dying(step),), seconds=0.02)
        with path.open("ab") as file:  # what a killed process leaves half written
            file.write(b"4\nLattice=")
    told = run(tmp_path / "b", settings, seconds=0.02)
    assert path.read_bytes() == expected
    same = ("drift_eV_per_atom_ps", "temperature_K", "frames")
    assert [told.result[name] for name in same] == [whole.result[name] for name in same]
    # Asked again it has nothing to do; asked for more it goes on.
    assert run(tmp_path / "b", settings).result["frames"] == whole.result["frames"]
    longer = Settings(ensemble, temperature=100.0, timestep=2.0, steps=300, every=7, dtype="float64")
    run(tmp_path / "b", longer)
    run(tmp_path / "c", longer)
    assert path.read_bytes() == (tmp_path / "c" / "trajectory.xyz").read_bytes()
    with pytest.raises(InputError, match="beyond the 230"):
        run(tmp_path / "b", settings)


def test_a_stop_is_no_end(x64, tmp_path):
    stop = lambda report: Outcome.CANCELLED if report.step >= 50 else None  # noqa: E731
    with pytest.raises(WalkError, match="of 230 steps, which are kept"):
        run(tmp_path / "a", hooks=(stop,))
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert (tmp_path / "a" / "trajectory.xyz").read_bytes() == (tmp_path / "b" / "trajectory.xyz").read_bytes()


# What is sampled


@pytest.mark.slow
def test_replicas_under_a_thermostat_have_its_temperature(x64, tmp_path):
    settings = Settings("nvt", temperature=150.0, timestep=4.0, steps=6000, every=20, friction=20.0, replicas=8,
                        dtype="float64")  # fmt: skip
    told = run(tmp_path / "a", settings)
    frames = read(tmp_path / "a" / "trajectory.xyz")
    assert [frame.info["replica"] for frame in frames[:9]] == [*range(8), 0]
    found = np.array([frame.info["temperature_K"] for frame in frames]).reshape(-1, 8)[10:]
    # Frames are 80 fs apart, 1.6 times the memory of velocities: averages over blocks of ten are independent. The
    # bound is 4.5 of their standard errors: a false alarm below 1e-5, with a fixed seed none.
    blocks = found[: len(found) // 10 * 10].reshape(-1, 10, 8).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(blocks.size)
    # BAOAB's velocities are colder by (omega dt)^2 / 12 at most, 0.3 % here.
    assert abs(found.mean() - 150.0) < 4.5 * error + 0.5
    assert error < 3.0
    assert told.result["temperature_K"] == pytest.approx(found.mean(), abs=6 * error)
    # Each replica's energy is its own: that of its positions.
    one = frames[-3]
    energy = eqx.filter_jit(lambda of, x: of(x))(potential(morse().net, one), jnp.asarray(one.positions))
    assert one.energy == pytest.approx(float(energy) - 20.0, abs=1e-6)


@pytest.mark.slow
def test_a_crystal_under_pressure_shrinks_and_keeps_its_lists(x64, tmp_path):
    frame = crystal(2, edge=3.9)
    settings = Settings("npt", temperature=50.0, pressure=20_000.0, timestep=4.0, steps=1500, every=100,
                        dtype="mixed")  # fmt: skip
    told = run(tmp_path / "a", settings, frame, morse(dtype=np.float32))
    frames = read(tmp_path / "a" / "trajectory.xyz")
    volumes = np.array([one.volume for one in frames])
    assert told.ok
    assert told.result["rebuilds"] > 0
    assert volumes[0] == pytest.approx(8 * 3.9**3)
    assert volumes[-1] < 0.95 * volumes[0]
    assert told.result["volume_A3"] == pytest.approx(volumes[-1], rel=0.05)
    assert np.allclose(frames[-1].cell, frames[-1].cell[0, 0] * np.eye(3))


# How it ends badly


def test_an_explosion_is_told_with_its_frame(x64, tmp_path):
    told = run(tmp_path / "a", Settings("nve", temperature=3000.0, timestep=60.0, steps=4000, every=5, dtype="float64"))
    assert not told.ok
    assert told.result["ended"] == "exploded"
    assert "exploded" in told.sentence
    assert f"step {told.result['steps']}" in told.sentence
    (frame,) = read(tmp_path / "a" / "exploded.xyz")
    assert frame.energy is None
    last = read(tmp_path / "a" / "trajectory.xyz")[-1]
    assert last.info["step"] <= told.result["steps"]
    np.testing.assert_allclose(frame.positions, last.positions, atol=1e-8)


@pytest.mark.slow
def test_a_committee_stops_where_it_disagrees(x64, tmp_path):
    members = [morse(depth).net for depth in (0.40, 0.41, 0.43)]
    trained = morse()._replace(net=Committee.of(members, calibration=2.0))
    settings = Settings("nvt", temperature=400.0, timestep=4.0, steps=3000, every=5, friction=5.0, dtype="float64",
                        stop_at_uncertainty=0.02)  # fmt: skip
    told = run(tmp_path / "a", settings, trained=trained)
    assert told.ok
    assert told.result["ended"] == "uncertain"
    frames = read(tmp_path / "a" / "trajectory.xyz")
    spreads = np.array([frame.columns["forces_uncertainty"].max() for frame in frames])
    assert (spreads[:-1] <= 0.02).all()
    assert spreads[-1] > 0.02
    unknown = read(tmp_path / "a" / "unknown.xyz")
    assert len(unknown) == min(5, len(frames))
    np.testing.assert_allclose(unknown[-1].positions, frames[-1].positions, atol=1e-8)
    assert all(frame.energy is None and frame.forces is None for frame in unknown)
    assert told.result["next"][0].startswith("thalweg atoms label")
    json.dumps(told.result)
    with pytest.raises(InputError, match="is one network"):
        run(tmp_path / "b", settings)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"timestep": -1.0}, "time step of -1"),
        ({"ensemble": "npt"}, "npt needs a cell"),
        ({"ensemble": "npt", "replicas": 2}, "replicas share their cell"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"dtype": "half"}, "precision is 'half'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(x64, tmp_path, settings, match):
    with pytest.raises(InputError, match=match):
        run(tmp_path / "a", Settings(**settings))
