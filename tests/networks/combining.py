"""Random operators that combine many elements into one: reductions, normalisations, products, windows."""

from __future__ import annotations

from math import log, prod, sqrt

from networks.choices import chance, choose
from networks.growing import Growing, Unfit
from networks.network import Extent, Tensor, is_varying

FLOATS = ("float32", "float16", "float64")
BOUNDED = 30.0
"""Largest operand of operators whose results would grow or whose errors would."""


def _is_filled(x: Tensor) -> bool:
    return all(min(extent) > 0 for extent in x.shape)


def reduction(g: Growing) -> None:
    operators = ("Sum", "Mean", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp")
    operator = choose(g.choices, operators)
    x = g.pick(lambda t: t.dtype in (*FLOATS, "int32", "int64") and (_is_filled(t) or operator == "Sum"))
    if x.is_integer and operator not in ("Sum", "Max", "Min"):
        raise Unfit
    if operator in ("L1", "L2", "SumSquare", "LogSumExp") and x.largest > 10:
        raise Unfit
    axes = _axes(g, x)
    keep = g.choices.integer(0, 1)
    shape = _reduced(g, x, axes, keep=bool(keep))
    count = max(1, *(prod(x.shape[axis][a] for axis in axes) for a in range(g.assignments)))
    bounds = {
        "Sum": (min(x.low * count, 0), max(x.high * count, 0)), "Mean": (x.low, x.high), "Max": (x.low, x.high),
        "Min": (x.low, x.high), "L1": (0, x.largest * count), "L2": (0, x.largest * sqrt(count)),
        "SumSquare": (0, x.largest**2 * count), "LogSumExp": (x.low, x.high + log(count)),
    }[operator]  # fmt: skip
    operands = [x] if len(axes) == x.rank and chance(g.choices, 70) else [x, g.given(axes)]
    exact = operator in ("Max", "Min")
    g.add(f"Reduce{operator}", operands, (x.dtype, shape), bounds, exact=exact, keepdims=keep)


def _axes(g: Growing, x: Tensor) -> list[int]:
    kind = choose(g.choices, ("one", "all", "some"))
    if kind == "all" or not x.rank:
        return list(range(x.rank))
    if kind == "one":
        return [g.choices.integer(0, x.rank - 1)]
    return [axis for axis in range(x.rank) if chance(g.choices, 50)] or [x.rank - 1]


def _reduced(g: Growing, x: Tensor, axes: list[int], *, keep: bool) -> list[Extent]:
    if keep:
        return [g.fixed(1) if axis in axes else extent for axis, extent in enumerate(x.shape)]
    return [extent for axis, extent in enumerate(x.shape) if axis not in axes]


def position(g: Growing) -> None:
    """The place of the largest or of the smallest element."""
    x = g.pick(lambda t: t.is_exact and t.dtype in ("float32", "int32") and t.rank > 0 and _is_filled(t))
    axis, keep = g.choices.integer(0, x.rank - 1), g.choices.integer(0, 1)
    shape = _reduced(g, x, [axis], keep=bool(keep))
    operator = choose(g.choices, ("ArgMax", "ArgMin"))
    g.add(operator, [x], ("int64", shape), (0, max(x.shape[axis]) - 1), axis=axis, keepdims=keep)


def top(g: Growing) -> None:
    x = g.pick(lambda t: t.is_exact and t.dtype in ("float32", "int64") and t.rank > 0 and _is_filled(t))
    axis = g.axis(x)
    extent = x.shape[axis][0]
    count = g.choices.integer(1, min(extent, 3))
    shape = [*x.shape[:axis], g.fixed(count), *x.shape[axis + 1 :]]
    results = [(x.dtype, shape, x.low, x.high), ("int64", shape, 0, extent - 1)]
    largest = g.choices.integer(0, 1)
    g.add_all("TopK", [x, g.given([count])], results, exact=True, axis=axis, largest=largest)


def cumulative_sum(g: Growing) -> None:
    x = g.pick(lambda t: t.dtype in ("float32", "int32", "int64") and t.rank > 0 and t.largest <= BOUNDED)
    axis = g.choices.integer(0, x.rank - 1)
    count = max(*x.shape[axis], 1)
    flags = {name: g.choices.integer(0, 1) for name in ("exclusive", "reverse")}
    bounds = min(0, x.low * count), max(0, x.high * count)
    g.add("CumSum", [x, g.given([axis], [])], (x.dtype, x.shape), bounds, **flags)


def softmax(g: Growing) -> None:
    x = g.pick(lambda t: t.dtype in FLOATS and t.rank > 0 and t.largest <= BOUNDED and _is_filled(t))
    axis = choose(g.choices, (-1, *range(x.rank)))
    if chance(g.choices, 20):
        bounds = (x.low - x.high - log(max(x.shape[axis])), 0.0)
        g.add("LogSoftmax", [x], (x.dtype, x.shape), bounds, axis=axis)
        return
    g.add("Softmax", [x], (x.dtype, x.shape), (0, 1), axis=axis)


def normalisation(g: Growing) -> None:
    operator = choose(g.choices, ("Layer", "Batch", "Instance", "Group", "Lp"))
    if operator == "Layer":
        x = g.pick(lambda t: t.dtype in ("float32", "float16") and t.rank > 0 and _is_filled(t))
        axis = g.axis(x, lambda extent: not is_varying(extent) and extent[0] > 1)
        if any(map(is_varying, x.shape[axis:])):
            raise Unfit
        shape = [extent[0] for extent in x.shape[axis:]]
        operands = [x, g.constant(x.dtype, shape, 0.5, 1.5), g.constant(x.dtype, shape, -1, 1)]
        bound = 1.5 * sqrt(prod(shape)) + 1
        g.add("LayerNormalization", operands, (x.dtype, x.shape), (-bound, bound), axis=axis, epsilon=1e-2)
        return
    if operator == "Lp":
        x = g.pick(lambda t: t.dtype == "float32" and t.rank > 0 and _is_filled(t) and t.low > STEADY)
        axis = g.choices.integer(0, x.rank - 1)
        g.add("LpNormalization", [x], (x.dtype, x.shape), (-1, 1), axis=axis, p=2)
        return
    x = g.pick(lambda t: t.dtype in ("float32", "float16") and t.rank in (3, 4) and _is_filled(t))
    if is_varying(x.shape[1]) or any(map(is_varying, x.shape[2:])):
        raise Unfit
    channels = x.shape[1][0]
    scale, bias = (g.constant(x.dtype, [channels], low, high) for low, high in ((0.5, 1.5), (-1, 1)))
    bound = 1.5 * sqrt(channels * prod(extent[0] for extent in x.shape[2:])) + 1
    if operator == "Batch":
        mean, variance = g.constant(x.dtype, [channels], -1, 1), g.constant(x.dtype, [channels], 0.5, 2)
        bound = 1.5 * (x.largest + 1) / sqrt(0.5) + 1
        operands = [x, scale, bias, mean, variance]
        g.add("BatchNormalization", operands, (x.dtype, x.shape), (-bound, bound))
    elif operator == "Instance":
        g.add("InstanceNormalization", [x, scale, bias], (x.dtype, x.shape), (-bound, bound), epsilon=1e-2)
    else:
        groups = choose(g.choices, [n for n in (1, 2, 4, channels) if channels % n == 0])
        attributes = {"num_groups": groups, "epsilon": 1e-2}
        g.add("GroupNormalization", [x, scale, bias], (x.dtype, x.shape), (-bound, bound), **attributes)


STEADY = 0.05


def product(g: Growing) -> None:
    """A matrix product with a constant or with another tensor."""
    a = g.pick(lambda t: t.dtype in FLOATS and t.rank > 0 and t.largest <= BOUNDED)
    inner = a.shape[-1]
    if chance(g.choices, 40):
        b = g.pick(lambda t: t.dtype == a.dtype and t.rank > 1 and t.shape[-2] == inner and _batched(a, t) is not None)
    elif is_varying(inner):
        raise Unfit
    else:
        b = weights(g, a.dtype, [inner[0], g.extent()], inner[0])
    leading = _batched(a, b)
    if leading is None:
        raise Unfit
    rows = [a.shape[-2]] if a.rank > 1 else []
    bound = a.largest * b.largest * max(*inner, 1)
    g.add("MatMul", [a, b], (a.dtype, [*leading, *rows, b.shape[-1]]), (-bound, bound))


def weights(g: Growing, dtype: str, shape: list[int], terms: int) -> Tensor:
    """Random weights whose products with so many terms stay about as large as the terms."""
    scale = 1 / max(terms, 1) if chance(g.choices, 50) else 1 / sqrt(max(terms, 1))
    return g.constant(dtype, shape, -scale, scale)


def _batched(a: Tensor, b: Tensor) -> tuple[Extent, ...] | None:
    from networks.growing import broadcast

    return broadcast(a.shape[:-2], b.shape[:-2])


def gemm(g: Growing) -> None:
    a = g.pick(lambda t: t.dtype in ("float32", "float64") and t.rank == 2 and t.largest <= BOUNDED)
    transposed_a, transposed_b = g.choices.integer(0, 1), g.choices.integer(0, 1)
    rows, inner = reversed(a.shape) if transposed_a else a.shape
    if is_varying(inner):
        raise Unfit
    columns = g.extent()
    b = weights(g, a.dtype, [columns, inner[0]] if transposed_b else [inner[0], columns], inner[0])
    c = g.constant(a.dtype, [columns], -1, 1) if chance(g.choices, 60) else None
    bound = a.largest * b.largest * inner[0] + 1
    operands = [a, b] if c is None else [a, b, c]
    attributes = {"transA": transposed_a, "transB": transposed_b}
    g.add("Gemm", operands, (a.dtype, [rows, g.fixed(columns)]), (-bound, bound), **attributes)


def _images(g: Growing, dtypes: tuple[str, ...] = ("float32",)) -> Tensor:
    x = g.pick(lambda t: t.dtype in dtypes and t.rank in (3, 4, 5) and t.largest <= BOUNDED and _is_filled(t))
    if is_varying(x.shape[1]):
        raise Unfit
    return x


def convolution(g: Growing) -> None:
    x = _images(g, ("float32", "float32", "float16"))
    channels, spatial = x.shape[1][0], x.rank - 2
    groups = choose(g.choices, [n for n in (1, 1, 1, channels, 2) if channels % n == 0])
    outputs = groups * choose(g.choices, (1, 2)) if groups > 2 else groups * choose(g.choices, (4, 8, 16, 3, 1, 32))
    window, strides, dilations, pads, shape = _window(g, x)
    terms = channels // groups * prod(window)
    w = weights(g, x.dtype, [outputs, channels // groups, *window], terms)
    operands = [x, w, g.constant(x.dtype, [outputs], -1, 1)] if chance(g.choices, 60) else [x, w]
    bound = x.largest * w.largest * terms + 1
    attributes = {"group": groups, "strides": strides, "dilations": dilations, "pads": pads}
    assert spatial == len(window)
    g.add("Conv", operands, (x.dtype, [x.shape[0], g.fixed(outputs), *shape]), (-bound, bound), **attributes)


Windows = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], list[Extent]]


def _window(g: Growing, x: Tensor) -> Windows:
    """Window, strides, dilations, pads (all before, then all after) and the spatial extents of the result."""
    window, strides, dilations, before, after, shape = [], [], [], [], [], []
    common = choose(g.choices, (1, 3, 3, 2, 5))
    stride = choose(g.choices, (1, 1, 2))
    for extent in x.shape[2:]:
        size = common if chance(g.choices, 85) else choose(g.choices, (1, 3))
        dilation = 2 if chance(g.choices, 8) else 1
        reach = (size - 1) * dilation
        if is_varying(extent):
            if reach % 2:
                raise Unfit
            step, low, high = 1, reach // 2, reach // 2
        else:
            step = stride
            low = min(reach, choose(g.choices, (reach // 2, 0, 1)))
            high = min(reach, choose(g.choices, (reach - reach // 2, 0)))
        taken = tuple((e + low + high - reach - 1) // step + 1 for e in extent)
        if min(taken) < 1:
            raise Unfit
        for items, item in zip(
            (window, strides, dilations, before, after), (size, step, dilation, low, high), strict=True
        ):
            items.append(item)
        shape.append(taken)
    return tuple(window), tuple(strides), tuple(dilations), (*before, *after), shape


def deconvolution(g: Growing) -> None:
    x = _images(g)
    if any(map(is_varying, x.shape[2:])) or x.rank > 4:
        raise Unfit
    channels, outputs = x.shape[1][0], choose(g.choices, (4, 1, 8, 16))
    size, stride = choose(g.choices, (2, 3, 1)), choose(g.choices, (2, 1))
    window = (size,) * (x.rank - 2)
    w = weights(g, x.dtype, [channels, outputs, *window], channels * prod(window))
    bound = x.largest * w.largest * channels * prod(window) + 1
    shape = [g.fixed((extent[0] - 1) * stride + size) for extent in x.shape[2:]]
    result = (x.dtype, [x.shape[0], g.fixed(outputs), *shape])
    g.add("ConvTranspose", [x, w], result, (-bound, bound), strides=(stride,) * len(window))


def pooling(g: Growing) -> None:
    x = _images(g, ("float32", "float32", "float16"))
    operator = choose(g.choices, ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"))
    if operator.startswith("Global"):
        shape = [*x.shape[:2], *[g.fixed(1)] * (x.rank - 2)]
        g.add(operator, [x], (x.dtype, shape), (x.low, x.high), exact="Max" in operator)
        return
    window, strides, dilations, pads, shape = _window(g, x)
    if set(dilations) != {1} and any(pads):  # A window may lie in the padding alone.
        raise Unfit
    if any(2 * pad > size for pad, size in zip(pads, window * 2, strict=True)) or (
        operator == "LpPool" and x.low < STEADY
    ):
        raise Unfit
    attributes: dict[str, object] = {"kernel_shape": window, "strides": strides, "pads": pads}
    bounds = (min(x.low, 0), max(x.high, 0))
    if operator == "LpPool":
        bounds = (0, x.largest * sqrt(prod(window)))
    else:
        attributes["dilations"] = dilations
    if operator == "AveragePool":
        attributes["count_include_pad"] = g.choices.integer(0, 1)
    if operator != "AveragePool" and set(dilations) == {1}:
        attributes.pop("dilations", None)
    if operator == "LpPool" and set(dilations) != {1}:
        raise Unfit
    result = (x.dtype, [*x.shape[:2], *shape])
    g.add(operator, [x], result, bounds, exact=operator == "MaxPool", **attributes)  # type: ignore[arg-type]


def resize(g: Growing) -> None:
    x = g.pick(lambda t: t.dtype == "float32" and t.rank == 4 and _is_filled(t))
    if any(map(is_varying, x.shape)):
        raise Unfit
    scale = choose(g.choices, (2, 3))
    sizes = [*(extent[0] for extent in x.shape[:2]), *(extent[0] * scale for extent in x.shape[2:])]
    mode = choose(g.choices, ("nearest", "linear"))
    attributes = {"mode": mode, "coordinate_transformation_mode": "asymmetric" if mode == "nearest" else "half_pixel"}
    if mode == "nearest":
        attributes["nearest_mode"] = "floor"
    operands = [x, None, None, g.given(sizes)]
    exact = mode == "nearest"
    g.add("Resize", operands, (x.dtype, g.fixed_shape(sizes)), (x.low, x.high), exact=exact, **attributes)


def attention(g: Growing) -> None:
    """Product, softmax, product."""
    x = g.pick(lambda t: t.dtype == "float32" and t.rank in (3, 4) and t.largest <= 8 and _is_filled(t))
    if is_varying(x.shape[-1]):
        raise Unfit
    order = (*range(x.rank - 2), x.rank - 1, x.rank - 2)
    turned = g.add("Transpose", [x], (x.dtype, [x.shape[a] for a in order]), (x.low, x.high), exact=True, perm=order)
    bound = x.largest**2 * x.shape[-1][0]
    scores = g.add("MatMul", [x, turned], (x.dtype, [*x.shape[:-1], x.shape[-2]]), (-bound, bound))
    scale = g.constant(x.dtype, [], 0.1, 0.5)
    scaled = g.add("Mul", [scores, scale], (x.dtype, scores.shape), (-bound / 2, bound / 2))
    shares = g.add("Softmax", [scaled], (x.dtype, scores.shape), (0, 1), axis=-1)
    g.add("MatMul", [shares, x], (x.dtype, x.shape), (-x.largest * 1.01, x.largest * 1.01))


TEMPLATES = (
    (6, reduction), (1, position), (1, top), (1, cumulative_sum), (3, softmax), (4, normalisation), (5, product),
    (2, gemm), (7, convolution), (1, deconvolution), (4, pooling), (1, resize), (1, attention),
)  # fmt: skip
