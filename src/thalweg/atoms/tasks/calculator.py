"""The potential as a calculator of ASE."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes

from thalweg.atoms.data.ase_atoms import from_atoms
from thalweg.atoms.data.check import known
from thalweg.atoms.energy import Potential, potential
from thalweg.atoms.model.committee import Committee
from thalweg.atoms.tasks.precision import Precision, dtypes
from thalweg.atoms.tasks.trained import Trained, load_trained
from thalweg.atoms.tasks.uncertain import Said, said

_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
_KEPT = 8  # compositions whose lists are kept


class Calculator(AseCalculator):
    """A trained potential for ASE: energy, forces, stress of a crystal, energies of atoms, in eV and A.

    The energy is the total, isolated atoms included. Lists of neighbours are kept while no atom has gone half a skin,
    and what is compiled while the atoms stay the same ones. A committee also gives `forces_uncertainty`, the expected
    error of each atom's force in eV/A.

    **Arguments:** `model`: the directory of `thalweg atoms train`, a file, the name of one that comes with the package
    (`ethanol`), or a `Trained`; `dtype`: `float64`, `mixed` (positions in float64, network in float32) or `float32`;
    `skin` in A, by default that of `potential`.

    **Raises:** `InputError` for a potential that is not there; when asked, for atoms that it does not know.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "energies", "stress"]
    default_parameters: ClassVar[dict[str, Any]] = {}
    name: Any = "thalweg"

    def __init__(
        self,
        model: str | os.PathLike[str] | Trained,
        *,
        dtype: Precision = "float64",
        skin: float | None = None,
        device: Literal["cpu", "gpu"] | None = None,
    ):
        AseCalculator.__init__(self)
        trained = model if isinstance(model, Trained) else load_trained(model)
        self._points, of_net = dtypes(dtype)
        self._device = None if device is None else jax.devices(device)[0]
        with jax.enable_x64(True):
            self._trained = trained.cast(of_net)
        self._skin = skin
        self._potentials: dict[tuple, Potential] = {}
        if isinstance(trained.net, Committee):
            properties: Any = [*self.implemented_properties, "forces_uncertainty"]
            self.implemented_properties = properties  # pyright: ignore[reportAttributeAccessIssue]

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Compute all properties of some atoms."""
        self.atoms = atoms.copy()
        # The process's own setting stays what it is: ASE's users need not know of JAX.
        with jax.enable_x64(True), jax.default_device(self._device):
            found = self._said(atoms)
        alone = np.array([self._trained.energies[int(number)] for number in atoms.numbers])
        energies = found.energies + alone
        self.results = {
            "energy": float(energies.sum()),
            "free_energy": float(energies.sum()),
            "energies": energies,
            "forces": found.forces,
        }
        if all(atoms.pbc):
            self.results["stress"] = (found.virial / atoms.get_volume())[_VOIGT]
        if found.spread is not None:
            self.results["forces_uncertainty"] = found.spread

    def _said(self, atoms: Any) -> Said:
        key = (atoms.numbers.tobytes(), tuple(atoms.pbc))
        cell = np.where(np.array(atoms.pbc)[:, None], np.array(atoms.cell), 0.0)
        held = self._potentials.pop(key, None)
        if held is None or not bool(held.reaches(jnp.asarray(cell))):
            frame = from_atoms(atoms, f"the Atoms {atoms.get_chemical_formula()}")
            known([frame], self._trained.net.elements)
            held = potential(self._trained.net, frame, skin=self._skin, dtype=self._points)
        found, held = said(held, atoms.positions, cell)
        self._potentials[key] = held  # the last one used comes last
        for old in list(self._potentials)[:-_KEPT]:
            del self._potentials[old]
        return found
