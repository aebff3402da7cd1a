"""Builds wheel and sdist, and uses the wheel as a stranger would: alone, in empty environments, away from the checkout.

    python tools/release_check.py [PYTHON ...]

Without names every Python from 3.11 on that the PATH has is tried. Versions of dependencies are those of
requirements.lock, so that what is checked is this package and not what others published today.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
BUILT = REPOSITORY / "build" / "release"
MOST_BYTES = 10_000_000  # PyPI takes 100 MB; a reader should not wait for a library of the size of a data set
FOR_DEVELOPERS = {"test", "lint", "docs", "dev"}
VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def say(words: str) -> None:
    print(f"release: {words}", flush=True)


def asked(*command: str | Path, where: Path, fails: bool = False) -> str:
    """What a command prints; with `fails`, what it complains of. Ends this program where it does otherwise."""
    quiet = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "THALWEG_DATA", "VIRTUAL_ENV")
    }
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=where, env=quiet)
    if (done.returncode != 0) is not fails:
        raise SystemExit(
            f"release: {' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stderr if fails else done.stdout


def built() -> Path:
    """The wheel, beside an sdist; the wheel of the sdist must hold the same files."""
    shutil.rmtree(BUILT, ignore_errors=True)
    asked(sys.executable, "-m", "hatchling", "build", "-d", BUILT, where=REPOSITORY)
    (wheel,), (sdist,) = BUILT.glob("*.whl"), BUILT.glob("*.tar.gz")
    for file in (wheel, sdist):
        say(f"{file.name} has {file.stat().st_size / 1e6:.2f} MB")
        if file.stat().st_size > MOST_BYTES:
            raise SystemExit(f"release: {file.name} is larger than {MOST_BYTES / 1e6:.0f} MB.")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (source,) = Path(folder).iterdir()
        asked(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", Path(folder) / "again", where=source)
        (again,) = (Path(folder) / "again").glob("*.whl")
        if names(wheel) != names(again):
            raise SystemExit(f"release: sdist and checkout differ in {sorted(names(wheel) ^ names(again))[:5]}.")
    return wheel


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def constraints(folder: Path) -> Path:
    """The versions of requirements.lock without their hashes: a wheel of our own has none there."""
    locked = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    lines = re.findall(r"^([A-Za-z0-9][\w.\[\]-]*==[^\\\n]*?)\s*\\?$", locked, re.MULTILINE)
    path = folder / "constraints.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def checked(python: str, wheel: Path) -> None:
    """Install the wheel in an empty environment of this Python, and use it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked(python, "-m", "venv", folder / "env", where=folder)
        own, locked = folder / "env" / "bin" / "python", constraints(folder)
        pip = (own, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--constraint", locked)
        asked(*pip, wheel, where=folder)
        asked(own, "-W", "error", "-c", "import thalweg", where=folder)
        told = json.loads(asked(folder / "env" / "bin" / "thalweg", "doctor", "--json", where=folder))
        if not told["ok"]:
            raise SystemExit(f"release: the doctor is not content: {told['broken']}")
        used(folder)
        extras = sorted(set(project()["optional-dependencies"]) - FOR_DEVELOPERS)
        asked(*pip, "--dry-run", f"thalweg[{','.join(extras)}] @ {wheel.as_uri()}", where=folder)
        where = f"Python {told['python'].split()[0]}, JAX {told['jax']['version']}"
        say(f"{where}: imports, runs, extras {', '.join(extras)} resolve")


def used(folder: Path) -> None:
    """One training, its report, and a room whose extra is not there."""
    program = folder / "env" / "bin" / "thalweg"
    answer = json.loads(asked(program, "learning", "symmetry", "--json", "--quiet", "--out", "run", where=folder))
    if not (folder / "run" / "report.html").is_file() or answer["loss_after"] >= answer["loss_before"]:
        raise SystemExit(f"release: a training went wrong: {answer}")
    missing = asked(program, "atoms", "md", "ethanol", "--steps", "1", where=folder, fails=True)
    if "pip install 'thalweg[atoms]'" not in missing:
        raise SystemExit(f"release: a missing extra is not named with its install line: {missing}")


def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pythons() -> list[str]:
    """This one, and every other version that the PATH has and that can make environments."""
    found = [sys.executable]
    for version in VERSIONS:
        name = f"python{version}"
        ours = version == f"{sys.version_info.major}.{sys.version_info.minor}"
        probe = [name, "-c", "import ensurepip, venv"]
        if not ours and shutil.which(name) and subprocess.run(probe, capture_output=True).returncode == 0:
            found.append(name)
    return found


def main() -> None:
    wheel = built()
    for python in sys.argv[1:] or pythons():
        checked(python, wheel)


if __name__ == "__main__":
    main()
