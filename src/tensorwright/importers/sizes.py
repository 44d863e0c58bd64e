"""Which tensors a model cannot mean."""

from __future__ import annotations

from tensorwright.base.errors import ImportFailure
from tensorwright.plan.limits import MAX_SIZE
from tensorwright.tensor.type import TensorType


def require_possible(type: TensorType) -> None:
    """Refuse a tensor that, at the sizes to tune for, spans more bytes than anything in a plan may have.

    Raises:
        ImportFailure: it does.
    """
    if type.spanned_bytes > MAX_SIZE:
        raise ImportFailure(
            f"{type} would span {type.spanned_bytes} bytes, more than {MAX_SIZE}: no tensor has so many"
        )
