"""Every operator of UFF, by numbers that NumPy gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tensorwright.base.errors import ImportFailure
from tensorwright.compat.uff.model import Orders
from tensorwright.importers.registry import handlers_in
from tensorwright.importers.uff.translate import OPERATORS
from uff_models import ModelMaker, evaluated

Array = np.ndarray
Generator = np.random.Generator

LAST = Orders(("N+C",))
FIRST = Orders(("NC+",))
LAST_KERNEL = Orders(("N+C", "+CK"))

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "min": np.minimum, "max": np.maximum, "mul": np.multiply, "sub": np.subtract, "div": np.divide, "add": np.add,
    "pow": np.power,
}  # fmt: skip
UNARY: dict[str, tuple[Callable[[Array], Array], float, float]] = {
    "neg": (np.negative, -2, 2), "exp": (np.exp, -2, 2), "log": (np.log, 0.1, 3), "abs": (np.abs, -2, 2),
    "sqrt": (np.sqrt, 0.1, 3), "rsqrt": (lambda x: 1 / np.sqrt(x), 0.1, 3), "square": (np.square, -2, 2),
    "sin": (np.sin, -3, 3), "cos": (np.cos, -3, 3), "tan": (np.tan, -1, 1), "sinh": (np.sinh, -2, 2),
    "cosh": (np.cosh, -2, 2), "asin": (np.arcsin, -0.9, 0.9), "acos": (np.arccos, -0.9, 0.9),
    "atan": (np.arctan, -3, 3), "asinh": (np.arcsinh, -3, 3), "acosh": (np.arccosh, 1.1, 3),
    "atanh": (np.arctanh, -0.9, 0.9), "ceil": (np.ceil, -3, 3), "floor": (np.floor, -3, 3),
}  # fmt: skip
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: SCALE * np.where(x > 0, x, ALPHA * np.expm1(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


def given(*shape: int, low: float = -2, high: float = 2, seed: int = 5) -> Array:
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def applied(operation: str, *operands: object, **fields: object) -> Array:
    """What a node gives; the first operand is the input, the others are constants."""
    model = ModelMaker()
    first = np.asarray(operands[0])
    names = [model.input((-1, *first.shape[1:])), *(model.number(operand) for operand in operands[1:])]
    model.output(model.node(operation, *names, **fields))
    is_first = fields.get("inputs_orders", LAST)[0] == "NC+"
    return evaluated(model, {"x": first}, "NCHW" if is_first else None)


def close(found: Array, expected: Array, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("func", BINARY)
def test_binary(func: str) -> None:
    a, b = given(2, 3, 4, low=0.2), given(4, low=0.3)
    close(applied("Binary", a, b, func=func), BINARY[func](a, b))


@pytest.mark.parametrize("func", UNARY)
def test_unary(func: str) -> None:
    function, low, high = UNARY[func]
    x = given(2, 9, low=low, high=high)
    close(applied("Unary", x, func=func), function(x))


@pytest.mark.parametrize("func", ACTIVATIONS)
def test_activation(func: str) -> None:
    x = given(2, 9, low=-8, high=8)
    close(applied("Activation", x, func=func), ACTIVATIONS[func](x))


def test_unary_pow_has_lost_its_exponent_unless_there_is_one() -> None:
    with pytest.raises(ImportFailure, match="has lost the exponent"):
        applied("Unary", given(2, 3), func="pow")
    x = given(2, 3)
    close(applied("Unary", x, np.float32(2), func="pow"), x**2)


@pytest.mark.parametrize("operation", ["Binary", "Unary", "Activation", "Reduce", "Pool"])
def test_an_unknown_function_is_refused(operation: str) -> None:
    operands = [given(2, 4, 4, 3)] + ([given(3)] if operation == "Binary" else [])
    extra = {"Reduce": {"axes": [1]}, "Pool": {"kernel": [2, 2]}}.get(operation, {})
    with pytest.raises(ImportFailure, match=r"func must be .*, found frob"):
        applied(operation, *operands, func="frob", **extra)


def test_leaky_relu() -> None:
    x = given(2, 9)
    close(applied("LeakyRelu", x, alpha=0.3), np.where(x > 0, x, x * np.float32(0.3)))


def test_softmax_is_over_the_last_axis() -> None:
    x = given(3, 5)
    expected = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    close(applied("Softmax", x, axis=0, inputs_orders=LAST), expected)
    close(applied("Softmax", x), expected)


def test_identity_shape_and_flatten() -> None:
    x = given(2, 3, 4)
    close(applied("Identity", x), x)
    assert applied("Shape", x).tolist() == [2, 3, 4]
    close(applied("Flatten", x), x.reshape(2, 12))


def convolved(x: Array, kernel: Array, strides=(1, 1), dilation=(1, 1), pads=((0, 0), (0, 0))) -> Array:
    """A convolution of NHWC with HWIO, tap by tap."""
    wide = np.pad(x.astype(float), [(0, 0), *pads, (0, 0)])
    rows = (wide.shape[1] - (kernel.shape[0] - 1) * dilation[0] - 1) // strides[0] + 1
    columns = (wide.shape[2] - (kernel.shape[1] - 1) * dilation[1] - 1) // strides[1] + 1
    total = 0
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            top, left = i * dilation[0], j * dilation[1]
            taps = wide[:, top : top + rows * strides[0] : strides[0], left : left + columns * strides[1] : strides[1]]
            total = total + taps[:, :rows, :columns] @ kernel[i, j]
    return total


KERNEL = given(3, 2, 4, 5)
IMAGE = given(2, 7, 6, 4)


def test_convolution() -> None:
    close(applied("Conv", IMAGE, KERNEL, inputs_orders=LAST_KERNEL, strides=[1, 1]), convolved(IMAGE, KERNEL))
    close(applied("Conv", IMAGE, KERNEL), convolved(IMAGE, KERNEL))


def test_convolution_with_strides_dilation_and_padding() -> None:
    found = applied(
        "Conv", IMAGE, KERNEL, inputs_orders=LAST_KERNEL, strides=[2, 1], dilation=[2, 3], padding=[1, 2],
        number_groups=1,
    )  # fmt: skip
    close(found, convolved(IMAGE, KERNEL, (2, 1), (2, 3), ((1, 1), (2, 2))))


def test_convolution_with_implicit_padding() -> None:
    found = applied("Conv", IMAGE, KERNEL, inputs_orders=LAST_KERNEL, strides=[2, 2], implicit_padding="same")
    close(found, convolved(IMAGE, KERNEL, (2, 2), pads=((1, 1), (0, 0))))


def test_convolution_of_channels_first_with_any_order_of_the_kernel() -> None:
    expected = convolved(IMAGE, KERNEL).transpose(0, 3, 1, 2)
    image = IMAGE.transpose(0, 3, 1, 2).copy()
    close(applied("Conv", image, KERNEL, inputs_orders=Orders(("NC+", "+CK"))), expected)
    swapped = KERNEL.transpose(0, 1, 3, 2).copy()
    close(applied("Conv", image, swapped, inputs_orders=Orders(("NC+", "+KC"))), expected)


def test_grouped_convolution() -> None:
    kernel = given(3, 2, 2, 6)
    expected = np.concatenate(
        [convolved(IMAGE[..., :2], kernel[..., :3]), convolved(IMAGE[..., 2:], kernel[..., 3:])], axis=-1
    )
    close(applied("Conv", IMAGE, kernel, inputs_orders=LAST_KERNEL, number_groups=2), expected)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_convolution(multiplier: int) -> None:
    kernel = given(3, 2, 4, multiplier)
    parts = [convolved(IMAGE[..., c : c + 1], kernel[:, :, c : c + 1]) for c in range(4)]
    expected = np.concatenate(parts, axis=-1)
    close(applied("Conv", IMAGE, kernel, inputs_orders=LAST_KERNEL, number_groups=4), expected)
    for groups in ({}, {"number_groups": 4}):
        close(applied("ConvolutionDepthwise", IMAGE, kernel, inputs_orders=LAST_KERNEL, **groups), expected)
    with pytest.raises(ImportFailure, match=r"number_groups 2 and kernel .* do not fit the channels"):
        applied("ConvolutionDepthwise", IMAGE, kernel, inputs_orders=LAST_KERNEL, number_groups=2)


def test_wrong_groups_are_named() -> None:
    with pytest.raises(ImportFailure, match=r"3 groups of the 4 channels of kernel .* are not those of"):
        applied("Conv", IMAGE, KERNEL, inputs_orders=LAST_KERNEL, number_groups=3)


def spread(x: Array, kernel: Array, strides: tuple[int, int]) -> Array:
    """The transpose of a convolution with HWOI kernels, without padding: each element adds its kernel."""
    n, h, w, _ = x.shape
    rows, columns = (h - 1) * strides[0] + kernel.shape[0], (w - 1) * strides[1] + kernel.shape[1]
    total = np.zeros((n, rows, columns, kernel.shape[2]))
    for i in range(h):
        for j in range(w):
            patch = np.einsum("nc,hwoc->nhwo", x[:, i, j], kernel)
            top, left = i * strides[0], j * strides[1]
            total[:, top : top + kernel.shape[0], left : left + kernel.shape[1]] += patch
    return total


def test_transposed_convolution() -> None:
    kernel, orders = given(3, 3, 5, 4), Orders(("N+C", "+KC"))
    whole = spread(IMAGE, kernel, (2, 2))
    found = applied("ConvTranspose", IMAGE, kernel, inputs_orders=orders, strides=[2, 2])
    close(found, whole)
    same = applied(
        "ConvTranspose", IMAGE, kernel, [2, 14, 12, 5], inputs_orders=orders, strides=[2, 2], implicit_padding="same"
    )
    close(same, whole[:, :14, :12])
    close(applied("ConvTranspose", IMAGE, kernel, inputs_orders=orders, strides=[2, 2], implicit_padding="same"), same)
    close(applied("ConvTranspose", IMAGE, kernel, inputs_orders=orders, strides=[2, 2], padding=[1, 1]),
          whole[:, 1:-1, 1:-1])  # fmt: skip


def windows(x: Array, kernel: tuple[int, int], strides: tuple[int, int]) -> Array:
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, (1, 2))
    return view[:, :: strides[0], :: strides[1]]


def test_pooling() -> None:
    views = windows(IMAGE, (3, 2), (2, 1))
    fields = {"kernel": [3, 2], "strides": [2, 1], "inputs_orders": LAST}
    close(applied("Pool", IMAGE, func="max", **fields), views.max((-1, -2)))
    close(applied("Pool", IMAGE, func="avg", **fields), views.mean((-1, -2)))
    first = IMAGE.transpose(0, 3, 1, 2).copy()
    fields["inputs_orders"] = FIRST
    close(applied("Pool", first, func="max", **fields), views.max((-1, -2)).transpose(0, 3, 1, 2))


def test_explicit_padding_of_pools_is_that_of_a_pad_before() -> None:
    wide = np.pad(IMAGE - 3, [(0, 0), (1, 1), (2, 2), (0, 0)])
    fields = {"kernel": [2, 3], "strides": [2, 2], "padding": [1, 2], "inputs_orders": LAST}
    close(applied("Pool", IMAGE - 3, func="max", **fields), windows(wide, (2, 3), (2, 2)).max((-1, -2)))
    close(applied("Pool", IMAGE - 3, func="avg", **fields), windows(wide, (2, 3), (2, 2)).mean((-1, -2)))


def test_implicit_padding_of_pools_does_not_count() -> None:
    x = np.ones((1, 3, 3, 1), np.float32)
    found = applied("Pool", x, func="avg", kernel=[2, 2], strides=[2, 2], implicit_padding="same", inputs_orders=LAST)
    close(found, np.ones((1, 2, 2, 1), np.float32))


def test_batch_norm() -> None:
    gamma, beta, mean, variance = given(4), given(4, seed=1), given(4, seed=2), given(4, low=0.2)
    expected = (IMAGE - mean) / np.sqrt(variance + 0.01) * gamma + beta
    found = applied("BatchNorm", IMAGE, gamma, beta, mean, variance, epsilon=0.01, inputs_orders=LAST)
    close(found, expected)
    first = IMAGE.transpose(0, 3, 1, 2).copy()
    found = applied("BatchNorm", first, gamma, beta, mean, variance, epsilon=0.01, inputs_orders=FIRST)
    close(found, expected.transpose(0, 3, 1, 2))


def test_batch_norm_without_statistics_takes_those_of_the_batch() -> None:
    gamma, beta, nothing = given(4), given(4, seed=1), np.empty(0, np.float32)
    mean, variance = IMAGE.mean((0, 1, 2)), IMAGE.var((0, 1, 2))
    expected = (IMAGE - mean) / np.sqrt(variance + 0.01) * gamma + beta
    close(applied("BatchNorm", IMAGE, gamma, beta, nothing, nothing, epsilon=0.01, inputs_orders=LAST), expected)
    first = IMAGE.transpose(0, 3, 1, 2).copy()
    found = applied("BatchNorm", first, gamma, beta, nothing, nothing, epsilon=0.01, inputs_orders=FIRST)
    close(found, expected.transpose(0, 3, 1, 2))


def test_local_response_normalization() -> None:
    x = given(1, 2, 2, 7)
    squares = np.pad(x.astype(float) ** 2, [(0, 0)] * 3 + [(2, 2)])
    total = sum(squares[..., k : k + 7] for k in range(5))
    found = applied("LRN", x, window_size=2, alpha=0.3, beta=0.75, k=2.0, inputs_orders=LAST)
    close(found, x / (2 + 0.3 * total) ** 0.75)


def test_fully_connected_in_all_orders() -> None:
    x, w = given(3, 4), given(4, 5)
    close(applied("FullyConnected", x, w, inputs_orders=Orders(("NC", "CK"))), x @ w)
    close(applied("FullyConnected", x, w.T.copy(), inputs_orders=Orders(("NC", "KC"))), x @ w)
    close(applied("FullyConnected", given(4, 3), w, inputs_orders=Orders(("CN", "CK"))), given(4, 3).T @ w)
    close(
        applied("FullyConnected", given(3, 2, 2), w, inputs_orders=Orders(("NC", "CK"))),
        given(3, 2, 2).reshape(3, 4) @ w,
    )


@pytest.mark.parametrize("func", ["sum", "prod", "max", "min", "mean"])
@pytest.mark.parametrize("keep", [False, True])
def test_reductions_keep_axes_only_if_asked(func: str, keep: bool) -> None:
    x = given(2, 3, 4)
    close(applied("Reduce", x, func=func, axes=[1], keepdims=keep), getattr(x, func)(1, keepdims=keep))
    close(applied("Reduce", x, func=func, axes=[-1, 1], keepdims=keep), getattr(x, func)((1, 2), keepdims=keep))


def test_moving_operators() -> None:
    x = given(2, 1, 3, 4)
    close(applied("Reshape", x, [-1, 12]), x.reshape(2, 12))
    close(applied("Squeeze", x, axes=[1]), x[:, 0])
    close(applied("ExpandDims", x, axis=-1), x[..., None])
    close(applied("Transpose", x, permutation=[0, 2, 3, 1]), x.transpose(0, 2, 3, 1))
    close(applied("Pad", x, [[0, 0], [1, 0], [0, 2], [0, 0]]), np.pad(x, [(0, 0), (1, 0), (0, 2), (0, 0)]))
    found = applied("StridedSlice", x, [0, 0, 1, 3], [0, 1, 3, -9], [1, 1, 1, -2], begin_mask=1, end_mask=1,
                    shrink_axis_mask=2)  # fmt: skip
    close(found, x[:, 0, 1:3, 3:-9:-2])
    close(applied("Gather", x, [1, 0, 1]), x[[1, 0, 1]])
    close(applied("GatherV2", x, [2, 0], axis=2), x[:, :, [2, 0]])
    np.testing.assert_array_equal(applied("ArgMax", x, axis=3), x.argmax(3))
    np.testing.assert_array_equal(applied("ArgMin", x, axis=2), x.argmin(2))


def test_concat_and_stack() -> None:
    x = given(2, 3)
    model = ModelMaker()
    model.input((-1, 3))
    model.output(model.node("Concat", "x", model.number(given(2, 2)), "x", axis=1))
    close(evaluated(model, {"x": x}), np.concatenate([x, given(2, 2), x], 1))
    model = ModelMaker()
    model.input((-1, 3))
    model.output(model.node("Stack", "x", "x", axis=-1))
    close(evaluated(model, {"x": x}), np.stack([x, x], -1))


def test_every_operator_is_tested() -> None:
    text = Path(__file__).read_text()
    assert {name for name in handlers_in(OPERATORS) if f'("{name}"' not in text} == {"Const", "MarkOutput"}
