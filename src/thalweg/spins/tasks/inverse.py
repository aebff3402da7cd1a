"""The inverse Ising problem: couplings and fields from +-1 samples, by symmetric pseudo-likelihood."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int8, Shaped

from thalweg.core.errors import InputError, WalkError
from thalweg.core.hooks import Hook
from thalweg.core.solution import Solution
from thalweg.methods.lbfgs import Lbfgs
from thalweg.spins.data.problem import Problem, problem
from thalweg.spins.data.samples import Samples, samples
from thalweg.spins.energy import Couplings, PseudoLikelihood
from thalweg.verbs.relax import relax

_MOST_PARAMETERS = 1000  # for standard errors, whose cost is the samples times the square of this
_TOLERANCE = 1e-3  # of the statistical error of one moment, 1 / sqrt(samples)


@dataclasses.dataclass(frozen=True, eq=False)
class Inferred:
    """The Ising glass that the samples are most pseudo-likely under.

    **Fields:** `coupling [n, n]`, symmetric with an empty diagonal, and `field [n]`, at temperature one;
    `coupling_error` and `field_error`, standard errors, `None` where they were not asked for;
    `pseudo_log_likelihood`, nats per sample; `problem`, the same as couplings; `solution` of the descent.
    """

    coupling: Float[np.ndarray, "n n"]
    field: Float[np.ndarray, " n"]
    coupling_error: Float[np.ndarray, "n n"] | None
    field_error: Float[np.ndarray, " n"] | None
    pseudo_log_likelihood: float
    problem: Problem
    solution: Solution


def inverse_ising(
    values: Shaped[np.ndarray, "samples n"] | Samples,
    *,
    l2: float = 0.0,
    errors: bool | None = None,
    max_steps: int = 2000,
    on_chunk: tuple[Hook, ...] = (),
) -> Inferred:
    """Couplings and fields of an Ising glass at temperature one from its equilibrium samples, in float64.

    **Arguments:** `values` in {-1, +1} or {0, 1}; `l2`, half the penalty on squared couplings; `errors`, whether to
    compute standard errors (the sandwich of curvature and scores), by default for up to 1000 parameters.

    **Raises:** `InputError` for a spin that never turns, for one that the others determine in every sample where `l2`
    is zero, and for `errors` of too many parameters; `WalkError` where the descent does not arrive.

    **Source:** Besag, J. R. Stat. Soc. B 36, 192 (1974); start: Kappen & Rodriguez, Neural Comput. 10, 1137 (1998).
    """
    given = samples(values)
    n = given.bits.shape[1]
    _refuse_frozen(given, l2)
    parameters = n * (n + 1) // 2
    if errors and parameters > _MOST_PARAMETERS:
        raise InputError(f"inverse: standard errors of {parameters} parameters are too dear: leave `errors` out.")
    rows, counts = _distinct(given.signs)
    total = int(counts.sum())
    with jax.enable_x64(True):
        weights = jnp.asarray(counts / total, jnp.float64)
        landscape = PseudoLikelihood(jnp.asarray(rows, jnp.float64), weights, jnp.asarray(l2, jnp.float64))
        tolerance = _TOLERANCE / np.sqrt(total)
        try:
            end = relax(landscape, mean_field(given), Lbfgs(), tol=tolerance, max_steps=max_steps, on_chunk=on_chunk)
        except WalkError as error:
            raise WalkError(f"inverse: {error.sentence} Samples that fix a spin need l2 > 0.", error.solution) from None
        coupling, field = np.asarray(end.value.coupling), np.asarray(end.value.field)
        height = float(end.energy) - l2 / 2 * float((coupling**2).sum())
    matrix = _matrix(coupling, n)
    if l2 == 0:
        _refuse_determined(given, rows, counts, matrix, field)
    wanted = parameters <= _MOST_PARAMETERS if errors is None else errors
    spread = standard_errors(rows, counts, matrix, field, l2) if wanted else (None, None)
    first, second = np.triu_indices(n, 1)
    found = problem(first, second, coupling, field, kind="ising", source="inferred from samples")
    return Inferred(matrix, field, *spread, -height, found, end)


def mean_field(given: Samples) -> Couplings:
    """The naive mean-field answer `J = -C^-1` off the diagonal, `h_i = atanh m_i - sum_j J_ij m_j`, in float64.

    The covariance is drawn a little towards its diagonal, so that few samples cannot make it singular.
    """
    signs = given.signs.astype(np.float64)
    count, n = signs.shape
    means = np.clip(signs.mean(axis=0), -1 + 1 / count, 1 - 1 / count)
    covariance = signs.T @ signs / count - np.outer(means, means)
    covariance[np.diag_indices(n)] = 1 - means**2
    covariance += n / count * np.diag(np.diag(covariance))
    # A start only: strong couplings of a poor covariance would begin where the landscape is flat.
    matrix = np.clip(-np.linalg.inv(covariance), -1, 1)
    np.fill_diagonal(matrix, 0)
    field = np.clip(np.arctanh(means) - matrix @ means, -3, 3)
    return Couplings(jnp.asarray(matrix[np.triu_indices(n, 1)]), jnp.asarray(field))


def standard_errors(
    rows: Int8[np.ndarray, "rows n"],
    counts: Shaped[np.ndarray, " rows"],
    coupling: Float[np.ndarray, "n n"],
    field: Float[np.ndarray, " n"],
    l2: float = 0.0,
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, " n"]]:
    """Standard errors of `coupling` and `field` by the sandwich `H^-1 G H^-1` of curvature and covariance of scores.

    The inverse curvature alone would be wrong: pseudo-likelihoods of neighbours share their samples.

    **Source:** White, Econometrica 50, 1 (1982); for pseudo-likelihoods Varin, Reid & Firth, Stat. Sin. 21, 5 (2011).
    """
    s = rows.astype(np.float64)
    n, total = s.shape[1], counts.sum()
    share = counts / total
    first, second = np.triu_indices(n, 1)
    pairs = len(first)
    place = np.zeros((n, n), int)
    place[first, second] = place[second, first] = np.arange(pairs)
    local = s @ coupling + field
    residual = s - np.tanh(local)
    scores = np.concatenate([residual[:, first] * s[:, second] + residual[:, second] * s[:, first], residual], axis=1)
    spread = (scores * share[:, None]).T @ scores
    curvature = np.diag(np.concatenate([np.full(pairs, l2), np.zeros(n)]))
    for spin in range(n):
        # The parameters that one spin's conditional law depends on: its couplings, and its field.
        others = np.flatnonzero(np.arange(n) != spin)
        own = np.concatenate([place[spin, others], [pairs + spin]])
        known = np.concatenate([s[:, others], np.ones((len(s), 1))], axis=1)
        weight = share * (1 - np.tanh(local[:, spin]) ** 2)
        curvature[np.ix_(own, own)] += (known * weight[:, None]).T @ known
    half = np.linalg.solve(curvature, spread)
    errors = np.sqrt(np.clip(np.diag(np.linalg.solve(curvature, half.T)), 0, None) / total)
    return _matrix(errors[:pairs], n), errors[pairs:]


def _matrix(coupling: Float[np.ndarray, " pairs"], n: int) -> Float[np.ndarray, "n n"]:
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, 1)] = coupling
    return matrix + matrix.T


def _distinct(signs: Int8[np.ndarray, "samples n"]) -> tuple[Int8[np.ndarray, "rows n"], Float[np.ndarray, " rows"]]:
    """Each sample once with its count; padded to a power of two, so that another data set need not compile anew."""
    packed = np.packbits(signs > 0, axis=1)
    _, kept, counts = np.unique(_as_words(packed), return_index=True, return_counts=True)
    if 2 * max(64, len(kept)) > len(signs):
        return signs, np.ones(len(signs))
    rows = signs[kept]
    room = max(64, 1 << (len(rows) - 1).bit_length())
    padded = np.concatenate([rows, np.ones((room - len(rows), signs.shape[1]), np.int8)])
    return padded, np.concatenate([counts, np.zeros(room - len(rows))]).astype(float)


def _as_words(packed: Shaped[np.ndarray, "samples bytes"]) -> Shaped[np.ndarray, " samples"]:
    """Each row as one item that sorts: a whole number where eight bytes hold it."""
    if packed.shape[1] > 8:
        return np.ascontiguousarray(packed).view([("", np.uint8)] * packed.shape[1]).ravel()
    wide = np.zeros((len(packed), 8), np.uint8)
    wide[:, : packed.shape[1]] = packed
    return wide.view(np.uint64).ravel()


def _refuse_frozen(given: Samples, l2: float) -> None:
    count, n = given.bits.shape
    if n < 2:
        raise InputError(f"{given.source}: one spin has no couplings: give samples of two or more.")
    if not l2 >= 0:
        raise InputError(f"inverse: l2 is {l2}, but a penalty must not be negative.")
    ups = given.bits.sum(axis=0, dtype=np.int64)
    frozen = np.flatnonzero((ups == 0) | (ups == count))
    if len(frozen):
        raise InputError(
            f"{given.source}: column {int(frozen[0])} (from zero) never changes in {count} samples, so that its field "
            "is infinite: leave it out."
        )


def _refuse_determined(
    given: Samples,
    rows: Int8[np.ndarray, "rows n"],
    counts: Shaped[np.ndarray, " rows"],
    coupling: Float[np.ndarray, "n n"],
    field: Float[np.ndarray, " n"],
) -> None:
    """Refuse couplings that were on their way to infinity when the descent came to rest."""
    odds = np.exp(-2 * np.clip(rows * (rows @ coupling + field), -50, 50))
    surprises = counts @ (odds / (1 + odds))
    if surprises.min() < 0.5:  # an answer that expects no exception in all samples can be raised without end
        spin = int(surprises.argmin())
        raise InputError(
            f"{given.source}: column {spin} (from zero) is determined by the others in all {int(counts.sum())} "
            "samples, so that its couplings are infinite: take more samples, leave it out, or set l2 > 0."
        )
