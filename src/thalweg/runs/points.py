"""Finished parts of a long task, one file each in a folder: a killed sweep goes on from them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.core.atomic import remove_stale
from thalweg.core.errors import InputError
from thalweg.runs.checkpoint import damaged, read_tensors, save_state

if TYPE_CHECKING:
    import numpy as np

_NAME = re.compile(r"[\w-]+")


class Points:
    """A store for `sweep(done=...)`: one safetensors file for each finished batch, whole or not there at all.

    Several sweeps may share a folder, and several processes may write to it: a file's name is the hash of all that its
    numbers follow from, so that two writers of one file write the same.

    **Arguments:** `folder`, made when the first batch is finished; what killed processes left half written is removed.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file, but finished batches need a folder: name another place.")
        if self.folder.is_dir():
            remove_stale(self.folder)

    def path(self, name: str) -> Path:
        """The file of the part `name`."""
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot name a part in {self.folder}: use letters, digits, - and _.")
        return self.folder / f"{name}.safetensors"

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays that were put under `name`, bit for bit, or `None`.

        **Raises:** `InputError` naming the file if it is damaged.
        """
        import numpy as np

        path = self.path(name)
        if not path.exists():
            return None
        tensors, metadata = read_tensors(path)
        names, described = json.loads(metadata["extra"]).get("names"), json.loads(metadata["leaves"])
        if (
            not isinstance(names, list)
            or len(names) != len(tensors)
            or not all(isinstance(name, str) for name in names)
        ):
            raise damaged(path, "it is no finished batch")

        def array(place: str) -> np.ndarray:
            leaf = described[place]
            return np.frombuffer(tensors[place], np.dtype(leaf["dtype"])).reshape(leaf["shape"])

        try:
            return {name: array(f"state[{place}]") for place, name in enumerate(names)}
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, "its arrays are not what their description says") from error

    def put(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep some arrays under `name`, in a file that appears in one move.

        **Raises:** `InputError` for an array of no numbers; `ThalwegError` if the file cannot be written.
        """
        save_state(self.path(name), list(arrays.values()), 0, {"names": list(arrays)})
