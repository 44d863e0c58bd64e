"""What rewrites look for: functions spelled out, chains of constants and moves; sometimes a little off."""

from __future__ import annotations

from math import pi, prod, sqrt

from networks.choices import chance, choose
from networks.elementwise import combination, function_of
from networks.growing import Growing, Unfit, broadcast
from networks.network import Tensor, is_varying

FLOATS = ("float32", "float16")


def _source(g: Growing, largest: float = 8.0) -> Tensor:
    return g.pick(lambda t: t.dtype in FLOATS and t.largest <= largest and all(min(e) > 0 for e in t.shape))


def _about(g: Growing, value: float) -> float:
    """A constant of a pattern; rarely another one, which makes it none."""
    return value if chance(g.choices, 80) else value + choose(g.choices, (0.25, 1.0))


def apply(g: Growing, operator: str, a: Tensor, b: Tensor) -> Tensor:
    """A function of two tensors, in this order or the other where that is the same."""
    if operator in ("Add", "Mul") and chance(g.choices, 30):
        a, b = b, a
    shape = broadcast(a.shape, b.shape)
    if shape is None:
        raise Unfit
    return g.add(operator, [a, b], (a.dtype, shape), combination(a, b, operator), exact=operator in ("Max", "Min"))


def activation(g: Growing) -> None:
    """Silu, Gelu, HardSwish, HardSigmoid, Sigmoid, Softplus, LeakyRelu."""
    x = _source(g, 3.5)
    kind = choose(
        g.choices, ("silu", "gelu", "tanh gelu", "hard swish", "hard sigmoid", "sigmoid", "softplus", "leaky")
    )
    one, half = g.number(x, _about(g, 1.0)), g.number(x, 0.5)
    if kind == "silu":
        apply(g, "Mul", x, function_of(g, "Sigmoid", x))
    elif kind == "gelu":
        scaled = apply(g, "Div", x, g.number(x, _about(g, sqrt(2))))
        inner = apply(g, "Add", function_of(g, "Erf", scaled), one)
        apply(g, "Mul", apply(g, "Mul", x, inner), half)
    elif kind == "tanh gelu":
        cube = apply(g, "Mul", apply(g, "Mul", x, x), x)
        inner = apply(g, "Add", x, apply(g, "Mul", cube, g.number(x, 0.044715)))
        bent = function_of(g, "Tanh", apply(g, "Mul", inner, g.number(x, _about(g, sqrt(2 / pi)))))
        apply(g, "Mul", apply(g, "Mul", x, half), apply(g, "Add", bent, one))
    elif kind in ("hard swish", "hard sigmoid"):
        six = g.number(x, 6.0)
        moved = apply(g, "Add", x, g.number(x, _about(g, 3.0)))
        clipped = g.add("Clip", [moved, g.number(x, 0.0), six], (x.dtype, x.shape), (0, 6), exact=True)
        factor = clipped if kind == "hard sigmoid" else apply(g, "Mul", x, clipped)
        apply(g, "Div", factor, six)
    elif kind == "leaky":
        apply(g, "Max", x, apply(g, "Mul", x, g.number(x, 0.125)))
    else:
        power = function_of(g, "Exp", function_of(g, "Neg", x) if kind == "sigmoid" else x)
        total = apply(g, "Add", power, one)
        if kind == "sigmoid":
            apply(g, "Div", one, total)
        else:
            function_of(g, "Log", total)


def normalisation(g: Growing) -> None:
    """LayerNormalization and its like, softmax, spelled out."""
    x = _source(g)
    if x.rank == 0:
        raise Unfit
    kind = choose(g.choices, ("layer", "rms", "softmax", "lp"))
    axes = [x.rank - 1] if chance(g.choices, 75) else [g.choices.integer(0, x.rank - 1)]
    if any(is_varying(x.shape[axis]) or x.shape[axis][0] < 2 for axis in axes):
        raise Unfit
    shape = [g.fixed(1) if axis in axes else extent for axis, extent in enumerate(x.shape)]
    if kind == "softmax":
        peak = g.add("ReduceMax", [x, g.given(axes)], (x.dtype, shape), (x.low, x.high), exact=True, keepdims=1)
        lowered = g.add("Sub", [x, peak], (x.dtype, x.shape), (x.low - x.high, 0))
        power = g.add("Exp", [lowered], (x.dtype, x.shape), (0, 1))
        extent = prod(x.shape[axis][0] for axis in axes)
        total = g.add("ReduceSum", [power, g.given(axes)], (x.dtype, shape), (1, extent), keepdims=1)
        g.add("Div", [power, total], (x.dtype, x.shape), (0, 1))
        return
    if kind == "layer":
        mean = g.add("ReduceMean", [x, g.given(axes)], (x.dtype, shape), (x.low, x.high), keepdims=1)
        x = apply(g, "Sub", x, mean)
    square = g.add("Mul", [x, x], (x.dtype, x.shape), (0, x.largest**2))
    reduce = "ReduceSum" if kind == "lp" else "ReduceMean"
    count = prod(x.shape[axis][0] for axis in axes) if kind == "lp" else 1
    mean = g.add(reduce, [square, g.given(axes)], (x.dtype, shape), (0, square.high * count), keepdims=1)
    root = function_of(g, "Sqrt", apply(g, "Add", mean, g.number(x, 0.0625)))
    bound = x.largest / 0.25
    if chance(g.choices, 50):
        y = g.add("Div", [x, root], (x.dtype, x.shape), (-bound, bound))
    else:
        inverse = g.add("Reciprocal", [root], (x.dtype, shape), (0, 4))
        y = g.add("Mul", [x, inverse], (x.dtype, x.shape), (-bound, bound))
    y = apply(g, "Mul", y, _along(g, y, x.rank - 1))
    if chance(g.choices, 60):
        apply(g, "Add", y, _along(g, y, x.rank - 1))


def _along(g: Growing, x: Tensor, axis: int) -> Tensor:
    """A constant of one element for each place along an axis, or of rank 0."""
    extent = x.shape[axis]
    if is_varying(extent) or chance(g.choices, 15):
        return g.constant(x.dtype, [], 0.5, 1.5)
    return g.constant(x.dtype, [extent[0], *[1] * (x.rank - 1 - axis)], 0.5, 1.5)


def affine(g: Growing) -> None:
    """Products, sums and quotients with constants, one after the other, around what has weights or not."""
    x = _source(g)
    for _ in range(g.choices.integer(2, 4)):
        if x.rank == 0:
            raise Unfit
        axis = 1 if x.rank > 1 and chance(g.choices, 60) else g.choices.integer(0, x.rank - 1)
        constant = _along(g, x, axis) if chance(g.choices, 70) else g.constant(x.dtype, [], 0.5, 1.5)
        x = apply(g, choose(g.choices, ("Mul", "Add", "Sub", "Div")), x, constant)


def weighted(g: Growing) -> None:
    """A product or a convolution of one pixel between sums and products with constants."""
    x = g.pick(lambda t: t.dtype == "float32" and t.rank in (2, 3, 4) and t.largest <= 8 and min(map(min, t.shape)) > 0)
    is_image = x.rank == 4 or (x.rank == 3 and chance(g.choices, 50))
    axis = 1 if is_image else x.rank - 1
    if is_varying(x.shape[axis]):
        raise Unfit
    if chance(g.choices, 50):
        x = apply(g, choose(g.choices, ("Mul", "Add")), x, _along(g, x, axis))
    inner, outer = x.shape[axis][0], choose(g.choices, (8, 3, 16, 1))
    shape = [*x.shape[:axis], g.fixed(outer), *x.shape[axis + 1 :]]
    scale = 1 / sqrt(inner)
    bound = x.largest * sqrt(inner) + 1
    if is_image:
        operands = [x, g.constant(x.dtype, [outer, inner, *[1] * (x.rank - 2)], -scale, scale)]
        if chance(g.choices, 50):
            operands.append(g.constant(x.dtype, [outer], -1, 1))
        y = g.add("Conv", operands, (x.dtype, shape), (-bound, bound))
    else:
        y = g.add("MatMul", [x, g.constant(x.dtype, [inner, outer], -scale, scale)], (x.dtype, shape), (-bound, bound))
    for _ in range(g.choices.integer(1, 2)):
        y = apply(g, choose(g.choices, ("Mul", "Add", "Div", "Sub")), y, _along(g, y, axis))
    if chance(g.choices, 50):
        function_of(g, choose(g.choices, ("Relu", "Sigmoid", "HardSwish", "Tanh")), y)


def shared_products(g: Growing) -> None:
    """Several products of one tensor, then a sum or a concatenation of them."""
    x = g.pick(lambda t: t.dtype == "float32" and t.rank in (2, 3) and t.largest <= 8 and min(map(min, t.shape)) > 0)
    if is_varying(x.shape[-1]):
        raise Unfit
    inner, outer = x.shape[-1][0], choose(g.choices, (8, 5, 16))
    scale, results = 1 / sqrt(inner), []
    for _ in range(g.choices.integer(2, 3)):
        bound = x.largest * sqrt(inner)
        w = g.constant(x.dtype, [inner, outer], -scale, scale)
        y = g.add("MatMul", [x, w], (x.dtype, [*x.shape[:-1], g.fixed(outer)]), (-bound, bound))
        results.append(apply(g, "Add", y, g.constant(x.dtype, [outer], -1, 1)) if chance(g.choices, 60) else y)
    apply(g, choose(g.choices, ("Add", "Mul", "Max")), results[0], results[-1])


def moves(g: Growing) -> None:
    """Transposes, reshapes and slices with functions in between."""
    x = g.pick(lambda t: t.is_float and t.rank > 1)
    order = tuple(sorted(range(x.rank), key=lambda axis: (axis * 5 + g.choices.integer(0, 3)) % 7))
    turned = _transposed(g, x, order)
    middle = turned
    for _ in range(g.choices.integer(0, 2)):
        middle = function_of(g, choose(g.choices, ("Sigmoid", "Relu", "Tanh", "Abs")), middle)
    kind = choose(g.choices, ("back", "concat", "reduce", "slice", "pad"))
    if kind == "concat":
        axis = g.choices.integer(0, x.rank - 1)
        total = tuple(2 * e for e in middle.shape[axis])
        shape = [*middle.shape[:axis], total, *middle.shape[axis + 1 :]]
        bounds = min(middle.low, turned.low), max(middle.high, turned.high)
        middle = g.add("Concat", [middle, turned], (x.dtype, shape), bounds, exact=True, axis=axis)
    elif kind == "reduce" and all(min(e) > 0 for e in x.shape):
        axis = g.choices.integer(0, x.rank - 1)
        shape = [g.fixed(1) if n == axis else e for n, e in enumerate(middle.shape)]
        middle = g.add("ReduceMean", [middle, g.given([axis])], (x.dtype, shape), (middle.low, middle.high), keepdims=1)
    elif kind == "slice" and min(middle.shape[0]) > 0:
        shape = [g.fixed(1), *middle.shape[1:]]
        operands = [middle, g.given([0]), g.given([1]), g.given([0])]
        middle = g.add("Slice", operands, (x.dtype, shape), (middle.low, middle.high), exact=True)
    elif kind == "pad" and x.dtype in ("float32", "float64"):
        pads = [0] * x.rank + [0] * (x.rank - 1) + [1]
        shape = [*middle.shape[:-1], tuple(e + 1 for e in middle.shape[-1])]
        bounds = min(0, middle.low), max(0, middle.high)
        middle = g.add("Pad", [middle, g.given(pads)], (x.dtype, shape), bounds, exact=True)
    back = tuple(order.index(axis) for axis in range(x.rank))
    result = _transposed(g, middle, back if chance(g.choices, 80) else order)
    if kind == "back" and chance(g.choices, 60) and broadcast(result.shape, x.shape) is not None:
        apply(g, "Add", result, x)


def _transposed(g: Growing, x: Tensor, order: tuple[int, ...]) -> Tensor:
    shape = [x.shape[axis] for axis in order]
    return g.add("Transpose", [x], (x.dtype, shape), (x.low, x.high), exact=True, perm=order)


def padded(g: Growing) -> None:
    """Zeros around an image, then a convolution or a pool."""
    x = g.pick(lambda t: t.dtype == "float32" and t.rank == 4 and t.largest <= 8 and min(map(min, t.shape)) > 0)
    if any(map(is_varying, x.shape[1:])):
        raise Unfit
    top, left, bottom, right = (g.choices.integer(0, 2) for _ in range(4))
    height, width = x.shape[2][0] + top + bottom, x.shape[3][0] + left + right
    if min(height, width) < 3:
        raise Unfit
    shape = [*x.shape[:2], g.fixed(height), g.fixed(width)]
    pads = g.given([0, 0, top, left, 0, 0, bottom, right])
    y = g.add("Pad", [x, pads], (x.dtype, shape), (min(0, x.low), max(0, x.high)), exact=True)
    channels, size = x.shape[1][0], choose(g.choices, (3, 2, 1))
    taken = [*x.shape[:2], g.fixed(height - size + 1), g.fixed(width - size + 1)]
    if chance(g.choices, 40):
        attributes = {"kernel_shape": (size, size), "count_include_pad": 1}
        g.add("AveragePool", [y], (x.dtype, taken), (y.low, y.high), **attributes)
        return
    scale = 1 / sqrt(channels * size * size)
    w = g.constant(x.dtype, [4, channels, size, size], -scale, scale)
    bound = x.largest / scale
    g.add("Conv", [y, w], (x.dtype, [taken[0], g.fixed(4), *taken[2:]]), (-bound, bound))


TEMPLATES = (
    (4, activation), (3, normalisation), (3, affine), (4, weighted), (1, shared_products), (4, moves), (2, padded),
)  # fmt: skip
