"""Tensors of integers whose elements are known when the model is read, symbolic dimensions included.

Exporters compute the targets of reshapes and slices from shapes, with ordinary operators. Such tensors are followed
here as object arrays whose elements are ints or `Dim` expressions: constants and `DimensionTensor` values carry their
elements in their operator, so no table beside the graph is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ShapeError
from tensorwright.graph.graph import Value, apply, constant_value, is_constant, weights_in
from tensorwright.graph.op import Op
from tensorwright.ops.elementwise import Binary, Cast, Identity, Select, Unary
from tensorwright.ops.indexing import Gather
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, DimensionTensor, Expand, Reshape, Slice, Tile, Transpose
from tensorwright.tensor.dim import (
    Dim,
    bounds,
    floor_divide,
    is_static,
    maximum,
    minimum,
    product,
    remainder,
    upper_bound,
)
from tensorwright.tensor.dtype import INT64, DType
from tensorwright.tensor.weights import weights_of

Dims = npt.NDArray[np.object_]

LARGEST = 4096
"""Tensors with more elements than this are data, not shapes."""


def contents_of(value: Value) -> Dims | None:
    """The elements of an integer or bool tensor, of the tensor's shape; None where they are not known."""
    if not value.type.is_static or value.type.elements > LARGEST or value.type.dtype.is_float:  # type: ignore[operator]
        return None
    if is_constant(value):
        return weights_in(value).array.astype(object)
    match value.op:
        case DimensionTensor(dims=dims, is_scalar=scalar):
            return dims_array(dims).reshape(() if scalar else (len(dims),))
        case Reshape(shape=shape):
            below = contents_of(value.inputs[0])
            return None if below is None else below.reshape([int(d) for d in shape if isinstance(d, int)])
        case Cast(dtype=dtype) if dtype.is_integer:
            return contents_of(value.inputs[0])
        case _:
            return None


def dims_array(dims: Sequence[Dim]) -> Dims:
    """A vector of dimensions."""
    result = np.empty(len(dims), dtype=object)
    result[:] = list(dims)
    return result


def value_of(contents: Dims, dtype: DType, name: str) -> Value:
    """A value with known elements: a constant where none is symbolic."""
    flat = list(contents.reshape(-1))
    if all(not hasattr(dim, "terms") for dim in flat):
        return constant_value(weights_of(np.array(flat, dtype=dtype.numpy).reshape(contents.shape)), name)
    value = apply(DimensionTensor(tuple(flat), contents.ndim == 0), name=name)
    if contents.ndim > 1:
        value = apply(Reshape(contents.shape), value, name=name)
    return value if dtype == INT64 else apply(Cast(dtype), value, name=name)


def compute(op: Op, inputs: Sequence[Value], name: str) -> Value | None:
    """The operator applied to known elements; None where the result cannot be known at build time."""
    operands = [contents_of(value) for value in inputs]
    known = [operand for operand in operands if operand is not None]
    if len(known) < len(operands) or not known:
        return None
    type = op.infer([value.type for value in inputs])
    if upper_bound(type.elements) > LARGEST:
        return None
    try:
        result = _compute(op, known)
    except ShapeError:
        return None
    if result is None or any(element is None for element in result.reshape(-1)):
        return None
    return value_of(result, type.dtype, name)


def _compute(op: Op, operands: Sequence[Dims]) -> Dims | None:
    match op:
        case Identity():
            return operands[0]
        case Cast(dtype=dtype):
            return None if dtype.is_float else _map(_integer if dtype.is_integer else _truth, operands[0])
        case Unary(function=function) if function in UNARY:
            return _map(UNARY[function], *operands)
        case Binary(function=function) if function in BINARY:
            return _map(BINARY[function], *operands)
        case Select():
            return _map(_select, *operands)
        case Reduction(function=function, axes=axes, keep_dims=keep) if function in REDUCE:
            return _reduce(REDUCE[function], operands[0], axes, keep)
        case _:
            return _move(op, operands)


def _move(op: Op, operands: Sequence[Dims]) -> Dims | None:
    match op:
        case Reshape(shape=shape) if _static(shape):
            return operands[0].reshape(_ints(shape))
        case Expand(shape=shape) if _static(shape):
            return np.broadcast_to(operands[0], _ints(shape))
        case Transpose(permutation=permutation):
            return operands[0].transpose(permutation)
        case Concatenation(axis=axis):
            return np.concatenate(operands, axis=axis)
        case Tile(repeats=repeats) if _static(repeats):
            return np.tile(operands[0], _ints(repeats))
        case Slice(starts=starts, extents=extents, steps=steps) if _static(starts) and _static(extents):
            picked = [s + step * np.arange(n) for s, n, step in zip(_ints(starts), _ints(extents), steps, strict=True)]
            return np.asarray(operands[0][np.ix_(*picked)]) if picked else operands[0]
        case Gather(axis=axis) if all(isinstance(index, int) for index in operands[1].reshape(-1)):
            return np.asarray(np.take(operands[0], operands[1].astype(np.int64), axis=axis), dtype=object)
        case _:
            return None


def _static(dims: Sequence[Dim]) -> bool:
    return all(is_static(dim) for dim in dims)


def _ints(dims: Sequence[Dim]) -> list[int]:
    return [dim for dim in dims if isinstance(dim, int)]


def _map(function: Callable[..., Dim | bool | None], *operands: Dims) -> Dims:
    result = np.frompyfunc(function, len(operands), 1)(*operands)
    boxed = np.empty(np.shape(result), dtype=object)
    boxed[...] = result
    return boxed


def _reduce(function: Callable[[Sequence[Dim]], Dim], operand: Dims, axes: Sequence[int], keep: bool) -> Dims | None:
    kept = [axis for axis in range(operand.ndim) if axis not in axes]
    moved = operand.transpose([*kept, *axes]).reshape([operand.shape[axis] for axis in kept] + [-1])
    if moved.shape[-1] == 0:
        return None
    result = np.empty(moved.shape[:-1], dtype=object)
    for index in np.ndindex(result.shape):
        result[index] = function(list(moved[index]))
    return result.reshape([1 if axis in axes else n for axis, n in enumerate(operand.shape)]) if keep else result


def _truncating_divide(left: Dim, right: Dim) -> Dim | None:
    if bounds(right)[0] <= 0 or bounds(left)[0] < 0:
        return None
    return floor_divide(left, right)


def _remainder(left: Dim, right: Dim) -> Dim | None:
    return None if bounds(right)[0] <= 0 or bounds(left)[0] < 0 else remainder(left, right)


def _equal(left: Dim, right: Dim) -> bool | None:
    if left == right:
        return True
    low, high = bounds(left - right)
    return False if low > 0 or high < 0 else None


def _less(left: Dim, right: Dim) -> bool | None:
    low, high = bounds(left - right)
    return True if high < 0 else False if low >= 0 else None


def _less_equal(left: Dim, right: Dim) -> bool | None:
    low, high = bounds(left - right)
    return True if high <= 0 else False if low > 0 else None


def _integer(value: Dim | bool) -> Dim:
    return int(value) if isinstance(value, bool) else value


def _truth(value: Dim) -> bool | None:
    equal = _equal(value, 0)
    return None if equal is None else not equal


def _absolute(value: Dim) -> Dim | None:
    low, high = bounds(value)
    return value if low >= 0 else -value if high <= 0 else None


def _select(condition: Dim | bool, then: Dim, otherwise: Dim) -> Dim | None:
    if then == otherwise:
        return then
    return None if not isinstance(condition, bool | int) else then if condition else otherwise


def _total(values: Sequence[Dim]) -> Dim:
    result: Dim = 0
    for value in values:
        result = result + value
    return result


def _smallest(values: Sequence[Dim]) -> Dim:
    result = values[0]
    for value in values[1:]:
        result = minimum(result, value)
    return result


def _largest(values: Sequence[Dim]) -> Dim:
    result = values[0]
    for value in values[1:]:
        result = maximum(result, value)
    return result


UNARY: Mapping[str, Callable[[Dim], Dim | None]] = {"neg": lambda value: -value, "abs": _absolute}
BINARY: Mapping[str, Callable[[Dim, Dim], Dim | bool | None]] = {
    "add": lambda left, right: left + right,
    "sub": lambda left, right: left - right,
    "mul": lambda left, right: left * right,
    "div": _truncating_divide,
    "mod": _remainder,
    "floor_mod": _remainder,
    "min": minimum,
    "max": maximum,
    "equal": _equal,
    "less": _less,
    "less_equal": _less_equal,
}
REDUCE: Mapping[str, Callable[[Sequence[Dim]], Dim]] = {
    "add": _total,
    "mul": product,
    "min": _smallest,
    "max": _largest,
}
