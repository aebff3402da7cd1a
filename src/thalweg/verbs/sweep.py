"""`sweep`: the same walk at many values of a parameter and from many seeds, in compiled batches."""

from __future__ import annotations

import functools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jaxtyping import Array, Key, PyTree

from thalweg.core.checks import floating, leaf_name, traced
from thalweg.core.energy import Landscape
from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Closer, Executor, Hook, Report, Resumer, Serial, Store, arriving
from thalweg.core.solution import Outcome, Solution
from thalweg.verbs.grid import Grid, dataset
from thalweg.verbs.lanes import END, Batch, Lanes, Task

Order = Literal["up", "down", "both"]
_PASSES = {"up": (0,), "down": (1,), "both": (0, 1)}
_BATCH = {False: 64, True: 16}


def sweep(
    family: Callable[[Any], Landscape],
    values: PyTree,
    solve: Callable[[Any, Any, Key[Array, ""]], Solution],
    x0: PyTree | Callable[[Key[Array, ""]], PyTree],
    *,
    observe: Callable[[Any, Solution], dict[str, Array]],
    key: Key[Array, ""],
    seeds: int = 1,
    order: Order = "up",
    follow: bool = False,
    batch: int | None = None,
    executor: Executor | None = None,
    done: Store | None = None,
    label: str | None = None,
    on_chunk: tuple[Hook, ...] | Hook = (),
) -> xarray.Dataset:
    """Solve `family(value)` for every value and seed, and collect what `observe` reads off.

    A process compiles once per call. Each (value, seed) has its own random key, folded from indices, so that `batch`
    never changes a lane's random numbers; batches of another size may add up in another order, which costs a few last
    bits (1e-6 after long walks in float32).

    **Arguments:**

    - `family`: from one value to a landscape; it sees traced arrays, so keep them arrays.
    - `values`: an array `[values]`, or a pytree whose leaves have that leading axis; taken to the dtype of `x0`.
    - `solve`: `(energy, x0, key) -> Solution`, a verb with `throw=False` (inside `vmap` nothing can be raised).
    - `x0`: the start, a pytree of floating arrays, or a function `key -> start`.
    - `observe`: `(energy, solution) -> dict` of arrays; `outcome` is always recorded besides.
    - `follow`: start each value where the seed's previous value ended, to follow a state as it changes.
    - `order`: for `follow`: from the first value `up`, from the last `down`, or `both`, up and then down (hysteresis).
    - `batch`: lanes that are computed together, by default 64, the last batch being padded; under `follow` a block of
      so many values, by default 16. It is the unit of retry.
    - `executor`: where batches run, by default here: threads (`ThreadPoolExecutor`) will do for small problems, which
      use one core each; or `thalweg.scale.executor_for("local")`. A chain that `follow` makes stays here.
    - `done`: keeps finished batches (`thalweg.runs.Points`), so that a killed sweep is completed by calling again.
    - `label`: names `family`, `solve` and `observe` in the store; by default their compiled program is hashed, so that
      no change to them goes unnoticed.
    - `on_chunk`: hooks, called after each batch with the number of batches done.

    **Returns:** variables with dims `value`, `seed` and their own (`name_0`, ...), before them `direction` for `both`;
    attributes `versions`, `order`, `seeds`, `traces` (of this process), `seconds` and `compile_seconds`.

    **Raises:** `InputError` for unusable arguments; `WalkError` where a hook stopped the sweep, saying how far it got.
    """
    began = time.perf_counter()
    hooks = on_chunk if isinstance(on_chunk, tuple) else (on_chunk,)
    _check(key, seeds, order, follow, batch, executor, hooks)
    lanes = _lanes(family, solve, observe, x0, key, follow, label)
    passes = _PASSES[order] if follow else (0,)
    grid = Grid(_values(values, _dtype(lanes), follow), seeds, passes, batch or _BATCH[follow])
    batches = _followed(lanes, grid, done) if follow else _scattered(lanes, grid, executor or Serial(), done)
    try:
        found = _collected(batches, grid.batches(follow), hooks, began)
    finally:
        traces = lanes.forget()
    compiling, seconds = max(one.compile_seconds for one in found), time.perf_counter() - began
    attributes = {"order": order, "seeds": seeds, "traces": traces, "compile_seconds": compiling, "seconds": seconds}
    return dataset(grid, [one.arrays for one in found], follow, {"versions": _versions(), **attributes})


def _versions() -> str:
    return json.dumps({name: version(name) for name in ("thalweg", "jax", "jaxlib", "numpy", "equinox")})


def _lanes(family, solve, observe, x0, key, follow: bool, label) -> Lanes:
    begin = x0 if _makes_starts(x0) else None
    start = None if begin is not None else jax.tree.map(np.asarray, floating(x0, "sweep"))
    typed = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
    words, impl = np.asarray(jax.random.key_data(typed)), str(jax.random.key_impl(typed))
    wide = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
    return Lanes(family, solve, observe, start, begin, words, impl, follow, wide, label, uuid.uuid4().hex)


def _scattered(lanes: Lanes, grid: Grid, executor: Executor, done: Store | None) -> Iterator[tuple[Batch, bool]]:
    """Every batch in order, from the store or computed; what arrives before its turn is kept at once."""
    tasks = list(grid.scattered())
    kept: list[dict[str, np.ndarray] | None] = [None] * len(tasks)
    if done is not None:
        tasks = [task._replace(name=lanes.name(task)) for task in tasks]
        kept = [done.get(str(task.name)) for task in tasks]
    missing = [place for place, arrays in enumerate(kept) if arrays is None]
    results, early = arriving(executor, lanes, [tasks[place] for place in missing]), {}
    try:
        for place, arrays in enumerate(kept):
            while arrays is None and place not in early:
                at, found = next(results)
                early[missing[at]] = found
                _keep(done, tasks[missing[at]], found)
            yield (early.pop(place), True) if arrays is None else (Batch(arrays, 0.0), False)
    finally:
        results.close()  # type: ignore[attr-defined]  # a generator; a pool drops what it has not begun


def _followed(lanes: Lanes, grid: Grid, done: Store | None) -> Iterator[tuple[Batch, bool]]:
    """Every block in order, each going on from where the one before ended."""
    x = None
    for task in grid.blocks():
        task = task._replace(x=lanes.starts(task.indices[0]) if x is None else x)
        task = task if done is None else task._replace(name=lanes.name(task))
        kept = None if done is None else done.get(str(task.name))
        found = lanes(task) if kept is None else Batch(kept, 0.0)
        if kept is None:
            _keep(done, task, found)
        ends = [found.arrays[f"{END}{place}"] for place in range(len(jax.tree.leaves(task.x)))]
        x = jax.tree.unflatten(jax.tree.structure(task.x), ends)
        yield found, kept is None


def _keep(done: Store | None, task: Task, found: Batch) -> None:
    if done is not None and task.name is not None:
        done.put(task.name, found.arrays)


def _collected(batches: Iterator[tuple[Batch, bool]], count: int, hooks: tuple[Hook, ...], began: float) -> list[Batch]:
    """All batches, each shown to the hooks.

    **Raises:** `WalkError` where a hook asked to stop before the last one.
    """
    found, first = [], 0
    told = Report(0, count, {}, Outcome.WALKING, 0.0)
    try:
        for result, fresh in batches:
            found.append(result)
            first += not fresh
            outcome = Outcome.WALKING if len(found) < count else Outcome.DONE
            told = Report(len(found), count, result.arrays, outcome, time.perf_counter() - began, first)
            answers = [answer for answer in [hook(told) for hook in hooks] if answer is not None]
            if answers and len(found) < count:
                told = told._replace(outcome=answers[0])
                raise _stopped(answers[0], found, count)
    finally:
        batches.close()  # type: ignore[attr-defined]  # generators both; a pool ends with them
        for hook in hooks:
            if isinstance(hook, Closer):
                hook.close(told)
    return found


def _stopped(outcome: Outcome, found: list[Batch], count: int) -> WalkError:
    stats = {"batches": len(found), "of": count}
    solution = Solution([one.arrays for one in found], jnp.asarray(np.nan), jnp.asarray(outcome.code), None, stats)
    return WalkError(
        f"sweep: stopped after {len(found)} of {count} batches, which `done` keeps if it was given; call again to "
        f"compute the others. {outcome.value}",
        solution,
    )


def _check(key: Any, seeds: int, order: str, follow: bool, batch: int | None, executor: Any, hooks: tuple) -> None:
    if traced(key):
        raise InputError("sweep: it collects on the host and does not work inside jit or vmap: call it from outside.")
    if seeds < 1 or (batch is not None and batch < 1):
        raise InputError(f"sweep: seeds is {seeds} and batch {batch}, but at least one of each is needed.")
    if order not in _PASSES:
        raise InputError(f"sweep: order is {order!r}: choose one of {', '.join(_PASSES)}.")
    if order == "both" and not follow:
        raise InputError("sweep: up and down differ only where each value starts from the last one: pass follow=True.")
    if follow and executor is not None:
        raise InputError("sweep: with follow=True each value waits for the one before: leave the executor out.")
    if any(isinstance(hook, Resumer) for hook in hooks):
        raise InputError("sweep: a checkpoint cannot resume a sweep: pass done=Points(folder) instead.")


def _makes_starts(x0: Any) -> bool:
    """Whether `x0` is a function rather than a start; a callable module with arrays in it is a start."""
    partial = isinstance(x0, functools.partial | eqx.Partial)  # pytrees with arrays in them, functions all the same
    return callable(x0) and (partial or not any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(x0)))


def _dtype(lanes: Lanes) -> np.dtype:
    start = lanes.start if lanes.begin is None else jax.eval_shape(lanes.begin, jax.random.key(0))
    return np.dtype(jnp.result_type(*jax.tree.leaves(start)))


def _values(values: PyTree, dtype: np.dtype, follow: bool) -> PyTree:
    """The values as NumPy arrays, floats in the dtype of the start."""
    arrays = jax.tree.map(np.asarray, values)
    if isinstance(values, list | tuple) and all(isinstance(one, int | float) for one in values):
        arrays = np.asarray(values, dtype)
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    lengths = {leaf.shape[:1] for _, leaf in leaves}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        shapes = ", ".join(f"{leaf_name(path)} {leaf.shape}" for path, leaf in leaves) or "nothing"
        raise InputError(f"sweep: values need one common leading axis, but hold {shapes}: pass an array of them.")
    for path, leaf in leaves:
        if leaf.dtype.kind not in "biuf" or not np.isfinite(leaf).all():
            raise InputError(f"sweep: values, {leaf_name(path)}, are not all finite numbers: mend them.")
    if follow and isinstance(arrays, np.ndarray) and arrays.ndim == 1 and (np.diff(arrays) < 0).any():
        raise InputError("sweep: follow=True needs increasing values: sort them, and go from the last by order='down'.")
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf, arrays)
