"""Order parameters of training: numbers that are zero, or nearly so, where the weights have collapsed."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from thalweg.core.errors import InputError
from thalweg.learning.energy import squares
from thalweg.learning.model.problem import Problem
from thalweg.learning.model.units import table


def activation(problem: Problem, params: PyTree) -> Float[Array, ""]:
    """The mean absolute activation of the hidden neurons, over all items and all units of all layers."""
    layers = [] if problem.hidden is None else problem.hidden(params)
    if not layers:
        raise InputError(f"{problem.name}: it tells of no hidden neurons: choose another order parameter.")
    return jnp.mean(jnp.abs(jnp.concatenate([layer.reshape(layer.shape[0], -1) for layer in layers], axis=1)))


def norm(problem: Problem, params: PyTree) -> Float[Array, ""]:
    """How far the prediction is from a constant: the root of its variance over the items, summed over the outputs.

    Of a linear network on whitened inputs it is the Frobenius norm of the end-to-end map.
    """
    if problem.predict is None:
        raise InputError(f"{problem.name}: it makes no predictions that could be seen: choose another order parameter.")
    prediction = problem.predict(params)
    return _root(jnp.mean(jnp.sum((prediction - jnp.mean(prediction, axis=0)) ** 2, axis=-1)))


def weights(problem: Problem, params: PyTree) -> Float[Array, ""]:
    """The Euclidean norm of the penalised parameters."""
    return _root(squares(params, problem.penalised))


def participation(problem: Problem, params: PyTree) -> Float[Array, ""]:
    """How many units of a layer share its weight: `(sum n_i^2)^2 / sum n_i^4` of their norms `n_i`, mean over layers.

    It lies between 1 and the layer's width, and is zero where all units vanish.
    """
    if not problem.units:
        raise InputError(f"{problem.name}: it names no exchangeable units: choose another order parameter.")
    return jnp.mean(jnp.stack([_shared(jnp.sum(table(params, layer) ** 2, axis=1)) for layer in problem.units]))


OrderParameter = Callable[[Problem, PyTree], Float[Array, ""]]
ORDER_PARAMETERS: dict[str, OrderParameter] = {
    "activation": activation,
    "norm": norm,
    "weights": weights,
    "participation": participation,
}


def order_parameter(problem: Problem, name: str) -> OrderParameter:
    """The order parameter of that name, if the problem has it.

    **Raises:** `InputError` naming those that it has.
    """
    known = order_parameters(problem)
    if name not in known:
        raise InputError(f"{problem.name}: it has no order parameter {name!r}: choose one of {', '.join(known)}.")
    return ORDER_PARAMETERS[name]


def order_parameters(problem: Problem) -> tuple[str, ...]:
    """The names of the order parameters that the problem has."""
    # A network of one layer has the function, and no hidden layer for it to tell of.
    hidden = problem.hidden is not None and bool(jax.eval_shape(problem.hidden, _shapes(problem)))
    has = {"activation": hidden, "norm": problem.predict is not None, "participation": bool(problem.units)}
    return tuple(name for name in ORDER_PARAMETERS if has.get(name, True))


def _shapes(problem: Problem) -> PyTree:
    return jax.eval_shape(problem.start, jax.random.key(0))


def _shared(of: Float[Array, " width"]) -> Float[Array, ""]:
    largest = jnp.max(of)
    # In units of the largest, so that small norms do not underflow.
    scaled = of / jnp.where(largest > 0, largest, 1.0)
    return jnp.where(largest > 0, jnp.sum(scaled) ** 2 / jnp.maximum(jnp.sum(scaled**2), 1.0), 0.0)


def _root(of: Float[Array, ""]) -> Float[Array, ""]:
    # The root has no slope at zero, where collapsed weights are: say zero instead of infinity times zero.
    safe = jnp.where(of > 0, of, 1.0)
    return jnp.where(of > 0, jnp.sqrt(safe), 0.0)
