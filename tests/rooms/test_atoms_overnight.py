"""The loop of active learning, as the room's page gives it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import thalweg.atoms
from thalweg.atoms.data.frame import Frame
from thalweg.atoms.data.rattle import rattled
from thalweg.atoms.data.read import read
from thalweg.core.errors import InputError


def test_displaced_copies_are_spread_as_asked_and_have_no_labels():
    frame = Frame(np.full(500, 6), np.zeros((500, 3)), np.zeros((3, 3)), energy=1.0, forces=np.ones((500, 3)))
    first, *copies = rattled([frame], 3, 0.1, seed=1)
    assert first.energy is first.forces is copies[0].energy is None
    assert np.array_equal(first.positions, frame.positions)
    # 4,500 normal numbers: their spread is off by more than 5 % once in 10^6 seeds.
    assert np.std([copy.positions for copy in copies]) == pytest.approx(0.1, rel=0.05)
    assert np.array_equal(rattled([frame], 3, 0.1, seed=1)[3].positions, copies[2].positions)
    with pytest.raises(InputError, match="displaces nothing"):
        rattled([frame], 3, 0.0, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # seven programs, each of which compiles
def test_the_loop_of_the_page_labels_what_it_does_not_know(tmp_path):
    page = Path(thalweg.atoms.__file__).with_name("README.md").read_text()
    (script,) = (block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "for round" in block)
    (tmp_path / "overnight.sh").write_text(script)
    (tmp_path / "start.xyz").write_text("3\n\nO 0 0 0.12\nH 0 0.76 -0.48\nH 0 -0.76 -0.48\n")
    small = {"COPIES": "12", "ROUNDS": "2", "TRAIN": "--config small.toml", "LIMIT": "0.01"}
    small["WALK"] = "--temperature 600 --steps 400"
    (tmp_path / "small.toml").write_text(
        "[shape]\norbitals = 4\nchannels = 4\nhidden = 4\ndegree = 1\nmessages = 2\n[recipe]\nsteps = 300\n"
    )
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = subprocess.run(
        ["sh", "overnight.sh", "start.xyz"],
        cwd=tmp_path,
        env=os.environ | small | {"PATH": programs},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    known = read(str(tmp_path / "known.xyz"))
    assert len(known) > 13  # the first labels, and what the walk brought
    assert all(frame.forces is not None for frame in known)
    assert (tmp_path / "potential-2" / "potential.safetensors").exists()
