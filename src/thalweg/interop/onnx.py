"""An ONNX file as a native JAX function of one input."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.checks import refuse_narrowing
from thalweg.core.errors import InputError, require
from thalweg.interop.onnx_operators import OPERATORS
from thalweg.interop.onnx_shapes import Node, Unreadable

_OLDEST = 7  # before, `Add` and its kin broadcast by rules of their own


class OnnxModel(eqx.Module):
    """A network that was read from an ONNX file, called on one input without batch axis.

    **Fields:** `weights`, its arrays of floats by name; `shape`, that of an input; `program`, its steps.
    """

    weights: dict[str, Array]
    shape: tuple[int, ...] = eqx.field(static=True)
    program: Program = eqx.field(static=True)

    def __call__(self, x: Float[Array, "..."]) -> Array:
        """The output for one input.

        **Raises:** `InputError` for an input of another shape.
        """
        if x.shape != self.shape:
            raise InputError(f"{self.program.path} takes inputs of shape {list(self.shape)}, not {list(x.shape)}.")
        return self.program(self.weights, x[None])[0]


class Program:
    """The steps of a graph in order; two of them are equal only if they are one, so that none compiles twice."""

    def __init__(self, path: Path, nodes: list[Node], constants: dict[str, np.ndarray], source: str, target: str):
        self.path, self.nodes, self.constants, self.source, self.target = path, nodes, constants, source, target

    def __call__(self, weights: dict[str, Any], x: Any) -> Any:
        """The value of the target for weights and a batch of one."""
        values: dict[str, Any] = {**self.constants, **weights, self.source: x}
        for node in self.nodes:
            try:
                values[node.outputs[0]] = OPERATORS[node.kind](
                    node, *[values[name] if name else None for name in node.inputs]
                )
            except Exception as error:  # a damaged file may hold anything
                reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
                what = "is not read" if isinstance(error, Unreadable) else "does not work"
                raise InputError(f"{self.path}: {_called(node)} {what}: {reason}.") from error
        return values[self.target]


def from_onnx(path: str | os.PathLike[str]) -> OnnxModel:
    """The network of an ONNX file, rebuilt from JAX operations that compile, batch and differentiate like any other.

    The batch axis of the file may be symbolic or one; it is dropped. Weights keep their dtype.

    **Raises:** `InputError` in one sentence for a file that is damaged or incomplete, for the first operator that is
    not known, and for a graph of another form than one input of fixed shape to one output; `PrecisionError` for float64
    weights in a process that computes in float32; `MissingExtra` without the package `onnx`.
    """
    path = Path(path)
    graph = _graph(path)
    tensors = _tensors(path, graph)
    source, shape, dtype = _source(path, graph, tensors)
    if len(graph.output) != 1:
        names = ", ".join(output.name for output in graph.output)
        raise InputError(f"{path} has {len(graph.output)} outputs ({names}): export the logits alone.")
    target = graph.output[0].name
    nodes = [_node(path, node, tensors) for node in graph.node if node.op_type != "Constant"]
    _check_end(path, nodes, target)
    # Numbers that stand alone, such as exponents and bounds, are part of the program; so are shapes and axes.
    weights = {name: array for name, array in tensors.items() if array.ndim and array.dtype.kind == "f"}
    for name, array in weights.items():
        refuse_narrowing(array, f"{path}: the weight {name!r}")
        if array.dtype != dtype:
            raise InputError(f"{path}: the weight {name!r} is {array.dtype} but the input {dtype}: export it in one "
                             "precision, float32 or float64.")  # fmt: skip
    constants = {name: array for name, array in tensors.items() if name not in weights}
    program = Program(path, nodes, constants, source, target)
    model = OnnxModel(jax.tree.map(jax.numpy.asarray, weights), shape, program)
    out = jax.eval_shape(program, model.weights, jax.ShapeDtypeStruct((1, *shape), dtype))
    if out.ndim < 1 or out.shape[0] != 1:
        raise InputError(f"{path}: the output {target!r} has shape {list(out.shape)} for one input: it must begin "
                         "with the axis of the batch.")  # fmt: skip
    return model


def _graph(path: Path) -> Any:
    onnx = require("onnx", extra="robust")
    from onnx.external_data_helper import load_external_data_for_model
    from onnx.inliner import inline_local_functions

    try:
        model = onnx.load_from_string(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: check the path, it is read from the current folder.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    except Exception as error:  # whatever the decoder raises
        raise InputError(f"{path} is no ONNX file, or a damaged one: export it again.") from error
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if not model.graph.node or not versions:
        raise InputError(f"{path} is no ONNX file, or a damaged one (it holds no graph): export it again.")
    if not _OLDEST <= versions[0] <= newest:
        remedy = "export it with a newer opset_version" if versions[0] < _OLDEST else (
            "install a newer package with pip install -U onnx, or export with a lower opset_version")  # fmt: skip
        raise InputError(f"{path} uses version {versions[0]} of the operators, but {_OLDEST} to {newest} are read: "
                         f"{remedy}.")  # fmt: skip
    try:
        load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise InputError(f"{path} keeps its weights in another file, which is missing or damaged "
                         f"({_first_line(error)}): put it back beside this one.") from error  # fmt: skip
    try:
        model = inline_local_functions(model) if model.functions else model
        onnx.checker.check_model(model)
    except Exception as error:
        raise InputError(f"{path} is no valid ONNX file ({_first_line(error)}): export it again.") from error
    return model.graph


def _tensors(path: Path, graph: Any) -> dict[str, np.ndarray]:
    """The constants of a graph by name."""
    from onnx import numpy_helper

    found = {}
    try:
        if graph.sparse_initializer:
            raise ValueError("its weights are sparse")
        for tensor in graph.initializer:
            found[tensor.name] = numpy_helper.to_array(tensor)
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                found[node.output[0]] = _constant(node)
    except Exception as error:
        raise InputError(f"{path}: a constant cannot be read ({_first_line(error)}): export it again.") from error
    return found


def _constant(node: Any) -> np.ndarray:
    attributes = _attributes(node)
    name, value = next(iter(attributes.items()))
    if name in ("value_float", "value_floats"):
        return np.asarray(value, np.float32)
    if name not in ("value", "value_int", "value_ints"):
        raise ValueError(f"{node.output[0]!r} is given as {name}")
    return np.asarray(value)


def _source(path: Path, graph: Any, tensors: dict[str, np.ndarray]) -> tuple[str, tuple[int, ...], np.dtype]:
    """The name of the input, the shape of one item, and its dtype."""
    import onnx

    inputs = [each for each in graph.input if each.name not in tensors]
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs)
        raise InputError(f"{path} has {len(inputs)} inputs ({names}): export a model of one input.")
    source, declared = inputs[0].name, inputs[0].type.tensor_type
    widths = {onnx.TensorProto.FLOAT: np.dtype(np.float32), onnx.TensorProto.DOUBLE: np.dtype(np.float64)}
    if declared.elem_type not in widths:
        known = onnx.TensorProto.DataType.keys()
        kind = known[declared.elem_type].lower() if declared.elem_type < len(known) else "unknown"
        raise InputError(f"{path}: the input {source!r} is of type {kind}: export the model in float32 or float64.")
    sizes = [(each.dim_value if each.HasField("dim_value") else each.dim_param or "?") for each in declared.shape.dim]
    if len(sizes) < 2:
        raise InputError(f"{path}: the input {source!r} has shape {sizes}, without an axis for the batch: export the "
                         "model with inputs [batch, ...].")  # fmt: skip
    if sizes[0] != 1 and not isinstance(sizes[0], str):
        raise InputError(f"{path}: the input {source!r} has a fixed batch of {sizes[0]}: export it with a batch of one "
                         "or a dynamic one.")  # fmt: skip
    shape = tuple(size for size in sizes[1:] if not isinstance(size, str) and size > 0)
    for axis, size in enumerate(sizes[1:], start=1):
        if size not in shape:
            raise InputError(f"{path}: axis {axis} of the input {source!r} is dynamic ({size}): export it with a fixed "
                             "size; only the batch may be dynamic.")  # fmt: skip
    if math.prod(shape) > 2**28:
        raise InputError(f"{path}: the input {source!r} has shape {sizes}, which is too large: is the file damaged?")
    return source, shape, widths[declared.elem_type]


def _node(path: Path, node: Any, tensors: dict[str, np.ndarray]) -> Node:
    domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
    found = Node(domain + node.op_type, node.name, tuple(node.input), tuple(node.output), {})
    if found.kind not in OPERATORS:
        raise InputError(f"{path}: {_called(found)} is an operator that is not read here: export the model without it, "
                         "or name the PyTorch module or JAX callable itself.")  # fmt: skip
    return found._replace(attributes=_attributes(node))


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode()
        return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value

    return {each.name: plain(onnx.helper.get_attribute_value(each)) for each in node.attribute}


def _check_end(path: Path, nodes: list[Node], target: str) -> None:
    makers = {name: node for node in nodes for name in node.outputs}
    maker = makers.get(target)
    while maker is not None and maker.kind in ("Identity", "Dropout", "Cast", "Reshape", "Squeeze", "Flatten"):
        maker = makers.get(maker.inputs[0])
    if maker is not None and maker.kind == "Softmax":
        raise InputError(f"{path} ends in Softmax ({_called(maker)}): export the model without it, so that its outputs "
                         "are logits.")  # fmt: skip


def _called(node: Node) -> str:
    return f"{node.kind} (the node {node.name or node.outputs[0]!r})"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
