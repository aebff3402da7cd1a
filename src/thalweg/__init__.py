"""Walks on differentiable landscapes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg import landscapes
    from thalweg.core.cell import Celled
    from thalweg.core.energy import (
        AbstractEnergy,
        AbstractHostField,
        Restrict,
        Scaled,
        Sum,
        force,
        value_and_force,
    )
    from thalweg.core.errors import InputError, MissingExtra, PrecisionError, ThalwegError, WalkError
    from thalweg.core.paths import AbstractPath, Bent, Curve, Polygon, Straight
    from thalweg.core.refresh import AbstractRefreshing
    from thalweg.core.solution import Outcome, Solution
    from thalweg.core.space import AbstractSpace, Box, Euclidean, Frozen, Periodic, Signs
    from thalweg.diagnostics.closure import closure, loop
    from thalweg.diagnostics.convergence import effective_sample_size, r_hat
    from thalweg.diagnostics.curvature import lowest_modes
    from thalweg.diagnostics.disconnectivity import disconnectivity
    from thalweg.diagnostics.spectrum import spectral_density
    from thalweg.interop.host import HostField
    from thalweg.methods.copies import AbstractCopies, NoCopies, RigidCopies
    from thalweg.methods.data import Batches, Fetched, Whole, Windows
    from thalweg.methods.dynamics import maxwell_velocities
    from thalweg.methods.soap import soap
    from thalweg.methods.trace import Trace
    from thalweg.verbs.branch import Branch
    from thalweg.verbs.constrained import relax_constrained
    from thalweg.verbs.continuation import follow_branch, switch_branch
    from thalweg.verbs.crossing import nearest_crossing
    from thalweg.verbs.learning_coefficient import learning_coefficient
    from thalweg.verbs.path import Path, find_path
    from thalweg.verbs.relax import relax
    from thalweg.verbs.saddle import find_saddle
    from thalweg.verbs.sample import sample
    from thalweg.verbs.simulate import simulate
    from thalweg.verbs.survey import Survey, survey
    from thalweg.verbs.sweep import sweep
    from thalweg.verbs.train import EarlyStop, from_loss, train
    from thalweg.verbs.work import work

    __version__: str

__all__ = [
    "AbstractCopies",
    "AbstractEnergy",
    "AbstractHostField",
    "AbstractPath",
    "AbstractRefreshing",
    "AbstractSpace",
    "Batches",
    "Bent",
    "Box",
    "Branch",
    "Celled",
    "Curve",
    "EarlyStop",
    "Euclidean",
    "Fetched",
    "Frozen",
    "HostField",
    "InputError",
    "MissingExtra",
    "NoCopies",
    "Outcome",
    "Path",
    "Periodic",
    "Polygon",
    "PrecisionError",
    "Restrict",
    "RigidCopies",
    "Scaled",
    "Signs",
    "Solution",
    "Straight",
    "Sum",
    "Survey",
    "ThalwegError",
    "Trace",
    "WalkError",
    "Whole",
    "Windows",
    "__version__",
    "closure",
    "disconnectivity",
    "effective_sample_size",
    "find_path",
    "find_saddle",
    "follow_branch",
    "force",
    "from_loss",
    "landscapes",
    "learning_coefficient",
    "loop",
    "lowest_modes",
    "maxwell_velocities",
    "nearest_crossing",
    "r_hat",
    "relax",
    "relax_constrained",
    "sample",
    "simulate",
    "soap",
    "spectral_density",
    "survey",
    "sweep",
    "switch_branch",
    "train",
    "value_and_force",
    "work",
]

_PLACES = {
    "core.cell": "Celled",
    "core.energy": "AbstractEnergy AbstractHostField Restrict Scaled Sum force value_and_force",
    "core.errors": "InputError MissingExtra PrecisionError ThalwegError WalkError",
    "core.refresh": "AbstractRefreshing",
    "core.paths": "AbstractPath Bent Curve Polygon Straight",
    "core.solution": "Outcome Solution",
    "core.space": "AbstractSpace Box Euclidean Frozen Periodic Signs",
    "diagnostics.closure": "closure loop",
    "diagnostics.convergence": "effective_sample_size r_hat",
    "diagnostics.curvature": "lowest_modes",
    "diagnostics.disconnectivity": "disconnectivity",
    "diagnostics.spectrum": "spectral_density",
    "interop.host": "HostField",
    "methods.copies": "AbstractCopies NoCopies RigidCopies",
    "methods.data": "Batches Fetched Whole Windows",
    "methods.soap": "soap",
    "methods.trace": "Trace",
    "methods.dynamics": "maxwell_velocities",
    "verbs.constrained": "relax_constrained",
    "verbs.branch": "Branch",
    "verbs.continuation": "follow_branch switch_branch",
    "verbs.crossing": "nearest_crossing",
    "verbs.learning_coefficient": "learning_coefficient",
    "verbs.path": "Path find_path",
    "verbs.relax": "relax",
    "verbs.saddle": "find_saddle",
    "verbs.sample": "sample",
    "verbs.simulate": "simulate",
    "verbs.survey": "Survey survey",
    "verbs.sweep": "sweep",
    "verbs.train": "EarlyStop from_loss train",
    "verbs.work": "work",
}
_WHERE = {name: f"thalweg.{module}" for module, names in _PLACES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    # Everything is imported when it is first asked for: `import thalweg` alone must not start JAX.
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("thalweg")
    elif name == "landscapes":
        value = import_module("thalweg.landscapes")
    elif name in _WHERE:
        value = getattr(import_module(_WHERE[name]), name)
    else:
        raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
