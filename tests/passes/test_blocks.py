"""Products by weights of a few bits: found in quantised weights, kept for few rows, widened for many."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

import tensorwright as tw
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.quantization import Dequantize
from tensorwright.passes.blocks import FEW, blocks_of, weights_in_blocks, widened_products
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

DEPTH, COLUMNS = 64, 21


def quantised_product(rng, low, high, block, *, zeros=(), transpose_b=False, rows=2):
    """MatMul by a dequantised constant, with scales (and zero points) for blocks of the depth."""
    whole = rng.integers(low, high + 1, (COLUMNS, DEPTH))
    whole[0, :2] = low, high
    blocks = DEPTH // block
    scale = np.repeat(rng.uniform(0.01, 0.1, (COLUMNS, blocks)), block, 1).astype(np.float32)
    arrays = [whole.astype(np.int8), scale]
    if zeros:
        arrays.append(np.repeat(rng.integers(zeros[0], zeros[1] + 1, (COLUMNS, blocks)), block, 1).astype(np.int8))
    arrays = arrays if transpose_b else [array.T for array in arrays]
    constants = [constant_value(weights_of(np.ascontiguousarray(array))) for array in arrays]
    a = input_value("a", TensorType(FLOAT32, (rows, DEPTH)))
    return Graph((("a", a),), (("y", apply(MatMul(False, transpose_b), a, apply(Dequantize(), *constants))),))


@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(
    ("low", "high", "zeros", "bits", "operands"),
    [
        (-8, 7, (), 4, 3),
        (-7, 7, (), 4, 3),
        (0, 15, (3, 9), 4, 4),
        (-128, 127, (), 8, 3),
        (-100, 100, (-5, 5), 8, 4),
        (0, 15, (5, 5), 4, 4),
    ],
)
@pytest.mark.parametrize("block", [16, 64])
def test_dequantised_weights_become_blocks(low, high, zeros, bits, operands, block, transpose_b, rng):
    graph = quantised_product(rng, low, high, block, zeros=zeros, transpose_b=transpose_b)
    made = weights_in_blocks(graph)
    value = made.outputs[0][1]
    assert isinstance(value.op, BlockMatMul)
    assert (value.op.bits, value.op.block, len(value.inputs)) == (bits, block, operands)
    x = {"a": rng.standard_normal((2, DEPTH)).astype(np.float32)}
    expected = evaluate_graph(graph, x)["y"]
    np.testing.assert_allclose(evaluate_graph(made, x)["y"], expected, rtol=1e-5, atol=1e-5)
    widened = widened_products(made)
    assert isinstance(widened.outputs[0][1].op, MatMul)
    np.testing.assert_allclose(evaluate_graph(widened, x)["y"], expected, rtol=1e-5, atol=1e-5)


def test_many_rows_and_scales_that_are_no_blocks_stay(rng):
    graph = quantised_product(rng, -8, 7, 16, rows=FEW + 1)
    assert isinstance(weights_in_blocks(graph).outputs[0][1].op, MatMul)
    whole, scale = rng.integers(0, 16, (3, 16)), np.tile(np.float32([1, 2]), (3, 8))
    assert blocks_of(whole, scale, np.zeros((3, 16))) is None
    assert blocks_of(whole[:, :6], np.ones((3, 6), np.float32), np.zeros((3, 6))) is None


def model_of(rng, rows):
    """MatMulNBits of 4 bits, and a product by weights of int8 with a scale for each column."""
    arrays = {
        "b": rng.integers(0, 256, (COLUMNS * 4, 2, 16)).astype(np.uint8),
        "s": rng.uniform(0.01, 0.1, (COLUMNS * 4, 2)).astype(np.float32),
        "q": rng.integers(-127, 128, (COLUMNS * 4, 8)).astype(np.int8),
        "t": rng.uniform(0.01, 0.1, 8).astype(np.float32),
    }
    options = {"K": DEPTH, "N": COLUMNS * 4, "bits": 4, "block_size": 32}
    nodes = [
        helper.make_node("MatMulNBits", ["x", "b", "s"], ["h"], domain="com.microsoft", **options),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("DequantizeLinear", ["q", "t"], ["w"], axis=1),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    values = [helper.make_tensor_value_info("x", 1, [rows, DEPTH]), helper.make_tensor_value_info("y", 1, [rows, 8])]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(
        helper.make_graph(nodes, "m", values[:1], values[1:], constants), opset_imports=opsets, ir_version=8
    )


@pytest.mark.parametrize("rows", [1, 40])
def test_models_keep_few_bits_where_few_rows_meet_them(rows, rng):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = model_of(rng, rows)
    engine = tw.build(model, level=0, threads=1, timing_cache="")
    tactics = [step["tactic"] for step in engine.report["steps"]]
    assert tactics.count("weight_blocks") == (2 if rows == 1 else 0)
    precisions = {step["precision"] for step in engine.report["steps"]}
    assert precisions == ({"float32 by 4 bits", "float32 by 8 bits"} if rows == 1 else {"float32"})
    x = rng.standard_normal((rows, DEPTH)).astype(np.float32)
    # As the graph says: optimised, it would quantise activations.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(engine(x)["y"], expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())
