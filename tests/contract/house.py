"""What the architecture tests look for: each function reads a source tree and lists violations, one line each."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
ROOMS = ("spins", "atoms", "learning", "robust", "genome", "portfolio")
ROOMLESS = ("core", "verbs", "methods", "diagnostics")

# Nouns that belong to one room. "image" is missing on purpose: it is also what a point of an elastic band is called.
_NOUNS = """
    adversary allele atom bond classifier codon company digit emission ethanol exon footprint gene genome intron ising
    investee logit magnetization magnetisation maxcut molecule neuron nucleotide pixel portfolio protein qubo splice
    spin
""".split()
ROOM_NOUNS = frozenset(_NOUNS) | {f"{noun}s" for noun in _NOUNS} | {"adversaries", "adversarial", "companies"}

_PICKLERS = frozenset({"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "joblib"})
_STEP_NAMES = re.compile(r"^(n_?)?(step|epoch|iteration|iter|update|sweep)(s|_index|_number)?$")
_MAKES_NUMPY = frozenset(
    "array asarray zeros ones full empty arange linspace logspace eye identity zeros_like ones_like full_like".split()
)
_STARTS_JAX = re.compile(
    r"^jax\.(numpy\.(?!dtype$|finfo$|iinfo$|promote_types$|vectorize$|issubdtype$)\w+"
    r"|random\.\w+|device_put|devices|local_devices|device_count|local_device_count|default_backend)$"
)


def sources(root: Path, folders: Iterable[str] = (".",)) -> list[Path]:
    """The Python files in some folders below `root`, by default in all of it, in order."""
    found = (path for folder in folders for path in (root / folder).rglob("*.py"))
    # Environments of the peers, such as benchmarks/.peers, are other people's houses.
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts))


def rooms(root: Path) -> list[str]:
    """The rooms below the package folder `root`: the known ones, and whatever has a room's furniture."""
    furnished = {path.parent.name for path in root.glob("*/command.py")}
    return sorted(furnished | {room for room in ROOMS if (root / room).is_dir()})


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _at(root: Path, path: Path, line: int, message: str) -> str:
    return f"{path.relative_to(root)}:{line}: {message}"


def _scan(root: Path, files: list[Path], find: Callable[[ast.Module], Iterator[tuple[int, str]]]) -> list[str]:
    return [_at(root, path, line, message) for path in files for line, message in find(_parse(path))]


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Local name -> full dotted name, for every import anywhere in the module."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                names[item.asname or item.name.split(".")[0]] = item.name if item.asname else item.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for item in node.names:
                names[item.asname or item.name] = f"{node.module}.{item.name}"
    return names


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    """`jnp.linalg.norm` as `jax.numpy.linalg.norm`; the empty string for anything that is no plain name."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value, aliases)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def _base_name(node: ast.expr) -> str:
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _methods(node: ast.ClassDef) -> dict[str, bool]:
    """The methods a class defines; True where abstract."""
    return {
        item.name: any(_base_name(mark).startswith("abstract") for mark in item.decorator_list)
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def subclassed_concretes(root: Path) -> list[str]:
    """Classes that are neither abstract nor final, and methods that override a concrete one; errors are exempt."""
    classes = {
        node.name: (path, node)
        for path in sources(root)
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.ClassDef)
    }

    def is_error(name: str) -> bool:
        if name not in classes:
            return name in {"Exception", "BaseException"} or name.endswith(("Error", "Exception", "Warning"))
        return any(is_error(_base_name(base)) for base in classes[name][1].bases)

    found = []
    for name, (path, node) in classes.items():
        methods = _methods(node)
        is_protocol = any(_base_name(base) == "Protocol" for base in node.bases)
        if any(methods.values()) and not name.startswith("Abstract") and not is_protocol:
            found.append(_at(root, path, node.lineno, f"{name} has abstract methods but is not named Abstract{name}"))
        for base in map(_base_name, node.bases):
            if base not in classes or is_error(name):
                continue
            if not base.startswith("Abstract"):
                found.append(_at(root, path, node.lineno, f"{name} subclasses {base}, which is final"))
            overridden = {method for method, abstract in _methods(classes[base][1]).items() if not abstract} & set(
                methods
            )
            found += [
                _at(root, path, node.lineno, f"{name} overrides the concrete {base}.{m}") for m in sorted(overridden)
            ]
    return found


def super_calls(root: Path) -> list[str]:
    """Calls of `super`."""

    def find(tree: ast.Module) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "super":
                yield node.lineno, "super() is used"

    return _scan(root, sources(root), find)


def room_nouns(root: Path) -> list[str]:
    """Words of a room in the names, comments and strings of the layers that know no room."""
    found = []
    for path in sources(root, ROOMLESS):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if re.match(r"\s*(book)?title\s*=", line):  # a BibTeX entry spells its title as printed
                continue
            spread = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", line)
            words = (word.lower() for word in re.findall(r"[A-Za-z]+", spread))
            found += [_at(root, path, number, f"'{word}' is a room's word") for word in words if word in ROOM_NOUNS]
    return found


def room_imports(root: Path) -> list[str]:
    """Imports from one room into another."""
    names = rooms(root)
    found = []
    for room in names:
        others = set(names) - {room}
        for path in sources(root, [room]):
            package = ["thalweg", *path.relative_to(root).parts[:-1]]
            for node in ast.walk(_parse(path)):
                for target in _imported(node, package):
                    parts = target.split(".")
                    if len(parts) > 1 and parts[0] == "thalweg" and parts[1] in others:
                        found.append(_at(root, path, getattr(node, "lineno", 0), f"the room {room} imports {target}"))
    return found


def _imported(node: ast.AST, package: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (item.name for item in node.names)
    elif isinstance(node, ast.ImportFrom):
        origin = package[: len(package) - node.level + 1] if node.level else []
        start = ".".join([*origin, *([node.module] if node.module else [])])
        yield from (f"{start}.{item.name}" for item in node.names)
    elif isinstance(node, ast.Call) and _base_name(node.func) == "import_module":
        yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def step_loops(root: Path) -> list[str]:
    """Loops over steps and optimiser updates in rooms, where only `drive` may step.

    `lax.scan` is allowed in a room's `energy.py` and `model.py`: there it runs over the positions of one input.
    """
    found = []
    for path in sources(root, rooms(root)):
        landscape = path.name in {"energy.py", "model.py"}
        tree = _parse(path)
        aliases = _aliases(tree)
        for node in ast.walk(tree):
            reason = _steps(node, aliases, landscape)
            if reason:
                found.append(_at(root, path, getattr(node, "lineno", 0), reason))
    return found


def _steps(node: ast.AST, aliases: dict[str, str], landscape: bool) -> str:
    if isinstance(node, ast.Name | ast.Attribute):
        name = _dotted(node, aliases).split(".")[-1]
        forbidden = {"apply_updates", "while_loop", "fori_loop"}
        if name in forbidden or (not landscape and _dotted(node, aliases).endswith("lax.scan")):
            return f"{name} steps outside of drive"
    if isinstance(node, ast.For) and any(_is_step(name) for name in ast.walk(node.target)):
        return "a loop over steps outside of drive"
    if isinstance(node, ast.While) and any(_is_step(name) for name in ast.walk(node.test)):
        return "a loop over steps outside of drive"
    return ""


def _is_step(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and bool(_STEP_NAMES.match(node.id))


def pickles(root: Path) -> list[str]:
    """Anything that could load or write a pickle."""

    def find(tree: ast.Module) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree):
            for target in _imported(node, []):
                if target.split(".")[0] in _PICKLERS:
                    yield getattr(node, "lineno", 0), f"{target} is imported"
            if isinstance(node, ast.keyword):
                constant = node.value.value if isinstance(node.value, ast.Constant) else True
                if (node.arg, constant) in {("allow_pickle", True), ("weights_only", False)}:
                    yield node.value.lineno, f"{node.arg}={constant} lets a pickle in"

    return _scan(root, sources(root), find)


def import_time_arrays(root: Path) -> list[str]:
    """Arrays made while a module is imported: at module level, in class bodies, decorators and default arguments."""

    def find(tree: ast.Module) -> Iterator[tuple[int, str]]:
        aliases = _aliases(tree)
        for node in _at_import(tree):
            name = _dotted(node.func, aliases) if isinstance(node, ast.Call) else ""
            maker = name.removeprefix("numpy.") in _MAKES_NUMPY and name.startswith("numpy.")
            if maker or _STARTS_JAX.match(name):
                yield getattr(node, "lineno", 0), f"{name}(...) runs when the module is imported"

    return _scan(root, sources(root), find)


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that is evaluated by the import itself: all but the bodies of functions and lambdas."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        inside: list[ast.AST] = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    elif isinstance(node, ast.Lambda):
        inside = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
    else:
        inside = list(ast.iter_child_nodes(node))
    for child in inside:
        yield from _at_import(child)


def too_long(root: Path) -> list[str]:
    """Files and functions past the house's limits."""
    found = []
    for path in sources(root):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_FILE:
            found.append(_at(root, path, 1, f"{lines} lines, more than {LONGEST_FILE}"))
        for node in ast.walk(_parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    found.append(
                        _at(root, path, node.lineno, f"{node.name} has {length} lines, more than {LONGEST_FUNCTION}")
                    )
    return found


def without_a_layer(root: Path, layers: list[str]) -> list[str]:
    """Top-level modules of the package that the import contract does not place in a layer."""
    placed = {name.split(".")[0] for layer in layers for name in re.findall(r"[\w.]+", layer)}
    modules = {path.stem for path in root.glob("*.py")} | {path.parent.name for path in root.glob("*/*.py")}
    return [
        f"{name} has no layer in pyproject.toml"
        for name in sorted(modules - placed - {"__init__", "__main__", root.name})
    ]


def without_init(root: Path) -> list[str]:
    """Folders with Python files but no `__init__.py`: the import contracts would pass over them in silence."""
    folders = {path.parent for path in sources(root)}
    return [
        f"{folder.relative_to(root)} has no __init__.py"
        for folder in sorted(folders)
        if not (folder / "__init__.py").is_file()
    ]
