"""Products by weights of a few bits: bits, blocks, zero points, shorter last blocks, ranks."""

from __future__ import annotations

from cases.case import Case, Operand, f32
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import UINT8

BATCH = symbol("batch", 1, 2, 4)


def weights(columns: int, depth: int, bits: int, block: int, *, zero: bool = False) -> tuple[Operand, ...]:
    """Bits, scales and perhaps zero points."""
    blocks = -(-depth // block)
    zeros = [Operand(UINT8, (columns, blocks), 0, 1 << bits)] if zero else []
    return (Operand(UINT8, (columns, depth * bits // 8), 0, 256), f32(columns, blocks, low=0.01, high=0.1), *zeros)


CASES = (
    Case("four", BlockMatMul(4, 16), (f32(3, 64), *weights(9, 64, 4, 16))),
    Case("four-zeros", BlockMatMul(4, 16), (f32(2, 3, 40), *weights(7, 40, 4, 16, zero=True))),
    Case("eight", BlockMatMul(8, 16), (f32(1, 32), *weights(5, 32, 8, 16, zero=True))),
    Case("two", BlockMatMul(2, 32), (f32(1, 64), *weights(5, 64, 2, 32))),
    Case("one-block", BlockMatMul(8, 64), (f32(BATCH, 24), *weights(5, 24, 8, 64)), symbols={"batch": 3}),
)
