"""Quantises the products of a float32 network whose tensors have known ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Graph, Value, apply, constant_value, is_constant
from tensorwright.ops.activation import Clip, Relu, Sigmoid
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.passes.fold import known_array
from tensorwright.tensor.dtype import FLOAT32, INT8, UINT8
from tensorwright.tensor.weights import weights_of

Floats = npt.NDArray[np.float32]

SIGNED_STEPS, UNSIGNED_STEPS = 127, 255


@dataclass(frozen=True)
class Quantised:
    """A network with quantised products.

    quantised: how many there are; missing: those whose left factor has no known range, as they were.
    """

    graph: Graph
    quantised: int
    missing: tuple[Value, ...]


def quantised(graph: Graph, ranges: Mapping[Value, float]) -> Quantised:
    """The network with ``a · w`` computed as ``Dequantize(Quantize(a)) · Dequantize(q)`` for constants w.

    Activations have one scale, the range divided by 127, or by 255 in uint8 where nothing is negative; constants have
    one for each column, the largest magnitude divided by 127. Zero points are 0.

    ranges: the largest magnitude that counts of tensors; larger ones are clipped.
    """
    work = _Work(ranges)
    return Quantised(work.rebuilt(graph), work.count, tuple(work.missing))


@dataclass
class _Work:
    ranges: Mapping[Value, float]
    done: dict[Value, Value] = field(default_factory=dict)
    activations: dict[Value, Value] = field(default_factory=dict)
    count: int = 0
    missing: list[Value] = field(default_factory=list)

    def rebuilt(self, graph: Graph) -> Graph:
        for value in graph.order():
            inputs = tuple(self.done[operand] for operand in value.inputs)
            current = value if inputs == value.inputs else apply(value.op, *inputs, name=value.name)
            self.done[value] = self._product(value, current) or current
        return graph.with_values(self.done)

    def _product(self, value: Value, current: Value) -> Value | None:
        if not isinstance(value.op, MatMul) or value.type.dtype != FLOAT32 or is_constant(value.inputs[0]):
            return None
        array = known_array(value.inputs[1])
        if array is None or array.ndim != 2 or not np.all(np.isfinite(array)):
            return None
        activations = self._activations(value.inputs[0])
        if activations is None:
            self.missing.append(value)
            return None
        self.count += 1
        weights = _weights(array.astype(np.float32), 1 if value.op.transpose_b else 0, value.inputs[1].name)
        return apply(value.op, activations, weights, name=current.name)

    def _activations(self, value: Value) -> Value | None:
        """A left factor as it comes out of its integers; None if its range is not known."""
        if value not in self.activations:
            largest = _range_of(value, self.ranges)
            if largest is None:
                return None
            dtype, steps = (UINT8, UNSIGNED_STEPS) if _is_positive(value) else (INT8, SIGNED_STEPS)
            scale = constant_value(weights_of(np.float32((largest or 1.0) / steps)), value.name)
            integers = apply(Quantize(dtype), self.done[value], scale, name=value.name)
            self.activations[value] = apply(Dequantize(), integers, scale, name=value.name)
        return self.activations[value]


def _weights(array: Floats, depth: int, name: str) -> Value:
    """A constant right factor as it comes out of its integers; depth: the axis that is summed over."""
    largest = np.abs(array).max(axis=depth, keepdims=True)
    scale = np.where(largest > 0, largest, 1.0).astype(np.float32) / np.float32(SIGNED_STEPS)
    integers = np.clip(np.round(array / scale), -SIGNED_STEPS, SIGNED_STEPS).astype(np.int8)
    return apply(
        Dequantize(), constant_value(weights_of(integers), name), constant_value(weights_of(scale), name), name=name
    )


def _range_of(value: Value, ranges: Mapping[Value, float]) -> float | None:
    """The range of a tensor, or of the one whose elements it has in another order."""
    while value not in ranges and isinstance(value.op, Reshape | Transpose):
        value = value.inputs[0]
    return ranges.get(value)


def _is_positive(value: Value) -> bool:
    while isinstance(value.op, Reshape | Transpose):
        value = value.inputs[0]
    return isinstance(value.op, Relu | Sigmoid | Softmax) or (isinstance(value.op, Clip) and (value.op.low or -1) >= 0)
