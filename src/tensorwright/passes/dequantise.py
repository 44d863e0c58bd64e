"""Which products of a quantised network can be integers, and the same network with some of them in float32.

Such a product multiplies what its factors' integers stand for, so that it differs from the product of the integers by
the roundings of float32 alone; quantising what lies between products is not left out.
"""

from __future__ import annotations

from collections.abc import Callable

from tensorwright.graph.graph import Graph, Value, apply, constant_value, is_constant
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.quantization import Dequantize
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.passes.fold import known_array
from tensorwright.passes.integers import multiplies_bytes
from tensorwright.tensor.dtype import FLOAT32, INT8, UINT8
from tensorwright.tensor.weights import weights_of


def quantised_products(graph: Graph) -> tuple[Value, ...]:
    """The products of dequantised activations by dequantised constants, in float32, that can be ones of integers."""
    return tuple(value for value in graph.order() if _is_quantised_product(value))


def with_products_in_floats(graph: Graph, products: Callable[[Value], bool]) -> Graph:
    """The network with the constants of some of these products as the float32 numbers that they stand for."""
    made: dict[Value, Value] = {}
    for value in graph.order():
        inputs = tuple(made[operand] for operand in value.inputs)
        if _is_quantised_product(value) and products(value):
            inputs = (inputs[0], _in_floats(value.inputs[1]), *inputs[2:])
        made[value] = value if inputs == value.inputs else apply(value.op, *inputs, name=value.name)
    return graph.with_values(made)


def _is_quantised_product(value: Value) -> bool:
    if not isinstance(value.op, MatMul | Convolution) or value.type.dtype != FLOAT32:
        return False
    left, right = (_dequantized(factor) for factor in value.inputs[:2])
    if left is None or right is None or is_constant(left.inputs[0]):
        return False
    return all(map(is_constant, right.inputs)) and multiplies_bytes(value, value.inputs[1].type.tuning_shape)


def _dequantized(value: Value) -> Value | None:
    """What a factor is read from, through what only moves its elements, if it comes out of bytes."""
    while isinstance(value.op, Transpose | Reshape):
        value = value.inputs[0]
    is_of_bytes = isinstance(value.op, Dequantize) and value.inputs[0].type.dtype in (INT8, UINT8)
    return value if is_of_bytes else None


def _in_floats(value: Value) -> Value:
    known = known_array(value)
    assert known is not None
    return constant_value(weights_of(known), value.name)
