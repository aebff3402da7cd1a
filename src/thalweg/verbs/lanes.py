"""The lanes of a sweep: one batch of (value, seed) pairs, compiled once in each process, wherever it runs."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError
from thalweg.core.solution import Solution

END = "end/"  # where the seeds of a followed block stand after it; a variable's name has no slash
_NUMBERS = (
    "sweep: family, solve or observe makes a Python number or a choice of a traced array, which would compile anew for "
    "every value: keep it an array (in an `eqx.Module`, `eqx.field(converter=jnp.asarray)`)."
)


class Task(NamedTuple):
    """One batch, in NumPy arrays so that it can travel.

    **Fields:** `values`, leading axis the lanes (of a followed block: its values); `indices` `[lanes, 3]` (or
    `[values, seeds, 3]`), the pass, value and seed that a lane's random key is folded from; `x`, where the seeds of a
    followed block stand; `name`, under which the store keeps it.
    """

    values: PyTree
    indices: Int[np.ndarray, "*lanes 3"]
    x: PyTree = None
    name: str | None = None


class Batch(NamedTuple):
    """What came out of a task: its arrays by name, and the seconds that its process has compiled so far."""

    arrays: dict[str, np.ndarray]
    compile_seconds: float


class _Program:
    """What one process has compiled for one sweep."""

    def __init__(self):
        self.lock = threading.Lock()
        self.traces, self.seconds = 0, 0.0
        self.shapes: Any = None
        self.lowered: Any = None
        self.compiled: Any = None
        self.hash: bytes | None = None

    def fingerprint(self) -> bytes:
        """The hash of the program, constants included: whatever changes in family, solve or observe changes it."""
        if self.hash is None:
            text = self.lowered.as_text()
            if "callback" in text:
                raise InputError(
                    "sweep: solve or observe calls back into Python, whose content cannot be told apart in a store: "
                    "pass label=..., a name that changes with them."
                )
            self.hash = hashlib.sha256(text.encode()).digest()
        return self.hash


_programs: dict[str, _Program] = {}
_KEPT = 2  # a pool's workers see one sweep after another and would keep every program


class Lanes(NamedTuple):
    """The function from a `Task` to a `Batch`; it can travel wherever the functions in it can.

    **Fields:** `family`, `solve`, `observe`, `follow` and `label` of `sweep`; `wide`, whether it computes in 64 bits;
    `start`, the arrays of `x0`, or `begin`, the function that makes them; `words`, the data of the key of the kind
    `impl`; `token`, which tells the programs of this sweep from those of others.
    """

    family: Callable
    solve: Callable
    observe: Callable
    start: PyTree
    begin: Callable | None
    words: np.ndarray
    impl: str
    follow: bool
    wide: bool
    label: str | None
    token: str

    def __call__(self, task: Task) -> Batch:
        # The precision travels with the batch: a thread or another process has its own setting.
        with jax.enable_x64(self.wide):
            run, seconds = self._compiled(task)
            arrays = self._followed(run, task) if self.follow else _host(run(*self._arguments(task))[0])
        return Batch(arrays, seconds)

    def starts(self, indices: Int[np.ndarray, "seeds 3"]) -> PyTree:
        """Where the seeds stand before their first value."""
        if self.begin is None:
            return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(indices), *np.shape(leaf))), self.start)
        begin: Any = self.begin
        with jax.enable_x64(self.wide):
            return _host(jax.jit(jax.vmap(lambda at: begin(self._keys(at)[0])))(indices))

    def name(self, task: Task) -> str:
        """The hash of all that the batch's numbers follow from.

        **Raises:** `InputError` for functions that call back into Python, whose content no hash can see.
        """
        told = ["thalweg-sweep-1", *_versions(), self.label, self.impl, self.follow, self.wide, self.words.tolist()]
        digest = hashlib.sha256(repr(told).encode())
        if self.label is None:
            with jax.enable_x64(self.wide):
                digest.update(self._lowered(task).fingerprint())
        for leaf in jax.tree.leaves((task.values, task.indices, task.x, self.start)):
            digest.update(f"{leaf.dtype} {leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()[:32]

    def forget(self) -> int:
        """Drop what this process compiled for the sweep, and say how often it had to."""
        program = _programs.pop(self.token, None)
        return 0 if program is None or program.compiled is None else program.traces

    def _arguments(self, task: Task, row: int = 0, x: PyTree = None) -> tuple[PyTree, PyTree, Any]:
        if not self.follow:
            return task.values, self.start, task.indices
        return jax.tree.map(lambda leaf: leaf[row], task.values), task.x if x is None else x, task.indices[row]

    def _followed(self, run: Callable, task: Task) -> dict[str, np.ndarray]:
        x, rows = task.x, []
        for row in range(len(task.indices)):
            observed, x = run(*self._arguments(task, row, x))
            rows.append(_host(observed))
        arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return arrays | {f"{END}{place}": np.asarray(leaf) for place, leaf in enumerate(jax.tree.leaves(x))}

    def _keys(self, at: Int[Array, "3"]) -> tuple[Key[Array, ""], Key[Array, ""]]:
        key = jax.random.wrap_key_data(jnp.asarray(self.words), impl=self.impl)
        for index in at:
            key = jax.random.fold_in(key, index)
        start_key, solve_key = jax.random.split(key)
        return start_key, solve_key

    def _lane(self, value: PyTree, x: PyTree, at: Int[Array, "3"]) -> tuple[dict[str, Array], PyTree]:
        start_key, solve_key = self._keys(at)
        start = self.begin(start_key) if self.begin is not None and not self.follow else x
        energy = self.family(value)
        if isinstance(energy, AbstractHostField):
            raise InputError("sweep: a host field cannot be swept in compiled lanes: loop over relax with it instead.")
        solution = self.solve(energy, start, solve_key)
        if not isinstance(solution, Solution):
            raise InputError(f"sweep: solve returned a {type(solution).__name__}: let it return a verb's Solution.")
        observed = _observed(self.observe(energy, solution), solution)
        return observed, _same(x, solution.value) if self.follow else None

    def _lowered(self, task: Task) -> _Program:
        """The program of this process, traced now if it is the first task; its lock must not be held."""
        program = _programs.setdefault(self.token, _Program())
        for token in list(_programs)[:-_KEPT]:
            _programs.pop(token, None)
        arguments = self._arguments(task)
        shapes = jax.tree.map(lambda leaf: (np.shape(leaf), np.asarray(leaf).dtype.name), arguments)
        with program.lock:
            if program.lowered is None:
                program.lowered, program.shapes = self._traced(program, arguments), shapes
        if program.shapes != shapes:
            raise InputError(
                "sweep: a batch came with other shapes or dtypes than the first one, which would compile anew: "
                "let the executor hand every task to the function as it is."
            )
        return program

    def _traced(self, program: _Program, arguments: tuple) -> Any:
        def lane(*inputs: Any) -> Any:
            program.traces += 1
            return self._lane(*inputs)

        axes, began = (None, 0, 0) if self.follow else (0, None, 0), time.perf_counter()
        try:
            return jax.jit(jax.vmap(lane, in_axes=axes)).lower(*arguments)
        except jax.errors.ConcretizationTypeError as error:
            raise InputError(_NUMBERS) from error
        finally:
            program.seconds += time.perf_counter() - began

    def _compiled(self, task: Task) -> tuple[Callable, float]:
        # Compiled ahead of time: unlike a jitted function, the executable refuses what would trace anew.
        program = self._lowered(task)
        with program.lock:
            if program.compiled is None:
                began = time.perf_counter()
                program.compiled = program.lowered.compile()
                program.seconds += time.perf_counter() - began
        return program.compiled, program.seconds


def _host(tree: PyTree) -> Any:
    return jax.tree.map(np.asarray, tree)


def _observed(found: Any, solution: Solution) -> dict[str, Array]:
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(f"sweep: observe returned a {type(found).__name__}: let it return a dict of named arrays.")
    for name in found:
        if name in {"value", "seed", "direction", "outcome"} or "/" in name or not name:
            raise InputError(f"sweep: observe names a variable {name!r}, which is taken or no name: choose another.")
    return {name: jnp.asarray(array) for name, array in found.items()} | {"outcome": jnp.asarray(solution.outcome)}


def _same(x: PyTree, value: PyTree) -> PyTree:
    """The end of a walk as the start of the next: of the same structure, shapes and dtypes."""

    def kinds(tree: PyTree) -> list:
        return [(path, leaf.shape, leaf.dtype) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]

    if kinds(x) != kinds(value):
        raise InputError(
            "sweep: solve returns a value of another structure, shape or dtype than its start, so that the next value "
            "cannot go on from it: return what has the form of x0."
        )
    return value


@functools.cache
def _versions() -> tuple[str, str]:
    return version("thalweg"), version("jax")
