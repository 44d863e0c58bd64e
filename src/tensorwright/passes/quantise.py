"""Quantises the products of a float32 network whose tensors have known ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tensorwright.base.fork import cached_property
from tensorwright.graph.graph import Graph, Value, apply, constant_value, is_constant
from tensorwright.ops.activation import Clip, Relu, Sigmoid
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.ops.shape import Pad, Reshape, Transpose
from tensorwright.passes.arithmetic import limits_of
from tensorwright.passes.fold import known_array
from tensorwright.passes.integers import multiplies_bytes
from tensorwright.tensor.dtype import FLOAT32, INT8, UINT8, DType
from tensorwright.tensor.range import Range
from tensorwright.tensor.weights import weights_of

SIGNED_STEPS, UNSIGNED_STEPS = 127, 255
SMALLEST_STEP = float(np.finfo(np.float32).tiny)
"""Smaller ones would be 0 where processors flush them, and nothing can be divided by that."""


@dataclass(frozen=True)
class Steps:
    """How a tensor is quantised: integers of a type times `scale`, counted from `zero`."""

    dtype: DType
    scale: float
    zero: int = 0


@dataclass(frozen=True)
class Quantised:
    """A network with quantised products.

    source: the network as it was; products: these in it; missing: those whose left factor has no known range.
    steps: of all left factors that have one.
    """

    source: Graph
    products: tuple[Value, ...]
    missing: tuple[Value, ...]
    steps: Mapping[Value, Steps]

    @cached_property
    def graph(self) -> Graph:
        return _rebuilt(self.source, self.steps, frozenset(self.products))


def nothing(_value: Value) -> bool:
    """Keeps no product in float32."""
    return False


def quantised(graph: Graph, ranges: Mapping[Value, Range], kept: Callable[[Value], bool] = nothing) -> Quantised:
    """The network with ``a · w`` computed as ``Dequantize(Quantize(a)) · Dequantize(q)`` for constants w.

    The products are those that can be computed in integers, convolutions among them. Activations have one scale, the
    largest magnitude divided by 127, or by 255 in uint8 where nothing is negative; where only matrix products multiply
    them and the range reaches further to one side, the range divided by 255 in uint8, with a zero point (what lies
    around an image would have to be written where a convolution's zero point is not 0). Constants have one scale for
    each column or output channel, the largest magnitude divided by 127. Whatever else reads such an activation reads
    the quantised one, too, so that it is kept in one byte an element; outputs of the network are not quantised.

    ranges: of tensors; numbers outside of them are clipped.
    kept: says which products stay in float32.
    """
    products = [value for value in graph.order() if _is_product_of_bytes(value) and not kept(value)]
    known = {value.inputs[0]: _range_of(value.inputs[0], ranges) for value in products}
    images = {value.inputs[0] for value in products if isinstance(value.op, Convolution)}
    steps = {value: _steps(value, found, value in images) for value, found in known.items() if found is not None}
    missing = tuple(value for value in products if value.inputs[0] not in steps)
    wanted = tuple(value for value in products if value.inputs[0] in steps)
    return Quantised(graph, wanted, missing, steps)


def _rebuilt(graph: Graph, steps: Mapping[Value, Steps], wanted: frozenset[Value]) -> Graph:
    plain: dict[Value, Value] = {}
    read: dict[Value, Value] = {}
    for value in graph.order():
        inputs = tuple(read[operand] for operand in value.inputs)
        if value in wanted:
            inputs = (inputs[0], weights_in_integers(value), *inputs[2:])
        plain[value] = value if inputs == value.inputs else apply(value.op, *inputs, name=value.name)
        read[value] = activations_in_integers(plain[value], steps[value]) if value in steps else plain[value]
    return graph.with_values(plain)


def activations_in_integers(value: Value, steps: Steps) -> Value:
    """A left factor as it comes out of its integers."""
    constants = [constant_value(weights_of(np.float32(steps.scale)), value.name)]
    if steps.zero:
        constants.append(constant_value(weights_of(np.asarray(steps.zero, steps.dtype.numpy)), value.name))
    return apply(
        Dequantize(), apply(Quantize(steps.dtype), value, *constants, name=value.name), *constants, name=value.name
    )


def _steps(value: Value, range: Range, is_image: bool) -> Steps:
    largest = range.largest or 1.0
    if _is_positive(value):
        return Steps(UINT8, max(largest / UNSIGNED_STEPS, SMALLEST_STEP))
    low, high = min(range.low, 0.0), max(range.high, 0.0)
    if is_image or low == -high:
        return Steps(INT8, max(largest / SIGNED_STEPS, SMALLEST_STEP))
    scale = max((high - low) / UNSIGNED_STEPS, SMALLEST_STEP)
    return Steps(UINT8, scale, round(-low / scale))


def _is_product_of_bytes(value: Value) -> bool:
    """Whether a product of float32 by a constant could be one of integers."""
    if _summed_axes(value) is None or is_constant(value.inputs[0]):
        return False
    array = known_array(value.inputs[1])
    return array is not None and multiplies_bytes(value, array.shape) and bool(np.all(np.isfinite(array)))


def _summed_axes(value: Value) -> tuple[int, ...] | None:
    """The axes of the right factor that a product of float32 sums over; None of other operators."""
    if value.type.dtype != FLOAT32:
        return None
    if isinstance(value.op, MatMul):
        return (1 if value.op.transpose_b else 0,)
    return tuple(range(1, value.inputs[1].type.rank)) if isinstance(value.op, Convolution) else None


def weights_in_integers(product: Value) -> Value:
    """A constant right factor as it comes out of its integers."""
    array, name = known_array(product.inputs[1]), product.inputs[1].name
    assert array is not None
    wide = array.astype(np.float32)
    largest = np.abs(wide).max(axis=_summed_axes(product), keepdims=True)
    scale = np.where(largest > 0, largest, 1.0).astype(np.float32) / np.float32(SIGNED_STEPS)
    integers = np.clip(np.round(wide / scale), -SIGNED_STEPS, SIGNED_STEPS).astype(np.int8)
    constants = [constant_value(weights_of(one), name) for one in (integers, scale)]
    return apply(Dequantize(), *constants, name=name)


def _range_of(value: Value, ranges: Mapping[Value, Range]) -> Range | None:
    """The range of a tensor, or of the one whose elements it has in another order."""
    while value not in ranges and isinstance(value.op, Reshape | Transpose):
        value = value.inputs[0]
    return ranges.get(value)


def _is_positive(value: Value) -> bool:
    """Whether no element is negative."""
    while isinstance(value.op, Transpose | Reshape | Pool) or (isinstance(value.op, Pad) and value.op.value >= 0):
        value = value.inputs[0]
    if isinstance(value.op, Clip):
        return limits_of(value)[0] >= 0
    return isinstance(value.op, Relu | Sigmoid | Softmax)
