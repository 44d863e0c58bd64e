"""Inputs that a network only adds rows to become caches: buffers with room for the most rows that there may be.

Some are buffers already, of which an operator of the model replaces rows: for these nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorwright.base.errors import BuildError
from tensorwright.graph.graph import Graph, Input, Value, apply, input_value
from tensorwright.ops.cache import CacheUpdate
from tensorwright.ops.elementwise import Identity
from tensorwright.ops.shape import Concatenation, Slice
from tensorwright.tensor.dim import maximum, symbols_of, upper_bound
from tensorwright.tensor.type import TensorType


def with_caches(graph: Graph) -> Graph:
    """The network with caches: each input x of which an output is ``Concatenation(x, rows)``, and which nothing else
    reads, has as many rows as the output may have at most, and so has the output. What the concatenation gave to others
    is the first part of that.

    Raises:
        BuildError: there is no such input, nor one of which an output replaces rows; the number of rows that are there
            follows from no other input; something else reads an input of which an output replaces rows.
    """
    extended, replaced = _extended(graph), _replaced(graph)
    if not extended and not replaced:
        raise BuildError(
            "caches_in_place: no input is continued by an output: expected an output that is the concatenation of an "
            "input, which nothing else reads, with new rows, or that input with other rows (TensorScatter)"
        )
    _require_alone(graph, replaced)
    caches = {value.inputs[0]: _cache(value) for value in extended.values()}
    updates = {value: _update(value, caches[value.inputs[0]]) for value in extended.values()}
    _require_sizes(graph, caches)
    made: dict[Value, Value] = dict(caches)
    for value in graph.order():
        if value in made:
            continue
        operands = tuple(made[operand] for operand in value.inputs)
        if value in updates:
            cache = made[value.inputs[0]]
            updates[value] = apply(updates[value].op, cache, *operands[1:], name=value.name)
            made[value] = _first(updates[value], value)
        else:
            made[value] = value if operands == value.inputs else apply(value.op, *operands, name=value.name)
    inputs = tuple((name, made[value]) for name, value in graph.inputs)
    outputs = tuple(
        (name, updates[extended[name]] if name in extended else made[value]) for name, value in graph.outputs
    )
    return Graph(inputs, outputs, graph.name)


def shared_caches(graph: Graph) -> dict[str, str]:
    """By the name of an input, that of the output that is it with other rows, and may be the same memory."""
    names = {value: name for name, value in graph.inputs}
    return {
        names[value.inputs[0]]: name
        for name, value in graph.outputs
        if isinstance(value.op, CacheUpdate) and value.inputs[0] in names
    }


def _extended(graph: Graph) -> dict[str, Value]:
    """Concatenations that continue an input, by the output that they are."""
    uses, found = graph.uses(), dict[str, Value]()
    for name, output in graph.outputs:
        value = _source(output)
        if not isinstance(value.op, Concatenation) or len(value.inputs) != 2 or value in found.values():
            continue
        if isinstance(value.inputs[0].op, Input) and uses[value.inputs[0]] == 1:
            found[name] = value
    return found


def _replaced(graph: Graph) -> dict[str, Value]:
    """Updates of inputs as they are, by the output that they are."""
    found = {name: _source(output) for name, output in graph.outputs}
    return {name: v for name, v in found.items() if isinstance(v.op, CacheUpdate) and isinstance(v.inputs[0].op, Input)}


def _source(value: Value) -> Value:
    while isinstance(value.op, Identity):
        (value,) = value.inputs
    return value


def _require_alone(graph: Graph, replaced: Mapping[str, Value]) -> None:
    """Refuse networks that read the rows of a cache elsewhere, too: before or after they are replaced."""
    uses = graph.uses()
    for name, value in replaced.items():
        if uses[value.inputs[0]] > 1:
            raise BuildError(
                f"caches_in_place: output '{name}' is input '{value.inputs[0].name}' with other rows, which something "
                f"else reads, too: expected that only this output reads it; build without"
            )


def _cache(value: Value) -> Value:
    """The input of a concatenation with room for all its rows."""
    assert isinstance(value.op, Concatenation)
    old, axis = value.inputs[0], value.op.axis
    room = upper_bound(value.type.shape[axis])
    shape = (*old.type.shape[:axis], room, *old.type.shape[axis + 1 :])
    return input_value(old.name, TensorType(old.type.dtype, shape))


def _update(value: Value, cache: Value) -> Value:
    assert isinstance(value.op, Concatenation)
    old, rows = value.inputs
    start = maximum(old.type.shape[value.op.axis], 0)
    return apply(CacheUpdate(value.op.axis, start), cache, rows, name=value.name)


def _first(update: Value, value: Value) -> Value:
    """The rows of an updated cache that a concatenation gave."""
    rank = value.type.rank
    return apply(Slice((0,) * rank, value.type.shape, (1,) * rank), update, name=value.name)


def _require_sizes(graph: Graph, caches: Mapping[Value, Value]) -> None:
    """Refuse networks of which no input but caches says how many rows there are."""
    before = {s for value in caches for dim in value.type.shape for s in symbols_of(dim)}
    shapes = [(caches.get(value, value)).type.shape for _, value in graph.inputs]
    after = {symbol for shape in shapes for dim in shape for symbol in symbols_of(dim)}
    missing = sorted(symbol.name for symbol in before - after)
    if missing:
        raise BuildError(
            f"caches_in_place: no other input says the size of {', '.join(map(repr, missing))}: expected one whose "
            "shape has it, such as a mask of all rows; build without, or add such an input"
        )
