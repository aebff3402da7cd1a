"""Finite-size scaling of training: weights that follow their Boltzmann law, the number of items being the size."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jaxtyping import Array, Float, Key, PyTree

from thalweg.core.energy import Scaled
from thalweg.core.errors import InputError
from thalweg.core.hooks import Executor, Hook, Store
from thalweg.core.solution import Solution
from thalweg.diagnostics.bootstrap import Estimate, through
from thalweg.diagnostics.convergence import r_hat
from thalweg.diagnostics.critical import Moments, binder, moments
from thalweg.diagnostics.crossing import Crossings, crossings
from thalweg.diagnostics.scaling import Collapse, collapse
from thalweg.learning.model.order_parameters import OrderParameter, order_parameter
from thalweg.learning.model.problem import Problem
from thalweg.methods.trace import Trace
from thalweg.verbs.sample import sample
from thalweg.verbs.sweep import sweep

_MIXED = 1.05  # split R-hat above which chains have not met, in which case no error bar is to be believed


class Sizes(NamedTuple):
    """What sizes say together.

    **Fields:** the `draws` of the order parameter; the `moments` of each size; the `crossings` of the cumulants; the
    `binder` and `order` collapses with their exponents; `r_hat`, the largest over all sizes and decays.
    """

    draws: dict[int, Float[np.ndarray, "values draws chains"]]
    moments: dict[int, Moments]
    crossings: Crossings
    binder: Collapse
    order: Collapse
    r_hat: float

    @property
    def mixed(self) -> bool:
        """Whether the chains have met at every size and decay."""
        return self.r_hat < _MIXED

    @property
    def result(self) -> dict[str, Any]:
        """The answer in plain numbers; `nu` is in units of the number of items, not of a length."""
        told = {"sizes": sorted(self.moments), "r_hat": self.r_hat, "mixed": self.mixed}
        parts = {
            "lambda_c": self.crossings.critical,
            "cumulant": self.crossings.universal,
            "nu": self.binder.nu,
            "beta": self.order.exponent,
        }
        for name, part in parts.items():
            told |= {name: float(part.value), f"{name}_interval": [float(part.low), float(part.high)]}
        return told | {"extrapolated": self.crossings.extrapolated, "quality": self.binder.quality}


def finite_size(
    problem: Problem,
    lambdas: Any,
    sizes: Sequence[int],
    *,
    order: str = "norm",
    steps: int = 2000,
    warmup: int = 500,
    chains: int = 32,
    key: Key[Array, ""],
    start: tuple[float, float, float] | None = None,
    degree: int = 3,
    batch: int = 16,
    executor: Executor | None = None,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> Sizes:
    """Sample the weights with the law `exp(-n * landscape)` at several `n`, and scale what they show.

    At fixed data the transition of a training in the decay is sharp already: training is a walk to zero temperature.
    What is rounded by a finite size is the *posterior* of the weights given `n` items, whose temperature is `1 / n`.
    `n` multiplies the mean loss over the problem's data, which stand for the law that items come from; the decay is
    that of a Gaussian prior whose precision grows with `n`. For two linear layers `n` enters as the volume of a
    mean-field ferromagnet: with the end-to-end `norm` as order parameter nu = 2 (in units of `n`) and beta = 1. A
    transition of first order has barriers that grow with `n`: chains then do not meet, which `mixed` tells.

    **Arguments:** `lambdas`, increasing decays around the transition, or a mapping from size to them; `sizes`, numbers
    of items; `order`, the name of an order parameter; `steps` recorded of each of the `chains` after the `warmup`;
    `start`, guesses of `(lambda_c, nu, beta)` for the collapse, by default the crossing, 2 and 1; `degree` of the
    polynomials through the cumulants; `batch`, `executor`, `done` and `hooks` as in `trainings`.

    **Raises:** `InputError` for unusable sizes or decays, or cumulants that do not cross.

    **Source:** Binder, Z. Phys. B 43, 119 (1981); Brezin & Zinn-Justin, Nucl. Phys. B 257, 867 (1985), mean field.
    """
    sizes = _checked(problem, sizes)
    values = {size: np.asarray(lambdas[size] if isinstance(lambdas, Mapping) else lambdas, float) for size in sizes}
    found = sampled(
        problem, values, order=order, steps=steps, warmup=warmup, chains=chains, key=jax.random.fold_in(key, 0),
        batch=batch, executor=executor, done=done, hooks=hooks,
    )  # fmt: skip
    draws = {size: found[size] for size in sizes}
    of = moments(draws, values, key=jax.random.fold_in(key, 1))
    met = crossings(of, degree=degree)
    guess = (float(met.critical.value), 2.0, 1.0) if start is None else start
    apart = max(float(r_hat(row.T)) for part in draws.values() for row in part)
    return Sizes(draws, of, met, collapse(of, "binder", start=guess), collapse(of, "order", start=guess), apart)


def sampled(
    problem: Problem,
    values: Mapping[int, Float[np.ndarray, " values"]],
    *,
    order: str,
    steps: int,
    warmup: int,
    chains: int,
    key: Key[Array, ""],
    batch: int = 16,
    executor: Executor | None = None,
    done: Store | None = None,
    hooks: tuple[Hook, ...] = (),
) -> dict[int, Float[np.ndarray, "values draws chains"]]:
    """The draws of the order parameter at each size, by Hamiltonian Monte Carlo tuned in the warmup."""
    pairs = {
        "decay": np.concatenate(list(values.values())),
        "items": np.repeat([float(size) for size in values], [len(row) for row in values.values()]),
    }
    found = sweep(
        eqx.Partial(_posterior, problem),
        pairs,
        eqx.Partial(_sampled, eqx.Partial(order_parameter(problem, order), problem), steps, warmup),
        eqx.Partial(_starts, problem, chains),
        observe=_drawn,
        key=key,
        batch=batch,
        executor=executor,
        done=done,
        on_chunk=hooks,
    )
    return _by_size(found, values)


def susceptibility(of: Moments, items: int) -> Estimate:
    """`items (<m^2> - <|m|>^2)` at each decay: the response of the order parameter to a field that couples to it."""
    return through(lambda first, second: items * (second - first**2), of.first, of.second, what="the susceptibility")


def windows(centre: float, width: float, sizes: Sequence[int], *, values: int = 9) -> dict[int, np.ndarray]:
    """Decays around `centre` for each size: `width` to both sides at the smallest, and the less the more items."""
    smallest = min(sizes)
    return {
        size: centre + width * (size / smallest) ** -0.5 * np.linspace(-1, 1, values) for size in sorted(set(sizes))
    }


def linear_moments(
    singular: float, decay: float, items: float, width: int, *, points: int = 200
) -> tuple[float, float, float]:
    """The exact means of |p|, p^2 and p^4 of the end-to-end weight `p` of two linear layers, one input and one output.

    With `a` and `b` the sum and the difference of the two weight vectors over the square root of two, `p` is
    `(a^2 - b^2) / 2` and the landscape `(p - singular)^2 / 2 + decay (a^2 + b^2) / 2`: two radial integrals, done by
    Gauss-Legendre quadrature.
    """
    # Beyond the furthest minimum the quartic term alone brings the law down by exp(-40).
    reach = np.sqrt(2 * max(singular - decay, 0.0)) + (320 / items) ** 0.25
    nodes, weights = _nodes(points)
    a, w = 0.5 * reach * (nodes + 1), 0.5 * reach * weights
    p = 0.5 * (a[:, None] ** 2 - a**2)
    height = items * (0.5 * (p - singular) ** 2 + 0.5 * decay * (a[:, None] ** 2 + a**2))
    law = np.exp(height.min() - height) * a[:, None] ** (width - 1) * a ** (width - 1) * w[:, None] * w
    law = law / law.sum()
    first, second, fourth = (float((law * np.abs(p) ** power).sum()) for power in (1, 2, 4))
    return first, second, fourth


def curves(of: Sizes) -> dict[int, tuple[np.ndarray, Estimate, Estimate]]:
    """For each size its decays, cumulant and susceptibility, for pictures."""
    return {size: (part.values, binder(part), susceptibility(part, size)) for size, part in of.moments.items()}


@functools.cache
def _nodes(points: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(points)


def _posterior(problem: Problem, value: dict[str, Array]) -> Scaled:
    # A mean over items times their number: the weights then follow exp(-items * landscape).
    return Scaled(problem.at(value["decay"]), value["items"])


def _starts(problem: Problem, chains: int, key: Key[Array, ""]) -> PyTree:
    return problem.starts(key, chains)


def _sampled(observe: OrderParameter, steps: int, warmup: int, energy: Scaled, x0: PyTree, key: Any) -> Solution:
    trace = Trace(eqx.Partial(_of_state, observe))
    return sample(energy, x0, "hmc", key=key, steps=steps, warmup=warmup, chains=None, trace=trace, throw=False)


def _of_state(observe: Any, state: Any) -> Float[Array, ""]:
    return observe(state.x)


def _drawn(energy: Scaled, solution: Solution) -> dict[str, Array]:
    return {"order": jnp.asarray(solution.trace)}


def _by_size(found: xarray.Dataset, values: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    draws = found["order"].to_numpy()[:, 0].astype(np.float64)
    ends = np.cumsum([len(row) for row in values.values()])[:-1]
    return dict(zip(values, np.split(draws, ends), strict=True))


def _checked(problem: Problem, sizes: Sequence[int]) -> list[int]:
    chosen = sorted({int(size) for size in sizes})
    if len(chosen) < 2 or chosen[0] < 1:
        raise InputError(f"finite_size: the sizes are {list(sizes)}: give at least two different numbers of items.")
    if problem.on_host:
        raise InputError(f"finite_size: the loss of {problem.name} is computed outside JAX: write it in JAX.")
    return chosen
