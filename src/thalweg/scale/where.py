"""From the words of a user to the executor that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.core.errors import InputError
from thalweg.scale.dask import DaskPool
from thalweg.scale.pool import ProcessPool

if TYPE_CHECKING:
    from thalweg.core.hooks import Executor

_WAYS = "write local (a process per core), local:N, or dask:ADDRESS, such as dask:tcp://host:8786"


def executor_for(where: str | None) -> Executor | None:
    """Where independent tasks run: for `sweep(executor=...)` and every task of a room that takes one.

    **Arguments:** `where`, `None` for this process, `local` for a process on each core, `local:N` for N of them,
    `dask:ADDRESS` for the cluster of a scheduler (`tcp://host:8786`, `host:8786`, or its scheduler file), which is
    connected to at once.

    **Returns:** an executor, or `None` for this process.

    **Raises:** `InputError` for other words, a scheduler that does not answer, and workers with other versions;
    `MissingExtra` for a cluster without Dask.
    """
    if where is None:
        return None
    engine, colon, rest = where.partition(":")
    if engine == "local":
        return ProcessPool(_count(where, rest) if colon else None)
    if engine != "dask":
        raise InputError(f"where: {where!r} is no place to compute: {_WAYS}.")
    pool = DaskPool(_address(where, rest))
    pool.check()
    return pool


def _count(where: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"where: {where!r} names no number of processes: write local:N with N at least 1.")
    return int(text)


def _address(where: str, text: str) -> str:
    """The address with its protocol, or the path of a scheduler file."""
    if Path(text).is_file():
        return text
    protocol, slashes, host = text.partition("://")
    name, _, port = (host if slashes else text).rpartition(":")
    if not name.strip("[]") or not port.isdecimal() or not 0 < int(port) < 65536 or (slashes and not protocol):
        raise InputError(
            f"where: {where!r} names no scheduler: write dask:HOST:PORT, dask:tcp://HOST:PORT, or dask: and the path "
            "of its scheduler file."
        )
    return text if slashes else f"tcp://{text}"
