"""Products of quantised tensors: the same numbers, by integer products."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn_by
from hypothesis import strategies as st

from graphs import constant, given, network
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value
from tensorwright.graph.verify import verify
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary, Cast
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.ops.shape import Pad, Reshape, Transpose
from tensorwright.passes.integers import integer_products, products_of_bytes
from tensorwright.passes.rewrite import Pass
from tensorwright.tensor.dtype import INT8, INT32, UINT8, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

ROWS, DEPTH, COLUMNS = 5, 12, 9


def fixed(array: np.ndarray) -> Value:
    return constant_value(weights_of(array), "c")


def activations(dtype: DType, zero: int | None, *, quantised_here: bool = True) -> Value:
    scale = fixed(np.float32(0.04))
    zeros = [] if zero is None else [fixed(np.asarray(zero, dtype.numpy))]
    if quantised_here:
        q = apply(Quantize(dtype), given("x", ROWS, DEPTH), scale, *zeros)
    else:
        q = input_value("q", TensorType(dtype, (ROWS, DEPTH)))
    return apply(Dequantize(), q, scale, *zeros)


def weights(rng: np.random.Generator, dtype: DType, scales: np.ndarray, shape=(DEPTH, COLUMNS)) -> Value:
    low, high = (0, 256) if dtype == UINT8 else (-128, 128)
    q = fixed(rng.integers(low, high, shape).astype(dtype.numpy))
    return apply(Dequantize(), q, fixed(scales.astype(np.float32)))


def inputs_of(graph: Graph, rng: np.random.Generator) -> dict[str, np.ndarray]:
    found = {}
    for name, value in graph.inputs:
        shape = tuple(int(extent) for extent in value.type.shape)
        if value.type.dtype.is_float:
            found[name] = rng.uniform(-6, 6, shape).astype(np.float32)
        else:
            info = np.iinfo(value.type.dtype.numpy)
            found[name] = rng.integers(info.min, info.max + 1, shape).astype(value.type.dtype.numpy)
    return found


def rewritten(output: Value, rng: np.random.Generator, by: Pass = integer_products) -> Graph:
    """The graph after the pass, which computes the same."""
    before = network(output)
    after = by(before)
    verify(after)
    given = inputs_of(before, rng)
    (expected,), (found,) = (list(evaluate_graph(graph, given).values()) for graph in (before, after))
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))
    return after


def factor_types(graph: Graph) -> list[tuple[str, ...]]:
    return [tuple(str(one.type.dtype) for one in v.inputs) for v in graph.order() if isinstance(v.op, MatMul)]


INTEGER = [("uint8", "int8")]


@pytest.mark.parametrize("zero", [None, 0, 7])
@pytest.mark.parametrize("dtype", [UINT8, INT8], ids=str)
@pytest.mark.parametrize("quantised_here", [True, False])
@pytest.mark.parametrize("scales", [np.float32(0.02), np.linspace(0.01, 0.2, COLUMNS)[None]], ids=["one", "several"])
def test_products_with_constants_are_products_of_integers(zero, dtype, quantised_here, scales, rng):
    left = activations(dtype, zero, quantised_here=quantised_here)
    after = rewritten(apply(MatMul(), left, weights(rng, INT8, scales)), rng)
    assert factor_types(after) == INTEGER


def test_transposed_constants_and_moved_activations(rng):
    left = apply(Reshape((1, ROWS, DEPTH)), apply(Transpose((1, 0)), apply(Transpose((1, 0)), activations(INT8, 3))))
    scales = np.linspace(0.01, 0.2, COLUMNS)[:, None]
    right = weights(rng, INT8, scales, (COLUMNS, DEPTH))
    assert factor_types(rewritten(apply(MatMul(transpose_b=True), left, right), rng)) == INTEGER
    assert factor_types(rewritten(apply(MatMul(), left, apply(Transpose((1, 0)), right)), rng)) == INTEGER


def test_unsigned_constants_are_moved_into_the_signed_range(rng):
    near = apply(
        Dequantize(),
        fixed(rng.integers(1, 256, (DEPTH, COLUMNS)).astype(np.uint8)),
        fixed(np.float32(0.1)),
        fixed(np.uint8(128)),
    )
    assert factor_types(rewritten(apply(MatMul(), activations(UINT8, 3), near), rng)) == INTEGER
    far = weights(rng, UINT8, np.float32(0.1))
    assert factor_types(rewritten(apply(MatMul(), activations(UINT8, 3), far), rng)) == [("float32", "float32")]


@pytest.mark.parametrize("zero", [None, -5])
def test_signed_factors_may_stay_signed(zero, rng):
    right = weights(rng, INT8, np.float32(0.02))
    after = rewritten(apply(MatMul(), activations(INT8, zero), right), rng, products_of_bytes)
    assert factor_types(after) == [("int8", "int8")]
    q, origin = input_value("q", TensorType(INT8, (ROWS, DEPTH))), input_value("z", TensorType(INT8, ()))
    left = apply(Binary("sub"), apply(Cast(INT32), q), apply(Cast(INT32), origin))
    product = apply(MatMul(), left, apply(Cast(INT32), right.inputs[0]))
    assert factor_types(rewritten(product, rng, products_of_bytes)) == [("int8", "int8")]


@pytest.mark.parametrize("depth", [7, 70_000], ids=["not in fours", "sums beyond int32"])
def test_other_depths_stay(depth, rng):
    x = input_value("q", TensorType(UINT8, (2, depth)))
    left = apply(Dequantize(), x, fixed(np.float32(0.1)))
    right = weights(rng, INT8, np.float32(0.1), (depth, 3))
    assert factor_types(rewritten(apply(MatMul(), left, right), rng)) == [("float32", "float32")]


def test_scales_along_the_depth_and_left_scales_per_row_stay(rng):
    along = weights(rng, INT8, np.linspace(0.1, 1, DEPTH)[:, None])
    assert factor_types(rewritten(apply(MatMul(), activations(UINT8, 1), along), rng)) == [("float32", "float32")]
    rows = apply(
        Dequantize(), input_value("q", TensorType(UINT8, (ROWS, DEPTH))), fixed(np.ones((ROWS, 1), np.float32))
    )
    right = weights(rng, INT8, np.float32(0.1))
    assert factor_types(rewritten(apply(MatMul(), rows, right), rng)) == [("float32", "float32")]


def test_products_of_differences_of_integers(rng):
    q, zero = input_value("q", TensorType(UINT8, (ROWS, DEPTH))), input_value("z", TensorType(UINT8, ()))
    left = apply(Binary("sub"), apply(Cast(INT32), q), apply(Cast(INT32), zero))
    right = apply(Cast(INT32), fixed(rng.integers(-128, 128, (DEPTH, COLUMNS)).astype(np.int8)))
    after = rewritten(apply(MatMul(), left, right), rng)
    assert factor_types(after) == INTEGER


def test_all_readers_of_signed_activations_read_the_same_unsigned_ones(rng):
    left = activations(INT8, 5)
    product = apply(MatMul(), left, weights(rng, INT8, np.float32(0.02), (DEPTH, DEPTH)))
    after = rewritten(apply(Binary("add"), product, left), rng)
    assert {str(v.type.dtype) for v in after.order() if isinstance(v.op, Quantize)} == {"uint8"}


@drawn_by(st.integers(0, 2**32 - 1), st.integers(0, 255), st.sampled_from([4, 16, 36]), st.integers(1, 20))
def test_no_sum_is_off_by_anything(seed, zero, depth, columns):
    rng = np.random.default_rng(seed)
    q = input_value("q", TensorType(UINT8, (3, depth)))
    left = apply(Dequantize(), q, fixed(np.float32(1.0)), fixed(np.uint8(zero)))
    right = weights(rng, INT8, np.float32(1.0), (depth, columns))
    before = network(apply(MatMul(), left, right))
    given = inputs_of(before, rng)
    (found,) = evaluate_graph(integer_products(before), given).values()
    exact = (given["q"].astype(np.int64) - zero) @ right.inputs[0].op.weights.array.astype(np.int64)
    assert np.array_equal(found, exact.astype(np.float32))


def image(dtype: DType, zero: int) -> Value:
    q = apply(Quantize(dtype), given("x", 2, 8, 7, 6), fixed(np.float32(0.04)), fixed(np.asarray(zero, dtype.numpy)))
    return apply(Dequantize(), q, fixed(np.float32(0.04)), fixed(np.asarray(zero, dtype.numpy)))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("dtype", "zero", "pads"), [(UINT8, 0, 1), (UINT8, 100, 1), (INT8, 0, 1), (INT8, -128, 1), (INT8, 3, 0)]
)
@pytest.mark.parametrize("by", [integer_products, products_of_bytes], ids=["moved", "signed"])
def test_convolutions_are_those_of_integers(dtype, zero, pads, several, by, rng):
    """Beyond the borders there are zeros, which the zero point stands for; a zero point of 0 needs no padded copy."""
    scales = rng.uniform(0.01, 0.1, (5, 1, 1, 1) if several else ())
    op, bias = Convolution((2, 1), (pads, pads), (pads, 0), (1, 1)), constant(rng.standard_normal(5))
    after = rewritten(apply(op, image(dtype, zero), weights(rng, INT8, scales, (5, 8, 3, 3)), bias), rng, by)
    (found,) = (value for value in after.order() if isinstance(value.op, Convolution))
    moves = by is integer_products and dtype == INT8
    assert tuple(str(one.type.dtype) for one in found.inputs) == ("uint8" if moves else str(dtype), "int8")
    is_moved = zero + (128 if moves else 0) != 0
    assert any(isinstance(value.op, Pad) for value in after.order()) is (is_moved and pads > 0)


@pytest.mark.parametrize(
    ("channels", "groups", "outputs", "integers"),
    [(3, 1, 4, True), (8, 8, 8, True), (8, 2, 4, False), (4, 4, 8, False)],
)
def test_any_channels_at_once_or_one_by_one(channels, groups, outputs, integers, rng):
    q = input_value("q", TensorType(UINT8, (1, channels, 5, 5)))
    x = apply(Dequantize(), q, fixed(np.float32(0.1)))
    op = Convolution((1, 1), (1, 1), (1, 1), (1, 1), groups)
    after = rewritten(apply(op, x, weights(rng, INT8, np.float32(0.1), (outputs, channels // groups, 3, 3))), rng)
    (found,) = (value for value in after.order() if isinstance(value.op, Convolution))
    assert (found.inputs[0].type.dtype == UINT8) is integers
