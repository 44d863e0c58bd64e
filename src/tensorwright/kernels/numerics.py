"""In which types a kernel multiplies and adds."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, INT8, INT32, UINT8, DType


@dataclass(frozen=True)
class Numerics:
    """Element types of a sum of products: of both factors as they lie in memory, of the sum, and of the result."""

    left: DType
    right: DType
    total: DType
    result: DType

    @property
    def widened(self) -> Numerics:
        """Those of factors that were brought into the type of the sum."""
        return Numerics(self.total, self.total, self.total, self.result)

    @property
    def is_integer(self) -> bool:
        """Whether bytes are multiplied and added up exactly."""
        return self.total == INT32


SINGLE = Numerics(FLOAT32, FLOAT32, FLOAT32, FLOAT32)
FLOATS = (FLOAT32, FLOAT16, BFLOAT16)
"""Types that are computed, and summed up, in `FLOAT_TOTAL`."""
FLOAT_TOTAL = FLOAT32
BYTES = (INT8, UINT8)
"""Types of quantised tensors."""
IN_BLOCKS = (*FLOATS, *BYTES)
"""Types of tensors that may lie in blocks of channels."""


def numerics_of(left: DType, right: DType, result: DType) -> Numerics | None:
    """How products of such factors are summed up; None if no kernel of this family knows the types."""
    if (left, right, result) == (UINT8, INT8, INT32):
        return Numerics(left, right, INT32, result)
    if left != right or left not in FLOATS or result not in FLOATS:
        return None
    return Numerics(left, right, FLOAT_TOTAL, result)
