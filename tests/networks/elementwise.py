"""Random operators that compute each element from the elements at its place: functions, comparisons, conversions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, inf, log, sqrt

from networks.choices import chance, choose
from networks.growing import Growing, Unfit, broadcast
from networks.network import Extent, Tensor, is_varying

Bounds = tuple[float, float]
FOR_BFLOAT16 = frozenset(
    (
        "Sigmoid",
        "Tanh",
        "Exp",
        "Log",
        "Sqrt",
        "Erf",
        "Gelu",
        "LeakyRelu",
        "Relu",
        "Neg",
        "Abs",
        "Identity",
        "Floor",
        "Ceil",
    )
)
"""Functions that ONNX defines for bfloat16, too."""

STEADY = 0.01
"""Least operand of functions that are steep at zero."""


def _monotone(function: Callable[[float], float]) -> Callable[[float, float], Bounds]:
    return lambda low, high: (function(low), function(high))


def _clamped(low: float, high: float) -> Callable[[float, float], Bounds]:
    return lambda _low, _high: (low, high)


def _magnitude(low: float, high: float) -> Bounds:
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def _around(low: float, high: float) -> Bounds:
    """Bounds of functions between a small negative number and their operand."""
    return min(low, -0.5) if low < 0 else -0.5, max(high, 0.5)


def _relu(x: float) -> float:
    return max(x, 0.0)


Rule = tuple[float, float, Callable[[float, float], Bounds]]
STEPWISE: dict[str, Rule] = {
    "Floor": (-inf, inf, lambda low, high: (low - 1, high)),
    "Ceil": (-inf, inf, lambda low, high: (low, high + 1)),
    "Round": (-inf, inf, lambda low, high: (low - 1, high + 1)),
    "Sign": (-inf, inf, _clamped(-1, 1)),
}
EXACT: dict[str, Rule] = {
    "Relu": (-inf, inf, _monotone(_relu)),
    "Neg": (-inf, inf, lambda low, high: (-high, -low)),
    "Abs": (-inf, inf, _magnitude),
    "Identity": (-inf, inf, lambda low, high: (low, high)),
}
SMOOTH: dict[str, Rule] = {
    "Sigmoid": (-inf, inf, _clamped(0, 1)),
    "Tanh": (-inf, inf, _clamped(-1, 1)),
    "Exp": (-8, 4, _monotone(exp)),
    "Log": (STEADY, inf, _monotone(log)),
    "Sqrt": (STEADY, inf, _monotone(sqrt)),
    "Erf": (-inf, inf, _clamped(-1, 1)),
    "Sin": (-20, 20, _clamped(-1, 1)),
    "Cos": (-20, 20, _clamped(-1, 1)),
    "Atan": (-inf, inf, _clamped(-1.6, 1.6)),
    "Softplus": (-20, 20, lambda low, high: (0, max(high, 0) + 1)),
    "Softsign": (-inf, inf, _clamped(-1, 1)),
    "Gelu": (-inf, inf, _around),
    "HardSwish": (-inf, inf, _around),
    "Mish": (-20, 20, _around),
    "Elu": (-20, inf, lambda low, high: (max(min(low, 0), -1), max(high, 0))),
    "Selu": (-20, inf, lambda low, high: (-1.8, 1.1 * max(high, 0))),
    "Celu": (-20, inf, lambda low, high: (max(min(low, 0), -1), max(high, 0))),
    "LeakyRelu": (-inf, inf, lambda low, high: (0.01 * min(low, 0), max(high, 0))),
    "HardSigmoid": (-inf, inf, _clamped(0, 1)),
    "ThresholdedRelu": (-inf, inf, _monotone(_relu)),
}
"""By operator: the least and the largest operand, and the bounds of the result from those of the operand."""


def function(g: Growing) -> None:
    table = {**SMOOTH, **EXACT} if chance(g.choices, 85) else STEPWISE
    operator = choose(g.choices, tuple(table))
    least, most, bounds = table[operator]
    needs_exact = operator in STEPWISE or operator == "ThresholdedRelu"
    x = g.pick(lambda t: _takes(operator, t) and least <= t.low and t.high <= most and (t.is_exact or not needs_exact))
    g.add(operator, [x], (x.dtype, x.shape), bounds(x.low, x.high), exact=needs_exact or operator in EXACT)


def _takes(operator: str, x: Tensor) -> bool:
    if operator == "Celu":
        return x.dtype == "float32"
    return x.is_float and (x.dtype != "bfloat16" or operator in FOR_BFLOAT16)


def clip(g: Growing) -> None:
    x = g.pick(lambda t: t.is_float and t.dtype != "bfloat16")
    low, high = g.given([-1], []), g.given([choose(g.choices, (1, 6))], [])
    ends = [g.add("Cast", [end], (x.dtype, ()), (end.low, end.high), exact=True, to=_number(x)) for end in (low, high)]
    g.add("Clip", [x, *ends], (x.dtype, x.shape), (max(x.low, -1), min(max(x.high, -1), high.high)), exact=True)


def _number(tensor: Tensor) -> int:
    from networks.network import ELEMENTS

    return ELEMENTS[tensor.dtype]


def partner(g: Growing, x: Tensor, fits: Callable[[Tensor], bool] = lambda t: True) -> Tensor:
    """A second operand: another tensor that fits, or a constant of the same shape, of one axis or of rank 0."""
    kind = choose(g.choices, ("tensor", "tensor", "tensor", "scalar", "channel", "constant"))
    if kind == "tensor":
        return g.pick(lambda t: t.dtype == x.dtype and broadcast(x.shape, t.shape) is not None and fits(t))
    shape = [] if kind == "scalar" else _constant_shape(g, x, whole=kind == "constant")
    return constant_like(g, x, shape)


def constant_like(g: Growing, x: Tensor, shape: Sequence[int]) -> Tensor:
    low, high = choose(g.choices, ((-1.0, 1.0), (0.5, 2.0))) if x.is_float else (1, 3)
    return g.constant(x.dtype, shape, low, high)


def _constant_shape(g: Growing, x: Tensor, *, whole: bool) -> list[int]:
    kept = None if whole or not x.rank else g.choices.integer(0, x.rank - 1)
    extents = [
        1 if is_varying(extent) or (kept is not None and axis != kept) else extent[0]
        for axis, extent in enumerate(x.shape)
    ]
    return extents if kept is None else extents[kept:]


def combination(a: Tensor, b: Tensor, operator: str) -> Bounds:
    """The bounds of a sum, a product and so on."""
    if operator == "Add":
        return a.low + b.low, a.high + b.high
    if operator == "Sub":
        return a.low - b.high, a.high - b.low
    if operator in ("Max", "Min"):
        pick = max if operator == "Max" else min
        return pick(a.low, b.low), pick(a.high, b.high)
    ends = [x * y if operator == "Mul" else x / y for x in (a.low, a.high) for y in (b.low, b.high)]
    return min(ends), max(ends)


def arithmetic(g: Growing) -> None:
    operator = choose(g.choices, ("Add", "Mul", "Sub", "Max", "Min", "Div"))
    a = g.pick(lambda t: t.dtype != "bool" and (t.is_float or operator != "Div"))
    divides = operator == "Div"
    b = partner(g, a, lambda t: not divides or t.low >= 0.25 or t.high <= -0.25)
    if divides and b.low <= 0.25 and b.high >= -0.25:
        raise Unfit
    if operator in ("Add", "Mul", "Max", "Min") and chance(g.choices, 40):
        a, b = b, a
    g.add(operator, [a, b], (a.dtype, _together(a, b)), combination(a, b, operator), exact=operator in ("Max", "Min"))


def _together(*tensors: Tensor) -> tuple[Extent, ...]:
    shape: tuple[Extent, ...] | None = ()
    for tensor in tensors:
        shape = broadcast(shape, tensor.shape) if shape is not None else None
    if shape is None:
        raise Unfit
    return shape


def sum_of_several(g: Growing) -> None:
    operator = choose(g.choices, ("Sum", "Mean", "Max", "Min"))
    a = g.pick(lambda t: t.is_float)
    others = [g.pick(lambda t: t.dtype == a.dtype and broadcast(a.shape, t.shape) == a.shape) for _ in range(2)]
    operands = [a, *others]
    lows, highs = [t.low for t in operands], [t.high for t in operands]
    bounds = {
        "Sum": (sum(lows), sum(highs)), "Mean": (min(lows), max(highs)), "Max": (max(lows), max(highs)),
        "Min": (min(lows), min(highs)),
    }[operator]  # fmt: skip
    g.add(operator, operands, (a.dtype, a.shape), bounds, exact=operator in ("Max", "Min"))


def power(g: Growing) -> None:
    x = g.pick(lambda t: t.is_float and t.largest <= 20)
    exponent = choose(g.choices, (2, 3)) if x.low < 0.1 else 2
    y = g.add("Cast", [g.given([exponent], [])], (x.dtype, ()), (exponent, exponent), exact=True, to=_number(x))
    largest = x.largest**exponent
    g.add("Pow", [x, y], (x.dtype, x.shape), (0.0 if exponent == 2 else -largest, largest))


def slope(g: Growing) -> None:
    x = g.pick(lambda t: t.dtype in ("float32", "float16"))
    slopes = g.constant(x.dtype, _constant_shape(g, x, whole=False), 0.0, 0.5)
    g.add("PRelu", [x, slopes], (x.dtype, x.shape), (min(x.low, 0), max(x.high, 0)))


def comparison(g: Growing) -> None:
    operator = choose(g.choices, ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"))
    a = g.pick(lambda t: t.is_exact and t.dtype in ("float32", "float16", "int32", "int64", "float64"))
    b = partner(g, a, lambda t: t.is_exact)
    g.add(operator, [a, b], ("bool", _together(a, b)), (0, 1))


def logic(g: Growing) -> None:
    a = g.pick(lambda t: t.dtype == "bool")
    if chance(g.choices, 30):
        g.add("Not", [a], ("bool", a.shape), (0, 1))
        return
    b = g.pick(lambda t: t.dtype == "bool" and broadcast(a.shape, t.shape) is not None)
    g.add(choose(g.choices, ("And", "Or", "Xor")), [a, b], ("bool", _together(a, b)), (0, 1))


def where(g: Growing) -> None:
    condition = g.pick(lambda t: t.dtype == "bool")
    a = g.pick(lambda t: t.dtype != "bool" and broadcast(condition.shape, t.shape) is not None)
    b = partner(g, a)
    shape = _together(condition, a, b)
    g.add("Where", [condition, a, b], (a.dtype, shape), (min(a.low, b.low), max(a.high, b.high)), exact=True)


def conversion(g: Growing) -> None:
    x = g.pick(lambda t: True)
    narrow = ("float16", "bfloat16", "float64")
    target = choose(g.choices, ("float32", "float32", "int32", "int64", "bool", "int8", "uint8", *narrow))
    if target == x.dtype or (x.is_float and "float" not in target and not x.is_exact):
        raise Unfit
    bounds, exact = (x.low, x.high), True
    if target == "bool":
        bounds = (0, 1)
    elif "float" in target:
        wider = (x.dtype in ("float16", "bfloat16") and target in ("float32", "float64")) or target == "float64"
        exact = wider or (not x.is_float and x.largest <= 256)
    else:
        bounds = (float(int(x.low)), float(int(x.high)))
    result = Tensor("", target, x.shape)
    g.add("Cast", [x], (target, x.shape), bounds, exact=exact, to=_number(result))


def integers(g: Growing) -> None:
    """Operators on integers only."""
    a = g.pick(lambda t: t.dtype in ("int32", "int64"))
    operator = choose(g.choices, ("Mod", "Div", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Abs", "Neg", "Sign"))
    if operator in ("Abs", "Neg", "Sign"):
        bounds = (-1.0, 1.0) if operator == "Sign" else (-a.largest, a.largest)
        g.add(operator, [a], (a.dtype, a.shape), bounds)
        return
    positive = operator in ("Mod", "Div")
    b = partner(g, a, lambda t: not positive or t.low >= 1)
    if positive and b.low < 1:
        raise Unfit
    bits = max(int(a.largest), int(b.largest)).bit_length()
    bounds = {"Mod": (0, b.high - 1), "Div": (-a.largest, a.largest)}.get(operator, (-1 << bits, (1 << bits) - 1))
    g.add(operator, [a, b], (a.dtype, _together(a, b)), bounds)


def function_of(g: Growing, operator: str, x: Tensor) -> Tensor:
    """A function of a tensor that lies in its domain."""
    least, most, bounds = {**SMOOTH, **EXACT}[operator]
    if not (_takes(operator, x) and least <= x.low and x.high <= most):
        raise Unfit
    return g.add(operator, [x], (x.dtype, x.shape), bounds(x.low, x.high), exact=operator in EXACT)


def step(g: Growing, x: Tensor) -> Tensor:
    """Any function that always fits, for the motifs."""
    names = ("Sigmoid", "Tanh", "Relu", "Neg", "Abs", "Softsign", "HardSigmoid")
    return function_of(g, choose(g.choices, tuple(name for name in names if _takes(name, x))), x)


TEMPLATES = (
    (10, function), (12, arithmetic), (1, clip), (2, sum_of_several), (1, power), (1, slope), (3, comparison),
    (2, logic), (4, where), (3, conversion), (2, integers),
)  # fmt: skip
