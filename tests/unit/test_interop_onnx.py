"""ONNX files as JAX functions, against ONNX's own reference evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faults import only_our_errors

from thalweg.core.errors import InputError, MissingExtra, PrecisionError
from thalweg.interop import from_onnx

onnx: Any = pytest.importorskip("onnx", reason="ONNX is not installed: pip install 'thalweg[robust]'")
reference: Any = pytest.importorskip("onnx.reference")
helper, F = onnx.helper, onnx.TensorProto.FLOAT

# Float32 sums in another order: a few units in the last place of numbers near one.
CLOSE = 5e-6


class Graph:
    """A graph under construction: every step takes the last result, and further arrays as constants."""

    def __init__(self, shape: tuple[int, ...], batch: Any = "n", seed: int = 0):
        self.nodes, self.weights, self.last = [], [], "x"
        self.shape, self.batch = shape, batch
        self.random = np.random.default_rng(seed)

    def constant(self, array: Any) -> str:
        self.weights.append(onnx.numpy_helper.from_array(np.asarray(array), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def add(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> str:
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        out = [f"{kind}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, [self.last, *names], out, f"the_{kind}", **attributes))
        self.last = out[0]
        return self.last

    def normal(self, *shape: int) -> np.ndarray:
        return (self.random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def model(self, opset: int = 21, dtype: int = F) -> Any:
        graph = helper.make_graph(
            self.nodes, "g",
            [helper.make_tensor_value_info("x", dtype, [self.batch, *self.shape])],
            [helper.make_tensor_value_info(self.last, dtype, ["n", "m"])],
            self.weights,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)

    def save(self, folder: Path, opset: int = 21, dtype: int = F) -> Path:
        onnx.save(self.model(opset, dtype), folder / "net.onnx")
        return folder / "net.onnx"


def agrees(graph: Graph, folder: Path, opset: int = 21, close: float = CLOSE) -> Any:
    path = graph.save(folder, opset)
    x = np.random.default_rng(1).normal(size=(3, *graph.shape)).astype(np.float32)
    ours = from_onnx(path)
    evaluator = reference.ReferenceEvaluator(str(path))
    wanted = np.concatenate([evaluator.run(None, {"x": item[None]})[0] for item in x])
    found = jax.jit(jax.vmap(ours))(x)
    assert found.dtype == wanted.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=close)
    return ours


def test_a_convolutional_net_with_a_shortcut(tmp_path):
    g = Graph((3, 9, 8))
    g.add("Conv", g.normal(4, 3, 3, 2), g.normal(4), strides=[2, 1], pads=[1, 0, 0, 1])
    g.add("BatchNormalization", g.normal(4), g.normal(4), g.normal(4), np.abs(g.normal(4)) + 0.5)
    start = g.add("Relu")
    g.add("Conv", g.normal(4, 4, 3, 3), auto_pad="SAME_UPPER")
    g.add("Add", start)
    g.add("Relu")
    g.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    g.add("AveragePool", kernel_shape=[2, 3], pads=[0, 1, 0, 1], count_include_pad=1)
    g.add("Flatten")
    g.add("Gemm", g.normal(10, 16), g.normal(10), transB=1, alpha=0.5, beta=2.0)
    ours = agrees(g, tmp_path)
    # Weights are leaves, whatever else the program holds.
    assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {np.dtype(np.float32)}
    doubled = jax.tree.map(lambda a: 2 * a, ours)
    called = jax.jit(lambda model: model(jnp.ones((3, 9, 8))))
    assert not np.allclose(called(doubled), called(ours))


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [3, 2], "pads": [2, 1, 0, 3]},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [2, 3], "auto_pad": "VALID"},
        {"dilations": [2, 1], "strides": [1, 2]},
        {"group": 2, "pads": [1, 1, 1, 1]},
    ],
)
def test_convolutions_and_their_gradients(tmp_path, attributes):
    g = Graph((4, 7, 9))
    g.add("Conv", g.normal(6, 4 // attributes.get("group", 1), 3, 4), g.normal(6), **attributes)
    ours = agrees(g, tmp_path)
    # The same convolution in XLA's own form: sums in another order.
    weight, bias = (ours.weights[name] for name in ("w0", "w1"))
    x = jnp.asarray(np.random.default_rng(2).normal(size=(4, 7, 9)), jnp.float32)
    pads = attributes.get("auto_pad") or list(zip(*np.reshape(attributes.get("pads", [0] * 4), (2, 2)), strict=True))

    def theirs(x):
        return bias[:, None, None] + jax.lax.conv_general_dilated(
            x[None], weight, attributes.get("strides", [1, 1]),
            "SAME_LOWER" if pads == "SAME_LOWER" else "VALID" if pads == "VALID" else pads,
            rhs_dilation=attributes.get("dilations"), feature_group_count=attributes.get("group", 1),
        )[0]  # fmt: skip

    slopes = jax.jit(lambda x: [jax.grad(lambda x, f=f: jnp.sum(jnp.tanh(f(x))))(x) for f in (ours, theirs)])(x)
    np.testing.assert_allclose(*slopes, rtol=0, atol=CLOSE)


def test_convolutions_of_one_and_three_axes(tmp_path):
    for shape in ((2, 11), (2, 4, 5, 6)):
        g = Graph(shape)
        g.add("Conv", g.normal(3, 2, *[2] * (len(shape) - 1)), strides=[2] * (len(shape) - 1))
        g.add("GlobalAveragePool")
        agrees(g, tmp_path)


@pytest.mark.parametrize("opset", [9, 21])
def test_dense_layers_and_what_lies_between(tmp_path, opset):
    g = Graph((2, 6))
    if opset > 9:
        g.add("ReduceMean", np.array([1]), keepdims=0)
        g.add("Unsqueeze", np.array([1, 3]))
        g.add("Squeeze", np.array([1, 3]))
        g.add("Clip", np.float32(-0.8), np.float32(0.9))
        g.add("Pad", np.array([0, 1, 0, 1]), np.float32(0.3))
        g.add("Gelu", approximate="tanh")
        g.add("Gelu")
    else:
        g.add("ReduceMean", axes=[1], keepdims=0)
        g.add("Unsqueeze", axes=[1, 3])
        g.add("Squeeze", axes=[1, 3])
        g.add("Clip", min=-0.8, max=0.9)
        g.add("Pad", pads=[0, 1, 0, 1], value=0.3)
    g.add("Gemm", g.normal(8, 8), g.normal(8), alpha=0.7, beta=1.5)
    g.add("LeakyRelu", alpha=0.2)
    g.add("MatMul", g.normal(8, 8))
    g.add("Elu", alpha=0.7)
    g.add("Mul", np.float32(1.7))
    g.add("Sigmoid")
    g.add("Sub", g.normal(8))
    g.add("Softplus")
    g.add("Div", np.float32(0.4))
    g.add("Dropout")
    g.add("Tanh")
    g.add("Pow", np.float32(2.0))
    g.add("LogSoftmax", axis=1)
    agrees(g, tmp_path, opset)


def test_shapes_that_an_exporter_computes(tmp_path):
    g = Graph((3, 4))
    shape, one = g.add("Shape"), g.constant(np.array([-1]))
    first = helper.make_node("Gather", [shape, g.constant(np.array(0))], ["first"])
    rows = helper.make_node("Unsqueeze", ["first", g.constant(np.array([0]))], ["rows"])
    g.nodes += [first, rows, helper.make_node("Concat", ["rows", one], ["wanted"], axis=0)]
    g.last = "x"
    g.add("Transpose", perm=[0, 2, 1])
    g.add("Reshape", "wanted")
    half = g.add("Slice", np.array([0]), np.array([2**62]), np.array([1]), np.array([2]))
    g.nodes.append(helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    g.add("Add", "c")
    g.add("Concat", half, axis=1)
    g.add("Identity")
    agrees(g, tmp_path)


@pytest.mark.parametrize("exporter", ["dynamo", "script"])
def test_files_as_pytorch_writes_them(exporter):
    """A net with batch normalisation, a shortcut, GELU, pooling and `view(x.size(0), -1)`, and PyTorch's own logits."""
    folder = Path(__file__).parents[1] / "data" / "onnx"
    model = from_onnx(folder / f"{exporter}.onnx")
    with np.load(folder / "logits.npz") as kept:
        np.testing.assert_allclose(jax.jit(jax.vmap(model))(kept["x"]), kept["y"], rtol=0, atol=CLOSE)


def test_a_batch_of_one_and_double_precision(tmp_path, x64):
    g = Graph((4,), batch=1)
    g.add("Reshape", np.array([1, 4]))
    g.add("MatMul", np.arange(8.0).reshape(4, 2))
    model = from_onnx(g.save(tmp_path, dtype=onnx.TensorProto.DOUBLE))
    assert model(jnp.ones(4)).dtype == np.float64
    np.testing.assert_array_equal(model(jnp.ones(4)), [12.0, 16.0])
    with pytest.raises(InputError, match=r"net\.onnx takes inputs of shape \[4\], not \[5\]"):
        model(jnp.ones(5))


def test_double_weights_are_not_narrowed(tmp_path):
    g = Graph((4,))
    g.add("MatMul", np.ones((4, 2)))
    with pytest.raises(PrecisionError, match="the weight 'w0' is float64 but this process computes in float32"):
        from_onnx(g.save(tmp_path, dtype=onnx.TensorProto.DOUBLE))


def dense(*shape: int, batch: Any = "n") -> Graph:
    g = Graph(shape or (4,), batch)
    g.add("MatMul", g.normal(4, 2))
    return g


def softmax() -> Graph:
    g = dense()
    g.add("Softmax")
    g.add("Identity")
    return g


def two_unknown() -> Graph:
    g = dense()
    g.add("Selu")
    g.add("Hardmax")
    g.add("LRN", size=3)
    return g


def made(kind: str, *inputs: Any, shape: tuple[int, ...] = (4,), **attributes: Any) -> Graph:
    g = Graph(shape)
    g.add(kind, *inputs, **attributes)
    return g


REFUSED = {
    r"Hardmax \(the node 'the_Hardmax'\) is an operator that is not read here: export": two_unknown,
    r"ends in Softmax \(Softmax \(the node 'the_Softmax'\)\): export the model without it": softmax,
    "the input 'x' has a fixed batch of 8: export it with a batch of one": lambda: dense(batch=8),
    r"axis 1 of the input 'x' is dynamic \(w\)": lambda: dense("w"),  # type: ignore[arg-type]
    r"Conv \(the node 'the_Conv'\) is not read: its weight holds int8, not floats": lambda: made(
        "Conv", np.ones((2, 4, 1, 1), np.int8), shape=(4, 3, 3)
    ),
    "MatMul .* does not work: ": lambda: made("MatMul", np.ones((5, 2), np.float32)),
    "ReduceMean .* mixes inputs": lambda: made("ReduceMean", np.array([0, 1])),
    "Dropout .* is in training mode: call model.eval": lambda: made("Dropout", np.float32(0.5), np.array(True)),
    "the weight 'w0' is float16 but the input float32": lambda: made("MatMul", np.ones((4, 2), np.float16)),
    "Reshape .* is not read: its shape is computed from the input": lambda: made("Reshape", "x"),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_is_not_read_is_said_in_one_sentence(sentence, tmp_path):
    path = REFUSED[sentence]().save(tmp_path)
    with pytest.raises(InputError, match=sentence) as caught:
        from_onnx(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_graphs_of_other_forms(tmp_path):
    path, model = tmp_path / "net.onnx", dense().model()
    model.graph.output.append(model.graph.output[0].__class__(name="x", type=model.graph.input[0].type))
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"has 2 outputs \(MatMul0_0, x\): export the logits alone"):
        from_onnx(path)
    model = dense().model()
    model.graph.input.append(helper.make_tensor_value_info("mask", F, [1]))
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"has 2 inputs \(x, mask\): export a model of one input"):
        from_onnx(path)
    onnx.save(dense().model(dtype=onnx.TensorProto.UINT8), path)
    with pytest.raises(InputError, match="the input 'x' is of type uint8: export the model in float32 or float64"):
        from_onnx(path)
    for version, remedy in ((5, "a newer opset_version"), (999, "pip install -U onnx")):
        onnx.save(dense().model(version), path)
        with pytest.raises(InputError, match=rf"uses version {version} of the operators, but 7 to \d+ .*{remedy}"):
            from_onnx(path)


def test_files_that_are_not_there_or_not_onnx(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"there is no file .*nowhere\.onnx"):
        from_onnx(tmp_path / "nowhere.onnx")
    (tmp_path / "text.onnx").write_text("a,b\n1,2\n")
    (tmp_path / "empty.onnx").write_text("")
    for name in ("text.onnx", "empty.onnx"):
        with pytest.raises(InputError, match=f"{name} is no ONNX file, or a damaged one"):
            from_onnx(tmp_path / name)
    model = dense().model()
    onnx.save(model, tmp_path / "parts.onnx", save_as_external_data=True, location="parts.bin", size_threshold=0)
    assert from_onnx(tmp_path / "parts.onnx")(jnp.ones(4)).shape == (2,)
    (tmp_path / "parts.bin").unlink()
    with pytest.raises(InputError, match=r"parts\.onnx keeps its weights in another file, which is missing"):
        from_onnx(tmp_path / "parts.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'thalweg\[robust\]'"):
        from_onnx(tmp_path / "parts.onnx")


def test_a_damaged_file_is_read_or_refused_in_one_sentence(tmp_path):
    g = Graph((1, 4, 4))
    g.add("Conv", g.normal(2, 1, 2, 2), g.normal(2))
    g.add("Relu")
    g.add("Flatten")
    g.add("Gemm", g.normal(18, 3), g.normal(3))
    (tmp_path / "damaged").mkdir()
    refused = only_our_errors(from_onnx, g.save(tmp_path), tmp_path / "damaged", count=15, seed=3)
    assert sum(name.startswith("cut") for name in refused) >= 18
