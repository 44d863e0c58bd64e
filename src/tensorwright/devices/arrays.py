"""Arrays that lie in device memory, as the runtime asks a device for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from tensorwright.devices.device import Stream
    from tensorwright.tensor.dtype import DType


class DeviceView(NamedTuple):
    """Somebody's array in device memory. dtype: its name as `DType` has it. owner: what keeps the memory alive."""

    address: int
    shape: tuple[int, ...]
    dtype: str
    is_contiguous: bool
    owner: object


class DeviceArrays(Protocol):
    """Takes arrays on a device and makes new ones; for one thread at a time."""

    def view(self, value: object, stream: Stream) -> DeviceView | None:
        """An array of anybody, safe to be read by work that is put into the stream from now on; None if it is none.

        Raises:
            ExecutionError: it lies on another device, or has elements that no `DType` stands for.
        """
        ...

    def make(self, shape: tuple[int, ...], dtype: DType, stream: Stream, what: str) -> tuple[object, int]:
        """A new array that work of the stream will fill, for whoever takes arrays of this device; and its address."""
        ...

    def keep(self, owners: list[object], stream: Stream) -> None:
        """Keep these alive until the work that the stream holds now is done."""
        ...
