"""A user's own object by name: `package.module:attribute` or `file.py:attribute`."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import itertools
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from thalweg.core.errors import InputError

_serial = itertools.count()


def load_object(name: str) -> Any:
    """The object that `package.module:attribute` or `file.py:attribute` names.

    The module, or the file, is imported, and nothing else is run: a function or class is returned, not called. A file
    is read anew each time and may import its neighbours; dots in the attribute reach inside (`net.py:Zoo.small`).

    **Raises:** `InputError` that says which part of the name is wrong, or at which line the import failed.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon or not place or not attribute:
        raise InputError(f"{name!r} names no object: write package.module:attribute or file.py:attribute.")
    by_file = place.endswith(".py") or "/" in place or "\\" in place
    found: Any = _from_file(place) if by_file else _from_module(place)
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [known for known in dir(found) if not known.startswith("_")], n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "check the spelling."
            raise InputError(f"{place} has no attribute {attribute!r}: {hint}")
        found = getattr(found, part)
    return found


def _from_module(place: str) -> ModuleType:
    try:
        found = importlib.util.find_spec(place) is not None
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise InputError(_failure(place, error)) from error
        found = False
    except Exception as error:  # find_spec imports the parent packages, which may do anything
        raise InputError(_failure(place, error)) from error
    if not found:
        raise InputError(f"there is no module {place!r} here: install it, or name its file as file.py:attribute.")
    with _one_sentence(place):
        return importlib.import_module(place)
    raise AssertionError  # `_one_sentence` returns or raises


def _from_file(place: str) -> ModuleType:
    path = Path(place).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {place}: check the path, it is read from the current folder.")
    if path.suffix != ".py":
        raise InputError(f"{place} is not a Python file: name one that ends in .py.")
    # Registered under a name of its own: dataclasses look their module up there.
    label = f"_thalweg_loaded_{next(_serial)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(label, path.resolve())
    assert spec is not None
    assert spec.loader is not None  # a .py file always has both
    module = sys.modules[label] = importlib.util.module_from_spec(spec)
    try:
        with _neighbours(path.resolve().parent), _one_sentence(place):
            spec.loader.exec_module(module)
    except InputError:
        del sys.modules[label]
        raise
    return module


@contextlib.contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Let the file import what lies beside it, after everything that is installed."""
    before = list(sys.path)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


@contextlib.contextmanager
def _one_sentence(place: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:  # a script may call sys.exit() when it is imported
        raise InputError(_failure(place, error)) from error


def _failure(place: str, error: BaseException) -> str:
    """Where in the user's code the import failed, and with what."""
    if isinstance(error, SyntaxError):
        file, line, reason = error.filename, error.lineno, error.msg
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
        # The user's own line, where one is known, rather than the library line that it led to.
        own = [frame for frame in frames if Path(frame.filename).name == Path(place).name]
        file, line = next(((frame.filename, frame.lineno) for frame in reversed(own or frames)), (place, None))
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
    where = f"{file}:{line}" if line else f"{file}"
    return f"{where}: importing {place} failed with {type(error).__name__}{': ' if reason else ''}{reason}."


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename == __file__ or filename == importlib.__file__
