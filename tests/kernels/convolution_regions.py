"""Convolution regions for tests: the convolution of a shape and what is fused behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cases.case import assert_close
from kernels.regions import ERRORS
from tensorwright.codegen.target import Target
from tensorwright.graph.graph import Value, apply, constant_value, input_value, is_constant, weights_in
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.tactic import Kernel
from tensorwright.ops.activation import Clip, HardSwish, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import Dim, evaluate, symbols_of
from tensorwright.tensor.dtype import FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare


@dataclass(frozen=True)
class Shape:
    """A convolution. `tail` names what follows it: bias, add (a residual), scale, row, relu, clip, hardswish."""

    name: str
    x: tuple[Dim, ...]
    outputs: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...] = (1, 1)
    begin: tuple[int, ...] = (0, 0)
    end: tuple[int, ...] | None = None
    dilations: tuple[int, ...] = (1, 1)
    groups: int = 1
    tail: str = "bias"
    dtype: DType = FLOAT32

    def __repr__(self) -> str:
        return self.name

    def region(self, rng: np.random.Generator) -> Region:
        end = self.begin if self.end is None else self.end
        channels = self.x[1] // self.groups
        weights = rng.uniform(-1, 1, (self.outputs, channels, *self.kernel)).astype(self.dtype.numpy)
        operands = [input_value("x", TensorType(self.dtype, self.x)), constant_value(weights_of(weights))]
        if "bias" in self.tail:
            operands.append(constant_value(weights_of(rng.uniform(-1, 1, self.outputs).astype(self.dtype.numpy))))
        op = Convolution(self.strides, self.begin, end, self.dilations, self.groups)
        anchor = apply(op, *operands)
        values = [anchor]
        for word in self.tail.split():
            values += following(word, values[-1], rng)
        return region_of(values, anchor)


def following(word: str, value: Value, rng: np.random.Generator) -> list[Value]:
    match word:
        case "add":
            return [apply(Binary("add"), value, input_value("residual", value.type))]
        case "scale":
            axes = (1,) * (value.type.rank - 2)
            scale = rng.uniform(0.5, 2, (1, value.type.shape[1], *axes)).astype(value.type.dtype.numpy)
            return [apply(Binary("mul"), value, constant_value(weights_of(scale)))]
        case "row":
            row = rng.uniform(-1, 1, value.type.shape[-1:]).astype(value.type.dtype.numpy)
            return [apply(Binary("add"), constant_value(weights_of(row)), value)]
        case "relu":
            return [apply(Relu(), value)]
        case "clip":
            return [apply(Clip(0.0, 6.0), value)]
        case "hardswish":
            return [apply(HardSwish(), value)]
    return []


def inputs_of(region: Region, rng: np.random.Generator, symbols: Mapping[str, int]) -> list[np.ndarray]:
    """Row-major arrays for all inputs of a region, constants with their own values."""
    return [
        weights_in(value).array
        if is_constant(value)
        else rng.uniform(-1, 1, [evaluate(dim, symbols) for dim in value.type.shape]).astype(value.type.dtype.numpy)
        for value in region.inputs
    ]


def expected_of(region: Region, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The region's output, computed by the operators' references in float64."""
    known = {value: array.astype(np.float64) for value, array in zip(region.inputs, arrays, strict=True)}
    for value in region.values:
        known[value] = value.op.reference(*(known[operand] for operand in value.inputs))
    return known[region.output]


def check(
    region: Region, kernel: Kernel, target: Target, rng: np.random.Generator, batches: Sequence[int] = (2,)
) -> None:
    """Run a kernel in two parts, the last tasks first, for several batches, and compare with the reference."""
    names = {symbol.name for value in region.inputs for dim in value.type.shape for symbol in symbols_of(dim)}
    loaded = LoadedKernel(kernel, target)
    for batch in batches if names else (0,):
        symbols = dict.fromkeys(names, batch)
        arrays = inputs_of(region, rng, symbols)
        operands = prepare(region, kernel, arrays, symbols)
        *arguments, begin, end = operands.arguments
        middle = int(rng.integers(begin, end + 1))
        loaded.call(*arguments, middle, end)
        loaded.call(*arguments, begin, middle)
        shape = [evaluate(dim, symbols) for dim in region.output.type.shape]
        actual = from_layout(operands.output, kernel.output, shape)
        assert_close(actual, expected_of(region, arrays), ERRORS[region.output.type.dtype])
