"""Which tensors a model cannot mean."""

from __future__ import annotations

from tensorwright.base.errors import ImportFailure
from tensorwright.plan.limits import MAX_SIZE
from tensorwright.tensor.dim import tuning_value
from tensorwright.tensor.type import TensorType


def require_possible(type: TensorType) -> None:
    """Refuse a tensor that, at the sizes to tune for, has more bytes than anything in a plan may have.

    Raises:
        ImportFailure: it has.
    """
    elements = tuning_value(type.elements)
    if elements * type.dtype.size > MAX_SIZE:
        raise ImportFailure(f"{type} would have {elements} elements, more than {MAX_SIZE} bytes: no tensor has so many")
