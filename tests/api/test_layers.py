"""Each layer against NumPy, with explicit and with implicit batch."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest

import tensorwright as tw
from api.networks import BATCH, computed
from tensorwright.api.layers.elementwise import ACTIVATIONS, BINARY

both = pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
A, E, U, R = tw.ActivationType, tw.ElementWiseOperation, tw.UnaryOperation, tw.ReduceOperation


@pytest.fixture
def draw(rng):
    return lambda *shape: rng.normal(size=shape).astype(np.float32)


def correlated(x, kernel, bias, stride, pads, dilation, groups):
    """Convolution in plain loops; pads: (before, after) per axis."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pads])
    outputs, per_group, *window = kernel.shape
    counts = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], window, stride, dilation, strict=True)]
    result = np.zeros((x.shape[0], outputs, *counts))
    for o in range(outputs):
        first = o // (outputs // groups) * per_group
        for at in np.ndindex(*counts):
            part = tuple(
                slice(i * s, i * s + (k - 1) * d + 1, d)
                for i, s, k, d in zip(at, stride, window, dilation, strict=True)
            )
            block = x[(slice(None), slice(first, first + per_group), *part)]
            result[(slice(None), o, *at)] = (block * kernel[o]).reshape(x.shape[0], -1).sum(1) + bias[o]
    return result


@both
def test_convolution_with_all_its_properties(draw, implicit):
    x, kernel, bias = draw(BATCH, 4, 11, 9), draw(6, 2, 3, 2), draw(6)

    def add(network, input):
        layer = network.add_convolution(input, 6, (3, 2), kernel.reshape(-1), bias)
        layer.num_groups = 2
        layer.stride = (2, 1)
        layer.pre_padding = (1, 0)
        layer.post_padding = (2, 1)
        layer.dilation_nd = (1, 2)
        return layer

    (y,) = computed(add, x, implicit=implicit)
    expected = correlated(x, kernel, bias, (2, 1), [(1, 2), (0, 1)], (1, 2), 2)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "pads"),
    [
        (tw.PaddingMode.SAME_UPPER, [(1, 2), (0, 1)]),
        (tw.PaddingMode.SAME_LOWER, [(2, 1), (1, 0)]),
        (tw.PaddingMode.EXPLICIT_ROUND_UP, [(0, 1), (0, 0)]),
        (tw.PaddingMode.EXPLICIT_ROUND_DOWN, [(0, 0), (0, 0)]),
    ],
)
def test_padding_modes_of_convolutions(draw, mode, pads):
    x, kernel = draw(1, 2, 10, 6), draw(3, 2, 5, 2)

    def add(network, input):
        layer = network.add_convolution_nd(input, 3, (5, 2), kernel)
        layer.stride = (2, 2) if "SAME" not in mode.name else (2, 1)
        layer.padding_mode = mode
        return layer

    (y,) = computed(add, x, implicit=False)
    stride = (2, 2) if "SAME" not in mode.name else (2, 1)
    expected = correlated(x, kernel, np.zeros(3), stride, pads, (1, 1), 1)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@both
def test_deconvolution_is_the_transpose_of_a_convolution(draw, implicit):
    x, kernel, bias = draw(BATCH, 4, 5, 4), draw(4, 3, 3, 2), draw(3)

    def add(network, input):
        layer = network.add_deconvolution(input, 3, (3, 2), kernel, bias)
        layer.stride = 2
        layer.padding = (1, 0)
        return layer

    (y,) = computed(add, x, implicit=implicit)
    full = np.zeros((BATCH, 3, 11, 8))
    for i, j in np.ndindex(5, 4):
        full[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 2] += np.einsum("nc,cohw->nohw", x[:, :, i, j], kernel)
    np.testing.assert_allclose(y, full[:, :, 1:-1] + bias[:, None, None], rtol=1e-5, atol=1e-5)


@both
def test_fully_connected_flattens_the_last_three_dimensions(draw, implicit):
    x, kernel, bias = draw(BATCH, 2, 3, 4), draw(5, 24), draw(5)
    (y,) = computed(lambda n, t: n.add_fully_connected(t, 5, kernel, bias), x, implicit=implicit)
    assert y.shape == (BATCH, 5, 1, 1)
    np.testing.assert_allclose(y[:, :, 0, 0], x.reshape(BATCH, -1) @ kernel.T + bias, rtol=1e-5, atol=1e-5)


@both
@pytest.mark.parametrize("kind", tw.PoolingType)
def test_pooling(draw, implicit, kind):
    x = draw(BATCH, 2, 7, 6)

    def add(network, input):
        layer = network.add_pooling(input, kind, (3, 2))
        layer.stride = (2, 2)
        layer.padding = (1, 0)
        layer.blend_factor = 0.25
        return layer

    (y,) = computed(add, x, implicit=implicit)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 0)], constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), axis=(2, 3))[:, :, ::2, ::2]
    largest, mean = np.nanmax(windows, axis=(4, 5)), np.nanmean(windows, axis=(4, 5))
    blend = 0.75 * largest + 0.25 * mean
    expected = {tw.PoolingType.MAX: largest, tw.PoolingType.AVERAGE: mean, tw.PoolingType.MAX_AVERAGE_BLEND: blend}[
        kind
    ]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_average_pooling_can_count_the_padding(draw):
    x = draw(1, 2, 6, 6)

    def add(network, input):
        layer = network.add_pooling(input, tw.PoolingType.AVERAGE, 3)
        layer.padding = 1
        layer.average_count_excludes_padding = False
        return layer

    (y,) = computed(add, x, implicit=False)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    np.testing.assert_allclose(y, windows.mean(axis=(4, 5)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "padding", "extent"), [("EXPLICIT_ROUND_UP", 0, 3), ("CAFFE_ROUND_UP", 0, 3), ("CAFFE_ROUND_UP", 1, 3)]
)
def test_rounding_up_adds_a_last_window(draw, mode, padding, extent):
    x = draw(1, 1, 6, 6) if padding == 0 else draw(1, 1, 5, 5)

    def add(network, input):
        layer = network.add_pooling(input, tw.PoolingType.MAX, 3 if padding == 0 else 2)
        layer.stride = 2
        layer.padding = padding
        layer.padding_mode = tw.PaddingMode[mode]
        return layer

    (y,) = computed(add, x, implicit=False)
    assert y.shape == (1, 1, extent, extent)
    assert y[0, 0, -1, -1] == (x[0, 0, 4:, 4:] if padding == 0 else x[0, 0, 3:5, 3:5]).max()


@pytest.mark.parametrize("kind", tw.ActivationType)
def test_activations(draw, kind):
    x, a, b = draw(4, 5) * 3, 0.7, 1.3
    formulas = {
        A.RELU: lambda: np.maximum(x, 0),
        A.SIGMOID: lambda: 1 / (1 + np.exp(-x)),
        A.TANH: lambda: np.tanh(x),
        A.LEAKY_RELU: lambda: np.where(x < 0, a * x, x),
        A.ELU: lambda: np.where(x < 0, a * np.expm1(x), x),
        A.SELU: lambda: b * np.where(x < 0, a * np.expm1(x), x),
        A.SOFTSIGN: lambda: x / (1 + np.abs(x)),
        A.SOFTPLUS: lambda: a * np.log1p(np.exp(b * x)),
        A.CLIP: lambda: np.clip(x, a, b),
        A.HARD_SIGMOID: lambda: np.clip(a * x + b, 0, 1),
        A.SCALED_TANH: lambda: a * np.tanh(b * x),
        A.THRESHOLDED_RELU: lambda: np.where(x > a, x, 0),
        A.GELU_ERF: lambda: x / 2 * (1 + np.vectorize(erf)(x / np.sqrt(2))),
        A.GELU_TANH: lambda: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    }

    def add(network, input):
        layer = network.add_activation(input, kind)
        layer.alpha, layer.beta = a, b
        return layer

    (y,) = computed(add, x, implicit=False)
    np.testing.assert_allclose(y, formulas[kind](), rtol=1e-5, atol=1e-6)
    assert kind in ACTIVATIONS or kind is A.SOFTPLUS


@both
@pytest.mark.parametrize("operation", tw.ElementWiseOperation)
def test_elementwise_operations_broadcast(draw, implicit, operation):
    logic = operation.name in ("AND", "OR", "XOR")
    a, b = draw(BATCH, 2, 3, 4), np.abs(draw(BATCH, 2, 1, 4)) + 0.5
    if operation is E.POW:
        a = np.abs(a)
    if logic:
        a, b = a > 0, b > 1
    functions = {
        E.SUM: np.add, E.PROD: np.multiply, E.MAX: np.maximum, E.MIN: np.minimum, E.SUB: np.subtract,
        E.DIV: np.divide, E.POW: np.power, E.FLOOR_DIV: np.floor_divide, E.AND: np.logical_and, E.OR: np.logical_or,
        E.XOR: np.logical_xor, E.EQUAL: np.equal, E.GREATER: np.greater, E.LESS: np.less,
    }  # fmt: skip
    (y,) = computed(lambda n, s, t: n.add_elementwise(s, t, operation), a, b, implicit=implicit)
    np.testing.assert_allclose(y, functions[operation](a, b), rtol=1e-5)
    assert operation in BINARY or operation in (E.GREATER, E.FLOOR_DIV)


def test_floor_division_of_integers_rounds_down(rng):
    a, b = rng.integers(-50, 50, (4, 5)), rng.integers(1, 7, (4, 5)) * rng.choice([-1, 1], (4, 5))
    (y,) = computed(lambda n, s, t: n.add_elementwise(s, t, E.FLOOR_DIV), a, b, implicit=False)
    np.testing.assert_array_equal(y, a // b)


@pytest.mark.parametrize("operation", tw.UnaryOperation)
def test_unary_operations(draw, operation):
    x = draw(4, 5)
    if operation in (U.LOG, U.SQRT):
        x = np.abs(x)
    if operation in (U.ASIN, U.ACOS, U.ATANH):
        x = np.tanh(x)
    if operation is U.ACOSH:
        x = np.abs(x) + 1
    if operation is U.NOT:
        x = x > 0
    if operation in (U.ISNAN, U.ISINF):
        x[0] = np.nan
        x[1] = -np.inf
    names = {
        U.RECIP: np.reciprocal, U.NEG: np.negative, U.ASIN: np.arcsin, U.ACOS: np.arccos, U.ATAN: np.arctan,
        U.ASINH: np.arcsinh, U.ACOSH: np.arccosh, U.ATANH: np.arctanh, U.ERF: np.vectorize(erf), U.NOT: np.logical_not,
        U.ROUND: np.round,
    }  # fmt: skip
    function = names.get(operation) or getattr(np, operation.name.lower())
    (y,) = computed(lambda n, t: n.add_unary(t, operation), x, implicit=False)
    np.testing.assert_allclose(y, function(x), rtol=1e-5)


@both
@pytest.mark.parametrize("mode", tw.ScaleMode)
def test_scale(draw, implicit, mode):
    x = np.abs(draw(BATCH, 2, 3, 4))
    shape = {"UNIFORM": (1, 1, 1), "CHANNEL": (2, 1, 1), "ELEMENTWISE": (2, 3, 4)}[mode.name]
    shift, scale, power = (np.abs(draw(*shape)) + 0.5 for _ in range(3))
    (y,) = computed(lambda n, t: n.add_scale(t, mode, shift, scale, power), x, implicit=implicit)
    np.testing.assert_allclose(y, (x * scale + shift) ** power, rtol=1e-5)
    (y,) = computed(lambda n, t: n.add_scale(t, mode, scale=scale), x, implicit=implicit)
    np.testing.assert_allclose(y, x * scale, rtol=1e-5)


def test_scale_along_another_axis(draw):
    x, scale = draw(2, 3, 4), draw(4)
    (y,) = computed(lambda n, t: n.add_scale_nd(t, tw.ScaleMode.CHANNEL, None, scale, None, 2), x, implicit=False)
    np.testing.assert_allclose(y, x * scale, rtol=1e-6)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@both
@pytest.mark.parametrize("shape", [(BATCH, 5), (BATCH, 5, 4), (BATCH, 5, 4, 2)])
def test_softmax_is_over_the_channels_unless_axes_are_set(draw, implicit, shape):
    x = draw(*shape)
    (y,) = computed(lambda n, t: n.add_softmax(t), x, implicit=implicit)
    np.testing.assert_allclose(y, softmax(x, 1), rtol=1e-5)

    def add(network, input):
        layer = network.add_softmax(input)
        layer.axes = 1 << (len(input.shape) - 1)
        return layer

    (y,) = computed(add, x, implicit=implicit)
    np.testing.assert_allclose(y, softmax(x, len(shape) - 1), rtol=1e-5)


def test_lrn(draw):
    x = draw(2, 7, 3, 2)
    (y,) = computed(lambda n, t: n.add_lrn(t, 5, 0.3, 0.6, 1.5), x, implicit=False)
    sums = np.stack([(x[:, max(0, c - 2) : c + 3] ** 2).sum(1) for c in range(7)], axis=1)
    np.testing.assert_allclose(y, x / (1.5 + 0.3 / 5 * sums) ** 0.6, rtol=1e-5)


@both
@pytest.mark.parametrize("operation", tw.ReduceOperation)
@pytest.mark.parametrize("keep", [False, True])
def test_reductions_take_bit_masks_that_do_not_count_the_batch(draw, implicit, operation, keep):
    x = draw(BATCH, 2, 3, 4)
    functions = {R.SUM: np.sum, R.PROD: np.prod, R.MAX: np.max, R.MIN: np.min, R.AVG: np.mean}
    mask = 0b101 if implicit else 0b1010
    (y,) = computed(lambda n, t: n.add_reduce(t, operation, mask, keep), x, implicit=implicit)
    np.testing.assert_allclose(y, functions[operation](x, axis=(1, 3), keepdims=keep), rtol=1e-5)


@both
@pytest.mark.parametrize("operation", tw.TopKOperation)
def test_topk_gives_values_and_positions(rng, implicit, operation):
    x = rng.permuted(np.broadcast_to(np.arange(8, dtype=np.float32), (BATCH, 2, 8)), axis=2)
    mask = 0b10 if implicit else 0b100
    values, positions = computed(lambda n, t: n.add_topk(t, operation, 3, mask), x, implicit=implicit, outputs=2)
    order = np.argsort(-x if operation is tw.TopKOperation.MAX else x, axis=2)[..., :3]
    assert positions.dtype == np.int32
    np.testing.assert_array_equal(positions, order)
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, 2))


@pytest.mark.parametrize("mask", [0b1100, 0b0100, 0b0010])
def test_normalization(draw, mask):
    x, scale, bias = draw(2, 3, 4, 5), draw(1, 3, 1, 1), draw(1, 3, 1, 1)
    axes = tuple(axis for axis in range(4) if mask >> axis & 1)

    def add(network, *tensors):
        layer = network.add_normalization(*tensors, mask)
        layer.epsilon = 0.01
        return layer

    (y,) = computed(add, x, scale, bias, implicit=False)
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 0.01) * scale + bias, rtol=1e-4, atol=1e-5)


def test_normalization_over_groups_of_channels(draw):
    x, scale, bias = draw(2, 6, 4), draw(1, 6, 1), draw(1, 6, 1)

    def add(network, *tensors):
        layer = network.add_normalization(*tensors, 0b100)
        layer.num_groups = 3
        return layer

    (y,) = computed(add, x, scale, bias, implicit=False)
    grouped = x.reshape(2, 3, -1)
    normal = (grouped - grouped.mean(2, keepdims=True)) / np.sqrt(grouped.var(2, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, normal.reshape(x.shape) * scale + bias, rtol=1e-4, atol=1e-5)


@both
def test_concatenation(draw, implicit):
    a, b, c = draw(BATCH, 2, 3, 4), draw(BATCH, 5, 3, 4), draw(BATCH, 2, 3, 1)
    (y,) = computed(lambda n, *t: n.add_concatenation(t), a, b, implicit=implicit)
    np.testing.assert_array_equal(y, np.concatenate([a, b], 1))

    def add(network, *tensors):
        layer = network.add_concatenation(tensors)
        layer.axis = 2 if implicit else 3
        return layer

    (y,) = computed(add, a, c, implicit=implicit)
    np.testing.assert_array_equal(y, np.concatenate([a, c], 3))


@both
def test_shuffle_transposes_reshapes_and_transposes(draw, implicit):
    x = draw(BATCH, 2, 3, 4)
    lead = () if implicit else (0,)

    def add(network, input):
        layer = network.add_shuffle(input)
        layer.first_transpose = (2, 0, 1) if implicit else (0, 3, 1, 2)
        layer.reshape_dims = (*lead, 0, -1)
        layer.second_transpose = (1, 0) if implicit else (0, 2, 1)
        return layer

    (y,) = computed(add, x, implicit=implicit)
    np.testing.assert_array_equal(y, x.transpose(0, 3, 1, 2).reshape(BATCH, 4, 6).transpose(0, 2, 1))


@both
def test_slice_padding_and_select(draw, implicit):
    x, y = draw(BATCH, 4, 5), draw(BATCH, 4, 5)
    lead = () if implicit else (0,)
    whole, ones = () if implicit else (BATCH,), () if implicit else (1,)
    (found,) = computed(
        lambda n, t: n.add_slice(t, (*lead, 3, 1), (*whole, 2, 3), (*ones, -2, 1)), x, implicit=implicit
    )
    np.testing.assert_array_equal(found, x[:, 3::-2, 1:4])
    (found,) = computed(lambda n, t: n.add_padding(t, (1, -1), (0, 2)), x, implicit=implicit)
    np.testing.assert_array_equal(found, np.pad(x[:, :, 1:], [(0, 0), (1, 0), (0, 2)]))
    (found,) = computed(lambda n, *t: n.add_select(*t), x > 0, x, y, implicit=implicit)
    np.testing.assert_array_equal(found, np.where(x > 0, x, y))


@both
def test_gather_with_constant_indices(draw, implicit):
    x, indices = draw(BATCH, 4, 5), np.array([[3, 0, 1], [1, 1, -1]], np.int32)

    def add(network, input):
        places = network.add_constant((2, 3), indices).get_output()
        return network.add_gather(input, places, 0 if implicit else 1)

    (y,) = computed(add, x, implicit=implicit)
    np.testing.assert_array_equal(y, x[:, indices])


def test_gather_modes(draw, rng):
    x, indices = draw(3, 4, 5), rng.integers(0, 3, (3, 4, 2))
    (y,) = computed(lambda n, *t: n.add_gather_v2(*t, tw.GatherMode.ND), x, indices, implicit=False)
    np.testing.assert_array_equal(y, x[indices[..., 0], indices[..., 1]])

    def add(network, *tensors):
        layer = network.add_gather_v2(*tensors, tw.GatherMode.ELEMENT)
        layer.axis = 2
        return layer

    (y,) = computed(add, x, indices, implicit=False)
    np.testing.assert_array_equal(y, np.take_along_axis(x, indices, 2))


@both
def test_matrix_multiply(draw, implicit):
    none, transpose, vector = tw.MatrixOperation
    a, b, v = draw(BATCH, 2, 3, 4), draw(BATCH, 2, 5, 4), draw(BATCH, 2, 4)
    (y,) = computed(lambda n, s, t: n.add_matrix_multiply(s, none, t, transpose), a, b, implicit=implicit)
    np.testing.assert_allclose(y, a @ b.swapaxes(2, 3), rtol=1e-5, atol=1e-5)
    (y,) = computed(lambda n, s, t: n.add_matrix_multiply(s, False, t, vector), a, v, implicit=implicit)
    np.testing.assert_allclose(y, np.einsum("bnmk,bnk->bnm", a, v), rtol=1e-5, atol=1e-5)
    (y,) = computed(lambda n, s, t: n.add_matrix_multiply(s, vector, t, True), v, b, implicit=implicit)
    np.testing.assert_allclose(y, np.einsum("bnk,bnmk->bnm", v, b), rtol=1e-5, atol=1e-5)


@both
def test_constants_are_the_same_for_the_whole_batch(draw, implicit):
    x, table, more = draw(BATCH, 2, 3), draw(1, 2, 3), draw(4, 3)

    def add(network, input):
        constant = network.add_constant((2, 3) if implicit else (1, 2, 3), table)
        return network.add_elementwise(input, constant.get_output(), E.PROD)

    (y,) = computed(add, x, implicit=implicit)
    np.testing.assert_array_equal(y, x * table)
    if implicit:

        def concatenate(network, input):
            return network.add_concatenation([input, network.add_constant((4, 3), more).get_output()])

        (y,) = computed(concatenate, x, implicit=True)
        np.testing.assert_array_equal(y, np.concatenate([x, np.broadcast_to(more, (BATCH, 4, 3))], 1))


@both
def test_resize(draw, implicit):
    x = draw(BATCH, 2, 3, 4)
    lead = () if implicit else (BATCH,)

    def nearest(network, input):
        layer = network.add_resize(input)
        layer.shape = (*lead, 2, 6, 4)
        return layer

    (y,) = computed(nearest, x, implicit=implicit)
    np.testing.assert_array_equal(y, x.repeat(2, 2))

    def linear(network, input):
        layer = network.add_resize(input)
        layer.scales = (1,) * (len(input.shape) - 1) + (2,)
        layer.resize_mode = tw.InterpolationMode.LINEAR
        layer.coordinate_transformation = tw.ResizeCoordinateTransformation.HALF_PIXEL
        return layer

    (y,) = computed(linear, x, implicit=implicit)
    at = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, 3)
    np.testing.assert_allclose(y, x[..., low] * (1 - at + low) + x[..., high] * (at - low), rtol=1e-5, atol=1e-6)


def test_parametric_relu_cast_identity_and_any_operator(draw):
    from tensorwright.ops.reduction import CumulativeSum

    x, slope = draw(2, 3, 4), draw(1, 3, 1)
    (y,) = computed(lambda n, *t: n.add_parametric_relu(*t), x, slope, implicit=False)
    np.testing.assert_allclose(y, np.where(x < 0, slope * x, x), rtol=1e-6)
    (y,) = computed(lambda n, t: n.add_cast(t, tw.int32), x, implicit=False)
    np.testing.assert_array_equal(y, x.astype(np.int32))
    (y,) = computed(lambda n, t: n.add_identity(t), x, implicit=False)
    np.testing.assert_array_equal(y, x)
    (y,) = computed(lambda n, t: n.add_operator(CumulativeSum(1), [t]), x, implicit=False)
    np.testing.assert_allclose(y, np.cumsum(x, 1), rtol=1e-5, atol=1e-6)
