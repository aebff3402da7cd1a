"""`work`: the line integral of a force field along a path."""

from __future__ import annotations

from thalweg.core.paths import AbstractPath
from thalweg.methods.line import Field, Work, line_integral


def work(field: Field, path: AbstractPath, *, tol: float | None = None, max_pieces: int = 200) -> Work:
    """The work that `field` does along `path`, by adaptive Gauss-Kronrod quadrature.

    **Arguments:**

    - `field`: a force field (`x -> F` with the structure of `x`), a landscape (`x -> E`, whose force is then used), or
      a host field.
    - `path`: from t = 0 to t = 1; the quadrature is split at its corners.
    - `tol`: the error aimed at, times max(1, |W|), in units of energy; by default eps^(2/3) of the dtype (4e-11 in
      float64, 2e-5 in float32).
    - `max_pieces`: at most so many intervals of 21 evaluations; kinks of the field need many.

    **Returns:** a `Work`; where the tolerance was not reached, `reached` is false and `error` says how far it is.

    **Raises:** `InputError` for a field that returns neither an energy nor a force.
    """
    return line_integral(field, path, tol, max_pieces, "work")
