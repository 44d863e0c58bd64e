"""Convolutions over few channels become convolutions over windows, for two-byte types only."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import network, operators
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.ops.convolution import Convolution
from tensorwright.passes.windows import widen_channels
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, UINT8, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of


def image_network(
    rng: np.random.Generator, channels: int, kernel: tuple[int, int], stride: int, pad: int, dtype: DType = FLOAT16
) -> Graph:
    x = input_value("x", TensorType(dtype, (2, channels, 13, 14)))
    weights = rng.standard_normal((5, channels, *kernel)).astype(dtype.numpy)
    bias = constant_value(weights_of(rng.standard_normal(5).astype(dtype.numpy)))
    op = Convolution((stride, stride), (pad, pad), (pad, pad), (1, 1))
    return network(apply(op, x, constant_value(weights_of(weights)), bias))


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "pad"),
    [(3, (7, 7), 2, 3), (1, (5, 9), 1, 0), (4, (3, 2), 3, 1), (6, (1, 3), 1, 1)],
)
def test_windows_give_the_same(
    channels: int, kernel: tuple[int, int], stride: int, pad: int, rng: np.random.Generator
) -> None:
    graph = image_network(rng, channels, kernel, stride, pad)
    widened = widen_channels(graph)
    assert operators(widened) == {"WidthWindows": 1, "Convolution": 1}
    inputs = {"x": rng.standard_normal((2, channels, 13, 14)).astype(np.float16)}
    (expected,), (found,) = evaluate_graph(graph, inputs).values(), evaluate_graph(widened, inputs).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * np.abs(expected).max())


def test_windows_of_bytes_are_integers(rng: np.random.Generator) -> None:
    x = input_value("x", TensorType(UINT8, (2, 3, 13, 14)))
    weights = constant_value(weights_of(rng.integers(-128, 128, (5, 3, 7, 7)).astype(np.int8)))
    graph = network(apply(Convolution((2, 2), (3, 3), (3, 3), (1, 1)), x, weights))
    widened = widen_channels(graph)
    assert operators(widened) == {"WidthWindows": 1, "Convolution": 1}
    assert {str(v.type.dtype) for v in widened.order() if isinstance(v.op, Convolution)} == {"int32"}
    inputs = {"x": rng.integers(0, 256, (2, 3, 13, 14)).astype(np.uint8)}
    (expected,), (found,) = evaluate_graph(graph, inputs).values(), evaluate_graph(widened, inputs).values()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("channels", "kernel", "dtype"), [(8, (3, 3), FLOAT16), (3, (7, 7), FLOAT32), (1, (7, 3), FLOAT16)]
)
def test_other_convolutions_stay(
    channels: int, kernel: tuple[int, int], dtype: DType, rng: np.random.Generator
) -> None:
    graph = image_network(rng, channels, kernel, 1, 1, dtype)
    assert operators(widen_channels(graph)) == {"Convolution": 1}
