"""Convolutions: pointwise, strided, dilated, padded unevenly, grouped, along one to three axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regions.example import BytesExample, Example, examples
from regions.following import constant, followed, weights
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.region import Region, joined, region_of
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.quantization import Dequantize
from tensorwright.ops.shape import Transpose
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, UINT8, DType
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 5)
HEIGHT, WIDTH = symbol("height", 5, 9, 12), symbol("width", 5, 26, 47)
Ints = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A convolution and what follows it, in words: "bias", then see `following`."""

    x: tuple[Dim, ...]
    outputs: int
    kernel: Ints
    strides: Ints = (1, 1)
    begin: Ints = (0, 0)
    end: Ints | None = None
    dilations: Ints = (1, 1)
    groups: int = 1
    tail: str = "bias"
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        end = self.begin if self.end is None else self.end
        channels = self.x[1] // self.groups
        operands = [
            input_value("x", TensorType(self.dtype, self.x)),
            weights(rng, self.dtype, self.outputs, channels, *self.kernel),
        ]
        biased, tail = self.tail.startswith("bias"), self.tail.removeprefix("bias")
        if biased:
            operands.append(weights(rng, self.dtype, self.outputs))
        op = Convolution(self.strides, self.begin, end, self.dilations, self.groups)
        return followed(apply(op, *operands), tail, rng)


DIRECT = {
    "pointwise": Window((1, 32, 7, 5), 48, (1, 1), tail="bias relu"),
    "pointwise-odd-channels": Window((2, 19, 5, 7), 21, (1, 1), tail="bias add relu"),
    "pointwise-stride": Window((1, 17, 9, 7), 33, (1, 1), (2, 2), tail="bias clip"),
    "pointwise-row-epilogue": Window((1, 16, 3, 5), 16, (1, 1), tail="row"),
    "pointwise-padded": Window((1, 8, 4, 3), 16, (1, 1), (1, 1), (1, 2), (0, 1)),
    "one-pixel": Window((BATCH, 40, 1, 1), 70, (1, 1), tail="bias hardswish"),
    "3x3": Window((1, 18, 6, 9), 40, (3, 3), begin=(1, 1), tail="bias add relu"),
    "3x3-small-map": Window((BATCH, 20, 7, 7), 36, (3, 3), begin=(1, 1), tail="scale"),
    "3x3-wide": Window((1, 6, 4, 61), 17, (3, 3), begin=(1, 1), tail=""),
    "3x3-stride": Window((1, 16, 9, 11), 32, (3, 3), (2, 2), (1, 1), tail="bias relu"),
    "3x3-dilated": Window((1, 7, 8, 9), 16, (3, 3), begin=(2, 3), end=(3, 2), dilations=(2, 3)),
    "5x5-no-pad": Window((1, 20, 8, 8), 50, (5, 5)),
    "lopsided": Window((2, 9, 6, 5), 20, (4, 2), (2, 1), (0, 1), (3, 2), tail="bias add"),
    "more-padding-than-kernel": Window((1, 5, 2, 3), 16, (2, 2), begin=(3, 3), tail="bias relu"),
    "first-layer-7x7": Window((1, 3, 19, 23), 20, (7, 7), (2, 2), (3, 3), tail="bias relu"),
    "first-layer-11x11": Window((1, 3, 27, 31), 16, (11, 11), (4, 4)),
    "one-channel": Window((BATCH, 1, 12, 12), 20, (5, 5), tail="bias relu"),
    "groups-of-blocks": Window((1, 48, 5, 6), 96, (3, 3), begin=(1, 1), groups=3, tail="bias relu"),
    "groups-odd": Window((1, 60, 4, 5), 51, (1, 1), groups=3, tail="bias relu"),
    "groups-odd-3x3": Window((2, 24, 5, 4), 40, (3, 3), begin=(1, 1), groups=4, tail="scale add"),
    "1d": Window((2, 7, 30), 18, (3,), (2,), (1,), (2,), (1,), tail="bias relu"),
    "1d-pointwise": Window((BATCH, 20, 11), 18, (1,), (1,), (0,), (0,), (1,), tail="bias add"),
    "3d": Window((1, 5, 4, 5, 6), 17, (3, 2, 3), (1, 2, 1), (1, 0, 1), (1, 1, 1), (1, 1, 1)),
    "3d-pointwise": Window((1, 18, 3, 2, 4), 20, (1, 1, 1), (1, 1, 1), (0, 0, 0), None, (1, 1, 1), tail="add"),
    "pointwise-one-column": Window((1, 32, 20, 1), 32, (1, 1), tail="bias"),
    "pointwise-one-column-residual": Window((1, 18, 12, 1), 20, (1, 1), tail="add"),
    "3d-pointwise-one-column": Window((2, 18, 1, 7, 1), 20, (1, 1, 1), (1, 1, 1), (0, 0, 0), None, (1, 1, 1)),
}  # fmt: skip


DEEP = {
    "pointwise": Window((1, 1548, 9, 7), 70, (1, 1), tail="bias add relu"),
    "pointwise-stride": Window((2, 1540, 5, 9), 40, (1, 1), (2, 2), tail="bias"),
    "3x3": Window((BATCH, 260, 7, 5), 40, (3, 3), begin=(1, 1), tail="bias add relu"),
    "3x3-far-taps": Window((1, 256, 6, 19), 24, (3, 3), begin=(4, 7), dilations=(4, 7), tail="bias clip"),
    "3d": Window((1, 264, 2, 3, 9), 17, (2, 1, 3), (1, 1, 2), (1, 0, 1), (0, 0, 1), (1, 1, 1), tail=""),
    "bfloat16": Window((1, 456, 4, 9), 40, (3, 3), begin=(1, 1), tail="bias relu", dtype=BFLOAT16),
}
"""So many channels that they are summed in parts, in tiles of AVX2 as in those of AVX-512."""


@dataclass(frozen=True)
class BytesWindow:
    """A convolution of bytes by a constant of signed ones, brought into float32, and what follows, in words:
    see `following`.
    """

    x: tuple[Dim, ...]
    outputs: int
    kernel: Ints
    strides: Ints = (1, 1)
    begin: Ints = (0, 0)
    tail: str = "bytes"
    groups: int = 1
    dilations: Ints | None = None
    left: DType = UINT8

    def region(self, rng: np.random.Generator) -> Region:
        drawn = rng.integers(-128, 128, (self.outputs, self.x[1] // self.groups, *self.kernel))
        right = constant(drawn.astype(np.int8))
        dilations = self.dilations or (1,) * len(self.kernel)
        op = Convolution(self.strides, self.begin, self.begin, dilations, self.groups)
        total = apply(op, input_value("x", TensorType(self.left, self.x)), right)
        column = (self.outputs, *[1] * len(self.kernel))
        scale = constant(rng.uniform(1e-4, 2e-4, column).astype(np.float32))
        zero = constant(rng.integers(-999, 999, column).astype(np.int32))
        return followed(apply(Dequantize(), total, scale, zero), self.tail, rng, anchor=total)


BYTES = {
    "pointwise": BytesWindow((1, 32, 7, 5), 48, (1, 1)),
    "3x3": BytesWindow((BATCH, 20, 6, 9), 40, (3, 3), begin=(1, 1)),
    "3x3-stride": BytesWindow((1, 16, 9, 11), 33, (3, 3), (2, 2), (1, 1), tail=""),
    "pointwise-residual": BytesWindow((1, 36, 6, 5), 40, (1, 1), tail="residual relu bytes"),
    "first-layer": BytesWindow((1, 3, 19, 23), 20, (7, 7), (2, 2), (3, 3)),
    "deep": BytesWindow((1, 268, 5, 4), 70, (3, 3), begin=(1, 1), tail=""),
    "odd-channels": BytesWindow((2, 21, 7, 5), 18, (3, 3), begin=(1, 1), tail=""),
    "few-channels": BytesWindow((2, 4, 8, 8), 17, (5, 5), begin=(2, 2)),
    "1d": BytesWindow((2, 8, 30), 18, (3,), (2,), (1,), tail=""),
}

LANEWISE = {
    "depthwise": Window((BATCH, 33, 9, 11), 33, (3, 3), begin=(1, 1), groups=33, tail="bias clip"),
    "depthwise-stride": Window((1, 20, 8, 9), 20, (3, 3), (2, 2), (0, 0), (1, 1), groups=20, tail="bias hardswish"),
    "depthwise-5x5-dilated": Window((2, 16, 10, 13), 16, (5, 5), begin=(4, 4), dilations=(2, 2), groups=16, tail="add"),
    "depthwise-7x7": Window((1, 19, 7, 7), 19, (7, 7), begin=(3, 3), groups=19),
    "depthwise-1d": Window((1, 18, 40), 18, (4,), (2,), (1,), (2,), (1,), groups=18),
    "depthwise-3d": Window((1, 17, 3, 4, 5), 17, (3, 3, 3), (1,) * 3, (1,) * 3, None, (1,) * 3, groups=17),
    "groups-of-2": Window((1, 36, 5, 6), 36, (3, 3), begin=(1, 1), groups=18, tail="bias relu"),
    "groups-of-4": Window((1, 32, 6, 9), 32, (3, 3), (2, 2), (1, 1), groups=8, tail="bias add relu"),
}  # fmt: skip

WHOLE_ACCESSES = {
    "strided": Window((BATCH, 40, 9, 11), 40, (3, 3), (2, 2), (1, 1), groups=40, tail="bias clip", dtype=FLOAT16),
    "residual": Window((2, 64, 5, 6), 64, (3, 3), begin=(1, 1), groups=64, tail="add scale relu", dtype=BFLOAT16),
    "7x7": Window((1, 32, 8, 9), 32, (7, 7), begin=(3, 3), groups=32, dtype=FLOAT16),
    "dilated": Window((1, 12, 9, 10), 12, (3, 5), (1, 1), (2, 4), None, (2, 2), groups=12, tail="bias hardswish"),
    "lopsided": Window((1, 8, 6, 7), 8, (4, 2), (2, 1), (0, 1), (3, 2), groups=8, tail="", dtype=FLOAT16),
    "inside": Window((1, 8, 9, 8), 8, (2, 5), groups=8, tail="bias image"),
    "one-axis": Window((2, 24, 30), 24, (4,), (2,), (1,), (2,), (1,), groups=24, dtype=FLOAT16),
}
"""Depthwise, of whole accesses of GPUs."""


@dataclass(frozen=True)
class TurnedWindow:
    """A convolution of images whose channels lie innermost, between the transpositions that say so."""

    window: Window

    def region(self, rng: np.random.Generator) -> Region:
        inner = self.window.region(rng)
        x, rank = next(value for value in inner.inputs if value.type.rank > 1), len(self.window.x)
        pixels = (x.type.shape[0], *x.type.shape[2:], x.type.shape[1])
        given = input_value("pixels", TensorType(x.type.dtype, pixels))
        turned = apply(Transpose((0, rank - 1, *range(1, rank - 1))), given)
        moved = dict[Value, Value]({x: turned})
        for value in inner.values:
            moved[value] = apply(value.op, *(moved.get(operand, operand) for operand in value.inputs))
        back = apply(Transpose((0, *range(2, rank), 1)), moved[inner.output])
        stage = region_of([moved[value] for value in inner.values], moved[inner.values[0]])
        return joined([region_of([turned]), stage, region_of([back])])


TURNED = {
    "7x7": TurnedWindow(Window((1, 24, 8, 9), 24, (7, 7), begin=(3, 3), groups=24, dtype=FLOAT16)),
    "3x3-stride": TurnedWindow(Window((BATCH, 40, 7, 6), 40, (3, 3), (2, 2), (1, 1), groups=40, tail="bias relu")),
    "one-axis": TurnedWindow(Window((2, 16, 9), 16, (3,), (1,), (1,), None, (1,), groups=16, tail="gelu scale")),
}

WINOGRAD = {
    "7x7": Window((BATCH, 20, 7, 7), 24, (3, 3), begin=(1, 1), tail="bias add relu"),
    "13x9": Window((1, 33, 13, 9), 40, (3, 3), begin=(1, 1), tail="bias relu"),
    "no-padding": Window((2, 16, 10, 18), 64, (3, 3), tail=""),
    "lopsided-padding": Window((1, 18, 6, 11), 48, (3, 3), begin=(0, 1), end=(1, 0), tail="scale add"),
    "tiny": Window((1, 16, 2, 3), 16, (3, 3), begin=(1, 1), tail="bias clip"),
    "wide-padding": Window((1, 17, 5, 4), 16, (3, 3), begin=(2, 2), tail="bias"),
    "5x5-lenet": Window((BATCH, 20, 12, 12), 50, (5, 5), tail="bias"),
    "5x5-padded": Window((2, 16, 7, 13), 40, (5, 5), begin=(2, 2), tail="bias add relu"),
    "4x4": Window((1, 16, 9, 8), 16, (4, 4), begin=(1, 2), end=(2, 1), tail="bias"),
    "7x7-stride-2": Window((BATCH, 3, 29, 26), 40, (7, 7), (2, 2), begin=(3, 3), tail="bias relu"),
    "6x6-stride-2": Window((2, 4, 12, 19), 16, (6, 6), (2, 2), begin=(2, 2), tail="bias add"),
    "7x6-stride-2": Window((1, 1, 21, 10), 24, (7, 6), (2, 2), begin=(0, 1), end=(4, 3), tail=""),
    "3x3-stride-2": Window((BATCH, 20, 13, 9), 24, (3, 3), (2, 2), begin=(1, 1), tail="bias add relu"),
    "14x14": Window((1, 16, 14, 14), 32, (3, 3), begin=(1, 1), tail="bias add relu"),
    "many-weights": Window((1, 96, 7, 6), 192, (3, 3), begin=(1, 1), tail="bias"),
    "5x5-short": Window((1, 16, 7, 6), 16, (5, 5), begin=(2, 2), tail="bias"),
    "14x14-stride-2": Window((1, 32, 14, 14), 64, (3, 3), (2, 2), begin=(1, 1), tail="bias relu"),
    "3x3-stride-2-lopsided": Window((2, 18, 12, 18), 48, (3, 3), (2, 2), begin=(0, 1), end=(1, 0), tail="scale add"),
    "3x3-stride-2-tiny": Window((1, 16, 3, 2), 16, (3, 3), (2, 2), begin=(1, 1), tail=""),
    "5x5-stride-2": Window((1, 20, 17, 14), 24, (5, 5), (2, 2), begin=(2, 1), end=(1, 2), tail="bias clip"),
    "4x6-stride-2": Window((1, 17, 16, 11), 32, (4, 6), (2, 2), begin=(1, 2), end=(1, 2), tail="bias"),
    "7x7-stride-2-blocked": Window((1, 16, 17, 17), 32, (7, 7), (2, 2), begin=(3, 3), tail="bias relu"),
    "3x3-dilated": Window((BATCH, 20, 13, 16), 24, (3, 3), begin=(2, 4), dilations=(2, 4), tail="bias add relu"),
    "5x3-dilated": Window((1, 16, 19, 10), 40, (5, 3), begin=(3, 0), end=(9, 5), dilations=(3, 1), tail="bias"),
    "3x5": Window((1, 18, 6, 9), 24, (3, 5), begin=(1, 0), end=(1, 3), tail="relu"),
}  # fmt: skip

POINTS = {
    "symbolic": Window((BATCH, 32, 5, 7), 32, (3, 3), begin=(1, 1), tail="bias add relu"),
    "deep": Window((1, 128, 5, 4), 32, (3, 3), begin=(1, 1), tail="bias"),
    "lopsided": Window((2, 24, 9, 8), 40, (3, 3), begin=(0, 2), end=(1, 0), tail="scale add"),
    "inside": Window((1, 16, 10, 13), 48, (3, 3), tail=""),
}
"""Of whole fragments of channels, in float32: Winograd's algorithm on GPUs."""

TAPWISE = {
    "3x3": BytesWindow((BATCH, 33, 9, 11), 33, (3, 3), begin=(1, 1), groups=33, tail="clip bytes"),
    "3x3-stride": BytesWindow((1, 20, 8, 37), 20, (3, 3), (2, 2), (1, 1), groups=20),
    "3x3-no-padding": BytesWindow((2, 16, 3, 24), 16, (3, 3), groups=16, tail=""),
    "5x5-narrow": BytesWindow((1, 17, 7, 3), 17, (5, 5), begin=(2, 2), groups=17, tail="residual bytes"),
    "7x7": BytesWindow((1, 19, 9, 17), 19, (7, 7), begin=(3, 3), groups=19),
    "9x9-sparse": BytesWindow((1, 5, 20, 30), 5, (9, 9), (11, 11), (4, 4), groups=5, tail=""),
    "dilated": BytesWindow((2, 16, 10, 13), 16, (5, 3), begin=(4, 3), groups=16, dilations=(2, 3)),
    "dilated-stride": BytesWindow((1, 18, 9, 21), 18, (3, 5), (1, 3), (1, 4), groups=18, dilations=(1, 2)),
    "1d": BytesWindow((1, 18, 40), 18, (4,), (2,), (1,), groups=18, tail=""),
    "one-pixel": BytesWindow((1, 18, 1, 1), 18, (3, 3), begin=(1, 1), groups=18, tail=""),
}  # fmt: skip
TO_BYTES = {
    "first-layer": Window((1, 3, 19, 23), 20, (7, 7), (2, 2), (3, 3), tail="bias relu bytes"),
    "blocked": Window((1, 20, 7, 9), 24, (3, 3), begin=(1, 1), tail="bias residual bytes"),
    "open": Window((1, 20, HEIGHT, WIDTH), 24, (3, 3), begin=(1, 1), tail="bias residual bytes"),
    "depthwise": Window((1, 20, 8, 9), 20, (3, 3), (2, 2), (1, 1), groups=20, tail="bias clip bytes"),
}

OPEN = {
    "pointwise": Window((BATCH, 32, HEIGHT, WIDTH), 48, (1, 1), tail="bias add relu"),
    "pointwise-odd-channels": Window((1, 19, HEIGHT, WIDTH), 21, (1, 1), tail="bias scale"),
    "pointwise-row-epilogue": Window((1, 16, HEIGHT, 5), 16, (1, 1), tail="row"),
    "pointwise-stride": Window((1, 17, HEIGHT, WIDTH), 70, (1, 1), (2, 2), tail="bias clip"),
    "pointwise-one-column": Window((1, 18, WIDTH, 1), 20, (1, 1), tail="add"),
    "3x3": Window((BATCH, 20, HEIGHT, WIDTH), 40, (3, 3), begin=(1, 1), tail="bias add relu"),
    "3x3-stride": Window((1, 33, HEIGHT, WIDTH), 32, (3, 3), (2, 2), (1, 1), tail="bias relu"),
    "3x3-dilated": Window((1, 7, HEIGHT, WIDTH), 16, (3, 3), begin=(2, 3), end=(3, 2), dilations=(2, 3)),
    "3x3-dilated-winograd": Window((2, 16, HEIGHT, WIDTH), 24, (3, 3), begin=(2, 3), dilations=(2, 3), tail="bias"),
    "3x3-deep": Window((1, 272, HEIGHT, WIDTH), 24, (3, 3), begin=(1, 4), dilations=(1, 4), tail="bias add"),
    "5x5-no-pad": Window((1, 20, HEIGHT, WIDTH), 24, (5, 5), tail=""),
    "lopsided": Window((2, 9, 6, WIDTH), 20, (4, 2), (2, 1), (0, 1), (3, 2), tail="bias add"),
    "more-padding-than-kernel": Window((1, 5, HEIGHT, 3), 16, (2, 2), begin=(3, 3), tail="bias relu"),
    "first-layer-7x7": Window((1, 3, HEIGHT, WIDTH), 20, (7, 7), (2, 2), (3, 3), tail="bias relu"),
    "1d": Window((2, 7, WIDTH), 18, (3,), (2,), (1,), (2,), (1,), tail="bias relu"),
    "1d-pointwise": Window((BATCH, 20, WIDTH), 18, (1,), (1,), (0,), (0,), (1,), tail="bias add"),
    "depthwise": Window((BATCH, 33, HEIGHT, WIDTH), 33, (3, 3), begin=(1, 1), groups=33, tail="bias clip"),
    "depthwise-stride": Window((1, 20, 8, WIDTH), 20, (3, 3), (2, 2), (0, 0), (1, 1), groups=20, tail="hardswish"),
    "depthwise-5x5-dilated": Window((2, 16, HEIGHT, 13), 16, (5, 5), begin=(4, 4), dilations=(2, 2), groups=16),
    "depthwise-1d": Window((1, 18, WIDTH), 18, (4,), (2,), (1,), (2,), (1,), groups=18, tail="bias add"),
    "groups-of-4": Window((BATCH, 36, HEIGHT, WIDTH), 36, (3, 3), begin=(1, 1), groups=9, tail="bias add relu"),
    "groups-of-2-stride": Window((1, 20, HEIGHT, 9), 20, (5, 3), (2, 2), (2, 1), groups=10, tail="bias clip"),
    "groups-of-blocks": Window((2, 48, HEIGHT, WIDTH), 96, (3, 3), begin=(1, 1), groups=3, tail="bias relu"),
    "groups-of-24": Window((1, 72, HEIGHT, WIDTH), 72, (3, 3), (2, 2), (1, 1), groups=3, tail="bias add relu"),
    "groups-fewer-outputs": Window((1, 35, 6, WIDTH), 15, (2, 3), begin=(1, 1), groups=5, tail="bias"),
    "groups-pointwise": Window((BATCH, 40, HEIGHT, WIDTH), 30, (1, 1), groups=10, tail="bias relu"),
    "groups-few-channels": Window((1, 2, HEIGHT, WIDTH), 6, (3, 3), begin=(1, 1), groups=2, tail="bias relu"),
    "groups-1d": Window((1, 24, WIDTH), 32, (3,), (1,), (2,), (2,), (2,), groups=4, tail="bias add"),
}  # fmt: skip
"""Images whose extents are known only at run time."""

EXAMPLES = (
    *examples("convolution", DIRECT),
    *examples("deep-convolution", DEEP),
    *examples("open", OPEN),
    *examples("lanewise", LANEWISE),
    *examples("winograd", WINOGRAD),
    *(Example(f"depthwise-{name}", window) for name, window in WHOLE_ACCESSES.items()),
    *(Example(f"points-{name}", window) for name, window in POINTS.items()),
    *(Example(f"turned-{name}", window) for name, window in TURNED.items()),
    *(BytesExample(f"bytes-convolution-{name}", window) for name, window in (BYTES | TAPWISE | TO_BYTES).items()),
)
