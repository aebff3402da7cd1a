"""A long task in parts of its own: finished ones are kept, and the world is let in between them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from thalweg.core.errors import WalkError
from thalweg.core.hooks import Closer, Executor, Hook, Report, Serial, Store, arriving
from thalweg.core.solution import Outcome, Solution

Arrays = Mapping[str, np.ndarray]


def no_hooks(words: str, name: str, steps: int | None) -> tuple[Hook, ...]:
    """The hooks of a walk that nobody watches."""
    return ()


class World(NamedTuple):
    """What keeps the parts of a long task and shows how far it is.

    **Fields:** `done`, where finished parts are kept; `parts`, from words for a progress bar to hooks that are called
    after each part; `walk`, from words, the name of a part and its steps (`None`: the walk knows) to the hooks of one
    walk inside a part, a checkpoint among them; `forget`, which drops the checkpoint of a finished part; `executor`,
    where parts are computed, by default here.
    """

    done: Store | None = None
    parts: Callable[[str], tuple[Hook, ...]] = lambda words: ()
    walk: Callable[[str, str, int | None], tuple[Hook, ...]] = no_hooks
    forget: Callable[[str], object] = lambda name: None
    executor: Executor | None = None

    @property
    def walks(self) -> Callable[[str, str, int | None], tuple[Hook, ...]]:
        """`walk` where parts are computed here; elsewhere nobody watches the walks inside a part."""
        return self.walk if self.executor is None else no_hooks


def in_parts(
    names: Sequence[str],
    compute: Callable[[str], Arrays],
    *,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    task: str = "the task",
    executor: Executor | None = None,
) -> dict[str, Arrays]:
    """What `compute` says of each name, in order; a part that the store has is not computed again.

    **Arguments:** `names`, which say all that a part follows from (see `part_name`); `done`, where finished parts are
    kept, each as soon as it is there; `hooks`, called after each part with the number of parts done; `executor`, where
    parts are computed, by default here: `compute` must be able to travel there.

    **Raises:** `WalkError` where a hook stopped the task, saying how far it got.
    """
    began, found = time.perf_counter(), {}
    told = Report(0, len(names), {}, Outcome.WALKING, 0.0)
    parts = _parts(names, compute, done, executor or Serial())
    first = 0
    try:
        for name, part, fresh in parts:
            found[name] = part
            first += not fresh
            outcome = Outcome.WALKING if len(found) < len(names) else Outcome.DONE
            told = Report(len(found), len(names), part, outcome, time.perf_counter() - began, first)
            answers = [answer for answer in [hook(told) for hook in hooks] if answer is not None]
            if answers and outcome is Outcome.WALKING:
                told = told._replace(outcome=answers[0])
                raise _stopped(task, found, len(names), answers[0])
    finally:
        parts.close()
        for hook in hooks:
            if isinstance(hook, Closer):
                hook.close(told)
    return {name: found[name] for name in names}


def _parts(
    names: Sequence[str], compute: Callable[[str], Arrays], done: Store | None, executor: Executor
) -> Generator[tuple[str, Arrays, bool], None, None]:
    """Every part with whether it was computed: first those that the store has, then the others as they arrive."""
    missing = []
    for name in names:
        kept = None if done is None else done.get(name)
        if kept is None:
            missing.append(name)
        else:
            yield name, kept, False
    results = arriving(executor, compute, missing)
    try:
        for place, part in results:
            if done is not None:
                done.put(missing[place], part)
            yield missing[place], part, True
    finally:
        results.close()  # type: ignore[attr-defined]  # a generator; a pool drops what it has not begun


def part_name(kind: str, **of: Any) -> str:
    """A name that is a hash of what a part follows from: plain numbers and text, and arrays by their bytes."""
    plain = {
        key: hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest() if hasattr(value, "dtype") else value
        for key, value in of.items()
    }
    return f"{kind}-{hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:24]}"


def _stopped(task: str, found: dict[str, Arrays], count: int, outcome: Outcome) -> WalkError:
    stats = {"parts": len(found), "of": count}
    solution = Solution(list(found.values()), jnp.asarray(np.nan), jnp.asarray(outcome.code), None, stats)
    return WalkError(f"{task}: stopped after {len(found)} of {count} parts, which are kept. {outcome.value}", solution)
