"""How a task of many parts is let into the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from thalweg.core.hooks import Hook, Store


class World(NamedTuple):
    """What keeps the parts of a task and shows how far it is.

    **Fields:** `done`, where finished parts are kept; `parts`, from words for a progress bar to hooks that are called
    after each part; `walk`, from words, the name of a part and its steps to the hooks of its training (a checkpoint
    among them); `forget`, which drops the checkpoint of a finished training.
    """

    done: Store | None = None
    parts: Callable[[str], tuple[Hook, ...]] = lambda words: ()
    walk: Callable[[str, str, int], tuple[Hook, ...]] = lambda words, name, steps: ()
    forget: Callable[[str], object] = lambda name: None
