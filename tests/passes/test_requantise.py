"""What lies between integer products: the same bytes, with less arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import network, operators
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value
from tensorwright.graph.verify import verify
from tensorwright.ops.activation import Clip, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.pooling import Pool
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.ops.shape import Pad
from tensorwright.passes.fold import fold_constants
from tensorwright.passes.fuse import partition
from tensorwright.passes.requantise import requantise
from tensorwright.tensor.dtype import FLOAT32, INT32, UINT8, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

SHAPE = (2, 4, 6, 5)
STEP = 0.37


def fixed(array: np.ndarray | np.generic) -> Value:
    return constant_value(weights_of(np.asarray(array)), "c")


def sums(rng: np.random.Generator, *, zero: int = 0) -> Value:
    """Sums of an integer product, brought into float32 by a scale for each channel."""
    scale = fixed(rng.uniform(0.01, 0.03, (4, 1, 1)).astype(np.float32))
    return apply(Dequantize(), input_value("sums", TensorType(INT32, SHAPE)), scale, fixed(np.int32(zero)))


def quantised(value: Value, zero: int = 0, step: float = STEP) -> Value:
    return apply(Quantize(UINT8), value, fixed(np.float32(step)), fixed(np.uint8(zero)))


def rewritten(output: Value, rng: np.random.Generator) -> Graph:
    """The graph after the pass. Bytes may lie one step apart where quotients lie near a half."""
    before = network(output)
    after = fold_constants(requantise(fold_constants(requantise(before))))
    verify(after)
    low_high = {INT32: (-5000, 5000), UINT8: (0, 256)}
    given = {
        name: rng.uniform(-90, 90, value.type.shape).astype(np.float32)
        if value.type.dtype == FLOAT32
        else rng.integers(*low_high[value.type.dtype], value.type.shape).astype(value.type.dtype.numpy)
        for name, value in before.inputs
    }
    (expected,), (found,) = (list(evaluate_graph(graph, given).values()) for graph in (before, after))
    off = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype == np.float32:
        assert off.max() <= 1e-5 * float(np.abs(expected).max())
        return after
    assert off.max() <= 1
    assert np.count_nonzero(off) <= 0.01 * off.size
    assert np.unique(expected).size > 5
    return after


@pytest.mark.parametrize("zero", [0, 5])
@pytest.mark.parametrize("middle", ["", "relu", "clip", "add", "residual"])
def test_steps_go_into_constants(middle, zero, rng):
    value = sums(rng, zero=17)
    match middle:
        case "relu":
            value = apply(Relu(), value)
        case "clip":
            value = apply(Clip(0.5, 60.0), value)
        case "add":
            value = apply(Binary("add"), value, fixed(rng.standard_normal((4, 1, 1)).astype(np.float32)))
        case "residual":
            other = apply(Dequantize(), input_value("q", TensorType(UINT8, SHAPE)), fixed(np.float32(0.2)))
            value = apply(Relu(), apply(Binary("add"), value, other))
    graph = rewritten(quantised(value, zero), rng)
    (last,) = (value for value in graph.order() if isinstance(value.op, Quantize))
    assert np.all(last.inputs[1].op.weights.array == 1)
    assert ("Relu" in operators(graph)) == (middle in ("relu", "residual") and zero > 0)


def test_steps_stay_where_no_sums_are(rng):
    x = input_value("x", TensorType(FLOAT32, SHAPE))
    graph = rewritten(quantised(apply(Clip(-20.0, 20.0), x), 128), rng)
    assert operators(graph) == {"Quantize": 1, "Clip": 1}


@pytest.mark.parametrize(("low", "high", "goes"), [(0.0, 95.0, True), (0.0, 90.0, False), (1.0, 95.0, False)])
def test_limits_go_that_the_type_has(low, high, goes, rng):
    graph = rewritten(quantised(apply(Clip(low, high), input_value("x", TensorType(FLOAT32, SHAPE)))), rng)
    assert ("Clip" in operators(graph)) is not goes


def pool(value: Value) -> Value:
    return apply(Pool("max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)), value)


def test_maxima_are_found_among_integers(rng):
    graph = rewritten(quantised(pool(apply(Relu(), sums(rng)))), rng)
    assert [v.type.dtype for v in graph.order() if isinstance(v.op, Pool)] == [UINT8]
    constants = [fixed(np.float32(STEP)), fixed(np.uint8(3))]
    taken = pool(apply(Dequantize(), input_value("q", TensorType(UINT8, SHAPE)), *constants))
    assert operators(rewritten(apply(Quantize(UINT8), taken, *constants), rng)) == {"Pool": 1}


@pytest.mark.parametrize("zero", [0, 9])
def test_padding_is_of_integers(zero, rng):
    padded = apply(Pad((0, 0, 1, 0), (0, 0, 2, 1), value=1.5), sums(rng))
    graph = rewritten(quantised(padded, zero), rng)
    assert [v.op.value for v in graph.order() if isinstance(v.op, Pad)] == [round(1.5 / STEP) + zero]


def test_zero_points_of_sums_go_into_the_bias(rng):
    bias = fixed(rng.standard_normal((4, 1, 1)).astype(np.float32))
    graph = rewritten(apply(Binary("add"), sums(rng, zero=17), bias), rng)
    assert [len(v.inputs) for v in graph.order() if isinstance(v.op, Dequantize)] == [2]


def test_other_steps_are_not_taken_for_the_same(rng):
    constants = [fixed(np.float32(STEP)), fixed(np.uint8(3))]
    value = apply(Dequantize(), input_value("q", TensorType(UINT8, SHAPE)), *constants)
    assert operators(rewritten(quantised(value, 4), rng))["Quantize"] == 1


def region_dtypes(output: Value) -> list[list[DType]]:
    return [[one.type.dtype for one in region.inputs] for region in partition(network(output))]


def test_residuals_are_widened_where_they_are_added(rng):
    image = input_value("image", TensorType(UINT8, SHAPE))
    product = apply(
        Convolution((1, 1), (0, 0), (0, 0), (1, 1)), image, fixed(np.ones((4, 4, 1, 1), np.int8)), name="product"
    )
    residual = apply(Dequantize(), input_value("q", TensorType(UINT8, SHAPE)), fixed(np.float32(0.2)))
    total = apply(Binary("add"), apply(Dequantize(), product, fixed(np.float32(0.1))), residual)
    assert len(region_dtypes(total)) == 1
    both = apply(Binary("mul"), total, residual)
    assert len(region_dtypes(both)) == 2
