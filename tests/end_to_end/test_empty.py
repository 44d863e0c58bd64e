"""Tensors without elements: known at build or only at run time, everywhere or in one branch, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser, shape_inference

from cases.case import Array
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.importers.onnx import import_onnx
from tensorwright.runtime.engine import Engine

N = (0, 2, 4)
"""The least, the likely and the largest n."""

CASES = {
    "relu": "(float[n,4] x) => (y) {y = Relu(x)}",
    "innermost": "(float[4,n] x) => (y) {y = Relu(x)}",
    "broadcast": "(float[3,n] x, float[3,1] b) => (y) {y = Add(x, b)}",
    "where": "(bool[n,1] c, float[n,3] x, float[1,3] z) => (y) {y = Where(c, x, z)}",
    "cast": "(float[n,4] x) => (y) {y = Cast<to=6>(x)}",
    "rows": "(float[n,4] x) => (y) {y = MatMul(x, w4x5)}",
    "no products": "(float[2,n] x, float[n,5] z) => (y) {y = MatMul(x, z)}",
    "bias only": "(float[2,n] x, float[n,5] z, float[5] b) => (y) {y = Gemm(x, z, b)}",
    "einsum": '(float[n,4] x) => (y) {y = Einsum<equation="ij,jk->ik">(x, w4x5)}',
    "convolution": "(float[n,3,8,8] x) => (y) {y = Conv(x, w4x3x3x3)}",
    "convolutions": "(float[n,3,8,8] x) => (y) "
    "{t = Conv<pads=[1,1,1,1]>(x, w4x3x3x3) u = Relu(t) y = Conv(u, w5x4x1x1)}",
    "transposed convolution": "(float[n,3,4,4] x) => (y) {y = ConvTranspose(x, w3x2x3x3)}",
    "maximum pooling": "(float[n,3,8,8] x) => (y) {y = MaxPool<kernel_shape=[2,2]>(x)}",
    "average pooling": "(float[n,3,8,8] x) => (y) {y = AveragePool<kernel_shape=[2,2]>(x)}",
    "global pooling": "(float[n,3,8,8] x) => (y) {y = GlobalAveragePool(x)}",
    "sum of none": "(float[3,n] x) => (y) {y = ReduceSum<keepdims=0>(x, i1)}",
    "sum of nothing of many": "(float[n,0] x) => (y) {t = Exp(x) y = ReduceSum<keepdims=0>(t, i1)}",
    "nothing of many": "(float[n,0] x) => (y) {t = Relu(x) y = MatMul(t, w0x5)}",
    "nothing beside many": "(float[n,0] x, float[n,3] z) => (y) {t = Exp(x) y = Concat<axis=1>(z, t)}",
    "sum of nothing": "(float[3,n] x) => (y) {y = ReduceSum<keepdims=0>(x)}",
    "product of none": "(float[n,3] x) => (y) {y = ReduceProd(x, i0)}",
    "no sums": "(float[n,3] x) => (y) {y = ReduceSum(x, i1)}",
    "concatenation": "(float[n,3] x, float[2,3] z) => (y) {r = Relu(x) y = Concat<axis=0>(r, z)}",
    "concatenation of none": "(float[n,3] x, float[n,2] z) => (y) {y = Concat<axis=1>(x, z)}",
    "softmax": "(float[n,5] x) => (y) {y = Softmax<axis=1>(x)}",
    "softmax of none": "(float[3,n] x) => (y) {y = Softmax<axis=1>(x)}",
    "layer norm": "(float[n,5] x, float[5] g) => (y) {y = LayerNormalization(x, g)}",
    "batch norm": "(float[n,3,4,4] x) => (y) {y = BatchNormalization(x, p3, p3, p3, p3)}",
    "instance norm": "(float[n,3,4,4] x) => (y) {y = InstanceNormalization(x, p3, p3)}",
    "transpose": "(float[n,5] x) => (y) {y = Transpose<perm=[1,0]>(x)}",
    "transpose of heads": "(float[2,n,5,16] x) => (y) {y = Transpose<perm=[0,2,1,3]>(x)}",
    "reshape": "(float[n,3,4] x) => (y) {t = Reshape(x, i_1_6) y = Tanh(t)}",
    "flatten": "(float[n,3,4] x) => (y) {t = Flatten(x) y = Relu(t)}",
    "gather": "(float[4,3] x, int64[n] i) => (y) {y = Gather(x, i)}",
    "scatter": "(float[4,3] x, int64[n,1] i, float[n,3] u) => (y) {y = ScatterND(x, i, u)}",
    "one hot": "(int64[n] x) => (y) {y = OneHot(x, i4, v01)}",
    "padding": "(float[n,3] x) => (y) {y = Pad(x, i1_0_1_0)}",
    "tile": "(float[n,2] x) => (y) {y = Tile(x, i2_2)}",
    "slice": "(float[n,3] x) => (y) {y = Slice(x, i1, i99)}",
    "split": "(float[n,4] x) => (y, z) {y, z = Split<axis=1, num_outputs=2>(x)}",
    "sums in order": "(float[n,5] x) => (y) {y = CumSum(x, i0)}",
    "largest": "(float[n,5] x) => (y) {y = ArgMax<axis=1>(x)}",
    "largest two": "(float[n,5] x) => (y, z) {y, z = TopK(x, i2)}",
    "resize": '(float[n,3,4,4] x) => (y) {y = Resize<mode="linear">(x, , s1122)}',
    "depth to space": "(float[n,4,3,3] x) => (y) {y = DepthToSpace<blocksize=2>(x)}",
    "quantised": "(float[n,4] x) => (y) {q = QuantizeLinear(x, step) y = DequantizeLinear(q, step)}",
    "no queries": "(float[1,2,n,8] q, float[1,2,8,5] k, float[1,2,5,8] v) => (y) "
    "{s = MatMul(q, k) p = Softmax(s) y = MatMul(p, v)}",
    "no past": "(float[1,2,3,8] q, float[1,2,n,8] past, float[1,2,3,8] new) => (y) "
    "{k = Concat<axis=2>(past, new) t = Transpose<perm=[0,1,3,2]>(k) s = MatMul(q, t) p = Softmax(s) y = MatMul(p, k)}",
    "one branch": "(float[n,3] x, float[4,3] z) => (y) "
    "{u = Exp(x) v = ReduceSum<keepdims=0>(u) w = Softmax(z) y = Add(w, v)}",
    "one output": "(float[n,3] x, float[4,3] w) => (y, z) {y = Exp(x) z = Relu(w)}",
}
STATIC = {
    "slice to nothing": "(float[4,3] x) => (y) {y = Slice(x, i2, i2)}",
    "slice to nothing beside others": "(float[4,3] x) => (y, z) {t = Slice(x, i2, i2) y = Exp(t) z = Tanh(x)}",
    "sum of a slice to nothing": "(float[4,3] x) => (y) "
    "{t = Slice(x, i2, i2) u = Exp(t) v = ReduceSum<keepdims=0>(u) y = Add(x, v)}",
    "split off nothing": "(float[3,2] x) => (y, z) {y, z = Split<axis=0>(x, i0_3)}",
    "tiled to nothing": "(float[3,2] x) => (y) {y = Tile(x, i0_2)}",
    "expanded to nothing": "(float[3,1] x) => (y) {y = Expand(x, i3_0)}",
    "no largest": "(float[3,5] x) => (y, z) {y, z = TopK(x, i0)}",
    "turned to another shape": "(float[0,3,4] x) => (y) {y = Reshape<allowzero=1>(x, i3_4_0)}",
    "of doubles": "(double[2,1,1,1,0] x) => (y) {t = Reshape(x, i_1) y = Tanh(t)}",
    "the input itself": "(float[0,3] x) => (y) {y = Identity(x)}",
    "its shape": "(float[0,3] x) => (y) {y = Shape(x)}",
}


def constants(text: str, rng: np.random.Generator) -> dict[str, Array]:
    """The constants that a text names: w4x5 has this shape, i_1_6 these integers, p3 so many positive numbers."""
    found: dict[str, Array] = {
        "v01": np.array([0, 1], np.float32),
        "s1122": np.array([1, 1, 2, 2], np.float32),
        "step": np.array(0.1, np.float32),
        "p3": rng.uniform(0.5, 1, 3).astype(np.float32),
        "i_1_6": np.array([-1, 6]),
        "i_1": np.array([-1]),
    }
    for name in ("w0x5", "w4x5", "w4x3x3x3", "w5x4x1x1", "w3x2x3x3"):
        found[name] = rng.standard_normal([int(n) for n in name[1:].split("x")]).astype(np.float32)
    for name in ("i0", "i1", "i2", "i4", "i99", "i1_0_1_0", "i2_2", "i0_3", "i0_2", "i3_0", "i3_4_0"):
        found[name] = np.array([int(n) for n in name[1:].split("_")])
    body = text[text.index("{") :]
    return {name: array for name, array in found.items() if any(f"{name}{end}" in body for end in (",", ")"))}


def model_of(text: str, rng: np.random.Generator, n: int | None = None) -> onnx.ModelProto:
    """n: what the dimension is from the start; None leaves it open."""
    typed = text.replace("=> (y, z)", "=> (float[] y, float[] z)").replace("=> (y)", "=> (float[] y)")
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["": 20]> g {typed}')
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim if n is not None else ():
            if dim.dim_param:
                dim.dim_value = n
    outputs = [value.name for value in model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    arrays = constants(text, rng)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return shape_inference.infer_shapes(model)


def feeds_of(model: onnx.ModelProto, n: int, rng: np.random.Generator) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for value in model.graph.input:
        type = value.type.tensor_type
        shape = [n if dim.dim_param else dim.dim_value for dim in type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(type.elem_type)
        drawn = rng.uniform(-2, 2, shape) if dtype.kind == "f" else rng.permutation(4)[: shape[0]].reshape(shape) % 4
        found[value.name] = np.asarray(drawn).astype(dtype)
    return found


def compare(model: onnx.ModelProto, engine: Engine, n: int, rng: np.random.Generator) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = feeds_of(model, n, rng)
    for found, expected in zip(engine(feeds).values(), session.run(None, feeds), strict=True):
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "optimise"), [*((name, True) for name in (*CASES, *STATIC)), *((name, False) for name in STATIC)]
)
def test_known_at_build(name: str, optimise: bool, rng: np.random.Generator) -> None:
    model = model_of({**CASES, **STATIC}[name], rng, 0)
    graph = import_onnx(model.SerializeToString())
    compare(model, Engine(build(graph, BuildConfig(level=0, threads=2, optimise=optimise))), 0, rng)


@pytest.mark.parametrize("name", CASES)
def test_known_at_run_time(name: str, rng: np.random.Generator) -> None:
    model = model_of(CASES[name], rng)
    ranges = {
        value.name: tuple(N if dim.dim_param else dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in model.graph.input
    }
    graph = import_onnx(model.SerializeToString(), shapes=ranges)
    engine = Engine(build(graph, BuildConfig(level=0, threads=2)))
    for n in (0, 3, 0, 1):
        compare(model, engine, n, rng)


def test_tuning_measures_nothing_of_them(rng: np.random.Generator) -> None:
    model = model_of(CASES["one branch"], rng, 0)
    graph = import_onnx(model.SerializeToString())
    plan = build(graph, BuildConfig(level=1, threads=2, timing_cache=""))
    compare(model, Engine(plan), 0, rng)
    assert "Exp" not in str(plan.report["steps"])
