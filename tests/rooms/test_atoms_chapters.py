"""The claims of the room's chapters can fail; that they hold the tour measures, and the long ones a slow test here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg import samples
from thalweg.atoms.chapter import again, chapters, moving, turning
from thalweg.atoms.data.read import read
from thalweg.atoms.model import harmonics
from thalweg.atoms.tasks.trained import Trained
from thalweg.report.blocks import Claim
from thalweg.report.chapter import Stopwatch, Telling

WATCH = Stopwatch()


def test_energies_that_turn_with_the_molecule_are_found_out():
    still, seen = np.full(5, -3.0), {"gto": 0.2, "radial": 0.1}
    turned = still + np.array([0, 0, 2e-10, 0, 0])
    assert turning._energy_claim({"gto": still, "radial": still}, seen, WATCH).holds
    for energies, bent in [
        ({"gto": turned, "radial": still}, seen),
        ({"gto": still, "radial": turned}, seen),
        ({"gto": still, "radial": still}, {"gto": 0.2, "radial": 0.0}),  # a dead network keeps every symmetry
        ({"gto": still, "radial": np.full(5, np.nan)}, seen),
    ]:
        assert not turning._energy_claim(energies, bent, WATCH).holds
    assert turning._naive_claim(still + np.arange(5), WATCH).holds
    assert not turning._naive_claim(still, WATCH).holds


def test_coefficients_that_do_not_turn_are_found_out():
    words = np.random.default_rng(0)
    turn = np.linalg.qr(words.normal(size=(3, 3)))[0]
    before = [words.normal(size=(4, 2 * degree + 1, 3)) for degree in range(3)]
    right = [np.einsum("ab,kbn->kan", harmonics.turning(degree, turn), each) for degree, each in enumerate(before)]

    def claim(after: list[np.ndarray]) -> Claim:
        both = [np.concatenate(pair, axis=2) for pair in zip(before, after, strict=True)]
        return turning._wigner_claim([both], turn, WATCH)

    assert claim(right).holds
    assert not claim(before).holds
    assert not claim([right[0], right[1], right[2] * (1 + 1e-11)]).holds


def test_directions_that_are_not_seen_are_found_out():
    density, raw = [np.zeros((2, 1, 9))], np.arange(54.0).reshape(6, 9)
    raw[:, 6] = raw[:, 0]
    assert not turning._direction_claim((density, raw), WATCH).holds  # nothing tells the two apart
    raw[2:, 6] += 1
    assert turning._direction_claim((density, raw), WATCH).holds
    raw[0, 6] += 1e-9
    assert not turning._direction_claim((density, raw), WATCH).holds  # distances do, which they cannot


def test_a_run_whose_energy_drifts_is_found_out():
    time = np.linspace(0, 10, 2501)
    swing = 1e-5 * np.sin(2 * np.pi * 7.3 * time)
    for slope, holds in [(1e-6, True), (-3e-5, False), (np.nan, False)]:
        run = {"time": time, "total": 9 * (swing + slope * time), "heat": np.full(2501, 300.0)}
        claim = moving._drift_claim(run, 10, 9, WATCH)
        assert claim.holds is holds
        assert not holds or claim.measured == pytest.approx(slope, abs=2e-7)


class Wrong:
    """A subject whose forces are the labels' plus an error, and whose energies are off by 2 meV."""

    def __init__(self, trained: Trained, frames: list[Any], error: float):
        self.trained, self.frames, self.error = trained, frames, error

    @property
    def answer(self) -> tuple[float, np.ndarray]:
        return 5.0, np.zeros((9, 3))

    def field(self, frame: Any) -> Wrong:
        return self

    def value_and_force_batch(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert x.shape == (len(self.frames), 9, 3)
        alone = sum(self.trained.energies[int(number)] for number in self.frames[0].numbers)
        values = np.array([frame.energy for frame in self.frames]) - alone + 0.002 - 5.0
        return values, np.stack([frame.forces for frame in self.frames]) + self.error


def test_weights_that_are_not_those_of_the_card_are_found_out():
    card = samples.card("ethanol_gfn2")["isolated_atoms"]
    trained = Trained(None, {1: card["H"], 6: card["C"], 8: card["O"]}, {})  # pyright: ignore[reportArgumentType]
    frames = read("ethanol@:6")
    told = samples.card("ethanol_gfn2_potential")["test_300K_force_mae_meV_A"]
    for error, holds in [(told, True), (0.5 * told, False), (2 * told, False)]:
        subject = Wrong(trained, frames, error / 1000)
        assert again.off(subject, trained, frames) == pytest.approx((2.0, error))
        claim = moving._error_claim(subject, trained, frames, WATCH)
        assert claim.holds is holds
        assert "2.00 meV" in claim.statement


def test_a_turn_about_z_is_a_rotation_by_its_angle():
    quarter = turning._about_z(np.array([90.0]))[0]
    np.testing.assert_allclose(quarter @ np.eye(3), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)


@pytest.mark.slow
def test_networks_learn_side_by_side_as_the_chapter_claims(x64):
    (chapter,) = [chapter for chapter in chapters() if chapter.id == "turning"]
    claims = {block.id: block for block in chapter.tell(Telling("default", print)) if isinstance(block, Claim)}
    assert {"turning-learning", "turning-orbitals", "turning-taught"} < set(claims)
    assert all(claim.holds for claim in claims.values()), claims
    assert float(claims["turning-learning"].measured) < 0.5
    assert float(claims["turning-orbitals"].measured) < 0.9


def test_only_a_full_tour_trains_the_shipped_potential_again(monkeypatch):
    told = []
    monkeypatch.setattr(again, "again", lambda telling, *_: told.append(telling.effort) or iter(()))
    monkeypatch.setattr(moving, "_run", lambda *_: {"time": np.arange(200.0), "total": np.zeros(200),
                        "potential": np.zeros(200), "heat": np.zeros(200), "points": np.random.default_rng(0)
                        .normal(size=(200, 9, 3))})  # fmt: skip
    nothing = lambda *_, **__: Claim("c", "s", "s", 0.0, 0.0, 0.0, True, 0.0, "s", "c")  # noqa: E731
    for name in ("_forces_claim", "_symmetry_claim", "_error_claim"):
        monkeypatch.setattr(moving, name, nothing)
    monkeypatch.setattr("thalweg.atoms.tasks.subject.subject_of", nothing)
    for effort in ("quick", "default", "full"):
        list(moving._moving(Telling(effort, print)))
    assert told == ["full"]
