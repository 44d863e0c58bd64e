"""Constant folding: what does not depend on an input is computed now."""

from __future__ import annotations

from typing import cast

import numpy as np

from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Graph, Value, constant_value, is_constant, topological_order, weights_in
from tensorwright.graph.op import Array
from tensorwright.passes.rewrite import Permit, graph_pass, replaced_where
from tensorwright.tensor.dim import IntegerExpression
from tensorwright.tensor.weights import weights_of

GROWTH = 1 << 20
"""Bytes by which a folded constant may exceed the constants that it was computed from."""

LARGEST_INTERMEDIATE = 1 << 31
"""Bytes of the largest result that is computed on the way to a folded constant."""


@graph_pass
def fold_constants(graph: Graph, permit: Permit) -> Graph:
    """``f(c₁, …, cₙ) = c`` for constants; large results of small constants (expanded scalars) stay computations.

    An intermediate result may be larger, up to a point: what the rest of the network reads counts.

    Raises:
        NetworkError: a constant is picked by a constant index that lies outside of its axis.
    """
    sources: dict[Value, frozenset[Value]] = {}

    def visit(value: Value) -> Value | None:
        if is_constant(value):
            sources[value] = frozenset((value,))
            return None
        if not _foldable(value) or any(operand not in sources for operand in value.inputs):
            return None
        sources[value] = frozenset[Value]().union(*(sources[operand] for operand in value.inputs))
        if value.type.max_bytes > LARGEST_INTERMEDIATE:
            del sources[value]
            return None
        if value.type.max_bytes > GROWTH + sum(leaf.type.max_bytes for leaf in sources[value]):
            return None
        folded = constant_value(weights_of(_computed(value)), value.name)
        sources[folded] = frozenset((folded,))
        return folded

    return replaced_where(graph, "fold", permit, visit)


def _foldable(value: Value) -> bool:
    known = value.op.kind != "source" and value.type.is_static
    return known and not any(_is_symbolic(attribute) for _, attribute in value.op.attributes)


def _is_symbolic(attribute: object) -> bool:
    if isinstance(attribute, tuple):
        return any(_is_symbolic(part) for part in attribute)
    return isinstance(attribute, IntegerExpression)


def known_array(value: Value) -> Array | None:
    """The elements of a value that depends on constants only; None of others."""
    below = topological_order([value])
    return _computed(value) if all(is_constant(one) or _foldable(one) for one in below) else None


def _computed(root: Value) -> Array:
    """The elements of a value that depends on constants only."""
    done: dict[Value, Array] = {}
    stack = [root]
    while stack:
        value = stack[-1]
        waiting = [operand for operand in value.inputs if operand not in done]
        if value in done or not waiting:
            done[stack.pop()] = _applied(value, [done[operand] for operand in value.inputs])
        else:
            stack.extend(waiting)
    return done[root]


def _applied(value: Value, operands: list[Array]) -> Array:
    if is_constant(value):
        return weights_in(value).array
    wide = [
        array.astype(np.float64) if operand.type.dtype.is_float else array
        for array, operand in zip(operands, value.inputs, strict=True)
    ]
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(value.op.reference(*wide)).astype(value.type.dtype.numpy, copy=False)
    except IndexError as error:
        raise NetworkError(
            f"layer '{value.name}' ({value.op.name}): {error}; constant indices have to lie inside of their axis"
        ) from error
    return cast("Array", np.broadcast_to(result, value.type.tuning_shape))
