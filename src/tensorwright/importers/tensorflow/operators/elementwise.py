"""Operators on single elements."""

from __future__ import annotations

from functools import reduce

from tensorwright.graph.graph import Value
from tensorwright.importers.images import add_bias, is_channels_last
from tensorwright.importers.tensorflow.node import Node
from tensorwright.tensor.dtype import BOOL, DType


def Add(node: Node, a: Value, b: Value) -> Value:
    return node.add(a, b)


def AddV2(node: Node, a: Value, b: Value) -> Value:
    return node.add(a, b)


def AddN(node: Node, first: Value, *others: Value) -> Value:
    return reduce(node.add, others, first)


def Sub(node: Node, a: Value, b: Value) -> Value:
    return node.subtract(a, b)


def Mul(node: Node, a: Value, b: Value) -> Value:
    return node.multiply(a, b)


def Div(node: Node, a: Value, b: Value) -> Value:
    return node.divide(a, b)


def RealDiv(node: Node, a: Value, b: Value) -> Value:
    return node.divide(a, b)


def TruncateDiv(node: Node, a: Value, b: Value) -> Value:
    return node.divide(a, b)


def DivNoNan(node: Node, a: Value, b: Value) -> Value:
    """0 where the divisor is 0."""
    return _no_nan(node, node.divide(a, b), b)


def MulNoNan(node: Node, a: Value, b: Value) -> Value:
    """0 where the second factor is 0, even if the first one is infinite or NaN."""
    return _no_nan(node, node.multiply(a, b), b)


def _no_nan(node: Node, result: Value, b: Value) -> Value:
    zero = node.scalar(0, b)
    return node.select(node.binary("equal", b, zero), zero, result)


def FloorDiv(node: Node, a: Value, b: Value) -> Value:
    if a.type.dtype.is_float:
        return node.unary("floor", node.divide(a, b))
    return node.divide(node.subtract(a, node.binary("floor_mod", a, b)), b)


def FloorMod(node: Node, a: Value, b: Value) -> Value:
    return node.binary("floor_mod", a, b)


def Mod(node: Node, a: Value, b: Value) -> Value:
    return node.binary("mod", a, b)


def TruncateMod(node: Node, a: Value, b: Value) -> Value:
    return node.binary("mod", a, b)


def Minimum(node: Node, a: Value, b: Value) -> Value:
    return node.binary("min", a, b)


def Maximum(node: Node, a: Value, b: Value) -> Value:
    return node.binary("max", a, b)


def Pow(node: Node, a: Value, b: Value) -> Value:
    return node.binary("pow", a, b)


def SquaredDifference(node: Node, a: Value, b: Value) -> Value:
    difference = node.subtract(a, b)
    return node.multiply(difference, difference)


def BiasAdd(node: Node, x: Value, bias: Value, *, data_format: str = "NHWC") -> Value:
    return add_bias(node, x, bias, is_channels_last(node, data_format))


def BiasAddV1(node: Node, x: Value, bias: Value) -> Value:
    return add_bias(node, x, bias, True)


def ClipByValue(node: Node, x: Value, low: Value, high: Value) -> Value:
    return node.binary("min", node.binary("max", x, low), high)


def Neg(node: Node, x: Value) -> Value:
    return node.unary("neg", x)


def Abs(node: Node, x: Value) -> Value:
    return node.unary("abs", x)


def Sign(node: Node, x: Value) -> Value:
    return node.unary("sign", x)


def Sqrt(node: Node, x: Value) -> Value:
    return node.unary("sqrt", x)


def Rsqrt(node: Node, x: Value) -> Value:
    return node.divide(node.scalar(1, x), node.unary("sqrt", x))


def Square(node: Node, x: Value) -> Value:
    return node.multiply(x, x)


def Reciprocal(node: Node, x: Value) -> Value:
    return node.divide(node.scalar(1, x), x)


def Inv(node: Node, x: Value) -> Value:
    return Reciprocal(node, x)


def Exp(node: Node, x: Value) -> Value:
    return node.unary("exp", x)


def Expm1(node: Node, x: Value) -> Value:
    return node.subtract(node.unary("exp", x), node.scalar(1, x))


def Log(node: Node, x: Value) -> Value:
    return node.unary("log", x)


def Log1p(node: Node, x: Value) -> Value:
    return node.unary("log1p", x)


def Sin(node: Node, x: Value) -> Value:
    return node.unary("sin", x)


def Cos(node: Node, x: Value) -> Value:
    return node.unary("cos", x)


def Tan(node: Node, x: Value) -> Value:
    return node.unary("tan", x)


def Asin(node: Node, x: Value) -> Value:
    return node.unary("asin", x)


def Acos(node: Node, x: Value) -> Value:
    return node.unary("acos", x)


def Atan(node: Node, x: Value) -> Value:
    return node.unary("atan", x)


def Sinh(node: Node, x: Value) -> Value:
    return node.unary("sinh", x)


def Cosh(node: Node, x: Value) -> Value:
    return node.unary("cosh", x)


def Asinh(node: Node, x: Value) -> Value:
    return node.unary("asinh", x)


def Acosh(node: Node, x: Value) -> Value:
    return node.unary("acosh", x)


def Atanh(node: Node, x: Value) -> Value:
    return node.unary("atanh", x)


def Floor(node: Node, x: Value) -> Value:
    return node.unary("floor", x)


def Ceil(node: Node, x: Value) -> Value:
    return node.unary("ceil", x)


def Round(node: Node, x: Value) -> Value:
    return node.unary("round", x) if x.type.dtype.is_float else x


def Rint(node: Node, x: Value) -> Value:
    return node.unary("round", x)


def Erf(node: Node, x: Value) -> Value:
    return node.unary("erf", x)


def Erfc(node: Node, x: Value) -> Value:
    return node.subtract(node.scalar(1, x), node.unary("erf", x))


def IsNan(node: Node, x: Value) -> Value:
    return node.unary("is_nan", x)


def IsInf(node: Node, x: Value) -> Value:
    return node.unary("is_inf", x)


def IsFinite(node: Node, x: Value) -> Value:
    return node.unary("not", node.binary("or", node.unary("is_nan", x), node.unary("is_inf", x)))


def LogicalNot(node: Node, x: Value) -> Value:
    return node.unary("not", x)


def LogicalAnd(node: Node, a: Value, b: Value) -> Value:
    return node.binary("and", a, b)


def LogicalOr(node: Node, a: Value, b: Value) -> Value:
    return node.binary("or", a, b)


def Invert(node: Node, x: Value) -> Value:
    return node.unary("bit_not", x)


def BitwiseAnd(node: Node, a: Value, b: Value) -> Value:
    return node.binary("bit_and", a, b)


def BitwiseOr(node: Node, a: Value, b: Value) -> Value:
    return node.binary("bit_or", a, b)


def BitwiseXor(node: Node, a: Value, b: Value) -> Value:
    return node.binary("bit_xor", a, b)


def LeftShift(node: Node, a: Value, b: Value) -> Value:
    return node.binary("shift_left", a, b)


def RightShift(node: Node, a: Value, b: Value) -> Value:
    return node.binary("shift_right", a, b)


def Equal(node: Node, a: Value, b: Value) -> Value:
    if a.type.dtype == b.type.dtype == BOOL:
        return node.unary("not", node.binary("xor", a, b))
    return node.binary("equal", a, b)


def NotEqual(node: Node, a: Value, b: Value) -> Value:
    return node.unary("not", Equal(node, a, b))


def Less(node: Node, a: Value, b: Value) -> Value:
    return node.binary("less", a, b)


def LessEqual(node: Node, a: Value, b: Value) -> Value:
    return node.binary("less_equal", a, b)


def Greater(node: Node, a: Value, b: Value) -> Value:
    return node.binary("less", b, a)


def GreaterEqual(node: Node, a: Value, b: Value) -> Value:
    return node.binary("less_equal", b, a)


def Select(node: Node, condition: Value, then: Value, otherwise: Value) -> Value:
    """A condition with one axis may say which rows to take."""
    if condition.type.rank == 1 and then.type.rank > 1:
        condition = node.reshape(condition, (*condition.type.shape, *(1,) * (then.type.rank - 1)))
    return node.select(condition, then, otherwise)


def SelectV2(node: Node, condition: Value, then: Value, otherwise: Value) -> Value:
    return node.select(condition, then, otherwise)


def Cast(node: Node, x: Value, *, DstT: DType, Truncate: bool = False) -> Value:
    if Truncate and DstT.is_float:
        node.unsupported("Truncate is not supported: floats are rounded to the nearest")
    return node.cast(x, DstT)


def FakeQuantWithMinMaxArgs(
    node: Node, x: Value, *, min: float = -6.0, max: float = 6.0, num_bits: int = 8, narrow_range: bool = False
) -> Value:
    return _fake_quantized(node, x, min, max, num_bits, narrow_range)


def FakeQuantWithMinMaxVars(
    node: Node, x: Value, low: Value, high: Value, *, num_bits: int = 8, narrow_range: bool = False
) -> Value:
    return _fake_quantized(node, x, node.number(low, "min"), node.number(high, "max"), num_bits, narrow_range)


def _fake_quantized(node: Node, x: Value, low: float, high: float, bits: int, narrow: bool) -> Value:
    """Rounded to the steps of a quantised range, which is moved so that 0 is one of them."""
    if not 2 <= bits <= 16:
        node.fail(f"num_bits: expected 2 to 16, found {bits}")
    first, last = int(narrow), (1 << bits) - 1
    scale = (high - low) / (last - first)
    if scale <= 0:
        node.fail(f"expected min < max, found {low} and {high}")
    zero = min(max(first - low / scale, first), last)
    nudged = int(zero + 0.5)
    bottom, top = (first - nudged) * scale, (last - nudged) * scale
    step, lowest = node.scalar(scale, x), node.scalar(bottom, x)
    clipped = node.binary("min", node.binary("max", x, lowest), node.scalar(top, x))
    steps = node.add(node.divide(node.subtract(clipped, lowest), step), node.scalar(0.5, x))
    return node.add(node.multiply(node.unary("floor", steps), step), lowest)
