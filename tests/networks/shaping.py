"""Random operators that move elements: views, slices, concatenations, gathers."""

from __future__ import annotations

from networks.choices import chance, choose
from networks.growing import Growing, Unfit
from networks.network import Extent, Tensor, is_varying

END = (1 << 31) - 1
MOVED = ("float32", "float16", "float64", "int32", "int64", "bool", "int8", "uint8", "bfloat16")


def _same(x: Tensor) -> tuple[float, float]:
    return x.low, x.high


def reshape(g: Growing) -> None:
    """Merges two neighbouring axes, splits one, or flattens all."""
    x = g.pick(lambda t: t.rank > 0)
    kind = choose(g.choices, ("merge", "split", "flatten"))
    varying = sum(map(is_varying, x.shape))
    if kind == "flatten":
        if varying > 1:
            raise Unfit
        target, shape = [-1], [_product(g, x.shape)]
    elif kind == "merge":
        if x.rank < 2:
            raise Unfit
        axis = g.choices.integer(0, x.rank - 2)
        merged = _product(g, x.shape[axis : axis + 2])
        shape = [*x.shape[:axis], merged, *x.shape[axis + 2 :]]
        target = _target(x, shape, axis, kept=axis)
    else:
        axis = g.axis(x)
        extent = x.shape[axis][0]
        divisors = [d for d in range(1, extent + 1) if extent % d == 0]
        if not divisors:
            raise Unfit
        divisor = choose(g.choices, divisors)
        parts = [g.fixed(divisor), g.fixed(extent // divisor)]
        shape = [*x.shape[:axis], *parts, *x.shape[axis + 1 :]]
        target = _target(x, shape, axis, kept=axis)
    if any(0 in extent for extent in x.shape):
        raise Unfit
    g.add("Reshape", [x, g.given(target)], (x.dtype, shape), _same(x), exact=True)


def _target(x: Tensor, shape: list[Extent], changed: int, *, kept: int) -> list[int]:
    """What to write for a shape: extents that vary are copied (0) while their axis keeps its number, or -1 once."""
    written = [
        0 if is_varying(extent) and axis < kept else -1 if is_varying(extent) else extent[0]
        for axis, extent in enumerate(shape)
    ]
    if written.count(-1) > 1:
        raise Unfit
    return written


def _product(g: Growing, shape: tuple[Extent, ...]) -> Extent:
    total = g.fixed(1)
    for extent in shape:
        total = tuple(a * b for a, b in zip(total, extent, strict=True))
    return total


def squeeze(g: Growing) -> None:
    x = g.pick(lambda t: any(set(extent) == {1} for extent in t.shape))
    axis = g.axis(x, lambda extent: set(extent) == {1})
    shape = [*x.shape[:axis], *x.shape[axis + 1 :]]
    g.add("Squeeze", [x, g.given([axis])], (x.dtype, shape), _same(x), exact=True)


def unsqueeze(g: Growing) -> None:
    x = g.pick(lambda t: t.rank < 5)
    axis = g.choices.integer(0, x.rank)
    shape = [*x.shape[:axis], g.fixed(1), *x.shape[axis:]]
    g.add("Unsqueeze", [x, g.given([axis])], (x.dtype, shape), _same(x), exact=True)


def flatten(g: Growing) -> None:
    x = g.pick(lambda t: t.rank > 1)
    axis = g.choices.integer(0, x.rank)
    shape = [_product(g, x.shape[:axis]), _product(g, x.shape[axis:])]
    g.add("Flatten", [x], (x.dtype, shape), _same(x), exact=True, axis=axis)


def transpose(g: Growing) -> None:
    x = g.pick(lambda t: t.rank > 1)
    order = list(range(x.rank))
    if chance(g.choices, 50):
        a = g.choices.integer(0, x.rank - 1)
        order.append(order.pop(a))
    else:
        a, b = g.choices.integer(0, x.rank - 1), g.choices.integer(0, x.rank - 1)
        order[a], order[b] = order[b], order[a]
    shape = [x.shape[axis] for axis in order]
    g.add("Transpose", [x], (x.dtype, shape), _same(x), exact=True, perm=tuple(order))


def piece(g: Growing) -> None:
    """A slice along one axis: with a step, backwards, of one element, or without elements."""
    x = g.pick(lambda t: t.rank > 0 and all(min(extent) > 0 for extent in t.shape))
    axis = g.choices.integer(0, x.rank - 1)
    extent = x.shape[axis]
    kind = choose(g.choices, ("part", "part", "first", "last", "step", "backwards", "empty"))
    low, least = 0, min(extent)
    if kind == "part" and least > 1:
        low = g.choices.integer(0, least - 1)
        high = END if is_varying(extent) else g.choices.integer(low + 1, extent[0])
        taken, step = tuple(min(e, high) - low for e in extent), 1
    elif kind == "step" and least > 1:
        high, step = END, g.choices.integer(2, 3)
        taken = tuple(-(-e // step) for e in extent)
    elif kind == "backwards" and not is_varying(extent):
        low, high, step, taken = extent[0] - 1, -END, -1, extent
    elif kind == "last":
        low, high, step, taken = -1, END, 1, g.fixed(1)
    elif kind == "empty" and chance(g.choices, 10):
        low, high, step, taken = 1, 1, 1, g.fixed(0)
    else:
        high, step, taken = 1, 1, g.fixed(1)
    shape = [*x.shape[:axis], taken, *x.shape[axis + 1 :]]
    operands = [x, g.given([low]), g.given([high]), g.given([axis]), g.given([step])]
    g.add("Slice", operands, (x.dtype, shape), _same(x), exact=True)


def split(g: Growing) -> None:
    x = g.pick(lambda t: any(not is_varying(extent) and extent[0] > 1 for extent in t.shape))
    axis = g.axis(x, lambda extent: not is_varying(extent) and extent[0] > 1)
    extent = x.shape[axis][0]
    first = g.choices.integer(1, extent - 1)
    parts = [first, extent - first]
    shapes = [[*x.shape[:axis], g.fixed(part), *x.shape[axis + 1 :]] for part in parts]
    results = [(x.dtype, shape, *_same(x)) for shape in shapes]
    g.add_all("Split", [x, g.given(parts)], results, exact=True, axis=axis)


def concatenate(g: Growing) -> None:
    """Two or three tensors that differ along one axis at most; an operand may come twice."""
    x = g.pick(lambda t: t.rank > 0)
    axis = choose(g.choices, (0, *range(x.rank))) if chance(g.choices, 60) else min(1, x.rank - 1)
    count = choose(g.choices, (1, 1, 2))
    operands = [x, *(g.pick(lambda t: fits_beside(x, t, axis)) for _ in range(count))]
    join(g, operands, axis)


def fits_beside(x: Tensor, other: Tensor, axis: int) -> bool:
    equal = all(a == b for n, (a, b) in enumerate(zip(x.shape, other.shape, strict=False)) if n != axis)
    return other.dtype == x.dtype and other.rank == x.rank and equal


def join(g: Growing, operands: list[Tensor], axis: int) -> Tensor:
    x = operands[0]
    total = tuple(map(sum, zip(*(t.shape[axis] for t in operands), strict=True)))
    shape = [*x.shape[:axis], total, *x.shape[axis + 1 :]]
    bounds = min(t.low for t in operands), max(t.high for t in operands)
    return g.add("Concat", operands, (x.dtype, shape), bounds, exact=True, axis=axis)


def expand(g: Growing) -> None:
    x = g.pick(lambda t: t.rank < 5)
    target = [g.extent() if set(extent) == {1} else 1 for extent in x.shape]
    leading = [g.choices.integer(1, 3)] if chance(g.choices, 50) else []
    shape = [g.fixed(n) if n != 1 else extent for n, extent in zip(target, x.shape, strict=True)]
    operands = [x, g.given([*leading, *target])]
    g.add("Expand", operands, (x.dtype, [*map(g.fixed, leading), *shape]), _same(x), exact=True)


def tile(g: Growing) -> None:
    x = g.pick(lambda t: t.rank > 0)
    repeats = [1] * x.rank
    repeats[g.choices.integer(0, x.rank - 1)] = g.choices.integer(2, 3)
    shape = [tuple(e * times for e in extent) for extent, times in zip(x.shape, repeats, strict=True)]
    g.add("Tile", [x, g.given(repeats)], (x.dtype, shape), _same(x), exact=True)


def pad(g: Growing) -> None:
    x = g.pick(lambda t: t.dtype in ("float32", "float64", "int32", "int64") and 0 < t.rank < 5)
    axis = g.choices.integer(0, x.rank - 1)
    mode = choose(g.choices, ("constant", "edge", "reflect"))
    if min(x.shape[axis]) < 3 or any(0 in extent for extent in x.shape):
        mode = "constant"
    before, after = g.choices.integer(0, 2), g.choices.integer(0, 2)
    pads = [0] * (2 * x.rank)
    pads[axis], pads[axis + x.rank] = before, after
    shape = [*x.shape[:axis], tuple(e + before + after for e in x.shape[axis]), *x.shape[axis + 1 :]]
    g.add("Pad", [x, g.given(pads)], (x.dtype, shape), (min(x.low, 0), max(x.high, 0)), exact=True, mode=mode)


def gather(g: Growing) -> None:
    """Along a fixed axis, by constant indices or by computed ones."""
    x = g.pick(lambda t: any(not is_varying(extent) and extent[0] > 0 for extent in t.shape))
    axis = g.axis(x, lambda extent: not is_varying(extent) and extent[0] > 0)
    extent = x.shape[axis][0]
    if chance(g.choices, 40):
        indices = g.pick(
            lambda t: t.dtype in ("int32", "int64") and -extent <= t.low and t.high < extent and t.rank < 3
        )
    else:
        count = choose(g.choices, (2, 0, 1, 3, 5))
        if count:
            indices = g.given([g.choices.integer(-extent, extent - 1) for _ in range(count)])
        else:
            indices = g.given([g.choices.integer(0, extent - 1)], [])
    shape = [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]]
    if len(shape) > 5:
        raise Unfit
    g.add("Gather", [x, indices], (x.dtype, shape), _same(x), exact=True, axis=axis)


def gather_elements(g: Growing) -> None:
    x = g.pick(lambda t: t.rank > 0 and not any(map(is_varying, t.shape)) and all(e[0] > 0 for e in t.shape))
    axis = g.axis(x)
    shape = [extent[0] for extent in x.shape]
    shape[axis] = g.choices.integer(1, 4)
    extent = x.shape[axis][0]
    indices = g.constant("int64", shape, 0, extent - 1)
    g.add("GatherElements", [x, indices], (x.dtype, indices.shape), _same(x), exact=True, axis=axis)


def scatter(g: Growing) -> None:
    """Rows of one tensor replaced by another's."""
    x = g.pick(lambda t: t.rank > 0 and t.dtype in ("float32", "int32", "int64") and min(t.shape[0]) > 0)
    if is_varying(x.shape[0]):
        raise Unfit
    count = g.choices.integer(1, min(3, x.shape[0][0]))
    updates = g.pick(
        lambda t: (
            t.dtype == x.dtype and t.rank == x.rank and t.shape[1:] == x.shape[1:] and t.shape[0] == g.fixed(count)
        )
    )
    start = g.choices.integer(0, x.shape[0][0] - count)
    indices = g.given(range(start, start + count), [count, 1])
    bounds = min(x.low, updates.low), max(x.high, updates.high)
    g.add("ScatterND", [x, indices, updates], (x.dtype, x.shape), bounds, exact=True)


def triangle(g: Growing) -> None:
    x = g.pick(lambda t: t.rank > 1 and t.dtype in ("float32", "int64"))
    upper = g.choices.integer(0, 1)
    g.add("Trilu", [x], (x.dtype, x.shape), (min(x.low, 0), max(x.high, 0)), exact=True, upper=upper)


def depth_to_space(g: Growing) -> None:
    x = g.pick(lambda t: t.rank == 4 and t.dtype == "float32" and not is_varying(t.shape[1]))
    n, c, h, w = x.shape
    doubled = [tuple(2 * e for e in extent) for extent in (h, w)]
    halved = [tuple(e // 2 for e in extent) for extent in (h, w)]
    if c[0] and c[0] % 4 == 0 and chance(g.choices, 50):
        mode = choose(g.choices, ("DCR", "CRD"))
        shape = [n, g.fixed(c[0] // 4), *doubled]
        g.add("DepthToSpace", [x], (x.dtype, shape), _same(x), exact=True, blocksize=2, mode=mode)
    elif all(not is_varying(e) and e[0] and e[0] % 2 == 0 for e in (h, w)):
        shape = [n, g.fixed(4 * c[0]), *halved]
        g.add("SpaceToDepth", [x], (x.dtype, shape), _same(x), exact=True, blocksize=2)
    else:
        raise Unfit


def one_hot(g: Growing) -> None:
    indices = g.pick(lambda t: t.dtype == "int64" and 0 < t.rank < 4 and t.low >= 0 and t.high < 20)
    depth = int(indices.high) + 1
    values = g.constant("float32", [2], -1, 1)
    shape = (*indices.shape, g.fixed(depth))
    g.add("OneHot", [indices, g.given([depth], []), values], ("float32", shape), (-1, 1), exact=True, axis=-1)


TEMPLATES = (
    (4, reshape), (2, squeeze), (2, unsqueeze), (1, flatten), (4, transpose), (5, piece), (3, split), (9, concatenate),
    (2, expand), (1, tile), (2, pad), (3, gather), (1, gather_elements), (1, scatter), (1, triangle),
    (1, depth_to_space), (1, one_hot),
)  # fmt: skip
