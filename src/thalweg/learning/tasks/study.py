"""The whole study of two identical neurons on one data set: rate, audit, and what parting is good for."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.learning.data import Regression
from thalweg.learning.energy import HiddenLayerLoss, Neurons, tied
from thalweg.learning.tasks import symmetry


class Study(NamedTuple):
    """What was found, with everything that the pictures need."""

    loss: HiddenLayerLoss
    saddle: symmetry.Saddle
    growth: symmetry.Growth
    parting: symmetry.Split
    identical_until: int | None
    seeded_by: Literal["nudge", "rounding", "nothing"]

    @property
    def result(self) -> dict[str, Any]:
        """The answer of the command, in plain numbers; `bit_identical_until` is null where no bit ever differed."""
        return {
            "eigenvalue": float(self.saddle.eigenvalues[0]),
            "eigenvalues": [float(value) for value in self.saddle.eigenvalues],
            "rate_predicted": self.growth.predicted,
            "rate_measured": self.growth.measured,
            "relative_error": self.growth.relative_error,
            "bit_identical_until": self.identical_until,
            "seeded_by": self.seeded_by,
            "loss_before": self.saddle.loss,
            "loss_after": float(self.parting.loss[-1]),
            "distance": float(self.parting.distance[-1]),
        }


def study(
    data: Regression,
    *,
    activation: str = "tanh",
    form: Literal["elementwise", "matmul"] = "elementwise",
    dtype: Literal["float32", "float64"] = "float64",
    decay: float = 1e-3,
    eta: float = 0.1,
    nudge: float | None = 1e-6,
    steps: int = 20_000,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
) -> Study:
    """Study two neurons on `data`; needs float64 for the audit of the rate.

    **Arguments:**

    - `form` and `dtype`: of the audited training; the saddle and the rate are always those of the elementwise form in
      float64.
    - `nudge`: the amplitude along the softest direction with which the training starts at the saddle; `None` starts
      it from two bit-identical neurons at a generic point, so that only rounding could part them.
    - `steps`: of the audited training, at learning rate `eta` and weight `decay`.

    **Raises:** `InputError` for unusable options, `WalkError` where a walk breaks.
    """
    if not jax.config.read("jax_enable_x64"):
        raise InputError("the audit needs float64: call jax.config.update('jax_enable_x64', True) first.")
    if decay < 0 or (nudge is not None and nudge <= 0):
        raise InputError("the decay must not be negative, and a nudge must be positive (or none).")
    x, y = data
    loss = HiddenLayerLoss(x, y, decay, activation)
    saddle = symmetry.find_saddle(loss, seed=seed)
    growth = symmetry.measure_growth(loss, saddle, eta=eta)
    wide = jnp.dtype(dtype)
    audited = HiddenLayerLoss(x.astype(wide), y.astype(wide), jnp.asarray(decay, wide), activation, form)
    start = _start(saddle, nudge, x.shape[1])
    start = jax.tree.map(lambda leaf: leaf.astype(wide), start)
    every = max(1, steps // 200)
    parting, parted = symmetry.split(audited, start, eta=eta, steps=steps, every=every, hooks=hooks)
    seeded = "nothing" if parted is None else "nudge" if nudge is not None else "rounding"
    return Study(audited, saddle, growth, parting, parted, seeded)


def _start(saddle: symmetry.Saddle, nudge: float | None, inputs: int) -> Neurons:
    if nudge is None:
        return tied(symmetry.single_neuron(inputs, jnp.float64))
    return symmetry.nudged(saddle, nudge)
