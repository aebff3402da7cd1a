"""Label frames with the energies and forces of a reference method: GFN2-xTB or PBE."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from thalweg.atoms.data.frame import Frame
from thalweg.atoms.tasks.label_methods import NAMES, PACKAGES, Labels, Method, Settings, electrons_of, labels_of
from thalweg.core.errors import InputError, ThalwegError, require
from thalweg.core.hooks import Executor, Hook, Serial, Store
from thalweg.methods.parts import in_parts, part_name

_BLOCKS = {"gfn2": 20, "pbe": 4}  # frames that are kept at once: about a second, and a minute, of ethanol


class Labelling(NamedTuple):
    """Labelled frames in order, and a sentence for each frame that could not be labelled and was left out."""

    frames: list[Frame]
    failed: list[str]


def label(
    frames: Sequence[Frame],
    method: Method = "gfn2",
    *,
    charge: int | None = None,
    multiplicity: int | None = None,
    basis: str = "def2-svp",
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    executor: Executor | None = None,
) -> list[Frame]:
    """The same frames with the energy, forces (and stress in a crystal) of a method; what they had before goes.

    **Arguments:**

    - `method`: `gfn2`, GFN2-xTB through tblite, or `pbe`, PBE through PySCF, for molecules only.
    - `charge`: in e; by default what a frame's info says, or else 0.
    - `multiplicity`: 2S + 1; by default what a frame's info says, or else the least, and for one atom that of its
      ground state.
    - `basis` of PBE, by any name that PySCF knows.
    - `done`: where finished blocks of frames are kept; a call with the same frames goes on from them.
    - `hooks`: called after each block; `executor`: where the frames of a block are labelled.

    Each frame starts from the same guess and is computed by one thread, so that labels do not depend on the order, the
    number of processes, or an interruption, but for the last digits of what the other program computes again.

    **Raises:** `ThalwegError` naming the first frame that cannot be labelled; `MissingExtra` with an install line.

    **Source:** C. Bannwarth, S. Ehlert & S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019); J. P. Perdew, K. Burke &
    M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996).
    """
    settings = {"charge": charge, "multiplicity": multiplicity, "basis": basis}
    return labelling(frames, method, **settings, done=done, hooks=hooks, executor=executor).frames


def labelling(
    frames: Sequence[Frame],
    method: Method = "gfn2",
    *,
    charge: int | None = None,
    multiplicity: int | None = None,
    basis: str = "def2-svp",
    skip_failed: bool = False,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
    executor: Executor | None = None,
    note: Callable[[str], object] | None = None,
) -> Labelling:
    """As `label`, and with `skip_failed` the frames that could not be labelled are left out and listed.

    **Arguments:** `note`, told of each frame that is left out.
    """
    if method not in NAMES:
        raise InputError(f"the method is {method!r}: choose gfn2 or pbe.")
    if not frames:
        raise InputError("there are no frames to label: name a file that holds some.")
    require(PACKAGES[method], extra="label")
    settings = Settings(method, charge, multiplicity, basis if method == "pbe" else "")
    for frame in frames:
        electrons_of(frame, settings)
    found = _computed(frames, settings, skip_failed, done, hooks, executor or Serial())
    failed = [_failure(frame, labels) for frame, labels in zip(frames, found, strict=True) if labels.failure]
    if failed and not skip_failed:  # kept from a call that left them out
        raise ThalwegError(failed[0])
    for sentence in failed if note else ():
        assert note is not None
        note(f"Left out: {sentence}")
    said = NAMES[method] if method == "gfn2" else f"{NAMES[method]}/{basis}"
    return Labelling(
        [
            frame._replace(
                energy=labels.energy,
                forces=labels.forces,
                stress=labels.stress,
                info={**frame.info, "labels": said},
            )
            for frame, labels in zip(frames, found, strict=True)
            if not labels.failure
        ],
        failed,
    )


def _failure(frame: Frame, labels: Labels) -> str:
    return (f"{frame.place}: cannot be labelled ({labels.failure}): mend or remove the frame, or leave such frames out "
            "with --skip-failed.")  # fmt: skip


# Blocks, as they are kept


def _computed(
    frames: Sequence[Frame],
    settings: Settings,
    skip_failed: bool,
    done: Store | None,
    hooks: tuple[Hook, ...],
    executor: Executor,
) -> list[Labels]:
    size = _BLOCKS[settings.method]
    blocks = [frames[first : first + size] for first in range(0, len(frames), size)]
    tasks = {_name(block, settings): block for block in blocks}
    names = [_name(block, settings) for block in blocks]
    missing = [name for name in tasks if done is None or done.get(name) is None]
    bare = [frame._replace(columns={}) for name in missing for frame in tasks[name]]
    # One map for all blocks, taken from in their order: the processes of a pool start once.
    coming = iter(executor.map(functools.partial(labels_of, settings), bare))
    try:
        kept = in_parts(
            list(tasks),
            lambda name: _block(tasks[name], coming, skip_failed),
            done=done,
            hooks=hooks,
            task="label",
        )
    finally:
        if isinstance(coming, Generator):
            coming.close()
    return [labels for name, block in zip(names, blocks, strict=True) for labels in _unpacked(kept[name], block)]


def _name(block: Sequence[Frame], settings: Settings) -> str:
    package = PACKAGES[settings.method]
    return part_name(
        "label",
        **settings._asdict(),
        version=f"{package} {importlib.metadata.version(package)}",
        electrons=[list(electrons_of(frame, settings)) for frame in block],
        periodic=[list(frame.periodic) for frame in block],
        numbers=np.concatenate([frame.numbers for frame in block]),
        counts=[len(frame.numbers) for frame in block],
        positions=np.concatenate([frame.positions for frame in block]),
        cells=np.stack([frame.cell for frame in block]),
    )


def _block(block: Sequence[Frame], coming: Iterator[Labels], skip_failed: bool) -> dict[str, np.ndarray]:
    found = []
    for frame, labels in zip(block, coming, strict=False):
        if labels.failure and not skip_failed:
            raise ThalwegError(_failure(frame, labels))
        found.append(labels)
    reasons = "\n".join(" ".join(labels.failure.split()) for labels in found).encode()
    return {
        "energy": np.array([labels.energy for labels in found]),
        "forces": np.concatenate([labels.forces for labels in found]),
        "stress": np.stack([np.zeros((3, 3)) if labels.stress is None else labels.stress for labels in found]),
        "has_stress": np.array([labels.stress is not None for labels in found]),
        "failures": np.frombuffer(reasons, np.uint8),
    }


def _unpacked(arrays: Any, block: Sequence[Frame]) -> Iterator[Labels]:
    reasons = bytes(arrays["failures"]).decode().split("\n")
    ends = np.cumsum([len(frame.numbers) for frame in block])
    for at, forces in enumerate(np.split(arrays["forces"], ends[:-1])):
        stress = arrays["stress"][at] if arrays["has_stress"][at] else None
        yield Labels(float(arrays["energy"][at]), forces, stress, reasons[at])
