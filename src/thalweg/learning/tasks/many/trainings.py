"""Independent trainings by the thousand: the textbook's picture of an order parameter over the weight decay."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
import xarray
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.core.solution import Solution
from thalweg.learning.energy import Regularised, squares
from thalweg.learning.model.order_parameters import ORDER_PARAMETERS, order_parameter, order_parameters
from thalweg.learning.model.problem import Problem
from thalweg.methods.data import Whole
from thalweg.methods.descent import tree_norm
from thalweg.verbs.sweep import sweep
from thalweg.verbs.train import from_loss, train

_QUANTILES = (0.25, 0.5, 0.75)
_FINISHED = 1e-2  # of the pull of the penalty, which the loss balances where a training has ended


def trainings(
    problem: Problem,
    lambdas: Any,
    *,
    seeds: int = 8,
    steps: int = 5000,
    optimiser: optax.GradientTransformation | None = None,
    key: Key[Array, ""],
    batch: int | None = None,
    executor: Executor | None = None,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> xarray.Dataset:
    """Train from a random start of its own for each weight decay and seed, and observe where each training ended.

    **Arguments:**

    - `lambdas [values]`, the weight decays, not negative; `seeds`, how many trainings each has.
    - `steps` of full-batch training by the `optimiser`, by default Adam whose rate falls from 0.03 to zero (`cooled`).
    - `key`, from which starts are drawn, anew for each decay and seed.
    - `batch`, `executor` and `done` as in `sweep`, `hooks` being its `on_chunk`.

    **Returns:** over `value` (the decay) and `seed`: the order parameters that the problem has; `loss`, without
    the penalty; `penalty`; `gradient`, its Euclidean norm at the end, which tells an unfinished training; `outcome`.

    **Raises:** `InputError` for negative decays or a problem whose loss is another program's; `WalkError` as `sweep`.
    """
    values = np.asarray(lambdas, np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or (values < 0).any():
        raise InputError(f"trainings: the weight decays are {lambdas}: give a list of numbers that are not negative.")
    if problem.on_host:
        raise InputError(
            f"trainings: the loss of {problem.name} is computed outside JAX and cannot be trained in compiled batches: "
            "write it in JAX, or follow it by the other tasks."
        )
    if steps < 1:
        raise InputError(f"trainings: steps is {steps}, but at least one is needed.")
    found = sweep(
        problem.at,
        values,
        eqx.Partial(_trained, optimiser, steps),
        eqx.Partial(_start, problem),
        observe=eqx.Partial(_observed, problem),
        key=key,
        seeds=seeds,
        batch=batch,
        executor=executor,
        done=done,
        on_chunk=hooks,
    )
    return found.assign_attrs(problem=problem.name, steps=steps)


def cooled(steps: int, rate: float = 0.03) -> optax.GradientTransformation:
    """Adam with a rate that falls from `rate` to zero along half a cosine."""
    return optax.adam(optax.cosine_decay_schedule(rate, steps))


def activation_curve(problem: Problem, lambdas: Any, *, order: str = "activation", **options: Any) -> xarray.Dataset:
    """An order parameter over the weight decay: quartiles over the seeds of independent trainings.

    **Arguments:** `order`, its name; `options` of `trainings`.

    **Returns:** over `value`: `order` with a dim `quantile`; `lowest`, the order parameter of the training that ended
    lowest, which is the nearest to the global minimum; `unfinished`, the share of trainings that had not ended.
    """
    order_parameter(problem, order)
    return curve_of(trainings(problem, lambdas, **options), order)


def curve_of(found: xarray.Dataset, order: str) -> xarray.Dataset:
    """The curve of one order parameter of `trainings`, as `activation_curve` returns it."""
    height = (found["loss"] + found["penalty"]).fillna(np.inf)
    lowest = found[order].isel(seed=height.argmin("seed")).drop_vars("seed")
    parts = {"order": found[order].quantile(_QUANTILES, "seed"), "lowest": lowest}
    return xarray.Dataset(parts | {"unfinished": unfinished(found).mean("seed")}, attrs={**found.attrs, "name": order})


def unfinished(found: xarray.Dataset) -> xarray.DataArray:
    """Which trainings had not ended: whose gradient was more than a hundredth of the pull of the penalty alone.

    That pull is `decay * weights`, with weights below a hundredth counted as one: collapsed enough is an end as well.
    Without a decay there is no such scale, and only a broken training counts.
    """
    pull = found["value"] * np.maximum(found["weights"], _FINISHED)
    late = (found["value"] > 0) & (found["gradient"] > _FINISHED * pull)
    return late | ~found["gradient"].notnull()


def textbook_picture(
    problem: Problem, lambdas: Any, *, order: str = "activation", **options: Any
) -> tuple[xarray.Dataset, dict[str, Any]]:
    """The picture of the textbook and what can be read off it, which is an interval and no critical point.

    **Arguments:** `order`, the order parameter that is read; `options` of `trainings`.

    **Returns:** the trainings, and `steepest`, the two neighbouring decays between which the median falls most;
    `fall`, how much of its range it falls there (a jump and a slope on too coarse a grid look alike); `unfinished`, the
    share of trainings that had not ended, and `slowest`, the decay where most of them are: trainings take longest near
    a continuous transition, which blurs it.
    """
    order_parameter(problem, order)
    found = trainings(problem, lambdas, **options)
    curve = curve_of(found, order)
    median, decays = curve["order"].sel(quantile=0.5).to_numpy(), curve["value"].to_numpy()
    rank = np.argsort(decays)
    decays, median = decays[rank], median[rank]
    share = curve["unfinished"].to_numpy()[rank]
    summary: dict[str, Any] = {"order_parameter": order, "trainings": int(found["loss"].size)}
    summary |= {"unfinished": float(share.mean()), "slowest": float(decays[np.argmax(share)]) if share.any() else None}
    if len(decays) < 2 or not np.isfinite(median).all() or np.ptp(median) == 0:
        return found, summary | {"steepest": None, "fall": None}
    falls = median[:-1] - median[1:]
    place = int(np.argmax(falls))
    steepest = [float(decays[place]), float(decays[place + 1])]
    return found, summary | {"steepest": steepest, "fall": float(falls[place] / np.ptp(median))}


def _start(problem: Problem, key: Key[Array, ""]) -> PyTree:
    return problem.start(key)


def _trained(optimiser: Any, steps: int, energy: Regularised, x0: PyTree, key: Key[Array, ""]) -> Solution:
    # Made here, because functions of Optax do not travel to another process.
    optimiser = cooled(steps) if optimiser is None else optimiser
    return train(x0, from_loss(_height), Whole(energy), optimiser, key=key, steps=steps, throw=False)


def _height(params: PyTree, energy: Regularised, key: Key[Array, ""]) -> Float[Array, ""]:
    # The whole landscape comes along as the batch, so that its data are arguments and no constants of the loss.
    return energy(params)


def _observed(problem: Problem, energy: Regularised, solution: Solution) -> dict[str, Array]:
    params = solution.value
    loss, slope = energy.loss(params), jax.grad(energy)(params)
    measured = {name: ORDER_PARAMETERS[name](problem, params) for name in order_parameters(problem)}
    penalty = 0.5 * energy.decay.astype(loss.dtype) * squares(params, problem.penalised)
    return {**measured, "loss": loss, "penalty": penalty, "gradient": tree_norm(slope)}
