"""How low signs can be at all: a bound on the energy that no configuration passes, from a dual feasible point."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from thalweg.core.errors import require
from thalweg.methods.signs.graph import SignGraph

_SEMIDEFINITE = 10_000  # signs; above, only the spectral bound
_DENSE = 4_000  # signs, up to which a matrix is factorised as a full one
_SWEEPS = 2_000
_MOST_WORK = 1e10  # multiplications in all sweeps, some ten seconds; unsettled duals bound too, only less closely
_GAIN = 1e-7  # of the objective in one sweep, below which the duals have settled
_SAFETY = 1e-9  # relative, far above the rounding of a factorisation


class Bound(NamedTuple):
    """A lower bound on the energy of all configurations.

    **Fields:** `energy`; `method`, `semidefinite` or `spectral`; `proof`, `factorised` where the eigenvalue was
    checked by a Cholesky factorisation, `lanczos` where it rests on a converged iteration from a random start.
    """

    energy: float
    method: str
    proof: str


def lower_bound(graph: SignGraph, *, seed: int = 0) -> Bound:
    """Weak duality: `s A s <= sum y + n max_eigenvalue(A - diag y)` for every `y`, so that no convergence is assumed.

    The best `y` solves the dual of the semidefinite relaxation; it is read off a low-rank solution of the primal, a
    unit vector for each sign. For more than 10,000 signs `y` is zero or minus the row sums, whichever serves better.
    A field is the coupling to one more sign.

    **Source:** Goemans & Williamson, J. ACM 42, 1115 (1995); rank: Burer & Monteiro, Math. Program. 95, 329 (2003);
    the sweep: Wang, Chang & Kolter, arXiv:1706.00476 (2017); the spectral form: Mohar & Poljak, Eur. J. Comb. 11, 353
    (1990).
    """
    from scipy.sparse import diags_array

    matrix = _matrix(graph)
    if matrix.nnz == 0:
        return Bound(0.0, "semidefinite", "factorised")
    size = matrix.shape[0]
    if size <= _SEMIDEFINITE + 1:
        candidates, method = [_duals(matrix, seed)], "semidefinite"
    else:
        candidates, method = [np.zeros(size), -np.asarray(matrix.sum(axis=1)).ravel()], "spectral"
    best, proof = np.inf, "factorised"
    for duals in candidates:
        top, how = _top(matrix - diags_array(duals), seed)
        if duals.sum() + size * top < best:
            best, proof = float(duals.sum() + size * top), how
    # Each pair stands in both rows, hence the half.
    most = best / 2
    return Bound(0.0 - graph.unit * _reachable(graph, most + _SAFETY * abs(most)), method, proof)


def _reachable(graph: SignGraph, most: float) -> float:
    """The largest sum of the terms up to `most`: a flip changes an exact sum by twice their common divisor at least."""
    if not graph.exact:
        return most
    terms = np.concatenate(
        [graph.couplings[graph.neighbours > np.repeat(np.arange(graph.size), np.diff(graph.starts))], graph.field]
    ).astype(np.int64)
    total, step = int(terms.sum()), 2 * int(np.gcd.reduce(terms))
    return float(total - step * np.ceil((total - most) / step))


def _matrix(graph: SignGraph) -> Any:
    """The couplings as a sparse matrix, with one more sign for the field if there is any."""
    from scipy.sparse import block_array, csr_array

    size = graph.size
    entries = graph.couplings.astype(np.float64), graph.neighbours, graph.starts
    couplings = csr_array(entries, shape=(size, size))
    if not graph.field.any():
        return couplings
    column = csr_array(graph.field.astype(np.float64)[:, None])
    return block_array([[couplings, column], [column.T, None]]).tocsr()


def _duals(matrix: Any, seed: int) -> np.ndarray:
    size = matrix.shape[0]
    rank = int(np.ceil(np.sqrt(2 * size))) + 1  # no spurious optima from here on, for almost all matrices
    vectors = np.random.default_rng(seed).normal(size=(size, rank))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths = np.zeros(size)
    starts, neighbours = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
    sweeps = int(min(_SWEEPS, max(1, _MOST_WORK / (matrix.nnz * rank))))
    _kernels().mix(starts, neighbours, matrix.data, vectors, lengths, sweeps, _GAIN)
    return lengths


def _top(matrix: Any, seed: int) -> tuple[float, str]:
    """An upper bound on the largest eigenvalue, and how it is known."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import eigsh

    size = matrix.shape[0]
    if size <= 3:
        return float(np.linalg.eigvalsh(matrix.toarray())[-1]), "factorised"
    start = np.random.default_rng([seed, 1]).normal(size=size)
    tolerance: Any = 1e-7
    scale = float(np.abs(matrix).sum(axis=1).max())  # no eigenvalue is larger
    found = float(
        eigsh(matrix, k=1, which="LA", v0=start, ncv=min(size, 40), tol=tolerance, return_eigenvectors=False)[0]
    )
    for slack in (1e-9, 1e-7, 1e-5, 1e-3):
        shifted = (found + slack * scale) * eye_array(size) - matrix
        proven = _positive(shifted)
        if proven is None:
            return found + 1e-6 * scale, "lanczos"
        if proven:
            return found + slack * scale, "factorised"
    return scale, "factorised"


def _positive(matrix: Any) -> bool | None:
    """Whether a symmetric matrix is positive definite, by factorising it; `None` where that would take too long."""
    from scipy.linalg import cholesky
    from scipy.sparse.linalg import splu

    size = matrix.shape[0]
    if size <= _DENSE:
        try:
            cholesky(matrix.toarray(), overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            return False
        return True
    if matrix.nnz > 8 * size or size > _SEMIDEFINITE:
        return None
    # Without pivoting the factors of a symmetric matrix have the signs of its eigenvalues on the diagonal (Sylvester).
    factors = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return bool((factors.U.diagonal() > 0).all())


@cache
def _kernels() -> Any:
    require("numba", extra="kernels", package="numba")
    from thalweg.methods.signs import bound_kernels

    return bound_kernels
