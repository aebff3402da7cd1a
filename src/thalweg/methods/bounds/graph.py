"""A JAX function as a graph for bounds: affine maps between elementwise functions of one variable, and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import InputError
from thalweg.methods.bounds.affine import Affine, is_affine, is_elementwise, matrices
from thalweg.methods.bounds.curve import Curve, Steps, check_known
from thalweg.methods.bounds.program import Operation, Program, Ref


class Input(eqx.Module):
    """The flattened input."""

    size: int = eqx.field(static=True)
    parents: tuple[int, ...] = eqx.field(default=(), static=True)


class Bend(eqx.Module):
    """An elementwise function of one earlier node."""

    parents: tuple[int, ...] = eqx.field(static=True)
    curve: Curve


class Product(eqx.Module):
    """The product, item by item, of two earlier nodes."""

    parents: tuple[int, ...] = eqx.field(static=True)


Node = Input | Affine | Bend | Product


class Graph(eqx.Module):
    """The nodes of a function in order, the input first and the output last.

    **Fields:** `bounded`, the nodes whose bounds the relaxation of a later one needs, in order.
    """

    nodes: tuple[Node, ...]
    sizes: tuple[int, ...] = eqx.field(static=True)
    bounded: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, " outputs"]:
        """The value of the function."""
        return self.values(x)[-1]

    def values(self, x: Float[Array, "..."]) -> list[Float[Array, " _"]]:
        """The flattened values of all nodes."""
        values: list[Array] = []
        for node in self.nodes:
            of = [values[parent] for parent in node.parents]
            if isinstance(node, Input):
                values.append(jnp.ravel(x))
            elif isinstance(node, Affine):
                values.append(node(of))
            else:
                values.append(node.curve(of[0]) if isinstance(node, Bend) else of[0] * of[1])
        return values


def read_graph(function: Callable[..., Any], shape: tuple[int, ...], dtype: Any = jnp.float64) -> Graph:
    """The graph of a JAX function of one array.

    **Arguments:** `shape` and `dtype` of that array. Derivatives of the function's own making are not read; its values
    are.

    **Raises:** `InputError` naming the first operation that has no bounds.
    """
    return _Reader(Program(function, shape, dtype)).graph()


class _Reader:
    def __init__(self, program: Program):
        self.program = program
        self.lineage: dict[int, list[int]] = {program.input.number: [program.input.number]}
        self.curved: set[int] = set()  # elementwise of a lineage, but not affine
        self.refs = {program.input.number: program.input}
        self.nodes: list[Node] = [Input(program.input.size)]
        self.sizes = [program.input.size]
        self.places = {program.input.number: 0}

    def graph(self) -> Graph:
        for operation in self.program.operations:
            self._trace(operation)
        last = self._node(self.program.output)
        if last == 0:
            raise InputError("bounds need a function that does something with its input.")
        bounded = sorted({parent for node in self.nodes if isinstance(node, Bend | Product) for parent in node.parents})
        return Graph(tuple(self.nodes[: last + 1]), tuple(self.sizes), tuple(bounded))

    def _trace(self, operation: Operation) -> None:
        """Of which earlier values the results are elementwise functions, latest last."""
        self.refs |= {output.number: output for output in operation.outputs}
        for output in operation.outputs:
            common: list[int] = []
            if check_known(operation) and all(ref.shape == output.shape for ref in operation.refs):
                lists = [self.lineage[ref.number] for ref in operation.refs]
                common = [number for number in lists[0] if all(number in other for other in lists[1:])]
            affine = is_affine(operation)
            straight = affine and is_elementwise(operation) and not any(r.number in self.curved for r in operation.refs)
            if common and not straight:
                self.curved.add(output.number)
                self.lineage[output.number] = common
            else:
                self.lineage[output.number] = [*common, output.number]
            if not common and not affine and not self._is_product(operation):
                raise InputError(
                    f"bounds do not know the operation {operation.name} on {_shapes(operation)}: {_ADVICE}"
                )

    def _is_product(self, operation: Operation) -> bool:
        return operation.name == "mul" and all(ref.shape == operation.outputs[0].shape for ref in operation.refs)

    def _node(self, ref: Ref) -> int:
        if ref.number not in self.places:
            operation = self.program.maker[ref.number]
            made = self._affine(ref) if is_affine(operation) else self._bent(ref, operation)
            self.nodes.append(made)
            self.sizes.append(ref.size)
            self.places[ref.number] = len(self.nodes) - 1
        return self.places[ref.number]

    def _bent(self, ref: Ref, operation: Operation) -> Bend | Product:
        if ref.number not in self.curved:
            return Product(tuple(self._node(operand) for operand in operation.refs))
        root = self.refs[self.lineage[ref.number][-1]]
        steps = Steps(self._between(ref, {root.number})[0], root, ref)
        return Bend((self._node(root),), Curve(steps))

    def _affine(self, ref: Ref) -> Affine:
        """The chain of affine operations down to values that are not."""
        operations, sources = self._between(ref, set())
        parents = [self._node(source) for source in sources]
        return Affine(parents, *matrices(operations, sources, ref))

    def _between(self, ref: Ref, roots: set[int]) -> tuple[list[Operation], list[Ref]]:
        """The operations that make `ref` from `roots`, or without roots from the last values that are not affine."""
        wanted, sources, kept = {ref.number}, {}, []
        for operation in reversed(self.program.operations):
            made = [output for output in operation.outputs if output.number in wanted]
            if not made or all(output.number in roots for output in made):
                continue
            if not roots and not is_affine(operation):
                sources |= {output.number: output for output in made}
                continue
            kept.append(operation)
            wanted |= {operand.number for operand in operation.refs}
        if not roots and self.program.input.number in wanted:
            sources[self.program.input.number] = self.program.input
        return kept[::-1], [sources[number] for number in sorted(sources)]


_ADVICE = "write that part with sums, products, convolutions, maxima and elementwise functions."


def _shapes(operation: Operation) -> str:
    return " and ".join(f"{ref.dtype}{list(ref.shape)}" for ref in operation.refs)
