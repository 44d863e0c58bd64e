"""Convolutions and deconvolutions of every rank, odd channel counts, groups, strides, dilations and lopsided pads."""

from __future__ import annotations

from cases.case import Case, Operand, f32
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.width_windows import WidthWindows
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT64, INT32, UINT8

BATCH = symbol("batch", 1, 2, 4)
WIDTH = symbol("width", 5, 7, 12)


def conv(strides=(1, 1), begin=(0, 0), end=None, dilations=(1, 1), groups=1) -> Convolution:
    return Convolution(strides, begin, begin if end is None else end, dilations, groups)


def deconv(strides=(1, 1), begin=(0, 0), end=None, dilations=(1, 1), groups=1, extra=(0, 0)) -> Deconvolution:
    return Deconvolution(strides, begin, begin if end is None else end, dilations, groups, extra)


CONVOLUTIONS = (
    Case("1x1", conv(), (f32(1, 16, 5, 7), f32(20, 16, 1, 1), f32(20))),
    Case("1x1-one-channel", conv(), (f32(2, 1, 3, 3), f32(1, 1, 1, 1))),
    Case("1x1-stride", conv(strides=(2, 2)), (f32(1, 17, 7, 5), f32(16, 17, 1, 1), f32(16))),
    Case("3x3", conv(begin=(1, 1)), (f32(1, 17, 6, 5), f32(20, 17, 3, 3), f32(20))),
    Case("3x3-no-pad", conv(), (f32(1, 3, 7, 9), f32(17, 3, 3, 3))),
    Case("3x3-stride", conv(strides=(2, 2), begin=(1, 1)), (f32(1, 16, 9, 9), f32(16, 16, 3, 3), f32(16))),
    Case("first-layer", conv(strides=(2, 2), begin=(3, 3)), (f32(1, 3, 17, 15), f32(20, 3, 7, 7), f32(20))),
    Case("5x5-one-channel", conv(), (f32(1, 1, 12, 12), f32(20, 1, 5, 5), f32(20))),
    Case("lopsided", conv((2, 1), (0, 1), (1, 2)), (f32(2, 3, 6, 5), f32(4, 3, 3, 2), f32(4))),
    Case("dilated", conv(begin=(2, 2), dilations=(2, 2)), (f32(1, 3, 7, 7), f32(5, 3, 3, 3))),
    Case("dilated-stride", conv((2, 3), (1, 2), (2, 0), (3, 2)), (f32(1, 2, 11, 10), f32(3, 2, 2, 3), f32(3))),
    Case("groups", conv(begin=(1, 1), groups=4), (f32(1, 16, 5, 5), f32(20, 4, 3, 3), f32(20))),
    Case("depthwise", conv(begin=(1, 1), groups=17), (f32(1, 17, 7, 6), f32(17, 1, 3, 3), f32(17))),
    Case("depthwise-stride", conv((2, 2), (1, 1), groups=32), (f32(1, 32, 7, 7), f32(32, 1, 3, 3), f32(32))),
    Case("depthwise-multiplied", conv(begin=(2, 2), groups=3), (f32(2, 3, 6, 5), f32(6, 1, 5, 5))),
    Case("whole-input", conv(), (f32(2, 20, 4, 4), f32(17, 20, 4, 4), f32(17))),
    Case("1d", Convolution((2,), (1,), (2,), (1,), 1), (f32(2, 3, 11), f32(5, 3, 4), f32(5))),
    Case("3d", Convolution((1, 2, 1), (1, 0, 1), (0, 1, 1), (1, 1, 2), 1), (f32(1, 2, 4, 5, 6), f32(3, 2, 2, 3, 2))),
    Case("symbolic-batch", conv(begin=(1, 1)), (f32(BATCH, 3, 5, 5), f32(17, 3, 3, 3), f32(17)), symbols={"batch": 3}),
    Case(
        "symbolic-width", conv((1, 2), (1, 1)), (f32(BATCH, 3, 4, WIDTH), f32(4, 3, 3, 3)),
        symbols={"batch": 2, "width": 8},
    ),
    Case(
        "symbolic-width-no-pad", conv((1, 2)), (f32(1, 3, 4, WIDTH), f32(4, 3, 3, 3)), symbols={"width": 6},
    ),
    Case("float64", conv(), (Operand(FLOAT64, (1, 3, 5, 5)), Operand(FLOAT64, (2, 3, 3, 3))), tolerance=1e-12),
    Case("float16", conv(begin=(1, 1)), (Operand(FLOAT16, (1, 16, 5, 5)), Operand(FLOAT16, (17, 16, 3, 3)))),
    Case("bfloat16", conv(begin=(1, 1)), (Operand(BFLOAT16, (1, 16, 5, 5)), Operand(BFLOAT16, (17, 16, 3, 3)))),
    Case("int32", conv(begin=(1, 1)), (Operand(INT32, (1, 3, 5, 5), -9, 9), Operand(INT32, (4, 3, 3, 3), -9, 9))),
)  # fmt: skip

DECONVOLUTIONS = (
    Case("1x1", deconv(), (f32(1, 16, 3, 5), f32(16, 17, 1, 1), f32(17))),
    Case("3x3", deconv(begin=(1, 1)), (f32(2, 3, 5, 4), f32(3, 5, 3, 3), f32(5))),
    Case("stride", deconv((2, 2), (1, 1), extra=(1, 1)), (f32(1, 17, 4, 5), f32(17, 3, 3, 3), f32(3))),
    Case("stride-whole", deconv((2, 2)), (f32(1, 16, 4, 5), f32(16, 3, 2, 2))),
    Case("stride-over", deconv((3, 3)), (f32(1, 4, 3, 4), f32(4, 3, 2, 2), f32(3))),
    Case("lopsided", deconv((2, 3), (0, 1), (2, 1), extra=(0, 2)), (f32(1, 3, 4, 3), f32(3, 2, 4, 5))),
    Case("dilated", deconv((1, 1), (1, 2), dilations=(2, 3)), (f32(1, 3, 5, 5), f32(3, 2, 3, 2))),
    Case("dilated-stride", deconv((2, 2), (1, 1), (0, 2), (2, 3)), (f32(1, 3, 4, 5), f32(3, 2, 3, 2), f32(2))),
    Case("groups", deconv((2, 1), (1, 1), groups=4), (f32(1, 16, 3, 4), f32(16, 5, 3, 3), f32(20))),
    Case("depthwise", deconv((2, 2), (1, 1), groups=17), (f32(1, 17, 4, 4), f32(17, 1, 4, 4))),
    Case("wider", deconv((2, 2), (1, 0), (-2, -1)), (f32(1, 3, 3, 3), f32(3, 2, 3, 3))),
    Case("1d", Deconvolution((2,), (1,), (0,), (1,), 1, (1,)), (f32(2, 3, 5), f32(3, 4, 4), f32(4))),
    Case(
        "3d", Deconvolution((2, 1, 2), (1, 0, 1), (0, 1, 1), (1, 1, 1), 1, (0, 0, 1)),
        (f32(1, 2, 3, 3, 2), f32(2, 3, 2, 3, 3)),
    ),
    Case(
        "symbolic", deconv((2, 2), (1, 1)), (f32(BATCH, 3, 4, WIDTH), f32(3, 4, 3, 3), f32(4)),
        symbols={"batch": 3, "width": 5},
    ),
)  # fmt: skip

WINDOWS = (
    Case("few-channels", WidthWindows(8, 2, 3, 5), (f32(2, 3, 4, 10),)),
    Case("one-channel", WidthWindows(8, 1, 0, 3), (Operand(FLOAT16, (1, 1, 3, 10)),)),
    Case("beyond", WidthWindows(4, 3, 1, 4), (f32(BATCH, 2, 3, 9),), symbols={"batch": 3}),
    Case("image", WidthWindows(8, 2, 3, 7), (Operand(FLOAT16, (BATCH, 3, 5, 14)),), symbols={"batch": 3}),
    Case("patches", WidthWindows(16, 16, 0, 2), (Operand(FLOAT16, (2, 3, 4, 32)),)),
    Case("bytes", WidthWindows(8, 2, 3, 5), (Operand(UINT8, (2, 3, 4, 10)),)),
)

CASES = (*CONVOLUTIONS, *DECONVOLUTIONS, *WINDOWS)
