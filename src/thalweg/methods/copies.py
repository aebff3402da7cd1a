"""Copies of one configuration under a symmetry of the landscape, and the nearest of them."""

from __future__ import annotations

import abc
from typing import ClassVar, Protocol, runtime_checkable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, PyTree

from thalweg.core.errors import InputError

_TRIES = 12  # alternations of assignment and rotation per start: they stand still after three or four
_FRAMES = 400  # as many frames as a symmetric cluster of a few hundred points offers


class AbstractCopies(eqx.Module):
    """A symmetry of a landscape: which configurations are copies of each other. Host code: call it outside of jit."""

    @abc.abstractmethod
    def nearest(self, a: PyTree, b: PyTree) -> PyTree:
        """The copy of `b` under the symmetry that lies nearest to `a`, with the structure of `b`."""


@runtime_checkable
class HasFingerprint(Protocol):
    """Copies that can say cheaply about how far two configurations are apart.

    A network of many minima orders its missing links by this, and aligns only those that it follows.
    """

    def fingerprint(self, x: PyTree, /) -> Float[np.ndarray, " f"]:
        """Numbers that all copies of `x` share, never further apart than the nearest copies of two points are."""
        ...


def apart(copies: AbstractCopies, a: PyTree, b: PyTree) -> float:
    """The Euclidean norm, over all leaves, of the step from `a` to the copy of `b` that lies nearest to it."""
    pairs = zip(jax.tree.leaves(copies.nearest(a, b)), jax.tree.leaves(a), strict=True)
    return float(np.sqrt(sum(np.sum((np.asarray(new) - np.asarray(old)) ** 2) for new, old in pairs)))


class NoCopies(AbstractCopies):
    """No symmetry: every configuration stands for itself alone."""

    def nearest(self, a: PyTree, b: PyTree) -> PyTree:
        return b


class RigidCopies(AbstractCopies):
    """A free cluster of identical points `[n, 3]`: translations, rotations, reflections and exchanges of points.

    The assignment of points and the rotation are found in turns from several starts, of which the best is kept: as
    given, the principal axes, frames of two points that match in both, and random rotations (always the same ones).
    A copy of `a` itself is found by the frames; between different clusters the answer is near, and not proven nearest.

    **Arguments:** `reflections`, whether mirror images count as copies; `starts`, the number of random rotations;
    `exact`, the share of the cluster's size (the norm of its centred positions) below which two clusters count as
    copies and the search ends.

    **Source:** Kabsch, Acta Cryst. A 32, 922 (1976); in turns with assignments: Wales & Carr, J. Chem. Theory Comput.
    8, 5020 (2012).
    """

    reflections: bool = eqx.field(default=True, static=True)
    starts: int = eqx.field(default=8, static=True)
    exact: float = eqx.field(default=1e-3, static=True)

    bibtex: ClassVar[str] = """@article{wales2012alignments,
  title={Quasi-Continuous Interpolation Scheme for Pathways between Distant Configurations},
  author={Wales, David J and Carr, Joanne M},
  journal={Journal of Chemical Theory and Computation}, volume={8}, pages={5020--5034}, year={2012}}"""

    def fingerprint(self, x: PyTree) -> Float[np.ndarray, " pairs"]:
        """All pair distances, sorted, over the square root of the number of points.

        Moving the points by `d_i` changes the distance of a pair by at most `|d_i - d_j|`, and the sum of these squares
        is at most `n` times that of the `d_i`; sorting brings two lists no further apart.
        """
        points = _points(x)
        first, second = np.triu_indices(len(points), k=1)
        return np.sort(np.linalg.norm(points[first] - points[second], axis=1)) / len(points) ** 0.5

    def nearest(self, a: PyTree, b: PyTree) -> PyTree:
        target, moving = _points(a), _points(b)
        if target.shape != moving.shape:
            raise InputError(f"RigidCopies: {len(target)} points against {len(moving)}: compare clusters of one size.")
        middle = target.mean(axis=0)
        still, turning = target - middle, moving - moving.mean(axis=0)
        enough = (self.exact * np.linalg.norm(still)) ** 2
        best, order, rotation = np.inf, np.arange(len(still)), np.eye(3)
        for starts in (self._plain(still, turning), _frames(still, turning, self.reflections), self._random()):
            for block in np.array_split(starts, max(1, -(-len(starts) // 8))):
                if best <= enough or not len(block):
                    break
                orders, rotations, gaps = _in_turns(still, turning, block, self.reflections)
                place = int(np.argmin(gaps))
                if gaps[place] < best:
                    best, order, rotation = gaps[place], orders[place], rotations[place]
        placed = turning[order] @ rotation + middle
        leaf, structure = jax.tree.leaves(b)[0], jax.tree.structure(b)
        return jax.tree.unflatten(structure, [placed.astype(np.asarray(leaf).dtype)])

    def _plain(self, still: np.ndarray, turning: np.ndarray) -> np.ndarray:
        """As given, and principal axes on principal axes, with all signs."""
        axes = [np.linalg.eigh(points.T @ points)[1] for points in (turning, still)]
        signs = np.array(np.meshgrid(*[(1.0, -1.0)] * 3)).reshape(3, -1).T
        turned = np.stack([(axes[0] * sign) @ axes[1].T for sign in signs])
        return np.concatenate([np.eye(3)[None], _allowed(turned, self.reflections)])

    def _random(self) -> np.ndarray:
        generator = np.random.default_rng(0)
        return _allowed(np.linalg.qr(generator.normal(size=(2 * self.starts, 3, 3)))[0], self.reflections)[
            : self.starts
        ]


def _points(x: PyTree) -> Float[np.ndarray, "n 3"]:
    leaves = jax.tree.leaves(x)
    if len(leaves) != 1 or np.ndim(leaves[0]) != 2 or np.shape(leaves[0])[1] != 3:
        shapes = [np.shape(leaf) for leaf in leaves]
        raise InputError(f"RigidCopies: a configuration has leaves of shape {shapes}: pass one array of points [n, 3].")
    return np.asarray(leaves[0], np.float64)


def _allowed(turns: np.ndarray, reflections: bool) -> np.ndarray:
    return turns if reflections else turns[np.linalg.det(turns) > 0]


def _in_turns(
    still: np.ndarray, turning: np.ndarray, rotations: np.ndarray, reflections: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From each rotation: the best assignment, the best rotation for it, and so on; with the squared gaps left."""
    from scipy.optimize import linear_sum_assignment

    orders = np.tile(np.arange(len(still)), (len(rotations), 1))
    for _ in range(_TRIES):
        gains = still @ np.swapaxes(turning @ rotations, 1, 2)
        found = np.stack([linear_sum_assignment(gain, maximize=True)[1] for gain in gains])
        rotations = _turned(still, turning[found], reflections)
        if (found == orders).all():
            break
        orders = found
    gaps = np.sum((turning[orders] @ rotations - still) ** 2, axis=(1, 2))
    return orders, rotations, gaps


def _turned(still: np.ndarray, turning: np.ndarray, reflections: bool) -> np.ndarray:
    """The orthogonal matrices `r` that bring `turning @ r` nearest to `still`."""
    left, _, right = np.linalg.svd(np.swapaxes(turning, 1, 2) @ still)
    if not reflections:
        left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    return left @ right


def _frames(still: np.ndarray, turning: np.ndarray, reflections: bool) -> np.ndarray:
    """The rotations that bring two points of `turning` on the two points of `still` that are hardest to mistake."""
    size = np.linalg.norm(still, axis=1)
    other = np.linalg.norm(turning, axis=1)
    near = 0.02 * max(size.max(), np.finfo(size.dtype).tiny)
    far = size > 0.3 * size.max()
    rivals = np.where(far, np.sum(np.abs(size[:, None] - other) < near, axis=1), len(size) + 1)
    first = int(np.argmin(rivals))
    # The second leans away from the first, so that the two span a plane.
    lean = np.linalg.norm(np.cross(still[first], still), axis=1) > 0.3 * size[first] * size.max()
    if not lean.any():
        return np.zeros((0, 3, 3))
    second = int(np.argmin(np.where(lean, rivals, len(size) + 2)))
    gap = np.linalg.norm(still[first] - still[second])
    ones, twos = (np.flatnonzero(np.abs(other - size[place]) < near) for place in (first, second))
    gaps = np.linalg.norm(turning[ones][:, None] - turning[twos][None], axis=-1)
    ones, twos = (each[place] for each, place in zip((ones, twos), np.nonzero(np.abs(gaps - gap) < near), strict=True))
    ones, twos = ones[:_FRAMES], twos[:_FRAMES]
    base = _frame(still[first][None], still[second][None])[0]
    found = np.swapaxes(_frame(turning[ones], turning[twos]), 1, 2)
    mirror = np.diag([1.0, 1.0, -1.0])
    return np.concatenate([found @ base, found @ mirror @ base] if reflections else [found @ base])


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Orthonormal rows: along the first point, towards the second one, and across both."""
    tiny = np.finfo(first.dtype).tiny
    along = first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), tiny)
    beside = second - np.sum(second * along, axis=1, keepdims=True) * along
    beside = beside / np.maximum(np.linalg.norm(beside, axis=1, keepdims=True), tiny)
    return np.stack([along, beside, np.cross(along, beside)], axis=1)
