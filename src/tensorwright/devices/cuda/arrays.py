"""Arrays of other libraries on a GPU, taken without a copy, and new ones that they take."""

from __future__ import annotations

import weakref
from collections import deque
from math import prod
from typing import TYPE_CHECKING, Any

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cuda import dlpack
from tensorwright.devices.cuda.memory import ALIGNMENT, Copies, device_of
from tensorwright.devices.cuda.stream import LEGACY, CudaEvent, CudaStream
from tensorwright.devices.device import DeviceView

if TYPE_CHECKING:
    import numpy as np

    from tensorwright.devices.cuda.context import Context
    from tensorwright.devices.device import Allocator, Stream
    from tensorwright.tensor.dtype import DType

KEPT = 4
"""Pieces of memory of one size that are kept for the next array of a stream."""


class CudaArray:
    """A row-major array on a GPU, which work of a stream fills.

    It is handed on without a copy: through DLPack (`torch.from_dlpack(array)`, and the same of CuPy and JAX), whose
    stream then waits for the work, and as ``__cuda_array_interface__`` (`cupy.asarray(array)`), which has no bfloat16.

    shape: extents; dtype: the elements; address: where they start; stream: the one with the work.
    """

    def __init__(
        self, context: Context, buffer: Buffer, shape: tuple[int, ...], dtype: DType, stream: CudaStream
    ) -> None:
        self._context = context
        self._buffer = buffer
        self.shape = shape
        self.dtype = dtype
        self.stream = stream
        self.readers: set[int] = set()
        """The handles of streams in which others may read it; 0 for any."""

    @property
    def address(self) -> int:
        return self._buffer.address

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.size

    def numpy(self) -> np.ndarray[Any, np.dtype[np.generic]]:
        """A copy in memory of the host, when the work is done."""
        import numpy as np

        found = np.empty(self.shape, self.dtype.numpy)
        self.stream.synchronize()
        if self.nbytes:
            Copies(self._context).to_host(found.ctypes.data, self.address, self.nbytes)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:  # noqa: ANN401
        if copy is False:
            raise ValueError("an array on a GPU cannot be a NumPy array without a copy")
        found = self.numpy()
        return found if dtype is None else found.astype(dtype)

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        if self.dtype.name == "bfloat16":
            raise AttributeError("__cuda_array_interface__ has no bfloat16; use DLPack")
        self.readers.add(0)
        return {
            "shape": self.shape,
            "typestr": self.dtype.numpy.str,
            "data": (self.address if self.nbytes else 0, False),
            "strides": None,
            "stream": self.stream.handle or LEGACY,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self._context.ordinal

    def __dlpack__(self, *, stream: int | None = None, **_: object) -> object:
        """A capsule. stream: where it will be read, None for the default stream; -1 for one that needs not wait."""
        reader = CudaStream(self._context, LEGACY if stream is None else stream) if stream != -1 else self.stream
        self.readers.add(reader.handle)
        if reader.handle != self.stream.handle:
            event = CudaEvent(self._context)
            event.record(self.stream)
            reader.wait_event(event)
        kind = "bfloat" if self.dtype.name == "bfloat16" else self.dtype.kind
        return dlpack.write_capsule(self.address, self._context.ordinal, self.shape, kind, 8 * self.dtype.size, self)

    def __repr__(self) -> str:
        return f"CudaArray({list(self.shape)} {self.dtype} on cuda:{self._context.ordinal})"


class CudaArrays:
    """See `DeviceArrays`. The memory of arrays that were only read in the stream that filled them is used again."""

    def __init__(self, context: Context, allocator: Allocator) -> None:
        self._context = context
        self._allocator = allocator
        self._free: dict[tuple[int, int], list[Buffer]] = {}
        self._kept: deque[tuple[CudaEvent, list[object]]] = deque()

    def view(self, value: object, stream: Stream) -> DeviceView | None:
        if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
            kind, number = value.__dlpack_device__()
            if kind == dlpack.CUDA:
                self._require_here(number)
                return _from_capsule(self._capsule(value, stream.handle or LEGACY))
        interface = getattr(value, "__cuda_array_interface__", None)
        return None if interface is None else self._from_interface(value, interface, stream)

    def make(self, shape: tuple[int, ...], dtype: DType, stream: Stream, what: str) -> tuple[CudaArray, int]:
        assert isinstance(stream, CudaStream)
        dlpack.forget()
        size = max(1, prod(shape) * dtype.size)
        free = self._free.setdefault((size, stream.handle), [])
        buffer = free.pop() if free else Buffer(self._allocator, size, ALIGNMENT, what)
        array = CudaArray(self._context, buffer, shape, dtype, stream)
        weakref.finalize(array, _reuse, free, buffer, array.readers, stream.handle).atexit = False
        return array, buffer.address

    def keep(self, owners: list[object], stream: Stream) -> None:
        while self._kept and self._kept[0][0].query():
            self._kept.popleft()
        event = CudaEvent(self._context)
        event.record(stream)
        self._kept.append((event, owners))

    def _capsule(self, value: Any, stream: int) -> object:  # noqa: ANN401 - somebody's array
        try:
            with self._context.current():  # PyTorch hands out what lies on the current GPU alone.
                return value.__dlpack__(stream=stream)
        except (BufferError, RuntimeError) as error:
            raise ExecutionError(f"the array cannot be handed over: {error}") from error

    def _from_interface(self, value: object, interface: dict[str, Any], stream: Stream) -> DeviceView:
        import numpy as np

        address, _ = interface["data"]
        if address:
            self._require_here(device_of(self._context, address))
        dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
        filled_by = interface.get("stream")
        if filled_by is not None and filled_by != (stream.handle or LEGACY):
            event = CudaEvent(self._context)
            event.record(CudaStream(self._context, filled_by))
            stream.wait_event(event)
        strides = interface.get("strides")
        steps = None if strides is None else tuple(step / dtype.itemsize for step in strides)
        return DeviceView(address, shape, dtype.name, _is_contiguous(shape, steps), value)

    def _require_here(self, number: int) -> None:
        if number != self._context.ordinal:
            here = f"cuda:{self._context.ordinal}"
            raise ExecutionError(
                f"expected an array on {here}, where the engine is, found one on cuda:{number}; load the plan with "
                f"device='cuda:{number}', or copy the array to {here}"
            )


def _from_capsule(capsule: object) -> DeviceView:
    found = dlpack.read_capsule(capsule)
    return DeviceView(found.address, found.shape, found.dtype, _is_contiguous(found.shape, found.strides), capsule)


def _is_contiguous(shape: tuple[int, ...], strides: tuple[float, ...] | None) -> bool:
    """Whether elements lie in row-major order. strides: in elements; None for just that order."""
    if strides is None or 0 in shape:
        return True
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True


def _reuse(free: list[Buffer], buffer: Buffer, readers: set[int], stream: int) -> None:
    """Keep memory for later work of its stream; with other readers, giving it back waits for them."""
    if readers <= {stream} and len(free) < KEPT:
        free.append(buffer)
    else:
        buffer.close()
