"""Constants, and tensors made of shapes alone."""

from __future__ import annotations

from math import ceil

import numpy as np

from tensorwright.graph.graph import Value, constant_value, is_constant, weights_in
from tensorwright.importers.compose import LONGEST, counting
from tensorwright.importers.contents import contents_of
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.onnx.node import Node
from tensorwright.importers.onnx.tensors import dtype_from
from tensorwright.tensor.dim import ceil_divide, maximum, product, upper_bound
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import Weights

LARGEST_FILLED = 1 << 27
"""Elements of the largest constant that is filled with a number; larger ones are that number, expanded."""


def Constant(
    node: Node,
    *,
    value: Weights | None = None,
    value_float: float | None = None,
    value_floats: tuple[float, ...] | None = None,
    value_int: int | None = None,
    value_ints: tuple[int, ...] | None = None,
) -> Value:
    given = {
        "value": value,
        "value_float": value_float,
        "value_floats": value_floats,
        "value_int": value_int,
        "value_ints": value_ints,
    }
    found = [name for name, one in given.items() if one is not None]
    if len(found) > 1:
        node.fail(f"expected one attribute with its value, found {' and '.join(found)}")
    if value is not None:
        return constant_value(value, node.name)
    floats = value_floats if value_float is None else value_float
    if floats is not None:
        return node.constant(floats, FLOAT32)
    integers = value_ints if value_int is None else value_int
    if integers is None:
        node.unsupported("only tensors, integers and floats are supported as values")
    return node.constant(integers, INT64)


def ConstantOfShape(node: Node, shape: Value, *, value: Weights | None = None) -> Value:
    dims = node.dims(shape, "the shape")
    if any(upper_bound(dim) < 0 for dim in dims):
        node.fail(f"expected a shape without negative extents, found {list(dims)}")
    filling = node.constant(0.0, FLOAT32) if value is None else constant_value(value, node.name)
    element = node.reshape(filling, ())
    if not all(isinstance(dim, int) for dim in dims) or upper_bound(product(dims)) > LARGEST_FILLED:
        return node.expand(element, dims)
    type = TensorType(element.type.dtype, dims)
    number = weights_in(element)
    return constant_value(Weights(type, lambda: np.broadcast_to(number.array, type.tuning_shape)), node.name)


def EyeLike(node: Node, x: Value, *, dtype: int | None = None, k: int = 0) -> Value:
    if x.type.rank != 2:
        node.fail(f"expected a matrix, found {x.type}")
    rows, columns = node.static(x.type.shape, "the shape of EyeLike")
    if rows * columns > LONGEST:
        node.fail(f"a matrix of {rows}×{columns} elements; expected at most {LONGEST}")
    return node.constant(np.eye(rows, columns, k), x.type.dtype if dtype is None else dtype_from(dtype, "dtype"))


def Shape(node: Node, x: Value, *, start: int = 0, end: int | None = None) -> Value:
    return node.shape_value(x.type.shape[slice(start, end)], INT64)


def Size(node: Node, x: Value) -> Value:
    return node.reshape(node.shape_value((x.type.elements,), INT64), ())


def Range(node: Node, start: Value, limit: Value, delta: Value, *, stash_type: int = 1) -> Value:
    """Fixed numbers give a constant; shape-dependent integers a count that is as long as they say."""
    if all(is_constant(value) for value in (start, limit, delta)):
        first, last, step = (node.array(value, "Range").reshape(()).item() for value in (start, limit, delta))
        if step == 0 or not np.isfinite([first, last, step]).all():
            node.fail(f"a range from {first} to {last} in steps of {step} has no end")
        count = max(0, ceil((last - first) / step))
        if count > LONGEST:
            node.fail(f"a range of {count} elements; expected at most {LONGEST}")
        return node.constant(first + np.arange(count) * step, start.type.dtype)
    unknown = [value for value in (start, limit, delta) if not is_constant(value) and contents_of(value) is None]
    if unknown:
        raise Unsupported("start, limit and delta have to be known when the model is imported", unknown)
    (first_dim,), (last_dim,), (step_size,) = (
        node.dims(start, "start"),
        node.dims(limit, "limit"),
        node.integers(delta, "delta"),
    )
    span = last_dim - first_dim if step_size > 0 else first_dim - last_dim
    count_dim = maximum(0, ceil_divide(span, abs(step_size)))
    steps = node.cast(node.multiply(counting(node, count_dim), node.constant(step_size, INT64)), start.type.dtype)
    return node.add(steps, start)
