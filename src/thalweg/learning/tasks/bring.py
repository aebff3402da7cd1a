"""Bring a training problem of a user's own: a Problem, an Equinox or PyTorch module, or a plain function."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg.core.checks import check_scalar
from thalweg.core.energy import AbstractHostField
from thalweg.core.errors import InputError, ThalwegError
from thalweg.interop import load_object
from thalweg.learning.data import Regression, parabola
from thalweg.learning.energy import DataLoss, squared
from thalweg.learning.model.chain import Chain, Hidden, equinox_chain, torch_chain
from thalweg.learning.model.families import OnInputs
from thalweg.learning.model.modules import Called, Converted, Made, Redrawn, parted
from thalweg.learning.model.problem import Problem
from thalweg.learning.model.units import Units
from thalweg.learning.model.verify import height_of, require_symmetry, verified

Measure = Callable[[Array, Array], Array]


def bring(name: str, data: Regression | None = None, *, measure: Measure = squared, dtype: Any = None) -> Problem:
    """The training problem that `file.py:attribute` or `package.module:attribute` names.

    The attribute may be

    - a `Problem`, a function without arguments that returns one, or a function of `data` that does;
    - a function of `key` that returns an Equinox module, such as its class: random starts are then its own;
    - an Equinox module, called on one item: its inexact arrays are the params. `start(jax.random.key(0))` gives its own
      numbers, and any other key normal ones with the root mean square of each array;
    - a function `predict(params, x)` from all inputs `[n, k]` to predictions `[n, m]`, beside which the same file (or
      class) has `start(key)`, which makes the params, and may have `units`, a tuple of `Units`, their symmetry;
    - a PyTorch module, called on all inputs: its trained weights, a dict of arrays by name, are the params.

    JAX models compute in `dtype`, to which their arrays are converted; PyTorch modules in their own precision, by their
    own autograd, with half the mean squared residual as the loss. Symmetries of sequential networks are found
    (`model.chain`).

    **Arguments:** `data`, inputs `[n, k]` and targets `[n, m]`, by default the parabola; `measure`, the loss of
    predictions and targets; `dtype`, by default float64 where x64 is on.

    **Raises:** `InputError` in one sentence for everything that does not fit; `MissingExtra` without PyTorch.
    """
    found = load_object(name)
    place = name.rpartition(":")[0]
    beside = place + ":" + ".".join([*name.rpartition(":")[2].split(".")[:-1], ""])
    return as_problem(found, data, name=name, measure=measure, dtype=dtype, beside=lambda other: _other(beside + other))


def as_problem(
    found: Any,
    data: Regression | None = None,
    *,
    name: str = "the model",
    measure: Measure = squared,
    dtype: Any = None,
    beside: Callable[[str], Any] = lambda other: None,
) -> Problem:
    """What `bring` makes of an object that is already there; `beside(name)` gives its siblings, or `None`."""
    if isinstance(found, Problem):
        return _with_own_data(found, data, name)
    if _is_torch(found):
        return _torch_problem(found, data or parabola(), name, measure)
    plain = inspect.unwrap(found) if callable(found) else found
    if isinstance(plain, eqx.Module):
        return _module_problem(found, None, data or parabola(), name, measure, _precision(dtype))
    if not callable(found):
        raise InputError(f"{name} is a {type(found).__name__}: name a Problem, a module, or a function.")
    parameters = inspect.signature(found).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    if needed == ["key"]:
        made = _running(name, lambda: found(key=jax.random.key(0)))
        if not isinstance(made, eqx.Module) or isinstance(made, Problem):
            raise InputError(f"{name} made a {type(made).__name__} of a key: return an Equinox module.")
        return _module_problem(made, found, data or parabola(), name, measure, _precision(dtype))
    if needed in ([], ["data"]):
        given = () if not needed else (data or parabola(),)
        made = _running(name, lambda: found(*given))
        if isinstance(made, Problem):
            return _with_own_data(made, None if needed else data, name)
        if needed or (callable(made) and not isinstance(made, eqx.Module) and not _is_torch(made)):
            raise InputError(f"{name} returned a {type(made).__name__}: return a Problem or a module.")
        return as_problem(made, data, name=name, measure=measure, dtype=dtype)
    if len(needed) == 2:
        return _plain_problem(found, beside, data or parabola(), name, measure, _precision(dtype))
    raise InputError(
        f"{name} takes ({', '.join(needed)}): name a function of (params, x), of key, of data, or without arguments."
    )


def _with_own_data(problem: Problem, data: Regression | None, name: str) -> Problem:
    if data is not None:
        raise InputError(f"{name} has its own data: leave the other data out, or name a function of `data`.")
    return _checked(problem)


def _module_problem(
    module: Any, make: Callable | None, data: Regression, name: str, measure: Measure, dtype: Any
) -> Problem:
    params, rest = parted(module, name, dtype)
    start = Redrawn(params) if make is None else Made(make, params)
    chain = equinox_chain(eqx.nn.inference_mode(module), rest)
    return _of_function(Called(rest), start, data, name, measure, dtype, chain)


def _plain_problem(
    predict: Callable, beside: Callable[[str], Any], data: Regression, name: str, measure: Measure, dtype: Any
) -> Problem:
    start = beside("start")
    if not callable(start):
        raise InputError(f"{name} is a function of params and x: write start(key), which makes the params, beside it.")
    units = beside("units")
    chain = Chain((), ("a plain function shows no units: declare them in `units` beside it",))
    return _of_function(predict, Converted(start, dtype), data, name, measure, dtype, chain, tuple(units or ()))


def _of_function(
    predict: Callable,
    start: Callable,
    data: Regression,
    name: str,
    measure: Measure,
    dtype: Any,
    chain: Chain,
    declared: tuple[Units, ...] = (),
) -> Problem:
    x, y = (jnp.asarray(array, dtype) for array in data)
    params = _running(name, lambda: jax.eval_shape(start, jax.random.key(0)))
    shape = _running(name, lambda: jax.eval_shape(predict, params, x), f" on inputs of shape {list(x.shape)}")
    if getattr(shape, "shape", None) != y.shape:
        told = list(getattr(shape, "shape", [])) or type(shape).__name__
        raise InputError(f"{name} predicts {told} for targets of shape {list(y.shape)}: make them equal.")
    problem = Problem(name, DataLoss(predict, x, y, measure), start, declared, None, OnInputs(predict, x))
    if declared:
        return _checked(problem)
    return _with_chain(problem, chain, x)


def _with_chain(problem: Problem, chain: Chain, x: Any = None) -> Problem:
    """The problem with those units of its layers that the loss agrees to."""
    _checked(problem)
    params = problem.start(jax.random.key(0))
    units, notes = verified(problem.loss, params, chain.units)
    in_turn = chain.hidden is not None and not notes and _is_called_in_turn(problem, chain.hidden, params, x)
    hidden = OnInputs(chain.hidden, x) if in_turn else None
    return dataclasses.replace(problem, units=units, hidden=hidden, notes=(*chain.notes, *notes))


def _is_called_in_turn(problem: Problem, hidden: Hidden, params: Any, x: Array) -> bool:
    """Whether the module is no more than its layers one after another."""
    try:
        output = hidden.output(params, x)
    except Exception:  # the user's own layers, which may need more than one argument
        return False
    wanted = np.asarray(problem.predict(params)) if problem.predict is not None else None
    return wanted is not None and output.shape == wanted.shape and np.allclose(output, wanted, rtol=1e-4, atol=1e-4)


def _torch_problem(module: Any, data: Regression, name: str, measure: Measure) -> Problem:
    from thalweg.interop.torch_training import torch_parameters, torch_training

    if measure is not squared:
        raise InputError(f"{name} is a PyTorch module, whose loss here is half the mean squared residual: bring a "
                         "Problem with a host field of your own for another.")  # fmt: skip
    training, chain = torch_training(module, *data), torch_chain(module)
    start = Redrawn({place: jnp.asarray(weight) for place, weight in torch_parameters(module).items()})
    loss = training.loss(lambda output, y: 0.5 * ((output - y) ** 2).sum(-1).mean())
    return _with_chain(Problem(name, loss, start, predict=training.predict), chain)


def _checked(problem: Problem) -> Problem:
    _running(problem.name, lambda: jax.eval_shape(problem.start, jax.random.key(0)))
    problem = problem.checked()
    params = problem.start(jax.random.key(0))
    if isinstance(problem.loss, AbstractHostField):
        values = problem.loss.value_and_force_batch(jax.tree.map(lambda leaf: leaf[None], params))[0]
    else:
        check_scalar(problem.loss, params, problem.name)
        values = height_of(problem.loss, params)
    if not np.isfinite(np.asarray(values)).all():
        raise InputError(f"{problem.name}: the loss of its first start is not finite: mend the model or the data.")
    require_symmetry(problem.loss, params, problem.units, problem.name)
    return problem


def _precision(dtype: Any) -> Any:
    return jnp.result_type(float) if dtype is None else jnp.dtype(dtype)


def _running(name: str, call: Callable[[], Any], given: str = "") -> Any:
    """The user's own code, which may raise anything."""
    try:
        return call()
    except ThalwegError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"{name} failed{given} with {type(error).__name__}: {reason}.") from error


def _other(name: str) -> Any:
    try:
        return load_object(name)
    except InputError:  # the file itself has just been imported: only the attribute can be missing
        return None


def _is_torch(found: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(found, torch.nn.Module)
