"""Small groups of operators that the planner shares memory for and reorders: where its mistakes would show."""

from __future__ import annotations

from networks.choices import chance, choose
from networks.elementwise import combination, constant_like, step
from networks.growing import Growing, broadcast
from networks.network import Tensor
from networks.shaping import fits_beside, join

DEPTH = 3
MANY = 16
"""Pieces."""


def _axis(g: Growing, x: Tensor) -> int:
    """An axis behind which memory is mostly contiguous: concatenations along it need no copies."""
    leading = next((axis for axis, extent in enumerate(x.shape) if set(extent) != {1}), 0)
    return leading if chance(g.choices, 70) else g.choices.integer(0, x.rank - 1)


def _combined(g: Growing, a: Tensor, b: Tensor) -> Tensor:
    operator = choose(g.choices, ("Add", "Mul", "Sub", "Max"))
    shape = broadcast(a.shape, b.shape)
    assert shape is not None
    return g.add(operator, [a, b], (a.dtype, shape), combination(a, b, operator), exact=operator == "Max")


def _source(g: Growing) -> Tensor:
    return g.pick(lambda t: t.is_float and t.rank > 0 and t.largest <= 50)


def _filled(g: Growing) -> Tensor:
    return g.pick(lambda t: t.is_float and t.rank > 0 and t.largest <= 50 and all(min(e) > 0 for e in t.shape))


def kept_operand(g: Growing) -> None:
    """A concatenation overwritten in place while its operands are still read."""
    a = step(g, _source(g))
    axis = _axis(g, a)
    b = step(g, a)
    t = join(g, [a, b] if chance(g.choices, 70) else [b, a], axis)
    changed = step(g, t)
    if chance(g.choices, 60):
        join(g, [a, changed], axis)
    else:
        _combined(g, a, b)


def dense_block(g: Growing) -> None:
    """Concatenations of concatenations, each computed from all before."""
    x = _source(g)
    axis = _axis(g, x)
    whole = step(g, x)
    for _ in range(g.choices.integer(2, DEPTH)):
        whole = join(g, [whole, step(g, whole)], axis)
    if chance(g.choices, 50):
        step(g, whole)


def scalars(g: Growing) -> None:
    """A chain of scalars, read by many tasks of several steps."""
    x = _filled(g)
    name = choose(g.choices, ("ReduceMean", "ReduceMax", "ReduceMin"))
    s = g.add(name, [x], (x.dtype, ()), (x.low, x.high), exact=name != "ReduceMean", keepdims=0)
    current = x
    for _ in range(g.choices.integer(1, DEPTH)):
        s = step(g, s)
        if chance(g.choices, 50):
            s = _combined(g, s, constant_like(g, s, []))
        current = _combined(g, current, s)
        if chance(g.choices, 40):
            peak = g.add("ReduceMax", [current], (x.dtype, ()), (current.low, current.high), exact=True, keepdims=0)
            s = _combined(g, s, peak)


def rows(g: Growing) -> None:
    """Values of one extent along an axis, read by many tasks, between larger tensors."""
    x = _filled(g)
    axis = g.choices.integer(0, x.rank - 1)
    shape = [g.fixed(1) if n == axis else extent for n, extent in enumerate(x.shape)]
    r = g.add("ReduceMax", [x, g.given([axis])], (x.dtype, shape), (x.low, x.high), exact=True, keepdims=1)
    lowered = _combined(g, x, r)
    r2 = step(g, r)
    _combined(g, step(g, lowered), r2)


def long_lived(g: Growing) -> None:
    """A value that is read again after others have come and gone."""
    x = step(g, _source(g))
    current = x
    for _ in range(g.choices.integer(2, 4)):
        current = step(g, current)
    _combined(g, current, x)


def pieces(g: Growing) -> None:
    """Halves of a tensor, changed and put together again, in order or not."""
    x = g.pick(lambda t: t.is_float and t.rank > 0 and any(len(set(e)) == 1 and e[0] > 1 for e in t.shape))
    axis = g.axis(x, lambda e: len(set(e)) == 1 and e[0] > 1)
    first = x.shape[axis][0] // 2
    sizes = [first, x.shape[axis][0] - first]
    results = [(x.dtype, [*x.shape[:axis], g.fixed(n), *x.shape[axis + 1 :]], x.low, x.high) for n in sizes]
    halves = g.add_all("Split", [x, g.given(sizes)], results, exact=True, axis=axis)
    changed = step(g, halves[0])
    join(g, choose(g.choices, ([changed, halves[1]], [halves[1], changed], [halves[1], halves[0]])), axis)


def many_pieces(g: Growing) -> None:
    """So many equal pieces that they share kernels, some changed, put together backwards."""

    def is_long(extent: tuple[int, ...]) -> bool:
        return len(set(extent)) == 1 and extent[0] >= MANY

    x = g.pick(lambda t: t.is_float and any(map(is_long, t.shape)))
    axis = g.axis(x, is_long)
    one = (x.dtype, [*x.shape[:axis], g.fixed(1), *x.shape[axis + 1 :]], x.low, x.high)
    count = x.shape[axis][0]
    parts = g.add_all("Split", [x, g.given([1] * count)], [one] * count, exact=True, axis=axis)
    changed = [step(g, part) if chance(g.choices, 10) else part for part in parts]
    join(g, changed[::-1] if chance(g.choices, 70) else changed[MANY // 2 :], axis)


def doubled(g: Growing) -> None:
    """One operand twice, or a view of it beside it."""
    x = step(g, _source(g))
    others = [t for t in g.tensors if fits_beside(x, t, 0)]
    join(g, [x, choose(g.choices, others), x], 0)
    flat = tuple(map(_product, zip(*(e for e in x.shape), strict=True)))
    view = g.add("Reshape", [x, g.given([-1])], (x.dtype, [flat]), (x.low, x.high), exact=True)
    step(g, view)


def _product(extents: tuple[int, ...]) -> int:
    total = 1
    for extent in extents:
        total *= extent
    return total


TEMPLATES = (
    (5, kept_operand), (4, dense_block), (6, scalars), (3, rows), (3, long_lived), (3, pieces),
    (2, many_pieces), (2, doubled),
)  # fmt: skip
