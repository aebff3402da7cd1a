"""The reference methods that label a frame, each through the library that is known for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.atoms.data.ase_atoms import to_atoms
from thalweg.atoms.data.check import overlap_sentence, overlaps, symbol
from thalweg.atoms.data.frame import Frame
from thalweg.core.errors import InputError, ThalwegError, require

Method = Literal["gfn2", "pbe"]
NAMES = {"gfn2": "GFN2-xTB", "pbe": "PBE"}
PACKAGES = {"gfn2": "tblite", "pbe": "pyscf"}
_ACCURACY = 1e-3  # of tblite: energies and forces are then converged far below the eight digits of a file
BIBTEX = {
    "gfn2": """@article{bannwarth2019gfn2,
  title = {{GFN2-xTB}: An Accurate and Broadly Parametrized Self-Consistent Tight-Binding Quantum Chemical Method},
  author = {Bannwarth, Christoph and Ehlert, Sebastian and Grimme, Stefan},
  journal = {Journal of Chemical Theory and Computation}, volume = {15}, pages = {1652--1671}, year = {2019},
}""",
    "pbe": """@article{perdew1996generalized,
  title = {Generalized Gradient Approximation Made Simple},
  author = {Perdew, John P. and Burke, Kieron and Ernzerhof, Matthias},
  journal = {Physical Review Letters}, volume = {77}, pages = {3865--3868}, year = {1996},
}""",
}


class Labels(NamedTuple):
    """What a method says of one frame: energy in eV, forces in eV/A, stress in eV/A^3; `failure`, or why it did not."""

    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    stress: Float[np.ndarray, "3 3"] | None = None
    failure: str = ""


class Settings(NamedTuple):
    """What to compute: `method`, and `charge`, `multiplicity` and `basis` as `label` takes them."""

    method: Method
    charge: int | None
    multiplicity: int | None
    basis: str


def electrons_of(frame: Frame, settings: Settings) -> tuple[int, int]:
    """Charge and multiplicity of a frame: as set, or as its info says, or the least.

    **Raises:** `InputError` where they contradict its number of electrons.
    """
    from ase.data import ground_state_magnetic_moments

    charge = _stated(frame, "charge") if settings.charge is None else settings.charge
    multiplicity = _stated(frame, "multiplicity") if settings.multiplicity is None else settings.multiplicity
    charge, electrons = charge or 0, int(frame.numbers.sum()) - (charge or 0)
    if multiplicity is None:
        moments = ground_state_magnetic_moments
        alone = len(frame.numbers) == 1 and charge == 0 and frame.numbers[0] < len(moments)
        multiplicity = 1 + (int(moments[frame.numbers[0]]) if alone else electrons % 2)
    unpaired = multiplicity - 1
    if unpaired < 0 or unpaired > electrons or (electrons - unpaired) % 2:
        raise InputError(f"{frame.place}: {electrons} electrons (charge {charge}) cannot have the multiplicity "
                         f"{multiplicity}: correct --charge or --multiplicity.")  # fmt: skip
    return charge, multiplicity


def _stated(frame: Frame, key: str) -> int | None:
    if key not in frame.info:
        return None
    value = frame.info[key]
    if isinstance(value, (int, float, np.number)) and float(value).is_integer():
        return int(value)
    raise InputError(f"{frame.place}: its {key} is {value!r}, no whole number: correct it, or state --{key}.")


def labels_of(settings: Settings, frame: Frame) -> Labels:
    """The labels of one frame; what a method cannot do is the frame's failure, not an end to all the others."""
    try:
        if close := overlaps([frame]):
            raise ThalwegError(overlap_sentence([frame], close).removeprefix(f"{frame.place}: ").partition(":")[0])
        charge, multiplicity = electrons_of(frame, settings)
        with _one_thread():
            found = _METHODS[settings.method](frame, charge, multiplicity, settings.basis)
        if not (np.isfinite(found.energy) and np.isfinite(found.forces).all()):
            raise ThalwegError("the result is not finite")
        return found
    except Exception as error:  # the libraries raise what they like: an element without parameters, atoms too close
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
        return Labels(0.0, np.zeros(frame.positions.shape), failure=reason)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over threads come out in another order each time; small systems are slower with them besides."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def _gfn2(frame: Frame, charge: int, multiplicity: int, basis: str) -> Labels:
    from tblite.ase import TBLite

    if any(frame.periodic) and not all(frame.periodic):
        raise ThalwegError("tblite knows molecules and crystals, nothing that is periodic in some directions only")
    atoms = to_atoms(frame)
    atoms.calc = TBLite(method=NAMES["gfn2"], accuracy=_ACCURACY, charge=charge, multiplicity=multiplicity, verbosity=0)
    energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
    stress = atoms.get_stress(voigt=False) if all(frame.periodic) else None
    return Labels(energy, np.asarray(forces, np.float64), stress)


def _pbe(frame: Frame, charge: int, multiplicity: int, basis: str) -> Labels:
    from ase.units import Bohr, Hartree

    dft, gto = require("pyscf.dft", extra="label"), require("pyscf.gto", extra="label")
    if any(frame.periodic):
        raise ThalwegError("PBE is computed here for molecules only, and the frame is periodic")
    places = [(symbol(int(z)), tuple(at)) for z, at in zip(frame.numbers, frame.positions / Bohr, strict=True)]
    molecule = gto.M(atom=places, unit="Bohr", basis=basis, charge=charge, spin=multiplicity - 1, verbose=0)
    field = (dft.RKS if multiplicity == 1 else dft.UKS)(molecule, xc="pbe")
    field.conv_tol, field.max_cycle = 1e-10, 100
    energy = float(field.kernel())
    if not field.converged:
        raise ThalwegError(f"PBE did not converge in {field.max_cycle} cycles")
    gradient = field.nuc_grad_method()
    gradient.grid_response = True  # otherwise forces are not those of the energy: by meV/A, with the default grid
    forces = -np.asarray(gradient.kernel(), np.float64) * (Hartree / Bohr)
    return Labels(energy * Hartree, forces)


_METHODS: dict[str, Callable[[Frame, int, int, str], Labels]] = {"gfn2": _gfn2, "pbe": _pbe}
