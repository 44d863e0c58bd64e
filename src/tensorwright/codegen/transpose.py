"""Square blocks transposed in registers."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Register

_QUAD = 4


def transposed(builder: FunctionBuilder, rows: Sequence[Register]) -> list[Register]:
    """The columns of a square block given by its rows: as many vectors as they have lanes, a power of two.

    Quads of lanes are 128 bits wide for elements of 32 bits: the first two steps stay within them, the others move them
    whole, and every step is one instruction a vector.
    """
    lanes = len(rows)
    assert all(row.lanes == lanes for row in rows)
    if lanes == 1:
        return list(rows)
    if lanes == 2:
        return [builder.shuffle(rows[0], rows[1], (column, 2 + column)) for column in range(2)]
    quads = [_quads_transposed(builder, rows[first : first + _QUAD]) for first in range(0, lanes, _QUAD)]
    found: list[Register] = []
    columns = [_groups_transposed(builder, [quad[column] for quad in quads]) for column in range(_QUAD)]
    for group in range(lanes // _QUAD):
        found.extend(columns[column][group] for column in range(_QUAD))
    return found


def _quads_transposed(builder: FunctionBuilder, rows: Sequence[Register]) -> list[Register]:
    """Four rows; the 4×4 blocks in them transposed: vector j holds column j of every block."""
    lanes = rows[0].lanes
    a, b, c, d = rows
    low_ab, high_ab = (_by_quads(builder, a, b, part, lanes) for part in ((0, 4, 1, 5), (2, 6, 3, 7)))
    low_cd, high_cd = (_by_quads(builder, c, d, part, lanes) for part in ((0, 4, 1, 5), (2, 6, 3, 7)))
    first, second = (0, 1, 4, 5), (2, 3, 6, 7)
    return [
        _by_quads(builder, left, right, part, lanes)
        for left, right in ((low_ab, low_cd), (high_ab, high_cd))
        for part in (first, second)
    ]


def _by_quads(
    builder: FunctionBuilder, left: Register, right: Register, pattern: Sequence[int], lanes: int
) -> Register:
    """A shuffle of two quads, 4 to 7 being the second one's lanes, applied to all pairs of quads."""
    picked = [
        (lane if lane < _QUAD else lanes + lane - _QUAD) + first for first in range(0, lanes, _QUAD) for lane in pattern
    ]
    return builder.shuffle(left, right, picked)


def _groups_transposed(builder: FunctionBuilder, vectors: Sequence[Register]) -> list[Register]:
    """As many vectors as each has quads: the square of quads transposed."""
    count = len(vectors)
    if count == 1:
        return list(vectors)
    if count == 2:
        return [_pick(builder, vectors[0], vectors[1], part) for part in ((0, 2), (1, 3))]
    a, b, c, d = vectors
    low_ab, high_ab = _pick(builder, a, b, (0, 1, 4, 5)), _pick(builder, a, b, (2, 3, 6, 7))
    low_cd, high_cd = _pick(builder, c, d, (0, 1, 4, 5)), _pick(builder, c, d, (2, 3, 6, 7))
    return [
        _pick(builder, left, right, part)
        for left, right in ((low_ab, low_cd), (high_ab, high_cd))
        for part in ((0, 2, 4, 6), (1, 3, 5, 7))
    ]


def _pick(builder: FunctionBuilder, left: Register, right: Register, quads: Sequence[int]) -> Register:
    return builder.shuffle(left, right, [quad * _QUAD + lane for quad in quads for lane in range(_QUAD)])
