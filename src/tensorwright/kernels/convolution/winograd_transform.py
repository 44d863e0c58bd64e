"""The one-dimensional transforms of Winograd's F(m, r), at the points 0, 1, -1, 2, -2, … and infinity.

With n = m + r - 1 points, m outputs of a kernel of r taps take n multiplications instead of m·r. The input's transform
depends on n alone: a finite point p stands for the coefficients of the product of (x - q) over the other finite points
q, infinity for that over all of them. The weights' transform evaluates the kernel at every point, divided by that
product at p; the output's evaluates its transpose. Values that are known to be zero are None.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016; Winograd, Arithmetic Complexity of
Computations, 1980.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.codegen.ir import FunctionBuilder, Register, literal
from tensorwright.kernels.tactic import Array
from tensorwright.tensor.dtype import FLOAT32

Value = Register | None

PAIRS = {4: (1.0,), 6: (1.0, 2.0), 8: (1.0, 2.0, 0.5)}
"""The points but 0 and infinity by the number of all of them: each stands for itself and its negative."""


def transformed_weights(weights: Array, rows: int, columns: int) -> Array:
    """``[O, C, height, width]`` as ``[points, O, C]`` in float32, computed in float64, for tiles of rows × columns."""
    across, along = (_weight_transform(*pair) for pair in zip((rows, columns), weights.shape[2:], strict=True))
    wide = weights.astype(np.float64)
    result: Array = np.einsum("ai,ocij,bj->aboc", across, wide, along, optimize=True)
    return result.reshape(-1, *weights.shape[:2]).astype(np.float32)


def _weight_transform(outputs: int, taps: int) -> npt.NDArray[np.float64]:
    points = [0.0, *(sign * point for point in PAIRS[outputs + taps - 1] for sign in (1, -1))]
    norms = [prod(point - other for other in points if other != point) for point in points]
    finite = [[point**tap / norm for tap in range(taps)] for point, norm in zip(points, norms, strict=True)]
    return np.array([*finite, [0.0] * (taps - 1) + [1.0]], np.float64)


def combination(builder: FunctionBuilder, *terms: tuple[float, Value]) -> Value:
    """The sum of multiples of vectors."""
    total: Value = None
    for factor, value in sorted(terms, key=lambda term: (abs(term[0]) != 1, term[0] != 1)):
        if value is None:
            continue
        scale = literal(factor, FLOAT32, value.lanes)
        if total is None:
            total = value if factor == 1 else builder.mul(value, scale)
        elif factor == 1:
            total = builder.add(total, value)
        elif factor == -1:
            total = builder.sub(total, value)
        else:
            total = builder.fma(value, scale, total)
    return total


def transform_input(builder: FunctionBuilder, d: Sequence[Value]) -> list[Value]:
    """Neighbouring inputs to as many points."""
    pairs = PAIRS[len(d)]
    everything = _coefficients(pairs)
    result = [_weighted(builder, everything, d[::2])]
    for point in pairs:
        others = _coefficients([other for other in pairs if other != point])
        even, odd = _weighted(builder, others, d[2::2]), _weighted(builder, others, d[1:-1:2])
        result += [combination(builder, (1, even), (sign * point, odd)) for sign in (1, -1)]
    return [*result, _weighted(builder, everything, d[1::2])]


def transform_output(builder: FunctionBuilder, m: Sequence[Value], outputs: int) -> list[Value]:
    """The products at all points to neighbouring outputs."""
    pairs = PAIRS[len(m)]
    neighbours = list(zip(m[1:-1:2], m[2:-1:2], strict=True))
    sums, differences = (
        [combination(builder, (1, plus), (sign, minus)) for plus, minus in neighbours] for sign in (1, -1)
    )
    result = []
    for output in range(outputs):
        parts = differences if output % 2 else sums
        terms = [(point**output, part) for point, part in zip(pairs, parts, strict=True)]
        terms += [(1.0, m[0])] * (output == 0) + [(1.0, m[-1])] * (output == outputs - 1)
        result.append(combination(builder, *terms))
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
