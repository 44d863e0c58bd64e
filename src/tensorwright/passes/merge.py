"""Merges matrix products that share an operand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tensorwright.graph.graph import Graph, Value, apply, is_constant
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Reshape, Slice, Transpose
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.constants import along, constant_of, exact
from tensorwright.passes.rewrite import Permit, graph_pass, joined_name, replaced_where
from tensorwright.tensor.dim import Dim

Users = Mapping[Value, Sequence[Value]]


@dataclass(frozen=True, eq=False)
class _Member:
    """A product of the shared operand with a constant matrix, and its bias."""

    product: Value
    bias: Value | None
    result: Value


@dataclass(eq=False)
class _Group:
    members: list[_Member] = field(default_factory=list)
    made: dict[Value, Value] = field(default_factory=dict)


@graph_pass
def merge_products(graph: Graph, permit: Permit) -> Graph:
    """``x · w₁ + b₁, …, x · wₙ + bₙ`` → slices of one ``x · [w₁ … wₙ] + [b₁ … bₙ]``, for constant matrices.

    One wide product reads x once and fills its tiles better. It is made where each result is only split into heads
    next (reshaped and transposed), so that taking its slice is part of a copy that is made anyway.
    """
    grouped = _groups(graph)
    if not grouped:
        return graph
    original = iter(graph.order())

    def visit(value: Value) -> Value | None:
        before = next(original)
        group = grouped.get(before)
        if group is None:
            return None
        if not group.made:
            product = value if isinstance(value.op, MatMul) else value.inputs[0]
            group.made.update(_slices(product.inputs[0], group.members))
        return group.made[before]

    return replaced_where(graph, "merge_products", permit, visit)


def _groups(graph: Graph) -> dict[Value, _Group]:
    """The group of each result that is to become a slice."""
    users, outputs = _users(graph), {value for _, value in graph.outputs}
    found: dict[object, _Group] = defaultdict(_Group)
    for value in graph.order():
        member = _member(value, users, outputs)
        if member is not None:
            key = (value.inputs[0], value.op.attributes, member.bias is None)
            found[key].members.append(member)
    wide = [group for group in found.values() if len(group.members) > 1]
    return {member.result: group for group in wide for member in group.members}


def _users(graph: Graph) -> Users:
    users: dict[Value, list[Value]] = defaultdict(list)
    for value in graph.order():
        for operand in value.inputs:
            users[operand].append(value)
    return users


def _member(value: Value, users: Users, outputs: set[Value]) -> _Member | None:
    if not isinstance(value.op, MatMul) or not value.type.dtype.is_float:
        return None
    x, weights = value.inputs
    if is_constant(x) or not is_constant(weights) or weights.type.rank != 2 or value in outputs:
        return None
    user = users[value][0] if len(users.get(value, ())) == 1 else value
    member = _Member(value, user.inputs[1], user) if _adds_bias(user, value) else _Member(value, None, value)
    return member if _is_split(member.result, users, outputs) else None


def _adds_bias(user: Value, product: Value) -> bool:
    if function_of(user) != "add" or user.inputs[0] is not product or user.type != product.type:
        return False
    return along(user.inputs[1], user.type.shape, user.type.rank - 1) is not None


def _is_split(result: Value, users: Users, outputs: set[Value]) -> bool:
    """Whether a value is only reshaped and then transposed."""
    if result in outputs or not users.get(result):
        return False
    return all(
        isinstance(user.op, Reshape)
        and user not in outputs
        and users.get(user)
        and all(isinstance(last.op, Transpose) for last in users[user])
        for user in users[result]
    )


def _slices(x: Value, members: Sequence[_Member]) -> dict[Value, Value]:
    """The results of all members, cut out of one product."""
    op, dtype = members[0].product.op, members[0].result.type.dtype
    assert isinstance(op, MatMul)
    axis = 0 if op.transpose_b else 1
    matrices = [exact(member.product.inputs[1]) for member in members]
    name = joined_name(*(member.result for member in members))
    weights = constant_of(
        np.concatenate(matrices, axis=axis), dtype, joined_name(*(m.product.inputs[1] for m in members))
    )
    wide = apply(op, x, weights, name=name)
    biases = [(m.bias, m.result) for m in members if m.bias is not None]
    if biases:
        shifts = [along(bias, result.type.shape, result.type.rank - 1) for bias, result in biases]
        shift = np.concatenate([vector for vector in shifts if vector is not None])
        wide = apply(
            Binary("add"), wide, constant_of(shift, dtype, joined_name(*(bias for bias, _ in biases))), name=name
        )
    parts: dict[Value, Value] = {}
    first = 0
    for member, matrix in zip(members, matrices, strict=True):
        starts: tuple[Dim, ...] = (*[0] * (wide.type.rank - 1), first)
        extents = (*wide.type.shape[:-1], matrix.shape[axis])
        parts[member.result] = apply(Slice(starts, extents, (1,) * wide.type.rank), wide, name=member.result.name)
        first += matrix.shape[axis]
    return parts
