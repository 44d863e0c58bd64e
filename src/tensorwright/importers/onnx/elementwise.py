"""Arithmetic, comparisons and logic on each element."""

from __future__ import annotations

from functools import reduce

from tensorwright.graph.graph import Value
from tensorwright.importers.onnx.narrow import Narrow, narrowed, small_type
from tensorwright.importers.onnx.node import Node
from tensorwright.importers.onnx.tensors import dtype_from
from tensorwright.ops.elementwise import BitCast as BitCastOp
from tensorwright.tensor.dtype import BOOL, FLOAT64


def Abs(node: Node, x: Value) -> Value:
    return x if x.type.dtype.kind == "unsigned" else node.unary("abs", x)


def Acos(node: Node, x: Value) -> Value:
    return node.unary("acos", x)


def Acosh(node: Node, x: Value) -> Value:
    return node.unary("acosh", x)


def Asin(node: Node, x: Value) -> Value:
    return node.unary("asin", x)


def Asinh(node: Node, x: Value) -> Value:
    return node.unary("asinh", x)


def Atan(node: Node, x: Value) -> Value:
    return node.unary("atan", x)


def Atanh(node: Node, x: Value) -> Value:
    return node.unary("atanh", x)


def Ceil(node: Node, x: Value) -> Value:
    return node.unary("ceil", x)


def Cos(node: Node, x: Value) -> Value:
    return node.unary("cos", x)


def Cosh(node: Node, x: Value) -> Value:
    return node.unary("cosh", x)


def Erf(node: Node, x: Value) -> Value:
    return node.unary("erf", x)


def Exp(node: Node, x: Value) -> Value:
    return node.unary("exp", x)


def Floor(node: Node, x: Value) -> Value:
    return node.unary("floor", x)


def Log(node: Node, x: Value) -> Value:
    return node.unary("log", x)


def Neg(node: Node, x: Value) -> Value:
    return node.unary("neg", x)


def Not(node: Node, x: Value) -> Value:
    return node.unary("not", x)


def Reciprocal(node: Node, x: Value) -> Value:
    return node.divide(node.scalar(1, x), x)


def Round(node: Node, x: Value) -> Value:
    return node.unary("round", x)


def Sign(node: Node, x: Value) -> Value:
    return node.unary("sign", x)


def Sin(node: Node, x: Value) -> Value:
    return node.unary("sin", x)


def Sinh(node: Node, x: Value) -> Value:
    return node.unary("sinh", x)


def Sqrt(node: Node, x: Value) -> Value:
    return node.unary("sqrt", x)


def Tan(node: Node, x: Value) -> Value:
    return node.unary("tan", x)


def Tanh(node: Node, x: Value) -> Value:
    return node.unary("tanh", x)


def IsNaN(node: Node, x: Value) -> Value:
    return node.unary("is_nan", x)


def IsInf(node: Node, x: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    infinite, zero = node.unary("is_inf", x), node.scalar(0, x)
    if detect_negative and detect_positive:
        return infinite
    if detect_positive:
        return node.binary("and", infinite, node.binary("less", zero, x))
    if detect_negative:
        return node.binary("and", infinite, node.binary("less", x, zero))
    return node.expand(node.constant(False), x.type.shape)


def Add(node: Node, a: Value, b: Value) -> Value:
    return node.add(a, b)


def Sub(node: Node, a: Value, b: Value) -> Value:
    return node.subtract(a, b)


def Mul(node: Node, a: Value, b: Value) -> Value:
    return node.multiply(a, b)


def Div(node: Node, a: Value, b: Value) -> Value:
    return node.divide(a, b)


def Mod(node: Node, a: Value, b: Value, *, fmod: int = 0) -> Value:
    return node.binary("mod" if fmod else "floor_mod", a, b)


def Pow(node: Node, a: Value, b: Value) -> Value:
    if a.type.dtype == b.type.dtype:
        return node.binary("pow", a, b)
    if a.type.dtype.is_float:
        return node.binary("pow", a, node.cast(b, a.type.dtype))
    return node.cast(node.binary("pow", node.cast(a, FLOAT64), node.cast(b, FLOAT64)), a.type.dtype)


def And(node: Node, a: Value, b: Value) -> Value:
    return node.binary("and", a, b)


def Or(node: Node, a: Value, b: Value) -> Value:
    return node.binary("or", a, b)


def Xor(node: Node, a: Value, b: Value) -> Value:
    return node.binary("xor", a, b)


def BitwiseAnd(node: Node, a: Value, b: Value) -> Value:
    return node.binary("bit_and", a, b)


def BitwiseOr(node: Node, a: Value, b: Value) -> Value:
    return node.binary("bit_or", a, b)


def BitwiseXor(node: Node, a: Value, b: Value) -> Value:
    return node.binary("bit_xor", a, b)


def BitwiseNot(node: Node, x: Value) -> Value:
    return node.unary("bit_not", x)


def BitShift(node: Node, a: Value, b: Value, *, direction: str) -> Value:
    if direction not in ("LEFT", "RIGHT"):
        node.fail(f"direction must be LEFT or RIGHT, found {direction}")
    return node.binary("shift_left" if direction == "LEFT" else "shift_right", a, b)


def Equal(node: Node, a: Value, b: Value) -> Value:
    return _compare(node, "equal", a, b)


def Less(node: Node, a: Value, b: Value) -> Value:
    return _compare(node, "less", a, b)


def LessOrEqual(node: Node, a: Value, b: Value) -> Value:
    return _compare(node, "less_equal", a, b)


def Greater(node: Node, a: Value, b: Value) -> Value:
    return _compare(node, "less", b, a)


def GreaterOrEqual(node: Node, a: Value, b: Value) -> Value:
    return _compare(node, "less_equal", b, a)


def _compare(node: Node, function: str, a: Value, b: Value) -> Value:
    if a.type.dtype == b.type.dtype == BOOL and function == "equal":
        return node.unary("not", node.binary("xor", a, b))
    return node.binary(function, a, b)


def Sum(node: Node, first: Value, *others: Value) -> Value:
    return reduce(node.add, others, first)


def Mean(node: Node, first: Value, *others: Value) -> Value:
    return node.divide(reduce(node.add, others, first), node.scalar(1 + len(others), first))


def Max(node: Node, first: Value, *others: Value) -> Value:
    return reduce(lambda a, b: node.binary("max", a, b), others, first)


def Min(node: Node, first: Value, *others: Value) -> Value:
    return reduce(lambda a, b: node.binary("min", a, b), others, first)


def Where(node: Node, condition: Value, a: Value, b: Value) -> Value:
    return node.select(condition, a, b)


def Identity(node: Node, x: Value) -> Value:
    return x


def Cast(node: Node, x: Value | Narrow, *, to: int, saturate: int = 1, round_mode: str = "up") -> Value | Narrow:
    wide, small = x.value if isinstance(x, Narrow) else x, small_type(to)
    if small is not None:
        return narrowed(node, wide, small, bool(saturate))
    return node.cast(wide, dtype_from(to, "attribute to"))


def CastLike(
    node: Node, x: Value | Narrow, like: Value | Narrow, *, saturate: int = 1, round_mode: str = "up"
) -> Value | Narrow:
    wide = x.value if isinstance(x, Narrow) else x
    if isinstance(like, Narrow):
        return narrowed(node, wide, like.dtype, bool(saturate))
    return node.cast(wide, like.type.dtype)


def BitCast(node: Node, x: Value, *, to: int) -> Value:
    dtype, source = dtype_from(to, "attribute to"), x.type.dtype
    if dtype.size != source.size:
        node.fail(f"{source} and {dtype} are not of one size")
    if dtype == source or (not dtype.is_float and not source.is_float and dtype != BOOL):
        return node.cast(x, dtype)
    if dtype.size >= 4:
        return node.apply(BitCastOp(source, dtype), x)
    return node.constant(node.data(x, "the input of BitCast").view(dtype.numpy))
