"""Linear maps as blocks: rows with the same support share one small dense matrix."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.sparse import csr_matrix


class Block(eqx.Module):
    """Dense matrices, transposed, `weights [g]` between `rows [g]` of the result and `columns [g]` of the argument.

    Places beyond the last row or column pad groups of unequal size.
    """

    weights: Float[Array, "g k r"]
    rows: Int[Array, "g r"]
    columns: Int[Array, "g k"]


class LinearMap(eqx.Module):
    """A matrix with the structure of a convolution, a pooling, or none.

    **Arguments:** `matrix`, sparse. Rows with equal support are one group; groups of about equal size are one block.
    """

    blocks: tuple[Block, ...]
    scattered: tuple[Int[Array, "columns uses"], ...]
    rows: int = eqx.field(static=True)
    columns: int = eqx.field(static=True)

    def __init__(self, matrix: csr_matrix):
        self.rows, self.columns = _shape(matrix)
        groups = grouped(matrix)
        cost = sum(len(rows) * len(columns) for rows, columns in groups)
        if cost > 0.5 * self.rows * self.columns:
            groups = [(np.arange(self.rows), np.arange(self.columns))]
        sizes: dict[tuple[int, int], list[Any]] = defaultdict(list)
        for rows, columns in groups:
            sizes[(len(rows) - 1).bit_length(), (len(columns) - 1).bit_length()].append((rows, columns))
        self.blocks = tuple(_block(matrix, alike) for alike in sizes.values())
        self.scattered = tuple(jnp.asarray(_uses(np.asarray(block.columns), self.columns)) for block in self.blocks)

    def sparse(self) -> csr_matrix:
        """The matrix."""
        found = csr_matrix((self.rows, self.columns))
        for block in self.blocks:
            weights, rows, columns = map(np.asarray, (block.weights, block.rows, block.columns))
            group, column, row = weights.nonzero()
            entries = weights[group, column, row], (rows[group, row], columns[group, column])
            found = found + csr_matrix(entries, shape=found.shape)
        return csr_matrix(found)

    @property
    def cost(self) -> int:
        """Multiplications for one vector."""
        return sum(block.weights.size for block in self.blocks)

    def __call__(self, x: Float[Array, " columns"], *, absolute: bool = False) -> Float[Array, " rows"]:
        """The product with a vector; with `absolute`, of the absolute values of the matrix."""
        found = jnp.zeros(self.rows, x.dtype)
        for block in self.blocks:
            weights = jnp.abs(block.weights) if absolute else block.weights
            picked = x.at[block.columns].get(mode="fill", fill_value=0.0)
            found = found.at[block.rows].add(jnp.einsum("gkr,gk->gr", weights, picked), mode="drop")
        return found

    def transposed(self, forms: Float[Array, "rows m"]) -> Float[Array, "columns m"]:
        """The product of the transposed matrix with each column of `forms`."""
        found = jnp.zeros((self.columns, forms.shape[1]), forms.dtype)
        for block, uses in zip(self.blocks, self.scattered, strict=True):
            picked = forms.at[block.rows].get(mode="fill", fill_value=0.0)
            parts = jnp.einsum("gkr,grm->gkm", block.weights, picked).reshape(-1, forms.shape[1])
            for use in uses.T:  # a gather for each use of a column: XLA's scatter is slow on CPUs
                found = found + parts.at[use].get(mode="fill", fill_value=0.0)
        return found


def grouped(matrix: csr_matrix) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows of each support, with that support; rows without entries are left out."""
    matrix.sort_indices()
    found: dict[bytes, list[int]] = defaultdict(list)
    for row, (start, stop) in enumerate(zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)):
        if stop > start:
            found[matrix.indices[start:stop].tobytes()].append(row)
    return [(np.asarray(rows), np.frombuffer(key, matrix.indices.dtype)) for key, rows in found.items()]


def padded(lists: list[np.ndarray], fill: int) -> np.ndarray:
    """Lists of unequal length as one array."""
    found = np.full((len(lists), max(map(len, lists))), fill, np.int32)
    for place, items in enumerate(lists):
        found[place, : len(items)] = items
    return found


def local(matrix: csr_matrix, rows: list[np.ndarray], columns: list[np.ndarray]) -> np.ndarray:
    """The dense submatrices of some rows and columns each, transposed and padded with zeros `[g, k, r]`."""
    found = np.zeros((len(rows), max(map(len, columns)), max(map(len, rows))))
    for place, (some, others) in enumerate(zip(rows, columns, strict=True)):
        found[place, : len(others), : len(some)] = matrix[some][:, others].toarray().T
    return found


def _shape(matrix: csr_matrix) -> tuple[int, int]:
    shape = matrix.shape
    assert shape is not None  # only so that type checkers know
    return int(shape[0]), int(shape[1])


def _block(matrix: csr_matrix, groups: list[Any]) -> Block:
    rows, columns = [group[0] for group in groups], [group[1] for group in groups]
    places = padded(rows, _shape(matrix)[0]), padded(columns, _shape(matrix)[1])
    return Block(jnp.asarray(local(matrix, rows, columns)), *map(jnp.asarray, places))


def _uses(columns: np.ndarray, count: int) -> np.ndarray:
    """For each column the places in the flattened block where it is used, padded with a place beyond."""
    flat = columns.ravel()
    order = np.argsort(flat, kind="stable")
    order = order[: int((flat < count).sum())]
    which = flat[order]
    first = np.searchsorted(which, np.arange(count))
    turn = np.arange(len(which)) - first[which]
    found = np.full((count, int(turn.max()) + 1 if len(turn) else 0), flat.size, np.int32)
    found[which, turn] = order
    return found
