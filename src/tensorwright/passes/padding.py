"""Networks that show it when what should be zero is only nearly so."""

from __future__ import annotations

from tensorwright.graph.graph import Graph, Value, is_constant
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.indexing import Gather
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LpNormalization
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Pad, Slice, Transpose

_MOVES = (Concatenation, Gather, Slice, Transpose)


def normalises_padding(graph: Graph) -> bool:
    """Whether rows of padding are multiplied, and the results divided by their own lengths.

    They are zeros: products that add up their definition leave them so, whatever the rows beside them are. Algorithms
    that need fewer operations add and subtract other rows, and leave a rounding error, which a length close to nothing
    makes a vector as long as all others.
    """
    zeros: set[Value] = set()
    products: set[Value] = set()
    for value in graph.order():
        if isinstance(value.op, Pad) and value.op.mode == "constant" and value.op.value == 0:
            zeros.add(value)
        elif isinstance(value.op, MatMul):
            products.update({value} if value.inputs[0] in zeros or value.inputs[0] in products else ())
        elif _keeps(value):
            for found in (zeros, products):
                found.update({value} if found.intersection(value.inputs) else ())
        elif _takes_length(value) and value.inputs[0] in products:
            return True
    return False


def _keeps(value: Value) -> bool:
    """Whether it moves elements, or adds constants to them."""
    adds = isinstance(value.op, Binary) and value.op.function == "add" and any(map(is_constant, value.inputs))
    return adds or value.op.kind == "view" or isinstance(value.op, _MOVES)


def _takes_length(value: Value) -> bool:
    return isinstance(value.op, LpNormalization) or (isinstance(value.op, Reduction) and value.op.function == "l2")
