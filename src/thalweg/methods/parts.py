"""A long task in parts of its own: finished ones are kept, and the world is let in between them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from thalweg.core.errors import WalkError
from thalweg.core.hooks import Closer, Hook, Report, Store
from thalweg.core.solution import Outcome, Solution

Arrays = Mapping[str, np.ndarray]


class World(NamedTuple):
    """What keeps the parts of a long task and shows how far it is.

    **Fields:** `done`, where finished parts are kept; `parts`, from words for a progress bar to hooks that are called
    after each part; `walk`, from words, the name of a part and its steps (`None`: the walk knows) to the hooks of one
    walk inside a part, a checkpoint among them; `forget`, which drops the checkpoint of a finished part.
    """

    done: Store | None = None
    parts: Callable[[str], tuple[Hook, ...]] = lambda words: ()
    walk: Callable[[str, str, int | None], tuple[Hook, ...]] = lambda words, name, steps: ()
    forget: Callable[[str], object] = lambda name: None


def in_parts(
    names: Sequence[str],
    compute: Callable[[str], Arrays],
    *,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    task: str = "the task",
) -> dict[str, Arrays]:
    """What `compute` says of each name, in order; a part that the store has is not computed again.

    **Arguments:** `names`, which say all that a part follows from (see `part_name`); `done`, where finished parts are
    kept; `hooks`, called after each part with the number of parts done.

    **Raises:** `WalkError` where a hook stopped the task, saying how far it got.
    """
    began, found, first = time.perf_counter(), {}, 0
    told = Report(0, len(names), {}, Outcome.WALKING, 0.0)
    try:
        for name in names:
            kept = None if done is None else done.get(name)
            first += kept is not None
            if kept is None:
                kept = compute(name)
                if done is not None:
                    done.put(name, kept)
            found[name] = kept
            outcome = Outcome.WALKING if len(found) < len(names) else Outcome.DONE
            told = Report(len(found), len(names), kept, outcome, time.perf_counter() - began, first)
            answers = [answer for answer in [hook(told) for hook in hooks] if answer is not None]
            if answers and outcome is Outcome.WALKING:
                told = told._replace(outcome=answers[0])
                raise _stopped(task, found, len(names), answers[0])
    finally:
        for hook in hooks:
            if isinstance(hook, Closer):
                hook.close(told)
    return found


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
