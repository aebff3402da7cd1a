"""Public data sets by name: where they come from, whether these are the right bytes, and where they lie."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import os
import shutil
import sys
import tomllib
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from thalweg.core.errors import InputError, ThalwegError

_CONNECT_SECONDS = 30
Note = Callable[[str], object]


class File(NamedTuple):
    """One file of a data set.

    **Fields:** `name` below the set's folder; `path` below a mirror's root; `bytes`; `accepted` SHA-256, the first of
    them that of the canonical bytes; `addresses` to fetch it from, in order.
    """

    name: str
    path: str
    bytes: int
    accepted: tuple[str, ...]
    addresses: tuple[str, ...]


class Dataset(NamedTuple):
    """One data set of the catalogue.

    **Fields:** `name`; the `room` that uses it; `what` it is; its `licence` and `source`; its `folder` and `files`;
    `mirror_only`, why no address serves these bytes, or `None`.
    """

    name: str
    room: str
    what: str
    licence: str
    source: str
    folder: str
    files: tuple[File, ...]
    mirror_only: str | None

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(file.bytes for file in self.files)


@functools.cache
def catalogue() -> Mapping[str, Dataset]:
    """Every data set by name, grouped by room."""
    text = (importlib.resources.files("thalweg") / "datasets.toml").read_text(encoding="utf-8")
    return {name: _dataset(name, entry) for name, entry in tomllib.loads(text).items()}


def _dataset(name: str, entry: dict) -> Dataset:
    files = tuple(
        File(
            file["name"],
            f"{entry['folder']}/{file['name']}",
            file["bytes"],
            (file["sha256"], *file.get("same", ())),
            tuple(each.format(name=file["name"]) for each in file.get("addresses", entry.get("addresses", ()))),
        )
        for file in entry["files"]
    )
    texts = {key: entry[key] for key in ("room", "what", "licence", "source", "folder")}
    return Dataset(name=name, files=files, mirror_only=entry.get("mirror_only"), **texts)


def names() -> list[str]:
    """The data sets that `locate` knows."""
    return list(catalogue())


def mirror() -> Path | None:
    """The folder that THALWEG_DATA names, or `None`.

    **Raises:** `InputError` if that is no folder.
    """
    named = os.environ.get("THALWEG_DATA")
    if not named:
        return None
    folder = Path(named).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(f"THALWEG_DATA names {folder}, which is not a folder: correct it or unset it.")
    return folder


def home() -> Path:
    """Where downloaded files are kept, with the layout of a mirror."""
    import platformdirs

    return Path(platformdirs.user_data_dir("thalweg", appauthor=False))


def where(dataset: Dataset) -> str:
    """`mirror` or `not in mirror` if there is one; else `downloaded`, `to download` or `mirror only`."""
    root = mirror()
    if root is not None:
        return "mirror" if _all_there(root, dataset) else "not in mirror"
    if _all_there(home(), dataset):
        return "downloaded"
    return "mirror only" if dataset.mirror_only else "to download"


def _all_there(root: Path, dataset: Dataset) -> bool:
    return all((root / file.path).is_file() for file in dataset.files)


def locate(name: str, *, note: Note | None = None) -> Path:
    """Where a data set lies, its checksums compared, downloaded first if need be.

    **Arguments:** `name` of a data set, or `set/file` for one file of it; `note`, told of each download in a sentence
    (by default standard error is).

    **Returns:** the file; the folder for a set of several files.

    **Raises:** `InputError` for an unknown name or a file with the wrong bytes; `ThalwegError` if it cannot be had.
    """
    paths = get(name, note=note)
    if len(paths) == 1:
        return paths[0]
    dataset = _named(name)[0]
    return paths[0].parents[len(Path(dataset.files[0].name).parts) - 1]


def get(name: str, *, into: Path | None = None, note: Note | None = None) -> list[Path]:
    """The files of a data set, as `locate`; with `into`, copies below that folder."""
    dataset, files = _named(name)
    root, note = mirror(), note or (lambda sentence: print(sentence, file=sys.stderr))
    paths = [_from_mirror(root, file) if root else _from_home(dataset, file, note) for file in files]
    if into is None:
        return paths
    return [
        _place(into / file.path, functools.partial(shutil.copyfile, path))
        for path, file in zip(paths, files, strict=True)
    ]


def _named(name: str) -> tuple[Dataset, tuple[File, ...]]:
    dataset = catalogue().get(name.partition("/")[0])
    if dataset is None:
        raise InputError(f"there is no data set {name!r}: choose one of {', '.join(names())}.")
    wanted = name.partition("/")[2]
    files = tuple(file for file in dataset.files if wanted in ("", file.name))
    if not files:
        known = ", ".join(file.name for file in dataset.files)
        raise InputError(f"the data set {dataset.name} has no file {wanted!r}: choose one of {known}.")
    return dataset, files


def _from_mirror(root: Path, file: File) -> Path:
    path = root / file.path
    if not path.is_file():
        raise InputError(f"{path} is missing: copy it into the mirror, or unset THALWEG_DATA to download it.")
    return _checked(path, file, "copy it into the mirror anew, or unset THALWEG_DATA to download it")


def _from_home(dataset: Dataset, file: File, note: Note) -> Path:
    path = home() / file.path
    if path.is_file() and _sha256(path) in file.accepted:
        return path
    if dataset.mirror_only:
        raise ThalwegError(
            f"{file.path} cannot be downloaded, because {dataset.mirror_only}: set THALWEG_DATA to a folder that holds "
            f"it (the source is {dataset.source})."
        )
    failures = []
    for address in file.addresses:
        note(f"Downloading {file.path} ({size(file.bytes)}) from {address}")
        try:
            return _place(path, functools.partial(_download, address, file))
        except _Failed as failure:
            failures.append(f"{address}: {failure}")
    raise ThalwegError(
        f"{file.path} could not be downloaded ({'; '.join(failures)}): check the connection, or set THALWEG_DATA to a "
        "folder that holds it."
    )


class _Failed(Exception):
    """One address did not give the file; there may be another."""


def _download(address: str, file: File, target: Path) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    try:
        pooch.HTTPDownloader(timeout=_CONNECT_SECONDS)(address, str(target), None)
    except requests.HTTPError as error:
        answer = "an error" if error.response is None else error.response.status_code
        raise _Failed(f"the server answers {answer}") from error
    except requests.RequestException as error:
        raise _Failed(f"no answer ({type(error).__name__})") from error
    found = _sha256(target)
    if found not in file.accepted:
        raise _Failed(f"the bytes there have the SHA-256 {found[:12]}..., not {file.accepted[0][:12]}...")


def _place(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` make a file beside `path`, then put it there: nobody meets half of it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ThalwegError(f"{path} cannot be written ({reason}): free some space or check its permissions.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return path


def _checked(path: Path, file: File, remedy: str) -> Path:
    found = _sha256(path)
    if found not in file.accepted:
        raise InputError(f"{path} has the SHA-256 {found}, not {' or '.join(file.accepted)}: {remedy}.")
    return path


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error


def size(count: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
