"""The saddles on a band: found from its tops, and the minima that they join."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from thalweg.core.energy import AbstractHostField, Landscape
from thalweg.core.solution import Solution
from thalweg.core.space import AbstractSpace
from thalweg.methods.descent import tree_norm
from thalweg.methods.fire import Fire
from thalweg.verbs.relax import relax
from thalweg.verbs.saddle import find_saddle

Energy = Landscape | AbstractHostField


class Pass(eqx.Module):
    """A saddle, and the two minima below it.

    **Fields:** the `solution` of `find_saddle`, with the image `start` that led to it; the relaxations `backward` and
    `forward` on its two sides, in the order of the band (`None` where the search did not arrive).
    """

    solution: Solution
    start: int
    backward: Solution | None
    forward: Solution | None

    @property
    def value(self) -> PyTree:
        """The saddle's configuration."""
        return self.solution.value

    @property
    def energy(self) -> Float[Array, ""]:
        """The saddle's energy."""
        return self.solution.energy

    @property
    def index(self) -> int:
        """The number of negative eigenvalues."""
        return int(self.solution.stats["index"])

    @property
    def eigenvalue(self) -> Float[Array, ""]:
        """The lowest eigenvalue."""
        return self.solution.stats["eigenvalue"]


def passes(energy: Energy, space: AbstractSpace, images: PyTree, energies: Float[Array, " images"]) -> tuple[Pass, ...]:
    """A saddle search from each image that is higher than both of its neighbours, and the minima that it joins."""
    heights = np.asarray(energies)
    tops = [i for i in range(1, len(heights) - 1) if heights[i - 1] < heights[i] >= heights[i + 1]]
    found = []
    for top in tops:
        before, start, after = (jax.tree.map(lambda leaf, i=i: leaf[i], images) for i in (top - 1, top, top + 1))
        found.append(_joined(energy, space, before, start, after, top))
    return tuple(found)


def _joined(energy: Energy, space: AbstractSpace, before: PyTree, start: PyTree, after: PyTree, top: int) -> Pass:
    solution = find_saddle(energy, start, space=space, throw=False)
    if not solution.done:
        return Pass(solution, top, None, None)
    chord = space.displacement(before, after)
    reach = 0.5 * tree_norm(chord)
    backward, forward = _sides(space, solution.value, solution.stats["mode"], chord)
    # Strides short beside the distance of the images, so that inertia does not carry over the next ridge.
    calm = Fire(stride=0.1 * reach)
    below = [relax(energy, side, calm, space=space, throw=False) for side in (backward, forward)]
    return Pass(solution, top, *below)


@eqx.filter_jit
def _sides(space: AbstractSpace, saddle: PyTree, mode: PyTree, chord: PyTree) -> tuple[PyTree, PyTree]:
    """The points a little downhill on both sides, the one towards the start of the band first."""
    along = sum(jnp.sum(m * c) for m, c in zip(jax.tree.leaves(mode), jax.tree.leaves(chord), strict=True))
    sign = jnp.where(along < 0, -1.0, 1.0)
    # A hundredth of the way to the next image: beyond rounding, and where the mode still points downhill.
    size = 0.01 * 0.5 * tree_norm(chord)

    def moved(side: float) -> PyTree:
        return space.shift(saddle, jax.tree.map(lambda m: (side * sign * size).astype(m.dtype) * m, mode))

    return moved(-1.0), moved(1.0)


def chain_of(energy: Energy, space: AbstractSpace, a: PyTree, b: PyTree, found: tuple[Pass, ...]) -> bool:
    """Whether the saddles lead from the minimum below `a` through common minima to that below `b`."""
    if not found or any(top.backward is None or top.forward is None for top in found):
        return False
    distance = float(tree_norm(space.displacement(a, b)))
    ends = [relax(energy, end, Fire(), space=space, throw=False) for end in (a, b)]
    before = [ends[0], *(top.forward for top in found)]
    after = [*(top.backward for top in found), ends[1]]
    return all(_same(space, left, right, distance) for left, right in zip(before, after, strict=True))


def _same(space: AbstractSpace, left: Solution, right: Solution, distance: float) -> bool:
    """Whether two relaxations ended in one minimum: equal in energy, and close beside the distance of the two ends.

    The energies agree to the square root of eps. The points may differ by a tenth, because two descents into
    one valley may end at different places of a flat floor (a rotation, say).
    """
    if not (left.done and right.done):
        return False
    low, high = float(left.energy), float(right.energy)
    eps = float(jnp.finfo(left.energy.dtype).eps)
    level = abs(low - high) <= eps**0.5 * max(1.0, abs(low), abs(high))
    return level and float(tree_norm(space.displacement(left.value, right.value))) <= 0.1 * distance
