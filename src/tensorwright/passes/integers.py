"""Products of quantised tensors as products of their integers, where a target multiplies integers of 8 bits fast.

With ``a = (p − z) · s`` and ``b = q · t``: ``Σ a b = (Σ p q − z Σ q) · s · t``. The sum over the constant q is known at
build time, so one integer product is left. Right factors are signed. Left ones stay as they are where instructions
multiply both kinds; where they want unsigned ones, whatever is signed on the left is moved by 128, its zero point with
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value, apply, constant_value, is_constant
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary, Cast
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.ops.shape import Pad, Reshape, Transpose
from tensorwright.passes.fold import known_array
from tensorwright.passes.rewrite import Rewrite, rewrite, rules_pass
from tensorwright.tensor.dtype import INT8, INT16, INT32, UINT8
from tensorwright.tensor.weights import weights_of

Integers = npt.NDArray[np.int64]

LARGEST_SUM = 2**31 - 1
"""Sums are int32."""

GROUP = 4
"""Products that one instruction adds up: the reduction is a multiple of it."""


@dataclass(frozen=True)
class _Left:
    """``(integers − zero) · scale``: integers of 8 bits; scale and zero have one element each."""

    integers: Value
    scale: Value
    zero: Value


@dataclass(frozen=True)
class _Right:
    """``integers · scale``: constants; integers between −128 and 127, scale of the same rank, broadcasting to them."""

    integers: Integers
    scale: npt.NDArray[np.float32]


def _product(value: Value, factors: _Factors) -> Value | None:
    """``MatMul(Dequantize(p, s, z), Dequantize(q, t)) = Dequantize(MatMul(p, q), s · t, z · Σ q)`` for a constant q."""
    assert isinstance(value.op, MatMul)
    left, right = factors.left(value.inputs[0]), _right(value.inputs[1])
    if left is None or right is None or not multiplies_bytes(value, right.integers.shape):
        return None
    q, t = right.integers, right.scale
    if value.op.transpose_b:
        q, t = q.T, t.T
    if t.shape[0] != 1:
        return None
    product = apply(MatMul(), left.integers, _constant(q, value), name=value.name)
    return _dequantized(product, left, q.sum(0), t[0], value)


def _product_of_differences(value: Value, factors: _Factors) -> Value | None:
    """``MatMul(Cast(p) − z, Cast(q) − w) = MatMul(p, q − w) − z · Σ (q − w)`` in int32, for constants q and w."""
    assert isinstance(value.op, MatMul)
    if value.type.dtype != INT32 or value.op.transpose_a or value.op.transpose_b:
        return None
    left, q = factors.difference(value.inputs[0]), _whole_constant(value.inputs[1])
    if left is None or q is None or q.ndim != 2 or not _is_signed_byte(q) or not _fits(q.shape[0]):
        return None
    integers, zero = left
    product = apply(MatMul(), integers, _constant(q, value), name=value.name)
    columns = constant_value(weights_of(q.sum(0).astype(np.int32)), value.name)
    offset = apply(Binary("mul"), _scalar(zero), columns, name=value.name)
    return apply(Binary("sub"), product, offset, name=value.name)


def _convolution(value: Value, factors: _Factors) -> Value | None:
    """As of products; where the zero point is not 0, what lies around the image becomes the zero point."""
    op = value.op
    assert isinstance(op, Convolution)
    x, weights, *bias = value.inputs
    left, right = factors.left(x), _right(weights)
    if left is None or right is None or not multiplies_bytes(value, right.integers.shape):
        return None
    q, t = right.integers, right.scale
    padded = _padded(left, op)
    if padded is None or any(extent != 1 for extent in t.shape[1:]):
        return None
    image, plain = padded
    product = apply(plain, image, _constant(q, value), name=value.name)
    column = (-1, *[1] * (q.ndim - 2))
    sums, scale = q.reshape(q.shape[0], -1).sum(1).reshape(column), t.reshape(column)
    result = _dequantized(product, left, sums, scale, value)
    if not bias:
        return result
    extents = [extent if extent > 0 else q.shape[0] for extent in column]
    return apply(Binary("add"), result, apply(Reshape(tuple(extents)), bias[0], name=value.name), name=value.name)


@rewrite(Dequantize)
def unsigned(value: Value) -> Value | None:
    """``Dequantize(Quantize(x), s, z)`` in int8 is the same in uint8 with a zero point 128 above."""
    integers, scale, *zero = value.inputs
    if integers.type.dtype != INT8 or not _is_quantised_here(integers):
        return None
    return apply(Dequantize(), _moved(integers), scale, _zero_above(zero[0] if zero else None, value), name=value.name)


def _rules(factors: _Factors) -> list[Rewrite]:
    @rewrite(MatMul)
    def integer_product(value: Value) -> Value | None:
        return _product(value, factors)

    @rewrite(MatMul)
    def product_of_differences(value: Value) -> Value | None:
        return _product_of_differences(value, factors)

    @rewrite(Convolution)
    def integer_convolution(value: Value) -> Value | None:
        return _convolution(value, factors)

    return [integer_product, product_of_differences, integer_convolution]


def multiplies_bytes(value: Value, right: Sequence[int]) -> bool:
    """Whether a product, or convolution, with a constant right factor of a shape can be one of integers of 8 bits."""
    if isinstance(value.op, MatMul):
        depth = right[-1 if value.op.transpose_b else 0]
        return not value.op.transpose_a and len(right) == 2 and _fits(depth)
    if not isinstance(value.op, Convolution) or not _sums_fit(prod(right[1:])):
        return False
    return value.op.groups == 1 or (value.op.groups == value.inputs[0].type.shape[1] == right[0])


@dataclass(frozen=True)
class _Factors:
    """Reads left factors; those that are signed stay so, or are moved by 128."""

    keeps_signed: bool

    def left(self, value: Value) -> _Left | None:
        """A dequantised tensor with one scale and one zero point, read through what only moves its elements."""
        if isinstance(value.op, Transpose | Reshape):
            inner = self.left(value.inputs[0])
            return inner and _Left(apply(value.op, inner.integers, name=value.name), inner.scale, inner.zero)
        if not isinstance(value.op, Dequantize):
            return None
        integers, scale, *zero = value.inputs
        if is_constant(integers) or any(one.type.elements != 1 for one in (scale, *zero)):
            return None
        if self._is_moved(integers):
            return _Left(_moved(integers), scale, _zero_above(zero[0] if zero else None, value))
        if not self._is_multiplied(integers):
            return None
        if not zero:
            return _Left(integers, scale, constant_value(weights_of(np.int32(0)), value.name))
        return _Left(integers, scale, apply(Cast(INT32), zero[0], name=value.name))

    def difference(self, value: Value) -> tuple[Value, Value] | None:
        """A tensor of bytes and the one zero point that is taken from it, in int32."""
        wide, zero = value, constant_value(weights_of(np.int32(0)), value.name)
        if isinstance(value.op, Binary) and value.op.function == "sub":
            wide, zero = value.inputs
        if not isinstance(wide.op, Cast) or wide.type.dtype != INT32 or zero.type.elements != 1 or is_constant(wide):
            return None
        integers = wide.inputs[0]
        if self._is_moved(integers):
            return _moved(integers), _zero_above(zero, value)
        return (integers, zero) if self._is_multiplied(integers) and not is_constant(integers) else None

    def _is_moved(self, integers: Value) -> bool:
        return integers.type.dtype == INT8 and not self.keeps_signed

    def _is_multiplied(self, integers: Value) -> bool:
        return integers.type.dtype == UINT8 or (integers.type.dtype == INT8 and self.keeps_signed)


def _right(value: Value) -> _Right | None:
    """A dequantised constant, with its zero points taken off, if it fits int8 then."""
    if isinstance(value.op, Transpose):
        inner, order = _right(value.inputs[0]), value.op.permutation
        return inner and _Right(inner.integers.transpose(order), inner.scale.transpose(order))
    if not isinstance(value.op, Dequantize) or value.inputs[0].type.dtype not in (INT8, UINT8):
        return None
    arrays = [known_array(one) for one in value.inputs]
    known = [one for one in arrays if one is not None]
    if len(known) != len(arrays) or known[0].shape != value.type.shape:
        return None
    integers, scale, *zero = known
    wide = np.asarray(integers, np.int64) - (zero[0].astype(np.int64) if zero else 0)
    if not _is_signed_byte(wide):
        return None
    ranked = scale.reshape((1,) * (wide.ndim - scale.ndim) + scale.shape)
    return _Right(wide, ranked.astype(np.float32))


def _whole_constant(value: Value) -> Integers | None:
    """A constant of integers."""
    array = known_array(value) if value.type.dtype.is_integer else None
    return None if array is None else np.asarray(array, np.int64)


def _is_signed_byte(array: Integers) -> bool:
    return array.size > 0 and int(array.min()) >= -128 and int(array.max()) <= 127


def _fits(depth: int) -> bool:
    """Whether a depth comes in whole groups, and sums of so many terms are int32."""
    return depth % GROUP == 0 and _sums_fit(depth)


def _sums_fit(terms: int) -> bool:
    return terms * 255 * 128 <= LARGEST_SUM


def _constant(array: Integers, value: Value) -> Value:
    return constant_value(weights_of(array.astype(np.int8)), value.name)


def _dequantized(product: Value, left: _Left, sums: Integers, scale: npt.NDArray[np.float32], value: Value) -> Value:
    """What an integer product stands for. sums, scale: of the right factor's columns, to broadcast to the product."""
    columns = constant_value(weights_of(sums.astype(np.int32)), value.name)
    zero = apply(Binary("mul"), _scalar(left.zero), columns, name=value.name)
    factors = constant_value(weights_of(scale), value.name)
    both = apply(Binary("mul"), _scalar(left.scale), factors, name=value.name)
    return apply(Dequantize(), product, both, zero, name=value.name)


def _scalar(value: Value) -> Value:
    return apply(Reshape(()), value, name=value.name) if value.type.rank else value


def _padded(left: _Left, op: Convolution) -> tuple[Value, Convolution] | None:
    """The image and the convolution over it, which has no padding where the image's zero point is not known to be 0."""
    if not any((*op.pads_begin, *op.pads_end)):
        return left.integers, op
    zero = known_array(left.zero)
    if zero is None:
        return None
    if not zero.any():
        return left.integers, op
    none = (0,) * len(op.pads_begin)
    pad = Pad((0, 0, *op.pads_begin), (0, 0, *op.pads_end), value=float(zero.reshape(-1)[0]))
    image = apply(pad, left.integers, name=left.integers.name)
    return image, Convolution(op.strides, none, none, op.dilations, op.groups)


def _is_quantised_here(value: Value) -> bool:
    while isinstance(value.op, Transpose | Reshape):
        value = value.inputs[0]
    return isinstance(value.op, Quantize)


def _moved(value: Value) -> Value:
    """A tensor of int8 with 128 added to every element, in uint8."""
    if isinstance(value.op, Transpose | Reshape):
        return apply(value.op, _moved(value.inputs[0]), name=value.name)
    if isinstance(value.op, Quantize):
        x, scale, *zero = value.inputs
        above = apply(Cast(UINT8), _zero_above(zero[0] if zero else None, value), name=value.name)
        return apply(Quantize(UINT8), x, scale, above, name=value.name)
    wide = apply(Cast(INT16), value, name=value.name)
    offset = constant_value(weights_of(np.int16(128)), value.name)
    return apply(Cast(UINT8), apply(Binary("add"), wide, offset, name=value.name), name=value.name)


def _zero_above(zero: Value | None, value: Value) -> Value:
    """A zero point of int8 with 128 added, in int32."""
    offset = constant_value(weights_of(np.int32(128)), value.name)
    if zero is None:
        return offset
    return apply(Binary("add"), apply(Cast(INT32), zero, name=value.name), offset, name=value.name)


integer_products = rules_pass("integer_products", [unsigned, *_rules(_Factors(keeps_signed=False))])
"""Left factors become unsigned."""
products_of_bytes = rules_pass("products_of_bytes", _rules(_Factors(keeps_signed=True)))
"""Left factors stay as they are."""
