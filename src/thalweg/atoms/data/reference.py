"""The energy of each element by itself: from isolated atoms, or else by least squares over the compositions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thalweg.atoms.data.check import labelled, symbol
from thalweg.atoms.data.frame import Frame, elements_of
from thalweg.core.errors import InputError

_STRONGEST = 25.0  # eV per atom: tungsten is bound by 8.9, carbon monoxide by 5.6; beyond it, two scales are mixed


def is_isolated(frame: Frame) -> bool:
    """Whether a frame is one atom alone, which periodic images of itself in a stated crystal are not."""
    if len(frame.numbers) != 1:
        return False
    said = str(frame.info.get("config_type", "")).lower().replace("_", "").replace(" ", "")
    return said == "isolatedatom" or not any(frame.periodic)


def split_isolated(frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """The frames of several atoms, and those of isolated ones."""
    return [frame for frame in frames if not is_isolated(frame)], [frame for frame in frames if is_isolated(frame)]


def reference_energies(frames: Sequence[Frame], isolated: Sequence[Frame] = ()) -> tuple[dict[int, float], str]:
    """The energy of each element of some frames.

    **Arguments:** `frames` with energies, isolated atoms among them or not; `isolated`, further isolated atoms.

    **Returns:** the energy in eV by atomic number, and a sentence on how it was found: from isolated atoms, or by least
    squares (of least norm where the compositions do not tell the elements apart).

    **Raises:** `InputError` for frames without energies, for isolated atoms of one element that contradict each other,
    and where isolated atoms are so far from the frames' energies that units or methods must be mixed.
    """
    together, single = split_isolated([*frames, *isolated])
    labelled(single or together, forces=False)
    if together:
        labelled(together, forces=False)
    from_atoms = _of_isolated(single)
    elements = elements_of([*frames, *isolated])
    missing = [element for element in elements if element not in from_atoms]
    if not missing:
        _plausible(together, from_atoms)
        return from_atoms, f"The energies of {_names(elements)} are those of isolated atoms."
    if not together:
        raise InputError(f"there is neither an isolated atom of {_names(missing)} nor a frame of several atoms.")
    counts, energies = _compositions(together, elements)
    fixed = np.array([from_atoms.get(element, 0.0) for element in elements])
    free = [place for place, element in enumerate(elements) if element in missing]
    weight = 1 / np.sqrt(counts.sum(axis=1))  # an energy per atom is as uncertain in a large frame as in a small one
    found, _, rank, _ = np.linalg.lstsq(
        counts[:, free] * weight[:, None], (energies - counts @ fixed) * weight, rcond=1e-8
    )
    all_of_them = {element: float(found[free.index(at)]) if at in free else from_atoms[element]
                   for at, element in enumerate(elements)}  # fmt: skip
    how = f"The energies of {_names(missing)} are fitted to the frames by least squares"
    if rank < len(free):
        how += (f", of least norm, because their compositions determine only {rank} of {len(free)} of them: energies "
                "of other compositions will be wrong, so add isolated atoms")  # fmt: skip
    return all_of_them, f"{how}."


def _of_isolated(single: Sequence[Frame]) -> dict[int, float]:
    found: dict[int, Frame] = {}
    for frame in single:
        number = int(frame.numbers[0])
        before = found.setdefault(number, frame)
        assert frame.energy is not None
        assert before.energy is not None
        if not np.isclose(frame.energy, before.energy, rtol=0, atol=1e-3):
            raise InputError(
                f"{frame.place}: the isolated {symbol(number)} has {frame.energy:.6f} eV, but {before.energy:.6f} eV "
                f"in {before.place}: keep the one that the frames were computed with."
            )
    return {number: float(frame.energy) for number, frame in sorted(found.items()) if frame.energy is not None}


def _compositions(frames: Sequence[Frame], elements: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([[float((frame.numbers == element).sum()) for element in elements] for frame in frames])
    return counts, np.array([frame.energy for frame in frames], float)


def _plausible(together: Sequence[Frame], energies: dict[int, float]) -> None:
    """Refuse isolated atoms from another scale of energy than the frames."""
    if not together:
        return
    counts, totals = _compositions(together, list(energies))
    bound = (totals - counts @ np.array(list(energies.values()))) / counts.sum(axis=1)
    if abs(np.median(bound)) > _STRONGEST:
        worst = together[int(np.argmax(np.abs(bound)))]
        raise InputError(
            f"{worst.place}: its energy differs from that of its isolated atoms by {np.median(bound):.3g} eV per atom "
            "in the median of the frames, which no matter has: bring both to eV, from one method."
        )


def _names(elements: Sequence[int]) -> str:
    return ", ".join(symbol(int(element)) for element in elements)
