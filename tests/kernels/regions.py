"""Regions around a matrix product, their references, and runs of kernels whose tasks are dealt out in pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cases.case import Array, Operand, assert_close, reference_of
from tensorwright.codegen.target import Target
from tensorwright.graph.graph import Value, apply, constant_value, input_value, is_constant, weights_in
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.tactic import Kernel
from tensorwright.ops.activation import Gelu, Relu
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import Dim, evaluate
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare

ERRORS = {FLOAT32: 1e-5, FLOAT16: 1e-3, BFLOAT16: 8e-3}
"""Relative to the largest magnitude: sums are float32, and rounded once."""


@dataclass(frozen=True)
class Product:
    """A product and what follows it: "bias" (of the columns), "relu", "gelu", "residual" (of the output's shape),
    "rows" (one number for every row of one batch), "scale" (a scalar constant).
    """

    a: tuple[Dim, ...]
    b: tuple[Dim, ...]
    constant: bool = False
    transpose_a: bool = False
    transpose_b: bool = False
    epilogue: tuple[str, ...] = ()
    dtype: DType = FLOAT32
    symbols: tuple[Mapping[str, int], ...] = field(default=({},))

    def region(self, rng: np.random.Generator) -> Region:
        a = input_value("a", TensorType(self.dtype, self.a))
        b = _weights(rng, self.b, self.dtype) if self.constant else input_value("b", TensorType(self.dtype, self.b))
        anchor = apply(MatMul(self.transpose_a, self.transpose_b), a, b)
        values = [anchor]
        for step in self.epilogue:
            values.append(_followed(step, values[-1], rng))
        return region_of(values, anchor)


def _weights(rng: np.random.Generator, shape: Sequence[Dim], dtype: DType) -> Value:
    return constant_value(weights_of(rng.uniform(-2, 2, shape).astype(dtype.numpy)))


def _followed(step: str, value: Value, rng: np.random.Generator) -> Value:
    shape = value.type.shape
    match step:
        case "relu":
            return apply(Relu(), value)
        case "gelu":
            return apply(Gelu(False), value)
        case "bias":
            return apply(Binary("add"), value, _weights(rng, shape[-1:], value.type.dtype))
        case "rows":
            return apply(Binary("add"), value, _weights(rng, (shape[-2], 1), value.type.dtype))
        case "scale":
            return apply(Binary("mul"), value, constant_value(weights_of(np.asarray(0.125, value.type.dtype.numpy))))
        case "residual":
            return apply(Binary("add"), value, input_value("residual", value.type))
    raise ValueError(step)


def arrays_for(region: Region, rng: np.random.Generator, symbols: Mapping[str, int]) -> list[Array]:
    """One array per input: weights, or fresh numbers."""
    return [
        weights_in(value).array
        if is_constant(value)
        else Operand(value.type.dtype, value.type.shape).draw(rng, symbols)
        for value in region.inputs
    ]


def reference(region: Region, arrays: Sequence[Array], symbols: Mapping[str, int]) -> Array:
    """The region computed in float64."""
    known = dict(zip(region.inputs, arrays, strict=True))
    for value in region.values:
        known[value] = reference_of(value.op, [known[operand] for operand in value.inputs], symbols)
    return known[region.output]


def check(
    region: Region,
    kernel: Kernel,
    target: Target,
    rng: np.random.Generator,
    *symbols: Mapping[str, int],
) -> None:
    """For all values of the symbols run the tasks in two pieces, the later one first, and compare results."""
    loaded = LoadedKernel(kernel, target)
    for values in symbols:
        arrays = arrays_for(region, rng, values)
        operands = prepare(region, kernel, arrays, values)
        *addresses, first, last = operands.arguments
        middle = int(rng.integers(first, last + 1))
        loaded.call(*addresses, middle, last)
        loaded.call(*addresses, first, middle)
        shape = tuple(evaluate(dim, values) for dim in region.output.type.shape)
        actual = from_layout(operands.output, kernel.output, shape)
        assert_close(actual, reference(region, arrays, values), ERRORS[region.output.type.dtype])
