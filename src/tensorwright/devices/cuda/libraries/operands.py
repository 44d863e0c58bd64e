"""Types and sizes of what calls of libraries read and write, where sums of products get a bias and a residual."""

from __future__ import annotations

from collections.abc import Mapping

from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType

DTYPES = {dtype.name: dtype for dtype in (FLOAT16, BFLOAT16, FLOAT32)}


def operand_bytes(
    dtype: DType, factors: Mapping[int, int], result: int, columns: int, bias: int | None, residual: int | None
) -> Mapping[int, int]:
    """Bytes of each operand by its number.

    factors: elements of each factor by its number; result: of operand 0, and of the residual; columns: of the bias.
    bias, residual: their numbers; None for no such term.
    """
    elements = {0: result, **factors}
    if bias is not None:
        elements[bias] = columns
    if residual is not None:
        elements[residual] = result
    return {number: count * dtype.size for number, count in elements.items()}
