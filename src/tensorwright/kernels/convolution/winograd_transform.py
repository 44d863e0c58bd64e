"""The one-dimensional transforms of Winograd's F(2, 3) and F(4, 3), at the points 0, 1, -1, (2, -2,) infinity.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016. Values that are known to be zero are None.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tensorwright.codegen.ir import FunctionBuilder, Register, literal
from tensorwright.kernels.tactic import Array
from tensorwright.tensor.dtype import FLOAT32

Value = Register | None

WEIGHTS = {
    2: ((1.0, 0.0, 0.0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0.0, 0.0, 1.0)),
    4: (
        (1 / 4, 0.0, 0.0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0.0, 0.0, 1.0),
    ),
}
"""The transform of the three taps, by the number of outputs."""


def transformed_weights(weights: Array, rows: int, columns: int) -> Array:
    """``[O, C, 3, 3]`` as ``[points, O, C]`` in float32, computed in float64."""
    along_rows, along_columns = np.array(WEIGHTS[rows]), np.array(WEIGHTS[columns])
    wide = weights.astype(np.float64)
    result: Array = np.einsum("ai,ocij,bj->aboc", along_rows, wide, along_columns, optimize=True)
    return result.reshape(-1, *weights.shape[:2]).astype(np.float32)


def combination(builder: FunctionBuilder, *terms: tuple[float, Value]) -> Value:
    """The sum of multiples of vectors."""
    total: Value = None
    for factor, value in sorted(terms, key=lambda term: abs(term[0]) != 1):
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
    """Four or six neighbouring inputs to as many points."""
    if len(d) == 4:
        return [
            combination(builder, (1, d[0]), (-1, d[2])),
            combination(builder, (1, d[1]), (1, d[2])),
            combination(builder, (1, d[2]), (-1, d[1])),
            combination(builder, (1, d[1]), (-1, d[3])),
        ]
    even, odd = combination(builder, (1, d[4]), (-4, d[2])), combination(builder, (1, d[3]), (-4, d[1]))
    near, far = combination(builder, (1, d[4]), (-1, d[2])), combination(builder, (1, d[3]), (-1, d[1]))
    return [
        combination(builder, (1, d[4]), (4, d[0]), (-5, d[2])),
        combination(builder, (1, even), (1, odd)),
        combination(builder, (1, even), (-1, odd)),
        combination(builder, (1, near), (2, far)),
        combination(builder, (1, near), (-2, far)),
        combination(builder, (1, d[5]), (4, d[1]), (-5, d[3])),
    ]


def transform_output(builder: FunctionBuilder, m: Sequence[Value]) -> list[Value]:
    """The products at four or six points to two or four neighbouring outputs."""
    if len(m) == 4:
        return [
            combination(builder, (1, m[0]), (1, m[1]), (1, m[2])),
            combination(builder, (1, m[1]), (-1, m[2]), (-1, m[3])),
        ]
    even, odd = combination(builder, (1, m[1]), (1, m[2])), combination(builder, (1, m[1]), (-1, m[2]))
    even2, odd2 = combination(builder, (1, m[3]), (1, m[4])), combination(builder, (1, m[3]), (-1, m[4]))
    return [
        combination(builder, (1, m[0]), (1, even), (1, even2)),
        combination(builder, (1, odd), (2, odd2)),
        combination(builder, (1, even), (4, even2)),
        combination(builder, (1, odd), (8, odd2), (1, m[5])),
    ]
