"""Element types and constant tensors of TensorFlow graphs."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.tensorflow.messages import TensorProto, TensorShapeProto
from tensorwright.tensor import dtype as types
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import Weights

MOST_AXES = 32
MOST_REPEATED_BYTES = 1 << 28
"""A tensor that lists fewer elements than it has repeats the last one; larger ones than this are refused."""

DTYPES: Mapping[int, DType] = {
    1: types.FLOAT32,
    2: types.FLOAT64,
    3: types.INT32,
    4: types.UINT8,
    5: types.INT16,
    6: types.INT8,
    9: types.INT64,
    10: types.BOOL,
    14: types.BFLOAT16,
    17: types.UINT16,
    19: types.FLOAT16,
    22: types.UINT32,
    23: types.UINT64,
}
NUMBERS: Mapping[DType, int] = {dtype: number for number, dtype in DTYPES.items()}
OTHER_TYPES: Mapping[int, str] = {
    7: "string", 8: "complex64", 11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16",
    18: "complex128", 20: "resource", 21: "variant",
}  # fmt: skip

LISTS: Mapping[DType, str] = {
    types.FLOAT32: "float_val",
    types.FLOAT64: "double_val",
    types.INT64: "int64_val",
    types.BOOL: "bool_val",
    types.FLOAT16: "half_val",
    types.BFLOAT16: "half_val",
    types.UINT32: "uint32_val",
    types.UINT64: "uint64_val",
}


def dtype_from(number: int, what: str) -> DType:
    """The element type with a number of the enum DataType.

    Raises:
        Unsupported: TensorFlow has this type, tensorwright has not.
        ImportFailure: there is no such number.
    """
    if number in DTYPES:
        return DTYPES[number]
    if number in OTHER_TYPES:
        raise Unsupported(f"element type {OTHER_TYPES[number]} of {what} is not supported")
    raise ImportFailure(f"{what}: there is no element type number {number}")


def extents_from(shape: TensorShapeProto) -> tuple[int, ...] | None:
    """The extents of a shape, -1 for unknown ones; None for an unknown rank.

    Raises:
        ImportFailure: it has more axes than anything that is not damaged.
    """
    if shape.unknown_rank:
        return None
    if len(shape.dim) > MOST_AXES:
        raise ImportFailure(f"a shape has {len(shape.dim)} axes, expected at most {MOST_AXES}; the file is damaged")
    return tuple(max(dim.size, -1) for dim in shape.dim)


def weights_from(tensor: TensorProto, what: str) -> Weights:
    """The weights of a tensor.

    Raises:
        ImportFailure: the tensor's data do not fit its type and shape.
        Unsupported: its element type is not supported.
    """
    dtype = dtype_from(tensor.dtype, what)
    shape = extents_from(tensor.tensor_shape)
    if shape is None or -1 in shape:
        raise ImportFailure(f"{what}: a constant must have a known shape, found {shape or 'an unknown rank'}")
    type, count = TensorType(dtype, shape), prod(shape)
    if tensor.tensor_content:
        return _from_content(tensor.tensor_content, type, count, what)
    listed = getattr(tensor, LISTS.get(dtype, "int_val"))
    if len(listed) > count:
        raise ImportFailure(f"{what}: type {type} has {count} elements, found {len(listed)}")
    if len(listed) < count and count * dtype.size > MOST_REPEATED_BYTES:
        raise ImportFailure(
            f"{what}: {type} needs {count * dtype.size} bytes, found {len(listed)} elements to fill them; "
            f"at most {MOST_REPEATED_BYTES} bytes may repeat one element: is the file damaged?"
        )
    array = _array(listed, dtype, what)
    return Weights(type, lambda: _filled(array, count))


def _from_content(content: bytes, type: TensorType, count: int, what: str) -> Weights:
    if len(content) != count * type.dtype.size:
        raise ImportFailure(f"{what}: type {type} needs {count * type.dtype.size} bytes, found {len(content)}")
    return Weights(type, lambda: np.frombuffer(content, type.dtype.numpy))


def _array(listed: object, dtype: DType, what: str) -> npt.NDArray[np.generic]:
    values = np.array(listed)
    if dtype in (types.FLOAT16, types.BFLOAT16):
        bits = values.astype(np.int64).astype(np.uint16)
        return bits.view(np.float16 if dtype == types.FLOAT16 else ml_dtypes.bfloat16)
    narrowed = values.astype(dtype.numpy)
    if dtype.is_integer and not np.array_equal(narrowed.astype(np.int64), values.astype(np.int64)):
        raise ImportFailure(f"{what}: an element is outside of {dtype.name}; the file is damaged")
    return narrowed


def _filled(listed: npt.NDArray[np.generic], count: int) -> npt.NDArray[np.generic]:
    """All elements: those that are not listed are the last one that is, or 0."""
    if len(listed) == count:
        return listed
    last = listed[-1] if len(listed) else listed.dtype.type(0)
    return np.concatenate([listed, np.full(count - len(listed), last, listed.dtype)])
