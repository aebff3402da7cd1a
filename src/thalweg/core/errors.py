"""The package's errors: each message is one sentence that says what, where and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thalweg.core.solution import Solution


class ThalwegError(Exception):
    """What the package raises on purpose; the command line prints its sentence and exits with 1."""


class InputError(ThalwegError):
    """A file, an array or an option is not what was expected."""


class PrecisionError(InputError):
    """A floating-point width was asked for that this process cannot give."""


class MissingExtra(ThalwegError):
    """An optional dependency is absent; the message names its install line."""


class WalkError(ThalwegError):
    """A walk ended badly and the caller did not ask to see it (`throw=False`); it carries the solution."""

    def __init__(self, sentence: str, solution: Solution):
        # Both arguments go to `Exception`, so that the error survives a trip through a process pool.
        Exception.__init__(self, sentence, solution)
        self.sentence = sentence
        self.solution = solution

    def __str__(self) -> str:
        return self.sentence


def shown(value: object, most: int = 80) -> str:
    """What a file holds as an error quotes it: its `repr`, cut where it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 20]}... ({len(text)} characters)"


def require(module: str, *, extra: str | None = None, package: str | None = None):
    """Import an optional module by name.

    **Arguments:** `module` to import; the `extra` of thalweg that brings it, or the `package` that does.

    **Raises:** `MissingExtra` with the install line.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        line = f"pip install 'thalweg[{extra}]'" if extra else f"pip install {package or module}"
        raise MissingExtra(f"this needs the package {module.split('.')[0]}, which is not installed: {line}") from None
