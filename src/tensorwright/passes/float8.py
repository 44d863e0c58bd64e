"""Products of tensors that were rounded to numbers of 8 bits (e4m3) as products of their bytes.

With ``a = p · s`` and ``b = q · t`` for such p and q: ``Σ a b = (Σ p q) · s · t``, if s is one number and t does not
change along the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value, apply, constant_value, is_constant
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.float8 import FORMAT, Float8Product, ToFloat8, decoded, encoded
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.narrow import NarrowFloat
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.fold import known_array
from tensorwright.passes.rewrite import rewrite, rules_pass
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.weights import weights_of

ACCESS, COLUMNS, TAPS = 16, 8, 31
"""What kernels want: a depth, or channels, in whole accesses, columns in eights, and so many taps at most."""


@dataclass(frozen=True)
class _Left:
    """``bytes · scale``: the scale is one number."""

    codes: Value
    scale: Value


@dataclass(frozen=True)
class _Right:
    """``codes · scale``: constants; the scale has the same rank and broadcasts to the codes."""

    codes: npt.NDArray[np.generic]
    scale: npt.NDArray[np.float32]


@rewrite(MatMul)
def product_of_bytes(value: Value) -> Value | None:
    """``MatMul(p · s, q · t) = Float8Product(p, q) · s · t``"""
    assert isinstance(value.op, MatMul)
    left, right = _left(value.inputs[0]), _right(value.inputs[1])
    if left is None or right is None or value.op.transpose_a or right.codes.ndim != 2:
        return None
    q, t = (right.codes.T, right.scale.T) if value.op.transpose_b else (right.codes, right.scale)
    if t.shape[0] != 1 or q.shape[0] % ACCESS or q.shape[1] % COLUMNS:
        return None
    product = apply(Float8Product(MatMul()), left.codes, _constant(q, value), name=value.name)
    return _scaled(product, left, t[0], value)


@rewrite(Convolution)
def convolution_of_bytes(value: Value) -> Value | None:
    """The same for convolutions."""
    op = value.op
    assert isinstance(op, Convolution)
    left, right = _left(value.inputs[0]), _right(value.inputs[1])
    if left is None or right is None or op.groups != 1 or any(extent != 1 for extent in right.scale.shape[1:]):
        return None
    outputs, channels, *window = right.codes.shape
    if channels % ACCESS or prod(window) > TAPS:
        return None
    column = (-1, *[1] * len(window))
    product = apply(Float8Product(op), left.codes, _constant(right.codes, value), name=value.name)
    result = _scaled(product, left, right.scale.reshape(column), value)
    bias = [apply(Reshape((outputs, *column[1:])), one, name=value.name) for one in value.inputs[2:]]
    return apply(Binary("add"), result, *bias, name=value.name) if bias else result


products_of_float8 = rules_pass("products_of_float8", [product_of_bytes, convolution_of_bytes])


def _left(value: Value) -> _Left | None:
    """A tensor that was rounded, times one number, read through what only moves its elements."""
    if value.type.dtype != FLOAT32:
        return None
    if isinstance(value.op, Transpose | Reshape):
        inner = _left(value.inputs[0])
        return inner and _Left(apply(value.op, inner.codes, name=value.name), inner.scale)
    if function_of(value) == "mul":
        for narrow, scale in (value.inputs, value.inputs[::-1]):
            if scale.type.elements == 1 and isinstance(narrow.op, NarrowFloat) and narrow.type == value.type:
                codes = _codes(narrow)
                return None if codes is None else _Left(codes, scale)
        return None
    found = _codes(value)
    return None if found is None else _Left(found, constant_value(weights_of(np.float32(1)), value.name))


def _codes(narrow: Value) -> Value | None:
    """The bytes of a tensor that was rounded."""
    if not isinstance(narrow.op, NarrowFloat) or narrow.op.format != FORMAT or is_constant(narrow.inputs[0]):
        return None
    return apply(ToFloat8(), narrow.inputs[0] if narrow.op.saturate else narrow, name=narrow.name)


def _right(value: Value) -> _Right | None:
    """Constant numbers of the format, times a constant."""
    if isinstance(value.op, Transpose):
        inner, order = _right(value.inputs[0]), value.op.permutation
        return inner and _Right(inner.codes.transpose(order), inner.scale.transpose(order))
    if function_of(value) == "mul":
        numbers, scale = map(known_array, value.inputs)
    else:
        numbers, scale = known_array(value), np.ones((1,) * value.type.rank, np.float32)
    if numbers is None or scale is None or numbers.dtype != np.float32 or numbers.shape != value.type.shape:
        return None
    codes = encoded(numbers)
    if not np.array_equal(decoded(codes), numbers):
        return None
    ranked = scale.reshape((1,) * (numbers.ndim - scale.ndim) + scale.shape)
    return _Right(codes, ranked.astype(np.float32))


def _constant(codes: npt.NDArray[np.generic], value: Value) -> Value:
    return constant_value(weights_of(codes), value.name)


def _scaled(product: Value, left: _Left, scale: npt.NDArray[np.float32], value: Value) -> Value:
    one = apply(Reshape(()), left.scale, name=value.name) if left.scale.type.rank else left.scale
    factors = constant_value(weights_of(scale), value.name)
    both = apply(Binary("mul"), one, factors, name=value.name)
    return apply(Binary("mul"), product, both, name=value.name)
