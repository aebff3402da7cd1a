"""The reports of the room: they open offline, show what was computed, and say what they leave out."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_atoms import cluster, crystal, morse

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.read import read
from thalweg.atoms.data.write import write
from thalweg.atoms.figures.audit import readable
from thalweg.atoms.figures.barrier import barrier_page, profile
from thalweg.atoms.figures.dynamics import md_page
from thalweg.atoms.figures.label import compositions, label_page
from thalweg.atoms.figures.molecule import bonds, molecule_slider, swinging
from thalweg.atoms.figures.relax import relax_page
from thalweg.atoms.tasks.barrier import Barrier
from thalweg.atoms.tasks.conserved import line_through
from thalweg.atoms.tasks.glance import distances, glance
from thalweg.atoms.tasks.md import Dynamics, Settings
from thalweg.atoms.tasks.relax import Relaxed, relaxed
from thalweg.atoms.tasks.vibrations import modes_of
from thalweg.core.errors import InputError
from thalweg.report import Page, Section, Viewer, render_page
from thalweg.report.viewer import MOST, viewer_data

pytestmark = pytest.mark.usefixtures("x64")
LOADING = ("src", "href", "srcset", "xlink:href", "action", "data", "poster")


class Elements(HTMLParser):
    """Every attribute of every element, and all data that widgets are given."""

    def __init__(self, page: Page):
        HTMLParser.__init__(self)
        self.found: list[tuple[str, str, str]] = []
        self.given: list[dict[str, Any]] = []
        self._json = False
        self.html = render_page(page)
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self._json = tag == "script" and ("type", "application/json") in attrs
        self.found.extend((tag, name, value or "") for name, value in attrs)

    def handle_data(self, data):
        if self._json:
            self.given.append(json.loads(data))
            self._json = False


def opened(page: Page) -> Elements:
    """The page, after a look whether it asks anything of any other place."""
    elements = Elements(page)
    outside = {(tag, name) for tag, name, value in elements.found
               if name in LOADING and not value.startswith(("data:", "#", "blob:"))}  # fmt: skip
    assert outside <= {("a", "href")}
    (policy,) = [value for tag, name, value in elements.found if (tag, name) == ("meta", "content") and "src" in value]
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy
    assert "http" not in policy
    return elements


def text(elements: Elements) -> str:
    """What is read on the page."""
    return " ".join(unescape(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", elements.html, flags=re.DOTALL)).split())


@pytest.fixture(scope="module")
def moved(tmp_path_factory) -> list[tuple[Dynamics, Settings]]:
    """What dynamics of one and of two replicas would leave, in no time."""
    found = []
    for replicas in (1, 2):
        path = tmp_path_factory.mktemp("md") / "trajectory.xyz"
        words, frame = np.random.default_rng(replicas), cluster()
        frames = []
        for place in range(61):
            for replica in range(replicas):
                info = {"step": 2 * place, "time_fs": 1.0 * place, "temperature_K": 40 + words.normal()}
                info |= {"conserved_eV": 1e-3 * words.normal()} if replicas == 1 else {"replica": replica}
                points = frame.positions + 0.01 * words.normal(size=(4, 3))
                frames.append(frame._replace(positions=points, energy=-9.0, forces=0 * points, info=info))
        write(path, frames)
        result = {"trajectory": str(path), "replicas": replicas, "time_ps": 0.06, "atoms": 4, "steps_per_second": 812.5}
        settings = Settings(steps=120, every=2, replicas=replicas, temperature=40.0)
        found.append((Dynamics(result, True, "Done."), settings))
    return found


def test_dynamics_are_shown_with_their_drift_and_temperature(moved):
    (found, settings), (several, theirs) = moved
    elements = opened(md_page(found, settings))
    words = text(elements)
    seen = glance(Path(found.result["trajectory"]))
    assert seen.conserved is not None
    line = line_through(seen.times, seen.conserved / 4)
    assert f"a slope of {line.slope:.2g} ± {line.error:.1g} eV per atom and ps" in words
    assert f"{seen.heat.mean():.0f} K in the mean" in words
    assert "812.5" in words
    (viewer,) = elements.given
    assert viewer["symbols"] == ["Ne", "Ar", "Ar", "Ne"]
    assert viewer["frames"]["shape"] == [61, 4, 3]
    assert viewer["labels"][-1] == "60.0 fs"  # 120 steps of half a femtosecond
    told = text(opened(md_page(several, theirs)))
    assert "The 2 replicas do not see each other." in told
    assert "slope" not in told  # nothing is conserved that was recorded


def test_a_glance_reads_what_was_written(moved):
    (found, _), (several, _) = moved
    frames = read(found.result["trajectory"])
    seen = glance(Path(found.result["trajectory"]))
    np.testing.assert_array_equal([frame.positions for frame in frames], [frame.positions for frame in seen.frames])
    np.testing.assert_allclose(seen.times, 1e-3 * np.arange(0, 61))
    both = glance(Path(several.result["trajectory"]), 2)
    assert both.heat.shape == (61, 2)
    assert [frame.info["replica"] for frame in both.of(1)] == [1] * 61


def test_rest_is_shown_with_its_way_and_its_vibrations():
    frame = cluster()
    way = [frame._replace(positions=frame.positions * (1.05 - 0.01 * place)) for place in range(6)]
    heights, forces = -1 - 0.1 * np.arange(6.0), 0.1 ** np.arange(6.0)
    found = Relaxed(frame._replace(energy=-9.5), -9.0, 5, 6e-6, True, "Arrived.", heights, forces, way, list(range(6)))
    stretch = np.random.default_rng(0).normal(size=(12, 12))
    moving = modes_of(frame, stretch @ stretch.T)
    result = {"gained_eV": float(found.before - (found.frame.energy or 0)), "imaginary": moving.imaginary}
    elements = opened(relax_page(found, result, moving, 1e-3))
    words = text(elements)
    assert f"{result['gained_eV']:.4g} eV on {found.steps} steps" in words
    assert f"The softest vibration, {moving.wavenumbers[0]:.0f} 1/cm" in words
    assert [each["frames"]["shape"][0] for each in elements.given] == [found.steps + 1, 30]
    assert "Vibrations" not in text(opened(relax_page(found, result, None, 1e-3)))


@pytest.mark.slow
def test_a_descent_keeps_its_way():
    frame = cluster()
    frame = frame._replace(positions=frame.positions * 1.05)
    found = relaxed(morse(), frame, fmax=1e-3)
    assert found.forces[-1] < 1e-3 < found.forces[0]
    assert found.energies[0] > found.energies[-1] == found.energies.min()
    np.testing.assert_array_equal(found.way[0].positions, frame.positions)
    np.testing.assert_array_equal(found.way[-1].positions, found.frame.positions)


@pytest.mark.slow
def test_a_crystal_that_yields_is_shown_on_its_way():
    frame = crystal(1, edge=3.7)
    found = relaxed(morse(), frame, fmax=0.05, cell=True)
    np.testing.assert_allclose(found.way[0].positions, frame.positions, atol=1e-12)
    np.testing.assert_allclose(found.way[-1].positions, found.frame.positions, atol=1e-12)
    assert len(found.way) == found.steps + 1 == len(found.energies)


def test_a_barrier_has_its_saddle_on_the_path():
    frame = cluster()
    heights = [0.0, 0.3, 0.5, 0.2]
    chain = [frame._replace(positions=frame.positions + 0.3 * place, energy=heights[place]) for place in range(4)]
    mode = np.eye(4, 3)
    saddle = frame._replace(positions=frame.positions + 0.3 * 1.6, energy=0.6, columns={"mode": mode})
    result = {"barrier_eV": 0.6, "reverse_barrier_eV": 0.4, "imaginary_per_cm": 321.0, "saddle_index": 1}
    found = Barrier(chain, saddle, result, True, "It was found.")
    length, energy, _, place = profile(found)
    assert place == 2
    np.testing.assert_allclose(energy, [0, 0.3, 0.6, 0.5, 0.2])
    np.testing.assert_allclose(length, 0.3 * np.sqrt(12) * np.array([0, 1, 1.6, 2, 3]))
    elements = opened(barrier_page(found))
    words = text(elements)
    assert "The barrier is 0.6 eV high, and 0.4 eV from the other side. It was found." in words
    assert "321i 1/cm" in words
    slider, viewer = elements.given
    assert slider["markers"] == [{"name": "saddle", "t": pytest.approx(length[2])}]
    assert viewer["frames"]["shape"] == [30, 4, 3]
    bare = opened(barrier_page(Barrier(chain, None, result, False, "None was found.")))
    assert "viewer-js" not in bare.html


def test_labels_are_counted_by_composition_and_failures_are_listed():
    frames = [*read("ethanol@:30"), *read("water")]
    found = compositions(frames)
    assert set(found) == {"C2H6O", "H2O"}
    assert [len(energies) for _, energies in found.values()] == [30, 1]
    words = text(opened(label_page(frames, ["frame 3: did not converge."], "gfn2")))
    assert "31 frames have labels of gfn2, and 1 could not be labelled." in words
    assert "frame 3: did not converge." in words
    assert "No frame could be labelled." in text(opened(label_page([], ["all of it."], "gfn2")))


# The parts


def test_lines_are_named_by_symbols_and_without_folders():
    assert readable("a pair of 1 and 17") == "H-Cl"
    assert readable("half of /some/where/test.xyz, frame 3") == "half of test.xyz, frame 3"


def test_the_line_through_an_energy_knows_of_its_swings():
    times = np.linspace(0, 10, 2001)
    exact = line_through(times, 3.0 - 0.25 * times)
    np.testing.assert_allclose([exact.slope, exact.start], [-0.25, 3.0], rtol=1e-12)
    # A slow swing leaves a slope in a short run, which records taken as independent would swear to.
    words, off = np.random.default_rng(0), []
    for _ in range(200):
        slow = np.convolve(words.normal(size=2400), np.ones(400) / 20, "valid")
        line = line_through(times, slow)
        off.append(line.slope / line.error)
    # Of a normal quantity 5 % lie beyond two errors; told errors may be half too small, not more (that would be 32 %).
    assert np.mean(np.abs(off) > 2) < 0.32
    assert line_through(times[:2], times[:2]).error == np.inf


def test_distances_of_a_gas_without_order_are_one():
    words, cell = np.random.default_rng(0), 12.0 * np.eye(3)
    frames = [crystal()._replace(numbers=np.array([18] * 40), positions=words.uniform(0, 12, (40, 3)), cell=cell)
              for _ in range(100)]  # fmt: skip
    found = distances(frames)
    far = found.distance > 2
    # 156,000 pairs within 6 A, Poisson: 0.3 % is one standard error; seven are allowed.
    weight = found.distance[far] ** 2
    assert np.average(found.curves[18, 18][far], weights=weight) == pytest.approx(1, abs=0.02)
    ethanol = distances(read("ethanol@:5"))
    assert {(1, 1), (1, 6), (1, 8), (6, 6), (6, 8)} == set(ethanol.curves)  # there is one oxygen only
    width = ethanol.distance[1] - ethanol.distance[0]
    assert ethanol.curves[6, 6].sum() * width == pytest.approx(1)  # every pair is somewhere


@pytest.mark.parametrize("count", [1, 2])
def test_atoms_that_never_come_near_have_no_distances(count):
    far = Frame(np.full(count, 1), 9.0 * np.arange(3 * count).reshape(count, 3), np.zeros((3, 3)))
    assert distances([far, far]).curves == {}


def test_bonds_and_swings():
    (water,) = read("water")
    assert bonds(water.numbers, water.positions).tolist() == [[0, 1], [0, 2]]
    mode = np.array([[0.0, 0, 0], [0, 0, 2.0], [0, 0, 1.0]])
    swing = np.stack([frame.positions for frame in swinging(water, mode, reach=0.4, count=4)]) - water.positions
    np.testing.assert_allclose(swing[:, 1, 2], [0, 0.4, 0, -0.4], atol=1e-12)
    slider = molecule_slider("w", water.numbers, np.stack([water.positions] * 2), [0, 1], [0, 1],
                             labels=("t", "E"), caption="")  # fmt: skip
    shown = np.asarray(slider.frames)
    np.testing.assert_allclose(shown[0, :, 2], 0, atol=1e-9)  # laid flat, and not mirrored or stretched
    apart = lambda points: np.linalg.norm(points[:, None] - points[None], axis=2)  # noqa: E731
    np.testing.assert_allclose(apart(shown[0]), apart(water.positions), atol=1e-12)


# The viewer


def test_a_viewer_thins_long_trajectories_and_says_so():
    frames = np.zeros((1000, 2, 3)) + np.arange(1000)[:, None, None]
    viewer = Viewer("v", ["H", "H"], frames, "A caption.", labels=[f"{place}" for place in range(1000)])
    data = viewer_data(viewer)
    assert data["frames"]["shape"] == (MOST, 2, 3)
    assert (data["labels"][0], data["labels"][-1]) == ("0", "999")
    assert f"A caption. Shown are {MOST} of 1,000 frames" in render_page(Page("t", "s", [Section("a", [viewer])]))
    assert Viewer("v", ["H", "H"], frames[:3]).told == ""


def test_a_viewer_refuses_what_it_cannot_show():
    for frames, symbols, more in [
        (np.zeros((2, 3, 3)), ["H"] * 2, {}),
        (np.zeros((0, 2, 3)), ["H"] * 2, {}),
        (np.full((1, 2, 3), np.nan), ["H"] * 2, {}),
        (np.zeros((2, 2, 3)), ["H"] * 2, {"labels": ["one"]}),
        (np.zeros((2, 2, 3)), ["H"] * 2, {"cell": np.eye(2)}),
    ]:
        with pytest.raises(InputError, match='Viewer "v"'):
            Viewer("v", symbols, frames, **more)


def test_the_vendored_library_is_the_published_one_and_comes_only_where_it_is_used():
    folder = importlib.resources.files("thalweg.report") / "vendored"
    script = (folder / "3Dmol-min.js").read_bytes()
    readme = (folder / "README.md").read_text("utf-8")
    assert hashlib.sha256(script).hexdigest() in readme
    assert "University of Pittsburgh" in (folder / "3Dmol-LICENSE.txt").read_text("utf-8")
    viewer = Viewer("</script><b>", ["H"], np.zeros((1, 1, 3)))
    page = render_page(Page("t", "s", [Section("a", [viewer, viewer])]))
    assert page.count(script.decode()) == 1
    assert "<b>" not in page.replace(script.decode(), "")
    assert len(render_page(Page("t", "s", []))) < 50_000
