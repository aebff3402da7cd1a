"""Frames from files of every format, data sets, samples and ASE's Atoms."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.atoms.data.ase_atoms import ENERGIES, FORCES, Keys, Taken, taken_from_atoms
from thalweg.atoms.data.check import overlap_sentence, overlaps, sound
from thalweg.atoms.data.frame import Frame
from thalweg.core.errors import InputError, require

if TYPE_CHECKING:
    from ase import Atoms

Note = Callable[[str], object]
SAMPLES = {"ethanol": "ethanol_gfn2", "water": "water_gfn2"}
_XYZ = (".xyz", ".extxyz")
_PACKED = (".gz", ".bz2", ".xz")
_WANTED = "an extended XYZ file, another file that ASE reads, a folder of DeePMD-kit, `ethanol` or `water`"


def read(
    source: str | os.PathLike[str] | Sequence[Atoms] | Sequence[Frame] | Atoms,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    type_map: Sequence[str] | None = None,
    note: Note | None = None,
) -> list[Frame]:
    """Frames from a file, a folder, a data set, a sample, or ASE's Atoms.

    **Arguments:**

    - `source`: an extended XYZ file (packed by gzip, bzip2 or xz if its suffix says so), any other file that ASE
      reads, a folder in the npy layout of DeePMD-kit or of several such, a sample (`ethanol`, `water`), a file of a
      public data set (`ethanol/train.xyz`, `water/data_0`, see `thalweg data list`), or Atoms or frames themselves.
      After a file, `@3`, `@:50` or `@::10` picks frames as in ASE.
    - `energy_key`, `forces_key`: where labels are found; by default `REF_energy`, `energy` or `free_energy`, the first
      of them that a frame has, and `REF_forces` or `forces`.
    - `type_map`: the symbols of DeePMD-kit's types, in order, where the folder does not say them.
    - `note`: told which keys were taken where that is not plain, and what was left out, one sentence each.

    **Raises:** `InputError` in one sentence with the file, the frame (from zero) and what to do.
    """
    keys = Keys((energy_key,) if energy_key else ENERGIES, (forces_key,) if forces_key else FORCES)
    note = note or (lambda sentence: None)
    frames = _read(source, keys, type_map, note)
    if found := overlaps(frames):
        note(overlap_sentence(frames, found))
    return frames


def _read(source: Any, keys: Keys, type_map: Sequence[str] | None, note: Note) -> list[Frame]:
    if not isinstance(source, (str, os.PathLike)):
        return _from_objects(source, keys, note)
    path, selection = located(os.fspath(source), note=note)
    if path.is_dir():
        return _picked(_from_folder(path, type_map, note), selection, str(source))
    if not path.is_file():
        raise InputError(f"{path}: there is no such file: name {_WANTED}.")
    suffix = next((each.lower() for each in reversed(path.suffixes) if each.lower() not in _PACKED), "")
    if suffix in _XYZ:
        from thalweg.atoms.data.extxyz import atoms_of, chunks, text_of

        held = _picked(chunks(text_of(path), str(path)), selection, str(source))
        return _converted(atoms_of(held, str(path)), keys, str(path), note)
    numbered = _picked(list(enumerate(_ase_images(path))), selection, str(source))
    return _converted(((atoms, f"{path}, frame {at}") for at, atoms in numbered), keys, str(path), note)


def located(source: str, *, note: Note | None = None) -> tuple[Path, str | None]:
    """Where a source lies, and the selection of frames behind its `@`; what is there on disk goes before names.

    **Raises:** `InputError` for the name of a data set without such a file; what `datasets.locate` raises.
    """
    from thalweg import datasets, samples

    path, selection = Path(source).expanduser(), None
    if not path.exists() and "@" in source:
        source, _, selection = source.rpartition("@")
        path = Path(source).expanduser()
    if path.exists():
        return path, selection
    if source in SAMPLES or source in SAMPLES.values():
        return samples.path(SAMPLES.get(source, source)), selection
    name, _, inside = source.partition("/")
    if name not in datasets.names() or datasets.catalogue()[name].room != "atoms":
        return path, selection
    if any(file.name.startswith(f"{inside}/") for file in datasets.catalogue()[name].files):
        return datasets.locate(name, note=note) / inside, selection
    return datasets.locate(source, note=note), selection


def files(source: str | os.PathLike[str]) -> list[Path]:
    """The file or folder that `read` opens, for the record of a run; none if there is no such."""
    path = located(os.fspath(source))[0]
    return [path] if path.exists() else []


def _picked(items: list[Any], selection: str | None, source: str) -> list[Any]:
    if selection is None:
        return items
    try:
        parts = [int(part) if part else None for part in selection.split(":")]
        found = [items[parts[0] or 0]] if len(parts) == 1 else items[slice(*parts)]
    except (ValueError, IndexError, TypeError):
        raise InputError(f"{source}: @{selection} picks none of its {len(items)} frames: write @3, @:50 or @::10, "
                         "counted from zero.") from None  # fmt: skip
    if not found:
        raise InputError(f"{source}: @{selection} picks none of its {len(items)} frames: choose others.")
    return found


def _from_folder(path: Path, type_map: Sequence[str] | None, note: Note) -> list[Frame]:
    from thalweg.atoms.data.deepmd import read_system, systems

    found = systems(path)
    if not found:
        inside = ", ".join(sorted(each.name for each in path.iterdir())[:8])
        raise InputError(f"{path}: is a folder without a type.raw of DeePMD-kit; name a file in it ({inside}).")
    frames = []
    for folder in found:
        more, sentence = read_system(folder, type_map)
        frames += more
        if sentence:
            note(sentence)
    return frames


def _ase_images(path: Path) -> list[Atoms]:
    require("ase", extra="atoms")
    import ase.io

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(ase.io.iread(path, index=":"))
        except Exception as error:  # each of ASE's many readers raises in its own way
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"{path}: ASE cannot read it ({reason}): name {_WANTED}.") from None


def _from_objects(source: Any, keys: Keys, note: Note) -> list[Frame]:
    if isinstance(source, Frame):
        return [sound(source)]
    require("ase", extra="atoms")
    from ase import Atoms

    items: list[Any] = [source] if isinstance(source, Atoms) else list(source)
    if all(isinstance(item, Frame) for item in items):
        return [sound(item) for item in items]
    for at, item in enumerate(items):
        if not isinstance(item, Atoms):
            raise InputError(f"item {at} of the frames is of the type {type(item).__name__}: pass ase.Atoms.")
    return _converted(((atoms, f"the Atoms, frame {at}") for at, atoms in enumerate(items)), keys, "the Atoms", note)


def _converted(images: Iterable[tuple[Atoms, str]], keys: Keys, name: str, note: Note) -> list[Frame]:
    both = [taken_from_atoms(atoms, place, keys) for atoms, place in images]
    if not both:
        raise InputError(f"{name}: holds no frames: name a file with some.")
    _tell([taken for _, taken in both], name, note)
    return [frame for frame, _ in both]


def _tell(taken: Sequence[Taken], name: str, note: Note) -> None:
    """Say where labels came from, unless they stood alone under the plain names."""
    for what, found in (("energies", [one.energy for one in taken]), ("forces", [one.forces for one in taken])):
        counts = Counter(key for key in found if key is not None)
        passed = {key for one in taken for key in one.passed_over if what[:5] in key}
        if set(counts) - {"energy", "forces"} or passed:
            said = " and ".join(f"{key} ({count} frames)" for key, count in counts.items()) or "nowhere"
            over = f", not from {', '.join(sorted(passed))}" if passed else ""
            note(f"{name}: {what} are taken from {said}{over}.")
    constrained = sum(one.constrained for one in taken)
    if constrained:
        note(f"{name}: {constrained} frames hold constraints, which are left out: all atoms are free.")
