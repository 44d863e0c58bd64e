"""The one-dimensional transforms of Winograd's F(m, r), at 0, a few other points and infinity.

With n = m + r - 1 points, m outputs of a kernel of r taps take n multiplications instead of m·r. The input's transform
depends on n alone: a finite point p stands for the coefficients of the product of (x - q) over the other finite points
q, infinity for that over all of them. The weights' transform evaluates the kernel at every point, divided by that
product at p; the output's evaluates its transpose. Values that are known to be zero are None.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016; Winograd, Arithmetic Complexity of
Computations, 1980. Which points round least: Barabasz et al., Error Analysis and Improving the Accuracy of Winograd
Convolution for Deep Neural Networks, 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Register, literal

Value = Register | None
Transform = npt.NDArray[np.float64]

MULTIPLICATIONS = 1 << 18
"""So many at once: what they need stays in the cache in float64, and NumPy's products of this size have no threads,
which would wait for each other for longer than they compute where others need the cores.
"""

FINITE_POINTS: dict[int, tuple[float, ...]] = {
    2: (0.0,),
    3: (0.0, 1.0),
    4: (0.0, 1.0, -1.0),
    5: (0.0, 1.0, -1.0, 2.0),
    6: (0.0, 5 / 8, -5 / 8, 3 / 2, -3 / 2),
    8: (0.0, 1.0, -1.0, 2.0, -2.0, 1 / 2, -1 / 2),
}
"""All but infinity, by the number of all: behind 0, pairs of a point and its negative, then one without.

Powers and products of the six are exact in float32, and sums are off by less than half of what they are with 1 and 2.
With eight points they are off by four times as much as with six.
"""


def finite_points(points: int, whole: int) -> tuple[float, ...]:
    """All but infinity of a tile of so many points, of those of a whole tile, in the order of the transforms."""
    return FINITE_POINTS[whole][: points - 1]


def _pairs(finite: Sequence[float]) -> Sequence[float]:
    """The first of every two points that are each other's negative."""
    return finite[1:-1:2]


def _single(finite: Sequence[float]) -> float | None:
    """The point whose negative is none, which is the last one."""
    return finite[-1] if len(finite) % 2 == 0 else None


def weight_transform(points: int, taps: int, most: int) -> Transform:
    """``[points, taps]``; one point less, infinity, for a kernel of fewer than `most` taps, which has nothing there."""
    finite = finite_points(points, points)
    norms = [prod(point - other for other in finite if other != point) for point in finite]
    rows = [[point**tap / norm for tap in range(taps)] for point, norm in zip(finite, norms, strict=True)]
    return np.array([*rows, *([[0.0] * (taps - 1) + [1.0]] if taps == most else [])], np.float64)


def transformed_taps(taps: npt.NDArray[np.generic], rows: Transform, columns: Transform) -> npt.NDArray[np.float32]:
    """``[outputs, channels, height, width]`` as ``[points, outputs, channels]``, in float32 by way of float64.

    Points of a row follow each other.
    """
    transform = np.kron(rows, columns).astype(np.float64)
    flat = np.moveaxis(taps, (0, 1), (2, 3)).reshape(transform.shape[1], -1)
    result = np.empty((len(transform), flat.shape[1]), np.float32)
    at_once = MULTIPLICATIONS // transform.size
    for start in range(0, flat.shape[1], at_once):
        some = slice(start, start + at_once)
        result[:, some] = transform @ flat[:, some].astype(np.float64)
    return result.reshape(len(transform), *taps.shape[:2])


def combination(builder: FunctionBuilder, *terms: tuple[float, Value]) -> Value:
    """The sum of multiples of vectors."""
    total: Value = None
    for factor, value in sorted(terms, key=lambda term: (abs(term[0]) != 1, term[0] != 1)):
        if value is None:
            continue
        if total is None:
            total = value if factor == 1 else builder.mul(value, factor)
        elif factor == 1:
            total = builder.add(total, value)
        elif factor == -1:
            total = builder.sub(total, value)
        else:
            total = builder.fma(value, literal(factor, value.dtype, value.lanes), total)
    return total


def kept_points(some: int, whole: int) -> list[int]:
    """Which points, by number, a tile of `some` points shares with a whole one: the first ones and infinity."""
    return [*range(some - 1), whole - 1]


def transform_short(builder: FunctionBuilder, d: Sequence[Value], some: int, whole: int) -> list[Value]:
    """Inputs to `some` points, for weights transformed for whole tiles."""
    finite, missing = finite_points(some, whole), FINITE_POINTS[whole][some - 1 :]
    values = transform_input(builder, d, finite)
    factors = [prod(point - other for other in missing) for point in finite]
    return [combination(builder, (factor, value)) for factor, value in zip([*factors, 1.0], values, strict=False)]


def transform_input(builder: FunctionBuilder, d: Sequence[Value], finite: Sequence[float]) -> list[Value]:
    """Neighbouring inputs to the points of a tile: all of them, or all but infinity."""
    if len(d) <= len(finite):
        return transform_input(builder, [*d, None], finite)[:-1]
    pairs, single = _pairs(finite), _single(finite)
    everything = _coefficients(pairs)
    if single is not None:
        # A factor of (x - single) is common to all other points.
        steps = [combination(builder, (1, after), (-single, value)) for value, after in pairwise(d)]
        *others, infinity = transform_input(builder, steps, finite[:-1])
        return [*others, _weighted(builder, everything, d[1::2]), infinity]
    result = [_weighted(builder, everything, d[::2])]
    for point in pairs:
        rest = _coefficients([other for other in pairs if other != point])
        even, odd = _weighted(builder, rest, d[2::2]), _weighted(builder, rest, d[1:-1:2])
        result += [combination(builder, (1, even), (sign * point, odd)) for sign in (1, -1)]
    return [*result, _weighted(builder, everything, d[1::2])]


def transform_output(
    builder: FunctionBuilder, m: Sequence[Value], outputs: int, finite: Sequence[float], added: Value = None
) -> list[Value]:
    """The products at all points to neighbouring outputs. added: what each of them has besides."""
    pairs, single = _pairs(finite), _single(finite)
    neighbours = list(zip(m[1 : 2 * len(pairs) : 2], m[2 : 2 * len(pairs) + 1 : 2], strict=True))
    sums, differences = (
        [combination(builder, (1, plus), (sign, minus)) for plus, minus in neighbours] for sign in (1, -1)
    )
    result = []
    for output in range(outputs):
        parts = differences if output % 2 else sums
        terms = [(point**output, part) for point, part in zip(pairs, parts, strict=True)]
        terms += [] if single is None else [(single**output, m[-2])]
        terms += [(1.0, m[0])] * (output == 0) + [(1.0, m[-1])] * (output == outputs - 1)
        result.append(combination(builder, *terms, (1.0, added)))
    return result


def _coefficients(points: Sequence[float]) -> tuple[float, ...]:
    """Those of the product of (x² - p²), from the lowest power of x² to the highest."""
    result: tuple[float, ...] = (1.0,)
    for point in points:
        shifted, scaled = (0.0, *result), (*(-point * point * number for number in result), 0.0)
        result = tuple(a + b for a, b in zip(shifted, scaled, strict=True))
    return result


def _weighted(builder: FunctionBuilder, factors: Sequence[float], values: Sequence[Value]) -> Value:
    return combination(builder, *zip(factors, values, strict=True))
