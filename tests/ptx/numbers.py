"""Registers hold bits; this is what they mean as numbers of a type, and arithmetic on them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache

import ml_dtypes
import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.generic]

_FLOATS = {"f16": np.float16, "f32": np.float32, "f64": np.float64, "bf16": ml_dtypes.bfloat16}


@cache
def width(kind: str) -> int:
    """Bits of a type such as ``u32``."""
    return 1 if kind == "pred" else int("".join(filter(str.isdigit, kind)))


@cache
def dtype_of(kind: str) -> np.dtype[np.generic]:
    if kind == "pred":
        return np.dtype(np.bool_)
    return np.dtype(_FLOATS.get(kind) or f"{'i' if kind[0] == 's' else 'u'}{width(kind) // 8}")


@cache
def _unsigned(kind: str) -> np.dtype[np.generic]:
    return np.dtype(f"u{width(kind) // 8}")


def numbers(bits: Bits, kind: str) -> Numbers:
    """The numbers that bits mean."""
    if kind == "pred":
        return bits != 0
    return bits.astype(_unsigned(kind)).view(dtype_of(kind))


def bits_of(values: Numbers, kind: str) -> Bits:
    """The bits of numbers, whose type is converted to with wrapping."""
    if kind == "pred":
        return values.astype(np.uint64)
    exact = values.astype(dtype_of(kind))
    return exact.view(_unsigned(kind)).astype(np.uint64)


def literal(text: str, kind: str) -> int:
    """The bits of a number that is written out."""
    text = text.removesuffix("U")
    if text[:2] in ("0f", "0d"):
        return int(f"0x{text[2:]}", 0)
    return int(text, 0) & ((1 << max(width(kind), 32)) - 1)


def multiplied_high(a: Numbers, b: Numbers, kind: str) -> Numbers:
    """The upper half of products of integers."""
    if width(kind) < 64:
        wide = np.int64 if kind[0] == "s" else np.uint64
        return (a.astype(wide) * b.astype(wide) >> wide(width(kind))).astype(dtype_of(kind))
    x, y = a.view(np.uint64), b.view(np.uint64)
    high = _multiplied_high(x, y)
    if kind[0] == "s":
        high = high - np.where(a < 0, y, 0) - np.where(b < 0, x, 0)
    return high.view(dtype_of(kind))


def _multiplied_high(x: Bits, y: Bits) -> Bits:
    """Of 64 bits without a sign, by products of their halves."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    x1, x0, y1, y0 = x >> half, x & low, y >> half, y & low
    middle = x1 * y0 + (x0 * y0 >> half)
    return x1 * y1 + (middle >> half) + ((middle & low) + x0 * y1 >> half)


def rounded_to_tf32(bits: Bits) -> Bits:
    """The bits of float32 rounded to the nearest TF32, ties away from zero; NaN stays NaN."""
    nearest = bits + np.uint64(0x1000) & np.uint64(0xFFFFE000)
    return np.where(np.isnan(numbers(bits, "f32")), bits, nearest)


def shifted_left(a: Numbers, by: Numbers, bits: int) -> Numbers:
    return np.where(by < bits, a << np.minimum(by, bits - 1).astype(a.dtype), 0).astype(a.dtype)


def shifted_right(a: Numbers, by: Numbers, bits: int) -> Numbers:
    moved = a >> np.minimum(by, bits - 1).astype(a.dtype)
    return moved if a.dtype.kind == "i" else np.where(by < bits, moved, 0).astype(a.dtype)


def extreme(which: str, a: Numbers, b: Numbers, *, nan: bool) -> Numbers:
    """The larger or smaller one; with `nan`, NaN if either is, otherwise the other one."""
    if a.dtype.kind != "f":
        return np.maximum(a, b) if which == "max" else np.minimum(a, b)
    if nan:
        return np.maximum(a, b) if which == "max" else np.minimum(a, b)
    return np.fmax(a, b) if which == "max" else np.fmin(a, b)


def divided(a: Numbers, b: Numbers) -> Numbers:
    """Quotients, of integers rounded toward zero."""
    if a.dtype.kind == "f":
        return a / b
    sign = np.where((a < 0) != (b < 0), -1, 1).astype(a.dtype)
    size = np.abs(a) // np.maximum(np.abs(b), 1) if a.dtype.kind == "i" else a // np.maximum(b, 1)
    return (size * sign).astype(a.dtype) if a.dtype.kind == "i" else size


def remainders(a: Numbers, b: Numbers) -> Numbers:
    return (a - divided(a, b) * b).astype(a.dtype)


ROUNDINGS: dict[str, Callable[[Numbers], Numbers]] = {
    "rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil,
}  # fmt: skip


def _unordered(a: Numbers, b: Numbers) -> Numbers:
    return np.isnan(a) | np.isnan(b) if a.dtype.kind == "f" else np.zeros(a.shape, np.bool_)


COMPARISONS: dict[str, Callable[[Numbers, Numbers], Numbers]] = {
    "eq": np.equal, "ne": lambda a, b: (a != b) & ~_unordered(a, b), "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "num": lambda a, b: ~_unordered(a, b), "nan": _unordered,
    "equ": lambda a, b: (a == b) | _unordered(a, b), "neu": lambda a, b: (a != b) | _unordered(a, b),
    "ltu": lambda a, b: ~(a >= b), "leu": lambda a, b: ~(a > b), "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b),
}  # fmt: skip

ARITHMETIC: dict[str, Callable[..., Numbers]] = {
    "add": operator.add, "sub": operator.sub, "and": operator.and_, "or": operator.or_, "xor": operator.xor,
    "not": operator.invert, "neg": operator.neg, "abs": np.abs, "div": divided, "rem": remainders, "sqrt": np.sqrt,
    "rsqrt": lambda a: (1 / np.sqrt(a)).astype(a.dtype),
    "ex2": np.exp2, "rcp": lambda a: (1 / a).astype(a.dtype), "copysign": lambda a, b: np.copysign(b, a),
    "fma": lambda a, b, c: (a.astype(np.float64) * b + c).astype(a.dtype),
}  # fmt: skip
