"""Calls on anything with the buffer protocol, without NumPy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING

from tensorwright.base.addresses import buffer_address
from tensorwright.base.errors import ExecutionError
from tensorwright.runtime.bindings import format_shape, wrong_names

if TYPE_CHECKING:
    from array import array
    from mmap import mmap

    from tensorwright.runtime.bindings import BindingTable, Extents, Sizes, Slot
    from tensorwright.runtime.launcher import Launcher
    from tensorwright.tensor.dtype import DType

    Bytes = bytes | bytearray | memoryview | mmap | array[int] | array[float]

_NATIVE = "@=<" if sys.byteorder == "little" else "@=>"
_KINDS = {"d": "float", "f": "float", "e": "float", "?": "bool"} | dict.fromkeys("bhilqn", "signed")
_KINDS |= dict.fromkeys("BHILQN", "unsigned")
_FORMATS = {
    "float64": "d", "float32": "f", "int64": "q", "int32": "i", "int16": "h", "int8": "b",
    "uint64": "Q", "uint32": "I", "uint16": "H", "uint8": "B", "bool": "?",
}  # fmt: skip


def run_buffers(
    table: BindingTable,
    launched: Callable[[Mapping[int, Extents]], tuple[Launcher, Sizes]],
    shapes: Mapping[int, Extents],
    inputs: Mapping[str, Bytes],
) -> dict[str, memoryview]:
    """See `ExecutionContext.run_buffers`.

    launched: gives the launcher for inputs of some shapes, and all sizes. shapes: of inputs by number, as far as they
    are stated.
    """
    given: object = inputs
    if not isinstance(given, Mapping) or set(given) != set(table.input_names):
        raise wrong_names(table, inputs, "buffers")
    views = {slot: _view(table, slot, inputs[slot.name]) for slot in table.inputs}
    found = {slot.number: view.shape or () for slot, view in views.items() if _says_shape(table, slot, view)}
    launcher, sizes = launched({**shapes, **found})
    addresses = [0] * len(table.bindings)
    for slot, view in views.items():
        _require_bytes(table, slot, view, sizes.shapes[slot.number])
        addresses[slot.number] = buffer_address(view)
    results = {slot: memoryview(bytearray(_bytes(slot, sizes.shapes[slot.number]) or 1)) for slot in table.outputs}
    for slot, result in results.items():
        addresses[slot.number] = buffer_address(result)
    launcher.run(sizes, addresses)
    return {slot.name: _cast(slot, result, sizes.shapes[slot.number]) for slot, result in results.items()}


def _view(table: BindingTable, slot: Slot, value: Bytes) -> memoryview:
    where = table.describe(slot.number)
    try:
        view = memoryview(value)
    except TypeError:
        raise ExecutionError(
            f"{where}: expected an object with the buffer protocol, found {type(value).__name__}; "
            "pass bytes, an array.array or a memoryview"
        ) from None
    if not view.c_contiguous:
        raise ExecutionError(f"{where}: expected contiguous elements, found strides {view.strides}; pass a copy")
    if not _is_bytes(view) and not _has_dtype(view, slot.dtype):
        raise ExecutionError(
            f"{where}: expected elements of {slot.dtype}, or plain bytes, found the format '{view.format}'; "
            "convert the elements"
        )
    return view


def _says_shape(table: BindingTable, slot: Slot, view: memoryview) -> bool:
    """Whether a buffer's shape is meant to be the binding's: it is neither flat nor plain bytes."""
    return _has_dtype(view, slot.dtype) and (view.ndim != 1 or len(table.bindings[slot.number].type.shape) == 1)


def _is_bytes(view: memoryview) -> bool:
    return view.ndim == 1 and view.format in ("B", "b", "c")


def _has_dtype(view: memoryview, dtype: DType) -> bool:
    code = view.format.lstrip(_NATIVE)
    return (_KINDS.get(code), view.itemsize) == (dtype.kind, dtype.size) and dtype.name != "bfloat16"


def _bytes(slot: Slot, shape: Extents) -> int:
    return prod(shape) * slot.dtype.size


def _require_bytes(table: BindingTable, slot: Slot, view: memoryview, shape: Extents) -> None:
    if view.nbytes != _bytes(slot, shape):
        raise ExecutionError(
            f"{table.describe(slot.number)}: expected {_bytes(slot, shape)} bytes for {slot.dtype} of shape "
            f"{format_shape(shape)}, found {view.nbytes}; pass all elements in row-major order"
        )


def _cast(slot: Slot, result: memoryview, shape: Extents) -> memoryview:
    code = _FORMATS.get(slot.dtype.name)
    if not prod(shape):
        return result[:0]
    return result if code is None else result.cast(code, shape)  # type: ignore[call-overload]
