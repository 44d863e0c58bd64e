"""Folding into weights, bias and padding of convolutions."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import assert_equivalent, binary, constant, drawn, given, network, only, operators, optimised
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import BatchNormalization
from tensorwright.ops.pooling import Pool
from tensorwright.ops.shape import Pad
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16

BATCH = symbol("batch", 1, 2, 4)


def convolution(
    rng: np.random.Generator,
    x: Value,
    outputs: int,
    *,
    pad: int = 0,
    groups: int = 1,
    bias: bool = True,
    kernel: int = 3,
) -> Value:
    channels = x.type.shape[1]
    weights = drawn(rng, outputs, channels // groups, kernel, kernel)
    op = Convolution((1, 1), (pad, pad), (pad, pad), (1, 1), groups)
    return apply(op, x, weights, *([drawn(rng, outputs)] if bias else []), name="conv")


def deconvolution(rng: np.random.Generator, x: Value, outputs: int, *, groups: int = 1, bias: bool = True) -> Value:
    weights = drawn(rng, x.type.shape[1], outputs // groups, 2, 2)
    op = Deconvolution((2, 2), (0, 0), (1, 0), (1, 1), groups, (0, 0))
    return apply(op, x, weights, *([drawn(rng, outputs)] if bias else []), name="deconv")


def normalised(rng: np.random.Generator, x: Value, channels: int) -> Value:
    parameters = [drawn(rng, channels), drawn(rng, channels), drawn(rng, channels), drawn(rng, channels, low=0.1)]
    return apply(BatchNormalization(1e-3), x, *parameters, name="bn")


def per_channel(rng: np.random.Generator, channels: int) -> Value:
    return drawn(rng, channels, 1, 1, low=0.5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_batch_normalization_after_a_convolution(groups: int, bias: bool, rng: np.random.Generator):
    x = given("x", BATCH, 6, 5, 4)
    graph = network(normalised(rng, convolution(rng, x, 12, pad=1, groups=groups, bias=bias), 12))
    result = optimised(graph, rng, symbols={"batch": 3})
    assert operators(result) == {"Convolution": 1}
    folded = only(result, Convolution)
    assert len(folded.inputs) == 3
    assert folded.name == "conv + bn"


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_batch_normalization_after_a_deconvolution(groups: int, bias: bool, rng: np.random.Generator):
    x = given("x", 2, 4, 3, 4)
    graph = network(normalised(rng, deconvolution(rng, x, 6, groups=groups, bias=bias), 6))
    assert operators(optimised(graph, rng)) == {"Deconvolution": 1}


def test_batch_normalization_after_a_product(rng: np.random.Generator):
    x = given("x", BATCH, 5)
    graph = network(normalised(rng, binary("add", apply(MatMul(), x, drawn(rng, 5, 7)), drawn(rng, 7)), 7))
    assert operators(optimised(graph, rng, symbols={"batch": 3})) == {"MatMul": 1, "Binary": 1}


def test_batch_normalization_alone_is_a_product_and_a_sum(rng: np.random.Generator):
    graph = network(normalised(rng, given("x", 2, 3, 4, 5), 3))
    assert operators(optimised(graph, rng)) == {"Binary": 2}


def test_chains_of_normalisations_are_one(rng: np.random.Generator):
    x = normalised(rng, given("x", 2, 3, 4, 5), 3)
    graph = network(binary("add", binary("mul", x, per_channel(rng, 3)), per_channel(rng, 3)))
    assert operators(optimised(graph, rng)) == {"Binary": 2}


def test_batch_normalization_of_inputs_stays(rng: np.random.Generator):
    parameters = [given(f"p{n}", 3) for n in range(3)]
    graph = network(apply(BatchNormalization(), given("x", 2, 3, 4), *parameters, drawn(rng, 3, low=0.1)))
    assert operators(optimised(graph, rng)) == {"BatchNormalization": 1}


def test_a_convolution_that_others_read_keeps_its_weights(rng: np.random.Generator):
    conv = convolution(rng, given("x", 1, 3, 5, 5), 4)
    graph = network(normalised(rng, conv, 4), apply(Relu(), conv))
    result = optimised(graph, rng)
    assert operators(result) == {"Convolution": 1, "Binary": 2, "Relu": 1}
    assert only(result, Convolution) is conv


def test_a_convolution_that_is_an_output_keeps_its_weights(rng: np.random.Generator):
    conv = convolution(rng, given("x", 1, 3, 5, 5), 4)
    assert operators(optimised(network(conv, normalised(rng, conv, 4)), rng)) == {"Convolution": 1, "Binary": 2}


def test_weights_from_outside_are_left_alone(rng: np.random.Generator):
    op = Convolution((1, 1), (0, 0), (0, 0), (1, 1), 1)
    conv = apply(op, given("x", 1, 3, 5, 5), given("w", 4, 3, 3, 3))
    graph = network(normalised(rng, conv, 4))
    result = optimised(graph, rng)
    assert operators(result) == {"Convolution": 1, "Binary": 2}


def test_scales_and_shifts_after(rng: np.random.Generator):
    conv = convolution(rng, given("x", 1, 3, 5, 5), 4, bias=False)
    value = binary("mul", binary("add", binary("div", conv, 3.0), per_channel(rng, 4)), per_channel(rng, 4))
    assert operators(optimised(network(value), rng)) == {"Convolution": 1}


def test_a_shift_by_position_is_no_bias(rng: np.random.Generator):
    conv = convolution(rng, given("x", 1, 3, 5, 5), 4)
    graph = network(binary("add", conv, drawn(rng, 3, 3)))
    assert operators(optimised(graph, rng)) == {"Convolution": 1, "Binary": 1}


def test_a_scale_that_widens_stays(rng: np.random.Generator):
    conv = convolution(rng, given("x", 1, 3, 5, 5), 1)
    graph = network(binary("mul", conv, drawn(rng, 4, 1, 1)))
    assert operators(optimised(graph, rng)) == {"Convolution": 1, "Binary": 1}


def test_a_bias_from_outside_stays(rng: np.random.Generator):
    op = Convolution((1, 1), (0, 0), (0, 0), (1, 1), 1)
    conv = apply(op, given("x", 1, 3, 5, 5), drawn(rng, 4, 3, 3, 3), given("b", 4))
    graph = network(binary("add", conv, per_channel(rng, 4)))
    assert operators(optimised(graph, rng)) == {"Convolution": 1, "Binary": 1}


@pytest.mark.parametrize("groups", [1, 2])
def test_a_scale_before_moves_into_padded_convolutions(groups: int, rng: np.random.Generator):
    x = binary("mul", given("x", 1, 4, 5, 5), per_channel(rng, 4))
    graph = network(convolution(rng, x, 6, pad=1, groups=groups))
    assert operators(optimised(graph, rng)) == {"Convolution": 1}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_a_shift_before_moves_into_convolutions_without_padding(groups: int, bias: bool, rng: np.random.Generator):
    x = binary("add", given("x", 1, 4, 5, 5), per_channel(rng, 4))
    graph = network(convolution(rng, x, 6, groups=groups, bias=bias))
    assert operators(optimised(graph, rng)) == {"Convolution": 1}


def test_a_shift_before_padding_stays(rng: np.random.Generator):
    x = binary("add", given("x", 1, 4, 5, 5), per_channel(rng, 4))
    graph = network(convolution(rng, x, 6, pad=1))
    assert operators(optimised(graph, rng)) == {"Convolution": 1, "Binary": 1}


def test_a_normalisation_before_that_others_read_stays(rng: np.random.Generator):
    x = binary("mul", given("x", 1, 4, 5, 5), per_channel(rng, 4))
    graph = network(convolution(rng, x, 6), apply(Relu(), x))
    assert operators(optimised(graph, rng)) == {"Convolution": 1, "Binary": 1, "Relu": 1}


def test_weights_that_would_overflow_stay(rng: np.random.Generator):
    op = Convolution((1, 1), (0, 0), (0, 0), (1, 1), 1)
    conv = apply(op, given("x", 1, 2, 3, 3, dtype=FLOAT16), constant(np.full((2, 2, 1, 1), 300.0), FLOAT16))
    graph = network(binary("mul", conv, constant(np.full((2, 1, 1), 300.0), FLOAT16)))
    assert operators(optimised(graph, rng, tolerance=1e-2)) == {"Convolution": 1, "Binary": 1}


def padded(x: Value, amount: int, value: float = 0.0, mode: str = "constant") -> Value:
    return apply(Pad((0, 0, amount, amount), (0, 0, amount, 0), mode, value), x)


def pool(x: Value, mode: str, *, pad: int = 0, counted: bool = False, ceil: bool = False) -> Value:
    return apply(Pool(mode, (3, 3), (2, 2), (pad, pad), (pad, pad), (1, 1), ceil, counted), x)


def test_zeros_before_a_convolution_are_its_padding(rng: np.random.Generator):
    graph = network(convolution(rng, padded(given("x", 1, 3, 5, 5), 1), 4, pad=1))
    result = optimised(graph, rng)
    assert operators(result) == {"Convolution": 1}
    assert only(result, Convolution).op.pads_begin == (2, 2)
    assert only(result, Convolution).op.pads_end == (2, 1)


X = given("x", 1, 3, 6, 6)
POOLS = {
    "max": pool(padded(X, 1, float("-inf")), "max"),
    "max-more": pool(padded(X, 1, float("-inf")), "max", pad=1),
    "average": pool(padded(X, 1), "average"),
    "average-counted": pool(padded(X, 1), "average", pad=1, counted=True),
    "lp": pool(padded(X, 1), "lp"),
}


@pytest.mark.parametrize("value", POOLS.values(), ids=POOLS.keys())
def test_padding_before_a_pool_is_its_padding(value: Value, rng: np.random.Generator):
    assert operators(optimised(network(value), rng)) == {"Pool": 1}


def kept_pads(rng: np.random.Generator) -> dict[str, Graph]:
    return {
        "other-value": network(convolution(rng, padded(X, 1, 1.0), 4)),
        "reflection": network(convolution(rng, padded(X, 1, 0.0, "reflect"), 4)),
        "wider-than-the-kernel": network(convolution(rng, padded(X, 1), 4, kernel=1)),
        "channels": network(convolution(rng, apply(Pad((0, 1, 0, 0), (0, 0, 0, 0)), X), 4)),
        "cropping": network(convolution(rng, apply(Pad((0, 0, 1, 1), (0, 0, -1, 1)), X), 4)),
        "max-of-zeros": network(pool(padded(X, 1), "max")),
        "average-not-counted": network(pool(padded(X, 1), "average", pad=1)),
        "ceiling": network(pool(padded(X, 1), "average", ceil=True)),
    }


def test_other_padding_stays(rng: np.random.Generator):
    for name, graph in kept_pads(rng).items():
        assert operators(optimised(graph, rng))["Pad"] == 1, name


def test_a_residual_block(rng: np.random.Generator):
    x = given("x", BATCH, 4, 6, 6)
    inner = apply(Relu(), normalised(rng, convolution(rng, x, 4, pad=1, bias=False), 4))
    outer = binary("add", normalised(rng, convolution(rng, inner, 4, pad=1, bias=False), 4), x)
    graph = network(apply(Relu(), outer))
    result = optimised(graph, rng, symbols={"batch": 2})
    assert operators(result) == {"Convolution": 2, "Relu": 2, "Binary": 1}
    assert_equivalent(graph, result, rng, {"batch": 4})
