"""Fields of UFF nodes as plain Python values."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.uff.messages import ANY_RANK, INCREMENT, Data, DimensionOrders
from tensorwright.tensor import dtype as types
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import Weights

MOST_AXES = 32
DTYPES: Mapping[int, DType] = {
    0x10008: types.INT8,
    0x10010: types.INT16,
    0x10020: types.INT32,
    0x10040: types.INT64,
    0x20010: types.FLOAT16,
    0x20020: types.FLOAT32,
}
NUMBERS: Mapping[DType, int] = {dtype: number for number, dtype in DTYPES.items()}

Order = tuple[int, ...]
"""Which axis stands at each place: 0 batch (or output channels of a kernel), 1 channels, 2 the first spatial one and
`INCREMENT` all that follow it."""
Field = (
    str | float | bool | bytes | int | DType
    | tuple[str, ...] | tuple[float, ...] | tuple[bool, ...] | tuple[int, ...] | tuple[DType, ...] | tuple[Order, ...]
)  # fmt: skip


def field_value(name: str, data: Data, referenced: Mapping[str, Data]) -> Field:
    """The value of a field, references followed; a reference to nothing is an empty blob.

    Raises:
        ImportFailure: it has no value, or refers to what is not there.
    """
    if data.WhichOneof("content") == "ref":
        if data.ref not in referenced:
            raise ImportFailure(f"field '{name}' refers to '{data.ref}', which the file lacks; it is damaged")
        data = referenced[data.ref]
        if data.WhichOneof("content") is None:
            return b""  # The data of a constant without elements.
    match data.WhichOneof("content"):
        case "s" | "d" | "b" | "i" | "blob" as kind:
            value: str | float | bool | bytes = getattr(data, kind)
            return value
        case "dtype":
            return dtype_from(data.dtype, f"field '{name}'")
        case "s_list":
            return tuple(data.s_list.val)
        case "d_list":
            return tuple(data.d_list.val)
        case "b_list":
            return tuple(data.b_list.val)
        case "i_list":
            return tuple(data.i_list.val)
        case "dtype_list":
            return tuple(dtype_from(number, f"field '{name}'") for number in data.dtype_list.val)
        case "dim_orders_list":
            return tuple(_order(orders) for orders in data.dim_orders_list.val)
        case kind:
            raise ImportFailure(f"field '{name}' has {f'a {kind}' if kind else 'no value'}, expected a value")


def dtype_from(number: int, what: str) -> DType:
    """The element type with a number of the enum DataType.

    Raises:
        ImportFailure: there is no such number.
    """
    if number not in DTYPES:
        raise ImportFailure(f"{what}: there is no element type number {number:#x}")
    return DTYPES[number]


def weights_from(blob: bytes, dtype: DType, shape: tuple[int, ...]) -> Weights:
    """The weights in a blob.

    Raises:
        ImportFailure: it has not as many bytes as type and shape need.
    """
    if len(shape) > MOST_AXES or any(extent < 0 for extent in shape):
        raise ImportFailure(f"shape {list(shape[:MOST_AXES])} is none that a constant can have; the file is damaged")
    type, needed = TensorType(dtype, shape), prod(shape) * dtype.size
    if len(blob) != needed:
        raise ImportFailure(f"type {type} needs {needed} bytes, the blob has {len(blob)}; the file is damaged")
    return Weights(type, lambda: np.frombuffer(blob, dtype.numpy))


def axes_of(order: Order, rank: int) -> tuple[int, ...]:
    """The axis at each place of a tensor of this rank.

    Raises:
        Unsupported: the order does not fit the rank.
    """
    axes: list[int] = []
    for axis, following in zip(order, (*order[1:], None), strict=True):
        if following == INCREMENT:
            axes += range(axis, axis + max(0, rank - (len(order) - 2)))
        elif axis != INCREMENT:
            axes.append(axis)
    if sorted(axes) != list(range(rank)):
        raise Unsupported(f"the order of axes {list(order)} does not fit a tensor of rank {rank}")
    return tuple(axes)


def _order(orders: DimensionOrders) -> Order:
    for entry in orders.orders:
        if entry.key == ANY_RANK:
            return tuple(entry.value.val)
    if not orders.orders:
        raise ImportFailure("an order of axes is empty; the file is damaged")
    return tuple(orders.orders[0].value.val)
