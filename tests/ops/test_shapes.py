"""Inferred types, and what the errors say when inputs do not fit."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cases.case import Operand, f32, i64
from tensorwright.base.errors import ShapeError
from tensorwright.graph.graph import apply, input_value
from tensorwright.ops import indexing, normalization, shape
from tensorwright.ops.activation import PRelu, Sigmoid
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.elementwise import Unary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.resize import Resize
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16, INT32, UINT8
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 8, 64)
SIDE = symbol("side", 32, 224, 512)
PLAIN = {"strides": (1, 1), "pads_begin": (0, 0), "pads_end": (0, 0), "dilations": (1, 1)}


def infer(op, *operands):
    return op.infer([operand.type for operand in operands])


def test_symbolic_extents_pass_through_a_network_head():
    x = f32(BATCH, 3, SIDE, SIDE)
    first = infer(Convolution((2, 2), (3, 3), (3, 3), (1, 1)), x, f32(64, 3, 7, 7))
    half = (SIDE - 1) // 2 + 1
    assert first.shape == (BATCH, 64, half, half)
    pooled = Pool("max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)).infer([first])
    assert pooled.shape[2] == (half - 1) // 2 + 1
    assert first.tuning_shape == (8, 64, 112, 112)
    assert pooled.tuning_shape == (8, 64, 56, 56)
    mean = Reduction("mean", (2, 3)).infer([pooled])
    assert mean.shape == (BATCH, 64, 1, 1)
    assert shape.Reshape((BATCH, 64)).infer([mean]).shape == (BATCH, 64)


def test_deconvolution_undoes_the_extents_of_a_convolution():
    op = Deconvolution((2, 2), (1, 1), (1, 1), (1, 1), 1, (1, 1))
    assert infer(op, f32(BATCH, 8, SIDE, 7), f32(8, 4, 3, 3)).shape == (BATCH, 4, SIDE * 2, 14)


def test_ceil_mode_drops_a_window_that_starts_in_the_padding():
    op = Pool("max", (2, 2), (2, 2), (1, 1), (1, 1), (1, 1), ceil_mode=True)
    assert infer(op, f32(1, 1, 5, 6)).shape == (1, 1, 3, 4)


def test_specialising_replaces_symbols_in_attributes():
    op = shape.Slice((0, SIDE - 1), (BATCH, SIDE), (1, -1)).specialised({"batch": 2, "side": 40})
    assert op.attributes == (("starts", (0, 39)), ("extents", (2, 40)), ("steps", (1, -1)))


WRONG = [
    (Convolution(**PLAIN), [f32(1, 3, 8, 8), f32(4, 5, 3, 3)],
     "Convolution: input weights: expected [O, C/groups, ...] = [O, 3/1, ...] for x [1, 3, 8, 8], found [4, 5, 3, 3]"),
    (Convolution(**PLAIN), [f32(1, 3, 2, 8), f32(4, 3, 3, 3)], "spatial axis 0 of x [1, 3, 2, 8]"),
    (Convolution(**PLAIN), [f32(1, 3, 8), f32(4, 3, 3)], "strides: expected 1 values"),
    (Convolution(**PLAIN), [f32(1, 3, 8, 8), f32(4, 3, 3, 3), f32(3)], "input bias: expected shape [4], found [3]"),
    (Convolution(**PLAIN, groups=3), [f32(1, 3, 8, 8), f32(4, 1, 3, 3)], "multiple of groups=3 output channels"),
    (Convolution(**PLAIN), [f32(1, 3, 8, 8), Operand(FLOAT16, (4, 3, 3, 3))], "expected float32 as in x"),
    (Convolution(**PLAIN), [f32(1, 3, 8, 8)], "expected 2 to 3 inputs, found 1"),
    (Deconvolution(**PLAIN, groups=1, output_padding=(0, 0)), [f32(1, 3, 8, 8), f32(4, 5, 3, 3)], "with C = 3"),
    (MatMul(), [f32(3, 4), f32(5, 6)], "expected equal inner extents, found a [3, 4], b [5, 6]: 4 against 5"),
    (MatMul(), [f32(2, 3, 4), f32(3, 4, 5)], "expected batch axes that broadcast"),
    (MatMul(), [f32(4), f32(4, 5)], "input a: expected rank"),
    (Pool("max", (9, 9), (1, 1), (0, 0), (0, 0), (1, 1)), [f32(1, 1, 5, 5)], "the window exceeds the input"),
    (Pool("average", (2, 2), (1, 1), (0, 0), (0, 0), (1, 1)), [Operand(INT32, (1, 1, 5, 5))], "floating type"),
    (Sigmoid(), [Operand(INT32, (3,))], "Sigmoid: input x: expected a floating type, found int32"),
    (PRelu(), [f32(3, 4), f32(5)], "input slope: expected a shape that broadcasts to [3, 4], found [5]"),
    (Reduction("add", (2,)), [f32(3, 4)], "axes: expected 0 <= axes < 2, found 2"),
    (Reduction("add", (1, 1)), [f32(3, 4)], "expected each once"),
    (normalization.Softmax(3), [f32(3, 4)], "axis: expected 0 <= axis < 2, found 3"),
    (normalization.LayerNormalization(1), [f32(3, 4), f32(5)], "input scale: expected a shape that broadcasts to"),
    (normalization.GroupNormalization(3), [f32(2, 8, 4), f32(8), f32(8)], "expected a divisor of the 8 channels"),
    (normalization.BatchNormalization(), [f32(2, 8, 4), *[f32(7)] * 4], "input scale: expected shape [8], found [7]"),
    (shape.Reshape((5, 5)), [f32(3, 8)], "expected 24 elements as in x [3, 8], found [5, 5] with 25"),
    (shape.Transpose((0, 0)), [f32(3, 8)], "expected each axis of x [3, 8] once"),
    (shape.Slice((0, 5), (3, 4), (1, 1)), [f32(3, 8)], "axis 1 of extent 8: elements 5 to 8 are not all inside"),
    (shape.Slice((0, 2), (3, 4), (1, -1)), [f32(3, 8)], "axis 1 of extent 8: elements 2 to -1 are not all inside"),
    (shape.Concatenation(1), [f32(3, 8), f32(4, 8)], "input 1: expected [3, 8] but for axis 1, found [4, 8]"),
    (shape.Pad((0, 3), (0, 0), "reflect"), [f32(3, 3)], "expected at least 4 elements for reflect, found 3"),
    (shape.Expand((4,)), [f32(3)], "Expand: shapes (3,) and (4,) do not broadcast"),
    (shape.Tile((2,)), [f32(3, 3)], "repeats: expected one value per axis"),
    (indexing.Gather(0), [f32(3, 3), f32(2)], "input indices: expected an integer type, found float32"),
    (indexing.GatherElements(0), [f32(3, 3), i64(2, 4)], "expected at most 3 along axis 1"),
    (indexing.GatherNd(), [f32(3, 3), i64(2, 3)], "expected a last axis of 0 to 2 positions"),
    (indexing.TopKIndices(5, 1), [f32(3, 4)], "k: expected 0 to 4, the extent of axis 1, found 5"),
    (indexing.ScatterNd(), [f32(3, 4), i64(2, 1), f32(2, 3)], "input updates: expected shape [2, 4], found [2, 3]"),
    (Resize("linear", (1.0, 2.0), (3, 8)), [Operand(INT32, (3, 4))], "expected a floating type"),
    (Resize("linear", (1.0,), (3, 8)), [f32(3, 4)], "scales: expected one value per axis"),
    (Resize("nearest", (None, 1.0), (3, 4)), [f32(0, 4)], "the input has none along axis 0; found [3, 4]"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "operands", "message"), WRONG, ids=lambda part: part if isinstance(part, str) else "")
def test_errors_name_expectation_and_finding(op, operands, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        infer(op, *operands)


def test_nothing_is_repeated_without_taking_memory():
    assert shape.Tile((1 << 40, 0)).reference(np.ones((3, 2))).shape == (3 << 40, 0)


def test_no_operator_gives_negative_extents():
    with pytest.raises(ShapeError, match="no negative extents"):
        apply(shape.Expand((2, -1)), input_value("x", f32(2, 1).type))


def test_numbers_added_to_integers_are_of_their_type():
    with pytest.raises(ShapeError, match="value: expected one of uint8, found -7"):
        apply(shape.Pad((1,), (0,), "constant", -7), input_value("x", TensorType(UINT8, (3,))))


def test_floats_have_no_bits():
    with pytest.raises(ShapeError, match="'bit_not' is of integers, found float32"):
        apply(Unary("bit_not"), input_value("x", f32(2).type))


def test_windows_in_far_padding_take_no_memory(rng):
    """The same as in near padding."""
    x, weights = rng.standard_normal((1, 2, 5)), rng.standard_normal((3, 2, 2))
    near = Convolution((7,), (14,), (14,), (2,)).reference(x, weights)
    far = Convolution((7 << 30,), (7 << 31,), (7 << 31,), (2,)).reference(x, weights)
    assert near.shape == far.shape
    assert (near[..., 2] == far[..., 2]).all()
