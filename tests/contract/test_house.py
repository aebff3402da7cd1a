"""The rules of the house, and proof that each rule's test can fail."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from contract import house

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "src" / "thalweg"

RULES = [
    house.subclassed_concretes,
    house.super_calls,
    house.room_nouns,
    house.room_imports,
    house.step_loops,
    house.pickles,
    house.import_time_arrays,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    assert rule(PACKAGE) == []


def test_the_rules_have_something_to_look_at():
    assert {"spins", "learning", "robust"} <= set(house.rooms(PACKAGE))
    assert all(house.sources(PACKAGE, [layer]) for layer in house.ROOMLESS)


@pytest.mark.parametrize("folder", ["src", "tests", "tools", "benchmarks"])
def test_files_and_functions_fit_a_screen(folder):
    assert house.too_long(REPOSITORY / folder) == []


def test_every_module_has_a_layer():
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    assert house.without_a_layer(PACKAGE, layers) == []


def test_every_folder_is_a_package():
    assert house.without_init(PACKAGE) == []


HEAVY = ("jax", "jaxlib", "matplotlib", "plotly", "sklearn", "scipy", "pandas", "numba")


def loaded_by(statement: str) -> list[str]:
    """The heavy packages that a fresh interpreter holds after `statement`."""
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


@pytest.mark.parametrize("module", ["thalweg", "thalweg.cli"])
def test_importing_loads_nothing_heavy(module):
    assert loaded_by(f"import {module}") == []


def test_the_test_for_heavy_imports_can_fail():
    assert "jax" in loaded_by("import jax")


# One planted violation per case: the rule, where it is planted, the source, and what the finding must say.
PLANTED = [
    (house.subclassed_concretes, "core/a.py", "class A: ...\nclass B(A): ...\n", "B subclasses A"),
    (
        house.subclassed_concretes,
        "core/a.py",
        "class AbstractA:\n    def f(self): ...\nclass B(AbstractA):\n    def f(self): ...\n",
        "B overrides the concrete AbstractA.f",
    ),
    (
        house.subclassed_concretes,
        "core/a.py",
        "import abc\nclass A:\n    @abc.abstractmethod\n    def f(self): ...\n",
        "not named AbstractA",
    ),
    (house.super_calls, "core/a.py", "class A:\n    def f(self):\n        super().f()\n", "super() is used"),
    (house.room_nouns, "core/a.py", "def f(atoms): ...\n", "'atoms'"),
    (house.room_nouns, "methods/a.py", "class SpinGlass: ...\n", "'spin'"),
    (house.room_nouns, "verbs/a.py", "x = 1  # one pixel\n", "'pixel'"),
    (house.room_nouns, "diagnostics/a.py", '"""Reads off.\n\nFor a gene.\n"""\n', "a.py:3: 'gene'"),
    (house.room_nouns, "core/a.py", 'x = f"one molecule {1}"\n', "'molecule'"),
    (house.room_imports, "learning/a.py", "def f():\n    from thalweg.robust import energy\n", "thalweg.robust"),
    (house.room_imports, "learning/tasks/a.py", "from ...robust.energy import E\n", "thalweg.robust.energy"),
    (house.room_imports, "learning/a.py", "from .. import robust\n", "thalweg.robust"),
    (house.room_imports, "learning/a.py", "from thalweg import robust\n", "thalweg.robust"),
    (
        house.room_imports,
        "learning/a.py",
        "import importlib as i\ni.import_module('thalweg.robust')\n",
        "thalweg.robust",
    ),
    (house.step_loops, "robust/tasks/a.py", "import optax\noptax.apply_updates(1, 2)\n", "apply_updates"),
    (house.step_loops, "robust/tasks/a.py", "import jax\njax.lax.scan(1, 2)\n", "scan"),
    (house.step_loops, "robust/tasks/a.py", "from jax.lax import scan as walk\nwalk(1, 2)\n", "scan"),
    (house.step_loops, "robust/energy.py", "from jax import lax\nlax.while_loop(1, 2, 3)\n", "while_loop"),
    (house.step_loops, "robust/energy.py", "import jax\njax.lax.fori_loop(0, 1, 2, 3)\n", "fori_loop"),
    (house.step_loops, "robust/tasks/a.py", "for step in range(3): ...\n", "loop over steps"),
    (house.step_loops, "robust/tasks/a.py", "for i, epoch in enumerate([]): ...\n", "loop over steps"),
    (house.step_loops, "robust/tasks/a.py", "step = 0\nwhile step < 3: step += 1\n", "loop over steps"),
    (house.pickles, "runs/a.py", "import pickle\n", "pickle"),
    (house.pickles, "runs/a.py", "def f():\n    from joblib import load\n", "joblib.load"),
    (house.pickles, "runs/a.py", "import numpy as np\nnp.load('a', allow_pickle=True)\n", "allow_pickle"),
    (house.import_time_arrays, "core/a.py", "import jax.numpy as jnp\nX = jnp.zeros(3)\n", "jax.numpy.zeros"),
    (house.import_time_arrays, "core/a.py", "import jax.numpy as jnp\ndef f(x=jnp.ones(3)): ...\n", "jax.numpy.ones"),
    (house.import_time_arrays, "core/a.py", "import jax\ndef f(*, key=jax.random.key(0)): ...\n", "jax.random.key"),
    (house.import_time_arrays, "core/a.py", "import numpy as np\nclass A:\n    x = [np.array(1.0)]\n", "numpy.array"),
    (house.import_time_arrays, "core/a.py", "from jax import numpy as n\nf = lambda x=n.eye(3): x\n", "jax.numpy.eye"),
    (house.too_long, "core/a.py", "x = 1\n" * (house.LONGEST_FILE + 1), "401 lines"),
    (house.too_long, "core/a.py", "def f():\n" + "    x = 1\n" * house.LONGEST_FUNCTION, "f has 61 lines"),
]


def plant(root: Path, where: str, source: str) -> None:
    for room in ("learning", "robust"):
        (root / room).mkdir(exist_ok=True)
        (root / room / "command.py").write_text('"""A room."""\n')
    target = root / where
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source)


@pytest.mark.parametrize(("rule", "where", "source", "finding"), PLANTED)
def test_a_planted_violation_is_found(rule, where, source, finding, tmp_path):
    plant(tmp_path, where, source)
    found = rule(tmp_path)
    assert any(finding in line and line.startswith(where) for line in found), found


INNOCENT = """\
from __future__ import annotations
import abc
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

class PlainError(Exception): ...
class InputError(PlainError): ...
class AbstractA(eqx.Module):
    x: float = eqx.field(default=1.0, converter=jnp.asarray)
    @abc.abstractmethod
    def f(self): ...
class B(AbstractA):
    def f(self):
        return jnp.zeros(3) + np.array(1.0)
DTYPE = np.dtype("float32")
compiled = jax.jit(lambda x: jnp.sum(x))
SOURCE = '''@article{
  title = {Replica Monte Carlo simulation of spin glasses},
}'''
general, spinner, optional = 1, 2, 3
"""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_innocent_source_is_left_alone(rule, tmp_path):
    plant(tmp_path, "core/a.py", INNOCENT)
    plant(tmp_path, "robust/energy.py", "import jax\njax.lax.scan(1, 2)\nfor row in range(3): ...\n")
    assert rule(tmp_path) == []


def test_a_folder_without_init_is_found(tmp_path):
    plant(tmp_path, "core/a.py", "")
    assert "core has no __init__.py" in house.without_init(tmp_path)


# The import contracts of pyproject.toml, run on a copy of the house's skeleton with one import too many.
UPWARD = [
    ("core/a.py", "thalweg.methods", "imports run downward only"),
    ("methods/a.py", "thalweg.verbs", "imports run downward only"),
    ("verbs/a.py", "thalweg.runs", "imports run downward only"),
    ("report/a.py", "thalweg.learning.tasks", "imports run downward only"),
    ("learning/tasks/a.py", "thalweg.learning.command", "imports run downward only"),
    ("learning/energy.py", "thalweg.robust.data", "rooms import no rooms"),
    ("runs/a.py", "thalweg.report", "report, runs, interop and scale do not import each other"),
]


@pytest.mark.parametrize(("where", "target", "contract"), UPWARD)
def test_the_import_contracts_can_break(where, target, contract, tmp_path):
    skeleton = ["core", "methods", "verbs", "report", "runs", "learning/tasks", "learning", "robust"]
    for folder in ["", *skeleton]:
        (tmp_path / "thalweg" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "thalweg" / folder / "__init__.py").touch()
    for name in ("learning/command.py", "robust/command.py", "robust/data.py"):
        (tmp_path / "thalweg" / name).touch()
    (tmp_path / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text())
    (tmp_path / "thalweg" / where).write_text("")
    assert contracts_broken(tmp_path) == []
    (tmp_path / "thalweg" / where).write_text(f"import {target}\n")
    assert contract in contracts_broken(tmp_path)


def contracts_broken(folder: Path) -> list[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=120
    )
    assert "Contracts:" in run.stdout, run.stdout + run.stderr
    return [line.removesuffix(" BROKEN") for line in run.stdout.splitlines() if line.endswith(" BROKEN")]


def test_a_package_without_rooms_breaks_no_rule_of_the_rooms(tmp_path):
    (tmp_path / "drive.py").write_text("for step in range(3): ...\n")
    assert house.step_loops(tmp_path) == []


def test_a_new_module_without_a_layer_is_found(tmp_path):
    plant(tmp_path, "newcomer.py", "")
    assert house.without_a_layer(tmp_path, ["(learning.command) | (robust.command)"]) == [
        "newcomer has no layer in pyproject.toml"
    ]
