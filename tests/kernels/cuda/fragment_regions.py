"""Regions around products and convolutions in two-byte types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.ops.activation import Gelu, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of


@dataclass(frozen=True)
class Product:
    """``[*lead, depth] × [depth, columns]`` with constant weights, and what follows."""

    lead: tuple[Dim, ...]
    depth: int
    columns: int
    epilogue: tuple[str, ...] = ()
    dtype: DType = FLOAT16
    transposed: bool = False

    def region(self, rng: np.random.Generator) -> Region:
        x = input_value("x", TensorType(self.dtype, (*self.lead, self.depth)))
        shape = (self.columns, self.depth) if self.transposed else (self.depth, self.columns)
        weights = constant(rng, self.dtype, *shape, scale=self.depth**-0.5)
        anchor = apply(MatMul(transpose_b=self.transposed), x, weights)
        return followed(anchor, self.epilogue, rng, (self.columns,))


@dataclass(frozen=True)
class Window:
    """A convolution over ``[batch, channels, *spatial]``; `kernel`, strides and pads have one value for each axis."""

    batch: Dim
    channels: int
    spatial: tuple[int, ...]
    outputs: int
    kernel: tuple[int, ...]
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    bias: bool = True
    epilogue: tuple[str, ...] = ()
    dtype: DType = FLOAT16

    def region(self, rng: np.random.Generator) -> Region:
        axes = len(self.spatial)
        x = input_value("x", TensorType(self.dtype, (self.batch, self.channels, *self.spatial)))
        scale = (self.channels * int(np.prod(self.kernel))) ** -0.5
        inputs = [x, constant(rng, self.dtype, self.outputs, self.channels, *self.kernel, scale=scale)]
        if self.bias:
            inputs.append(constant(rng, self.dtype, self.outputs))
        op = Convolution(
            (self.stride,) * axes, (self.before,) * axes, (self.after,) * axes, (self.dilation,) * axes
        )  # fmt: skip
        return followed(apply(op, *inputs), self.epilogue, rng, (self.outputs, *(1,) * axes))


@dataclass(frozen=True)
class ProductOfTwo:
    """``[*left, rows, depth] × [*right, depth, columns]`` of two inputs, or with the second one transposed."""

    left: tuple[Dim, ...]
    right: tuple[Dim, ...]
    rows: Dim
    depth: int
    columns: int
    transposed: bool = False
    epilogue: tuple[str, ...] = ()
    dtype: DType = FLOAT16

    def region(self, rng: np.random.Generator) -> Region:
        shape = (self.columns, self.depth) if self.transposed else (self.depth, self.columns)
        x = input_value("x", TensorType(self.dtype, (*self.left, self.rows, self.depth)))
        y = input_value("y", TensorType(self.dtype, (*self.right, *shape)))
        return followed(apply(MatMul(transpose_b=self.transposed), x, y), self.epilogue, rng, (self.columns,))


def constant(rng: np.random.Generator, dtype: DType, *shape: int, scale: float = 1.0) -> Value:
    return constant_value(weights_of((rng.standard_normal(shape) * scale).astype(dtype.numpy)))


def followed(anchor: Value, steps: Sequence[str], rng: np.random.Generator, columns: tuple[int, ...]) -> Region:
    """The region of an anchor and elementwise steps: "bias" (of the columns), "relu", "gelu", "residual", "image"."""
    values = [anchor]
    for step in steps:
        last = values[-1]
        match step:
            case "relu":
                values.append(apply(Relu(), last))
            case "gelu":
                values.append(apply(Gelu(False), last))
            case "bias":
                values.append(apply(Binary("add"), last, constant(rng, last.type.dtype, *columns)))
            case "residual":
                values.append(apply(Binary("add"), last, input_value("residual", last.type)))
            case "image":  # one number for every pixel
                shape = (*last.type.shape[:1], 1, *last.type.shape[2:])
                values.append(apply(Binary("mul"), last, input_value("image", TensorType(last.type.dtype, shape))))
    return region_of(values, anchor)


BATCH = symbol("batch", 1, 2, 5)

REGIONS = {
    "product": Product((128,), 768, 768, ("bias",)),
    "product-few-rows": Product((3,), 64, 96, ("bias", "gelu")),
    "product-one-row": Product((1,), 2048, 1000, ("bias",)),
    "product-batches": Product((2, 5), 40, 24, ("bias", "residual", "relu")),
    "product-symbolic": Product((BATCH, 7), 96, 64, ("bias", "residual"), transposed=True),
    "product-bfloat16": Product((33,), 72, 40, ("relu",), BFLOAT16),
    "pointwise": Window(1, 64, (14, 14), 128, (1, 1), epilogue=("residual", "relu")),
    "pointwise-stride": Window(2, 64, (9, 7), 40, (1, 1), 2),
    "window": Window(1, 64, (14, 13), 64, (3, 3), 1, 1, 1, epilogue=("relu",)),
    "window-stride": Window(1, 24, (13, 10), 40, (3, 3), 2, 1, 1, epilogue=("residual", "relu")),
    "window-uneven": Window(2, 40, (9, 8), 96, (3, 2), 1, 1, 0, epilogue=("image",)),
    "window-dilated": Window(1, 32, (12, 12), 32, (3, 3), 1, 2, 2, dilation=2, bias=False),
    "window-depth": Window(1, 256, (7, 7), 64, (3, 3), 1, 1, 1),
    "window-symbolic": Window(BATCH, 32, (6, 6), 32, (3, 3), 1, 1, 1, epilogue=("residual",)),
    "one-axis": Window(1, 48, (30,), 64, (5,), 2, 2, 2),
    "three-axes": Window(1, 16, (4, 5, 6), 32, (3, 3, 3), 1, 1, 1),
    "window-bfloat16": Window(1, 32, (8, 8), 32, (3, 3), 1, 1, 1, dtype=BFLOAT16),
}
SYMBOLS = {"batch": 3}

TILED_REGIONS = {
    **REGIONS,
    "product-float32": Product((130,), 100, 104, ("bias", "gelu"), FLOAT32),
    "product-float32-deep": Product((20,), 520, 64, ("bias",), FLOAT32, transposed=True),
    "window-float32": Window(2, 36, (9, 11), 72, (3, 3), 2, 1, 1, epilogue=("residual", "relu"), dtype=FLOAT32),
    "two-float32": ProductOfTwo((2, 3), (2, 3), 70, 36, 40, dtype=FLOAT32),
    "two-transposed-float32": ProductOfTwo((2, 3), (3,), 33, 68, 72, True, ("relu",), FLOAT32),
    "two-shared-float32": ProductOfTwo((BATCH, 1), (2,), 20, 64, 32, False, ("bias",), FLOAT32),
    "two-transposed": ProductOfTwo((BATCH,), (BATCH,), 66, 72, 136, True, ("residual",)),
    "two-matrices": ProductOfTwo((), (), BATCH * 5, 64, 64, True),
    "pointwise-float32": Window(1, 64, (8, 9), 128, (1, 1), epilogue=("relu",), dtype=FLOAT32),
}
"""With float32, which fragments are not for."""
