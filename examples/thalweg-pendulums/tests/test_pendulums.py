"""The package's own tests: thalweg's contracts, the limit that theory knows, and bad files."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thalweg_pendulums import Pendulums, Steepest
from thalweg_pendulums.data import read_angles
from thalweg_pendulums.tasks.kink import kink

import thalweg
from thalweg.core.errors import InputError
from thalweg.testing import check_energy, check_method


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def test_the_contracts():
    check_energy(Pendulums(), jnp.array([0.3, 1.2, 4.0]))
    check_method(Steepest())


def test_stiff_springs_give_the_continuum():
    differences = [abs(kink(Pendulums(k, 1.0), count=60).result["relative_difference"]) for k in (1.0, 4.0, 9.0)]
    # What the lattice corrects falls as gravity/stiffness, the squared spacing over the squared width of the kink.
    assert differences[0] > differences[1] > differences[2]
    assert differences[2] < 0.01


def test_soft_springs_pin_the_kink():
    soft, stiff = (kink(Pendulums(k, 1.0)).result["barrier"] for k in (0.5, 1.0))
    assert soft > 2 * stiff > 0


def test_the_announced_method_is_found_by_name():
    hanging = thalweg.relax(Pendulums(turns=0.0), jnp.linspace(0.1, 1.0, 12), "steepest", tol=1e-6, max_steps=100_000)
    np.testing.assert_allclose(hanging.value, 0, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "told"),
    [("theta\n1\n", "no column `angle`"), ("angle\n1\nx\n2\n", "line 3"), ("angle\n1\n2\n", "at least three")],
)
def test_bad_files_are_refused_with_their_line(tmp_path, text, told):
    path = tmp_path / "angles.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_angles(path)
