"""What exporters and quantisers write: shapes computed from shapes, masks, integers with scales."""

from __future__ import annotations

from math import prod

from networks.choices import chance, choose
from networks.elementwise import function_of
from networks.growing import Growing, Unfit
from networks.network import ELEMENTS, Extent, Tensor, is_varying

NEVER = -1e9
"""What masks add where nothing is to be seen."""


def computed_shape(g: Growing) -> None:
    """A reshape to extents that are taken from another tensor's shape."""
    x = g.pick(lambda t: t.is_float and 1 < t.rank < 5 and all(min(e) > 0 for e in t.shape))
    kept = g.choices.integer(0, x.rank - 1)
    extents = g.add("Shape", [x], ("int64", [g.fixed(x.rank)]), (0, 1 << 20))
    one = g.add("Gather", [extents, g.given([kept], [])], ("int64", ()), (0, 1 << 20), axis=0)
    listed = g.add("Unsqueeze", [one, g.given([0])], ("int64", [g.fixed(1)]), (0, 1 << 20))
    others = tuple(prod(e[a] for axis, e in enumerate(x.shape) if axis != kept) for a in range(g.assignments))
    target = g.add("Concat", [listed, g.given([-1])], ("int64", [g.fixed(2)]), (-1, 1 << 20), axis=0)
    g.forget(extents, one, listed, target)
    g.add("Reshape", [x, target], (x.dtype, [x.shape[kept], others]), (x.low, x.high), exact=True)


def expanded_like(g: Growing) -> None:
    """One tensor expanded to the shape of another."""
    x = g.pick(lambda t: 0 < t.rank < 5)
    y = g.pick(lambda t: t.rank <= x.rank and _stretches(t, x))
    extents = g.add("Shape", [x], ("int64", [g.fixed(x.rank)]), (0, 1 << 20))
    g.forget(extents)
    g.add("Expand", [y, extents], (y.dtype, x.shape), (y.low, y.high), exact=True)


def _stretches(small: Tensor, large: Tensor) -> bool:
    pairs = zip(reversed(small.shape), reversed(large.shape), strict=False)
    return all(a == b or set(a) == {1} for a, b in pairs)


def masked_softmax(g: Growing) -> None:
    """Softmax of scores that a mask hides in part, by a sum or by a choice."""
    x = g.pick(lambda t: t.dtype == "float32" and t.rank > 1 and t.largest <= 20 and all(min(e) > 0 for e in t.shape))
    never = g.number(x, NEVER)
    if is_varying(x.shape[-1]) or chance(g.choices, 40):
        mask = g.pick(lambda t: t.dtype == "bool" and t.rank <= x.rank and _stretches(t, x))
        hidden = g.add("Where", [mask, x, never], (x.dtype, x.shape), (NEVER, x.high), unbounded=True)
    else:
        mask = g.constant("bool", [x.shape[-1][0]], 0, 1)
        added = g.add("Where", [mask, g.number(x, 0.0), never], (x.dtype, mask.shape), (NEVER, 0), unbounded=True)
        hidden = g.add("Add", [x, added], (x.dtype, x.shape), (NEVER + x.low, x.high), unbounded=True)
        g.forget(added)
    g.forget(hidden)
    g.add("Softmax", [hidden], (x.dtype, x.shape), (0, 1), axis=-1)


def quantised(g: Growing) -> None:
    """Rounded to 8 bits and back; what is rounded is the same for everybody, so that nobody rounds another way."""
    x = g.pick(lambda t: t.dtype == "float32" and t.is_exact)
    scale = g.number(x, choose(g.choices, (0.0625, 0.03125, 0.125)))
    kind = choose(g.choices, ("int8", "uint8"))
    zero = g.given([0 if kind == "int8" else g.choices.integer(0, 200)], [], kind)
    bounds = (-128, 127) if kind == "int8" else (0, 255)
    q = g.add("QuantizeLinear", [x, scale, zero], (kind, x.shape), bounds)
    if chance(g.choices, 50):
        q = _moved(g, q)
    bound = scale.high * 256
    g.add("DequantizeLinear", [q, scale, zero], ("float32", q.shape), (-bound, bound), exact=True)


def _moved(g: Growing, q: Tensor) -> Tensor:
    if q.rank > 1 and chance(g.choices, 50):
        order = tuple(reversed(range(q.rank)))
        shape = [q.shape[axis] for axis in order]
        return g.add("Transpose", [q], (q.dtype, shape), (q.low, q.high), perm=order)
    if q.rank:
        total = tuple(2 * e for e in q.shape[0])
        return g.add("Concat", [q, q], (q.dtype, [total, *q.shape[1:]]), (q.low, q.high), axis=0)
    return q


def integer_product(g: Growing) -> None:
    """A product of 8-bit integers, converted and scaled."""
    a = g.pick(lambda t: t.dtype in ("int8", "uint8") and t.rank in (2, 3))
    if is_varying(a.shape[-1]):
        raise Unfit
    inner, outer = a.shape[-1][0], g.extent()
    b = g.constant("int8", [inner, outer], -8, 8)
    bound = a.largest * 8 * inner + 1
    y = g.add("MatMulInteger", [a, b], ("int32", [*a.shape[:-1], g.fixed(outer)]), (-bound, bound))
    z = g.add("Cast", [y], ("float32", y.shape), (-bound, bound), to=ELEMENTS["float32"], unbounded=True)
    g.forget(z)
    scale = g.number(z, 1 / bound)
    g.add("Mul", [z, scale], ("float32", y.shape), (-1.01, 1.01))


def ranged(g: Growing) -> None:
    """Places along an axis, counted from its extent, as indices or compared for a causal mask."""
    x = g.pick(lambda t: t.rank > 0 and all(min(e) > 0 and max(e) < 40 for e in t.shape))
    axis = x.rank - 1
    extent: Extent = x.shape[axis]
    extents = g.add("Shape", [x], ("int64", [g.fixed(x.rank)]), (0, 1 << 20))
    last = g.add("Gather", [extents, g.given([-1], [])], ("int64", ()), (0, 1 << 20), axis=0)
    ends = g.given([0], []), last, g.given([1], [])
    places = g.add("Range", ends, ("int64", [extent]), (0, max(extent) - 1))
    g.forget(extents, last)
    if is_varying(extent) or chance(g.choices, 50):
        column = g.add("Unsqueeze", [places, g.given([1])], ("int64", [extent, g.fixed(1)]), (0, max(extent) - 1))
        g.add("GreaterOrEqual", [column, places], ("bool", [extent, extent]), (0, 1))
    else:
        g.add("Gather", [x, places], (x.dtype, x.shape), (x.low, x.high), exact=True, axis=axis)


def gated(g: Growing) -> None:
    """Halves along an axis, one through a gate, multiplied."""
    x = g.pick(lambda t: t.dtype == "float32" and t.rank > 0 and t.largest <= 20)
    axis = g.axis(x, lambda e: not is_varying(e) and e[0] > 1 and e[0] % 2 == 0)
    shape = [*x.shape[:axis], g.fixed(x.shape[axis][0] // 2), *x.shape[axis + 1 :]]
    results = [(x.dtype, shape, x.low, x.high)] * 2
    a, b = g.add_all("Split", [x], results, exact=True, axis=axis, num_outputs=2)
    gate = function_of(g, choose(g.choices, ("Sigmoid", "Tanh", "Gelu")), b)
    bound = a.largest * gate.largest
    g.add("Mul", [a, gate], (x.dtype, shape), (-bound, bound))


TEMPLATES = (
    (3, computed_shape), (2, expanded_like), (2, masked_softmax), (2, quantised), (1, integer_product), (1, ranged),
    (2, gated),
)  # fmt: skip
