"""Sound linear bounds of a graph over a ball, by relaxing each bend to lines and carrying forms back to the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.methods.bounds.affine import Affine
from thalweg.methods.bounds.ball import Ball
from thalweg.methods.bounds.curve import Lines
from thalweg.methods.bounds.graph import Bend, Graph, Product, read_graph
from thalweg.methods.bounds.ways import AbstractWay, Dense, Local, choose_way

_COLUMNS = 128  # forms that travel together: few enough for the cache
# Of the sum of absolute terms: a sum of k terms errs by at most k 1.1e-16 of it, and k stays below 1e5.
_ALLOWANCE = 1e-11


class _Planes(NamedTuple):
    """A plane below and one above a product of two nodes: slopes for each of them, and heights."""

    below: tuple[Array, Array]
    under: Array
    above: tuple[Array, Array]
    over: Array


class _Rows(NamedTuple):
    """Linear forms on nodes, the heights that the lines met on the way have left, and these without their signs."""

    forms: dict[int, Array]
    low: Array
    scale: Array


class LinearBounds(eqx.Module):
    """Bounds of a function over a ball inside a box.

    Each elementwise function is enclosed by two lines over the interval of its argument, and these intervals come from
    the same bounds of the layers below, intersected with interval arithmetic. Two families of lines are tried, the
    least-area ones and the parallel ones, and the better bound of each form is taken. All is computed in floating
    point: an allowance covers the rounding of each sum in its last step, but rounding is not enclosed throughout.

    **Arguments:** `function`, a JAX callable of one array; `shape`, of that array.

    **Raises:** `InputError` naming the first operation that has no bounds.

    **Source:** H. Zhang et al., NeurIPS 2018 (CROWN); E. Wong & J. Z. Kolter, ICML 2018 (parallel lines); K. Xu et al.,
    NeurIPS 2020 (general graphs).
    """

    graph: Graph
    ways: tuple[AbstractWay, ...]

    bibtex: ClassVar[str] = """@inproceedings{zhang2018crown,
  title={Efficient neural network robustness certification with general activation functions},
  author={Zhang, Huan and Weng, Tsui-Wei and Chen, Pin-Yu and Hsieh, Cho-Jui and Daniel, Luca},
  booktitle={Advances in Neural Information Processing Systems}, year={2018}}"""

    def __init__(self, function: Callable[..., Any], shape: tuple[int, ...], dtype: Any = jnp.float64):
        self.graph = read_graph(function, shape, dtype)
        self.ways = tuple(choose_way(self.graph, target) for target in self.graph.bounded)

    def least(self, ball: Ball, forms: Float[Array, "rows outputs"]) -> Float[Array, " rows"]:
        """Lower bounds of linear forms of the output over the ball; never NaN, `-inf` where nothing is known."""
        low, high, lines = self._swept(ball)
        zero = jnp.zeros(len(forms), forms.dtype)
        start = _Rows({len(self.graph.nodes) - 1: forms.T}, zero, zero)
        found = (
            jax.lax.map(lambda family: _descend(self.graph, Dense(), family, ball, start), lines)
            if lines
            else _descend(self.graph, Dense(), {}, ball, start)[None]
        )
        plain = jnp.maximum(forms, 0) @ low[-1] + jnp.minimum(forms, 0) @ high[-1]
        best = jnp.fmax(jnp.fmax(found[0], found[-1]), plain - _ALLOWANCE * jnp.abs(plain))
        return jnp.where(jnp.isnan(best), -jnp.inf, best)

    def bounds(self, ball: Ball) -> tuple[list[Float[Array, " n"]], list[Float[Array, " n"]]]:
        """Lower and upper bounds of every node of the graph."""
        return self._swept(ball)[:2]

    def _swept(self, ball: Ball) -> tuple[list[Array], list[Array], dict[int, Any]]:
        """Bounds of every node, and the lines of every bend and product, both families of them along a first axis."""
        low, high, lines = [], [], {}
        for number, node in enumerate(self.graph.nodes):
            of = [(low[parent], high[parent]) for parent in node.parents]
            found = ball.box() if number == 0 else _range(node, *([pair[side] for pair in of] for side in (0, 1)))
            if isinstance(node, Bend | Product):
                lines[number] = jax.vmap(eqx.Partial(_lines, node, of))(jnp.array([False, True]))
            if number in self.graph.bounded and number > 0:
                way = self.ways[self.graph.bounded.index(number)]
                for closer in self._both(number, way, ball, lines):
                    found = jnp.fmax(found[0], closer[0]), jnp.fmin(found[1], closer[1])
            slack = _ALLOWANCE * jnp.maximum(jnp.abs(found[0]), jnp.abs(found[1]))
            found = found[0] - slack, found[1] + slack
            low.append(found[0])
            high.append(found[1])
        return low, high, lines

    def _both(self, target: int, way: AbstractWay, ball: Ball, lines: dict[int, Any]) -> Any:
        """Lower and upper bounds of all items of a node, for each family of lines."""
        if not lines:
            return [self._items(target, way, ball, {})]
        found = jax.lax.map(lambda family: self._items(target, way, ball, family), lines)
        return list(zip(*found, strict=True))

    def _items(self, target: int, way: AbstractWay, ball: Ball, lines: dict[int, Any]) -> tuple[Array, Array]:
        """Lower and upper bounds of all items of a node, for one family of lines."""
        size, dtype = self.graph.sizes[target], ball.center.dtype

        def some(units: Array) -> tuple[Array, Array]:
            least = _descend(self.graph, way, lines, ball, self._start(target, way, units))
            half = least.shape[-1] // 2
            return least[..., :half], least[..., half:]

        if isinstance(way, Local):
            unit = jnp.eye(way.rows.shape[1], dtype=dtype)
            values = some(jnp.broadcast_to(unit, (len(way.rows), *unit.shape)))
            found = [jnp.full(size, -jnp.inf, dtype).at[way.rows].set(value, mode="drop") for value in values]
        else:
            chunk = min(_COLUMNS // 2, size)
            places = jnp.arange(size)[:, None]
            values = jax.lax.map(
                lambda first: some((places == first + jnp.arange(chunk)).astype(dtype)), jnp.arange(0, size, chunk)
            )
            found = [value.ravel()[:size] for value in values]
        return found[0], -found[1]

    def _start(self, target: int, way: AbstractWay, units: Array) -> _Rows:
        """Each item of a node as a form on its parents, and then the negatives."""
        node = self.graph.nodes[target]
        low = jnp.zeros((*units.shape[:-2], units.shape[-1]), units.dtype)
        forms = {target: units}
        if isinstance(node, Affine):
            low = jnp.sum(units * way.take(target, node.bias), axis=-2)
            forms = {p: way.push(target, slot, node, units) for slot, p in enumerate(node.parents)}
        both = {parent: jnp.concatenate([one, -one], axis=-1) for parent, one in forms.items()}
        low = jnp.concatenate([low, -low], axis=-1)
        return _Rows(both, low, jnp.abs(low))


def _descend(graph: Graph, way: AbstractWay, lines: dict[int, Any], ball: Ball, rows: _Rows) -> Array:
    """Lower bounds of forms."""
    forms, low, scale = dict(rows.forms), rows.low, rows.scale
    for number in range(max(forms), 0, -1):
        if number not in forms:
            continue
        form, node = forms.pop(number), graph.nodes[number]
        if isinstance(node, Affine):
            heights = form * way.take(number, node.bias)
            moved = [way.push(number, slot, node, form) for slot in range(len(node.parents))]
        else:
            moved, heights = _relaxed(way, number, lines[number], form)
        low, scale = low + jnp.sum(heights, axis=-2), scale + jnp.sum(jnp.abs(heights), axis=-2)
        for parent, part in zip(node.parents, moved, strict=True):
            forms[parent] = forms[parent] + part if parent in forms else part
    least, terms = ball.least(forms[0], way.columns())
    return low + least - _ALLOWANCE * (terms + scale)


def _relaxed(way: AbstractWay, number: int, lines: Any, form: Array) -> tuple[list[Array], Array]:
    """Forms on a bend or product as forms on its parents, and the heights that this leaves."""
    positive, negative = jnp.maximum(form, 0), jnp.minimum(form, 0)
    pairs = [(lines.below, lines.above)] if isinstance(lines, Lines) else zip(lines.below, lines.above, strict=True)
    moved = [positive * way.take(number, below) + negative * way.take(number, above) for below, above in pairs]
    return moved, positive * way.take(number, lines.under) + negative * way.take(number, lines.over)


def _lines(node: Bend | Product, of: list[tuple[Array, Array]], parallel: Array) -> Lines | _Planes:
    return node.curve.lines(*of[0], parallel=parallel) if isinstance(node, Bend) else _planes(of[0], of[1], parallel)


def _planes(one: tuple[Array, Array], other: tuple[Array, Array], second: Array) -> _Planes:
    """McCormick's planes; the two below are as high in the middle, and so are the two above.

    **Source:** G. P. McCormick, Math. Program. 10, 147 (1976).
    """
    (a, b), (c, d) = one, other
    e, f = jnp.where(second, d, c), jnp.where(second, b, a)
    g = jnp.where(second, c, d)
    return _Planes((e, f), -e * f, (g, f), -g * f)


def _range(node: Any, low: list[Array], high: list[Array]) -> tuple[Array, Array]:
    if isinstance(node, Affine):
        return node.range(low, high)
    if isinstance(node, Bend):
        return node.curve.range(low[0], high[0])
    corners = jnp.stack([one * other for one in (low[0], high[0]) for other in (low[1], high[1])])
    return jnp.min(corners, axis=0), jnp.max(corners, axis=0)
