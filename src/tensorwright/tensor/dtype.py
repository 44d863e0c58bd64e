"""Element types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tensorwright.base.errors import NetworkError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Kind = Literal["float", "signed", "unsigned", "bool"]


@dataclass(frozen=True)
class DType:
    """An element type: its name, its size in bytes and the family it belongs to."""

    name: str
    size: int
    kind: Kind

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype with the same representation."""
        import numpy as np

        if self.name == "bfloat16":
            import ml_dtypes

            bfloat16: np.dtype[np.generic] = np.dtype(ml_dtypes.bfloat16)
            return bfloat16
        return np.dtype(self.name)

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("signed", "unsigned")

    def __repr__(self) -> str:
        return self.name


FLOAT64 = DType("float64", 8, "float")
FLOAT32 = DType("float32", 4, "float")
FLOAT16 = DType("float16", 2, "float")
BFLOAT16 = DType("bfloat16", 2, "float")
INT64 = DType("int64", 8, "signed")
INT32 = DType("int32", 4, "signed")
INT16 = DType("int16", 2, "signed")
INT8 = DType("int8", 1, "signed")
UINT64 = DType("uint64", 8, "unsigned")
UINT32 = DType("uint32", 4, "unsigned")
UINT16 = DType("uint16", 2, "unsigned")
UINT8 = DType("uint8", 1, "unsigned")
BOOL = DType("bool", 1, "bool")

FLOAT8 = DType("float8_e4m3fn", 1, "float")
"""What kernels take bytes for that stand for such numbers. Tensors hold them as uint8: it is not in `DTYPES`."""

WORDS = {1: UINT8, 2: INT16, 4: INT32, 8: INT64}
"""By the bytes of an element, what is copied for it."""

DTYPES = {
    dtype.name: dtype
    for dtype in (
        FLOAT64, FLOAT32, FLOAT16, BFLOAT16, INT64, INT32, INT16, INT8, UINT64, UINT32, UINT16, UINT8, BOOL,
    )
}  # fmt: skip


def dtype_of(array_dtype: npt.DTypeLike) -> DType:
    """The element type of a NumPy dtype.

    Raises:
        NetworkError: NumPy has the dtype, tensorwright has not (complex, string, object, ...).
    """
    import numpy as np

    name = np.dtype(array_dtype).name
    if name not in DTYPES:
        raise NetworkError(f"dtype {name} is not supported; expected one of {', '.join(DTYPES)}")
    return DTYPES[name]
