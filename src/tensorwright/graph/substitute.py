"""Other dimensions in place of symbols: in operators and in whole graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.graph.op import Op
from tensorwright.tensor.dim import Atom, Dim, IntegerExpression, substitute
from tensorwright.tensor.type import TensorType


def with_dims(graph: Graph, replacements: Mapping[Atom, Dim]) -> Graph:
    """The graph with symbols replaced everywhere; all types are inferred again.

    Raises:
        ShapeError: the operators do not accept the new dimensions.
    """
    if not replacements:
        return graph
    made: dict[Value, Value] = {}
    for value in graph.order():
        inputs = tuple(made[operand] for operand in value.inputs)
        op = substituted(value.op, replacements)
        same = op is value.op and inputs == value.inputs
        made[value] = value if same else apply(op, *inputs, name=value.name)
    return graph.with_values(made)


def substituted(op: Op, replacements: Mapping[Atom, Dim]) -> Op:
    """The operator with symbols in its attributes replaced; the same object if there are none."""
    if not replacements:
        return op
    changed = {name: _substituted(attribute, replacements) for name, attribute in op.attributes}
    if all(changed[name] == attribute for name, attribute in op.attributes):
        return op
    return replace(op, **changed)


def dims_of(op: Op) -> Iterator[Dim]:
    """The dimensions in an operator's attributes that are not integers."""
    for _, attribute in op.attributes:
        yield from _dims_in(attribute)


def _dims_in(attribute: object) -> Iterator[Dim]:
    match attribute:
        case IntegerExpression():
            yield attribute
        case tuple():
            for part in attribute:
                yield from _dims_in(part)
        case TensorType():
            yield from (dim for dim in attribute.shape if not isinstance(dim, int))


def substituted_type(type: TensorType, replacements: Mapping[Atom, Dim]) -> TensorType:
    """The type with symbols replaced."""
    return TensorType(type.dtype, tuple(substitute(dim, replacements) for dim in type.shape)) if replacements else type


def _substituted(attribute: object, replacements: Mapping[Atom, Dim]) -> object:
    match attribute:
        case IntegerExpression():
            return substitute(attribute, replacements)
        case tuple():
            return tuple(_substituted(part, replacements) for part in attribute)
        case TensorType():
            return substituted_type(attribute, replacements)
        case _:
            return attribute
