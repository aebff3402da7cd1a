"""The example of a room in a package of its own: installed as a user would, and found by the program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "thalweg-pendulums"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """An environment in which the package is installed, and only there."""
    site = tmp_path_factory.mktemp("site")
    asked = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
             "--disable-pip-version-check", "--target", str(site), str(PACKAGE)]  # fmt: skip
    done = subprocess.run(asked, capture_output=True, text=True, cwd=site)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(site)}


def asked(installed: dict[str, str], *words: str, where: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from thalweg.cli import main; main()", *words]
    return subprocess.run(program, capture_output=True, text=True, env=installed, cwd=where)


def test_its_room_is_announced(installed, tmp_path):
    assert "pendulums  (from thalweg-pendulums)" in " ".join(
        asked(installed, "--help", where=tmp_path).stdout.split("\n")
    )


def test_its_command_answers_as_ours_do(installed, tmp_path):
    done = asked(
        installed, "pendulums", "kink", "--stiffness", "2", "--json", "--quiet", "--out", "run", where=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # The lattice lowers the energy of the continuum by some gravity / (24 stiffness), 2 % here.
    assert found["energy"] == pytest.approx(found["energy_continuum"], rel=0.05)
    assert 0 < found["barrier"] < 0.01
    assert (tmp_path / "run" / "report.html").is_file()
    bad = tmp_path / "bad.csv"
    bad.write_text("angle\n1\nx\n")
    refused = asked(installed, "pendulums", "kink", "--start", str(bad), where=tmp_path)
    assert refused.returncode == 1
    assert "line 3" in refused.stderr


def test_its_own_tests_pass(installed, tmp_path):
    own = [str(PACKAGE / "tests"), "-c", os.devnull, "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *own]
    done = subprocess.run(command, capture_output=True, text=True, env=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
