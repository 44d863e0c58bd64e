"""Constants, and tensors made of shapes alone."""

from __future__ import annotations

import numpy as np

from tensorwright.graph.graph import Value, constant_value, is_constant
from tensorwright.importers.compose import counting
from tensorwright.importers.contents import contents_of
from tensorwright.importers.tensorflow.node import Node
from tensorwright.tensor.dim import ceil_divide, maximum
from tensorwright.tensor.dtype import INT32, INT64, DType
from tensorwright.tensor.weights import Weights

LONGEST_RANGE = 1 << 24


def Const(node: Node, *, value: Weights) -> Value:
    return constant_value(value, node.name)


def Shape(node: Node, x: Value, *, out_type: DType = INT32) -> Value:
    return node.shape_value(x.type.shape, out_type)


def ShapeN(node: Node, first: Value, *others: Value, out_type: DType = INT32) -> list[Value]:
    return [node.shape_value(x.type.shape, out_type) for x in (first, *others)]


def Size(node: Node, x: Value, *, out_type: DType = INT32) -> Value:
    return node.reshape(node.shape_value((x.type.elements,), out_type), ())


def Rank(node: Node, x: Value) -> Value:
    return node.constant(x.type.rank, INT32)


def Fill(node: Node, shape: Value, value: Value) -> Value:
    return node.expand(node.reshape(value, ()), node.dims(shape, "the shape"))


def ZerosLike(node: Node, x: Value) -> Value:
    return node.expand(node.scalar(0, x), x.type.shape)


def OnesLike(node: Node, x: Value) -> Value:
    return node.expand(node.scalar(1, x), x.type.shape)


def Range(node: Node, start: Value, limit: Value, delta: Value) -> Value:
    if all(is_constant(value) for value in (start, limit, delta)):
        first, last, step = (node.number(value, "a bound of Range") for value in (start, limit, delta))
        count = max(0, int(np.ceil((last - first) / step)))
        if count > LONGEST_RANGE:
            node.fail(f"a range of {count} elements; expected at most {LONGEST_RANGE}: is the file damaged?")
        return node.constant(first + np.arange(count) * step, start.type.dtype)
    if any(contents_of(value) is None for value in (start, limit, delta)):
        node.unsupported("start, limit and delta have to be known when the model is imported")
    (first_dim,), (last_dim,) = node.dims(start, "start"), node.dims(limit, "limit")
    (step_size,) = node.integers(delta, "delta")
    span = last_dim - first_dim if step_size > 0 else first_dim - last_dim
    steps = counting(node, maximum(0, ceil_divide(span, abs(step_size))))
    scaled = node.multiply(steps, node.constant(step_size, INT64))
    return node.add(node.cast(scaled, start.type.dtype), start)


def BroadcastArgs(node: Node, first: Value, second: Value) -> Value:
    from tensorwright.ops.broadcast import broadcast_shapes

    shape = broadcast_shapes([node.dims(first, "a shape"), node.dims(second, "a shape")])
    return node.shape_value(shape, first.type.dtype)
