"""The whole study of two identical units: the saddle, the rate, the audit, and what parting is good for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from thalweg.core.errors import InputError
from thalweg.core.hooks import Hook
from thalweg.learning.data import parabola, read_csv
from thalweg.learning.model.dense import Form
from thalweg.learning.model.families import family as build
from thalweg.learning.model.pair import Pair, choose_pair
from thalweg.learning.model.problem import Problem
from thalweg.learning.tasks.bring import bring
from thalweg.learning.tasks.symmetry.audit import Seed, Split, audit, seeded_by
from thalweg.learning.tasks.symmetry.growth import (
    MOMENTUM,
    Growth,
    Optimiser,
    along_a_training,
    measure_at_saddle,
    optimiser_of,
)
from thalweg.learning.tasks.symmetry.saddle import Saddle, find_saddle

RATES: dict[str, float] = {"gd": 0.1, "momentum": 0.1, "adam": 0.01}


class Study(NamedTuple):
    """What was found, with everything that the pictures need; `problem` is the one whose training was audited."""

    problem: Problem
    saddle: Saddle
    growth: Growth
    parting: Split
    seeded_by: Seed
    optimiser: Optimiser
    eta: float

    @property
    def pair(self) -> Pair:
        """The two units."""
        return self.saddle.pair

    @property
    def result(self) -> dict[str, Any]:
        """The answer of the command, in plain numbers; `bit_identical_until` is null where no bit ever differed."""
        return {
            "eigenvalue": float(self.saddle.eigenvalues[0]),
            "eigenvalues": [float(value) for value in self.saddle.eigenvalues],
            "rate_predicted": self.growth.predicted,
            "rate_measured": self.growth.measured,
            "relative_error": self.growth.relative_error,
            "rate_at": self.growth.at,
            "tangent_error": self.growth.tangent_error,
            "bit_identical_until": self.parting.identical_until,
            "seeded_by": self.seeded_by,
            "loss_before": self.saddle.loss,
            "loss_after": float(self.parting.loss[-1]),
            "distance": float(self.parting.distance[-1]),
            "model": self.problem.name,
            "layer": self.pair.units.name,
            "pair": list(self.pair.places),
            "optimiser": self.optimiser,
            "eta": self.eta,
            "notes": list(self.problem.notes),
        }


def problems(
    model: str | None,
    data: Path | None,
    targets: int = 1,
    *,
    family: str | None = None,
    activation: str | None = None,
    width: int | None = None,
    depth: int | None = None,
    form: Form | None = None,
    dtype: str = "float64",
) -> tuple[Problem, Problem]:
    """The problem of a model's name or of a built-in family, and the same as its training is to be audited.

    **Raises:** `InputError`.
    """
    regression = None if data is None else read_csv(data, targets)
    if model is not None:
        built_in = {"family": family, "activation": activation, "width": width, "depth": depth, "form": form}
        given = [name for name, value in built_in.items() if value is not None]
        if given:
            raise InputError(f"--{given[0]} is for built-in networks, not for {model}: leave one of them out.")
        problem = bring(model, regression)
        if dtype == "float64":
            return problem, problem
        audited = bring(model, regression, dtype=dtype)
        own = jnp.result_type(*jax.tree.leaves(jax.eval_shape(audited.start, jax.random.key(0))))
        if own != dtype:
            raise InputError(f"{model} computes in {own}, whatever --dtype says: leave it out.")
        return problem, audited
    regression = parabola() if regression is None else regression
    # The textbook's two neurons have no bias of the output.
    bias = {"output_bias": False} if family is None else {}
    make = partial(
        build, family or "tanh", regression, activation=activation, width=width or 2, depth=depth, **bias
    )  # fmt: skip
    return make(dtype="float64"), make(form=form or "elementwise", dtype=dtype)


def study(
    problem: Problem,
    audited: Problem | None = None,
    *,
    layer: int | None = None,
    pair: tuple[int, int] | None = None,
    optimiser: Optimiser = "gd",
    decay: float = 1e-3,
    eta: float | None = None,
    nudge: float | None = 1e-6,
    noise: float | None = None,
    batch: int | None = None,
    steps: int = 20_000,
    seed: int = 0,
    hooks: tuple[Hook, ...] = (),
    relaxing: tuple[Hook, ...] = (),
) -> Study:
    """Study two units of a network that start identical; needs float64 for the audit of the rate.

    **Arguments:**

    - `audited`: the same problem in another form or precision, for the audited training alone; the saddle and the rate
      are those of `problem`.
    - `layer`, counted from 1, and the `pair` of its units, counted from 0; by default the first two of the first one.
    - `optimiser`, `eta`: the optimiser and its learning rate (by default 0.1, Adam 0.01, or half of what is
      stable at the saddle where that is less); `decay`, the weight of the penalty.
    - `nudge`: the amplitude along the softest direction with which the training starts at the saddle; `None` starts
      it from bit-identical units at a random point, so that only rounding, or noise, could part them.
    - `noise`, `batch`, `steps`: of the audited training, as in `audit`.

    **Raises:** `InputError` for unusable options, `WalkError` where a walk breaks.
    """
    if not jax.config.read("jax_enable_x64"):
        raise InputError("the audit needs float64: call jax.config.update('jax_enable_x64', True) first.")
    if decay < 0 or (nudge is not None and nudge <= 0):
        raise InputError("the decay must not be negative, and a nudge must be positive (or none).")
    if noise is not None and noise <= 0:
        raise InputError(f"the noise is {noise}, but it must be positive: leave it out for none.")
    chosen, audited = choose_pair(problem, layer, pair), problem if audited is None else audited
    saddle = find_saddle(problem, chosen, decay, seed=seed, hooks=relaxing)
    if eta is None:
        eta = min(RATES.get(optimiser, 0.1), 0.5 * _limit(optimiser) / max(saddle.stiffest, 1e-300))
    growth = rate(problem, saddle, optimiser, eta, decay, steps=steps, seed=seed)
    parting = audit(
        audited, chosen, _start(audited, saddle, nudge, seed), optimiser_of(optimiser, eta), decay, steps=steps,
        every=max(1, steps // 200), batch=batch, noise=noise, seed=seed, hooks=hooks,
    )  # fmt: skip
    return Study(audited, saddle, growth, parting, seeded_by(parting, nudge, noise), optimiser, eta)


def rate(
    problem: Problem,
    saddle: Saddle,
    optimiser: Optimiser,
    eta: float,
    decay: float,
    *,
    steps: int = 20_000,
    seed: int = 0,
) -> Growth:
    """The growth of a difference between the units: at the saddle, or where there is no law for it, along a training.

    Adam has no derivative at rest; and a network that found no rest has no saddle to measure at.

    **Raises:** `InputError` for a learning rate beyond the stability limit of the saddle, and for host fields that
    would have to be followed along a training.
    """
    bound = _limit(optimiser)
    if not 0 < eta < bound / max(saddle.stiffest, 1e-300):
        limit = f"{bound / saddle.stiffest:.3g} ({bound:.3g} / the largest curvature)"
        raise InputError(f"the learning rate {eta} must lie between 0 and {limit}.")
    rule = optimiser_of(optimiser, eta)
    found = measure_at_saddle(problem, saddle, rule, decay) if saddle.at_rest else None
    if problem.on_host:
        if not saddle.at_rest:
            raise InputError(
                f"{problem.name} found no rest with two identical units (force {saddle.force:.2g}), and only JAX "
                "models are followed along a training: try a smooth activation, a positive decay or float64."
            )
        if found is None:
            raise InputError(
                f"{problem.name} is no JAX model, whose rate is measured at rest alone: choose gd or momentum."
            )
        return found
    along = along_a_training(problem, saddle, rule, decay, steps=steps, seed=seed)
    return along if found is None else found._replace(tangent_error=along.tangent_error)


def _limit(optimiser: str) -> float:
    """The learning rate, times the largest curvature, beyond which a rest is unstable."""
    # Heavy-ball momentum m is stable up to 2 (1 + m) (Polyak 1964); Adam has no such limit.
    return {"gd": 2.0, "momentum": 2.0 * (1 + MOMENTUM)}.get(optimiser, float("inf"))


def _start(problem: Problem, saddle: Saddle, nudge: float | None, seed: int) -> PyTree:
    """Where the audited training begins, in the form and precision of its problem."""
    own = problem.start(jax.random.key(seed))
    if nudge is None:
        return saddle.pair.tied(own)
    leaves, structure = jax.tree.flatten(own)
    here = jax.tree.leaves(saddle.nudged(nudge))
    return jax.tree.unflatten(structure, [jnp.asarray(a, b.dtype) for a, b in zip(here, leaves, strict=True)])
