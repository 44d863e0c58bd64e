"""`pycuda.gpuarray`: arrays in device memory, as far as programs use them to hold inputs and outputs."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.compat.pycuda.copies import memcpy_dtoh, memcpy_htod, memcpy_htod_async, memset_d8
from tensorwright.compat.pycuda.memory import Array, DeviceAllocation, Shape, mem_alloc
from tensorwright.compat.pycuda.streams import Stream


class GPUArray:
    """An array in row-major order in device memory. There is no arithmetic on it."""

    def __init__(self, shape: Shape, dtype: npt.DTypeLike) -> None:
        self.shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(extent) for extent in shape)
        self.dtype = np.dtype(dtype)
        self.size = prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize
        self.gpudata: DeviceAllocation = mem_alloc(max(self.nbytes, 1))

    @property
    def ptr(self) -> int:
        """The address."""
        return int(self.gpudata)

    def get(self, ary: Array | None = None) -> Array:
        """The contents as an array, after the work of all streams."""
        result = np.empty(self.shape, self.dtype) if ary is None else ary
        memcpy_dtoh(result, self.gpudata)
        return result

    def set(self, ary: Array) -> None:
        """Copy an array of the same shape and dtype, after the work of all streams."""
        memcpy_htod(self.gpudata, np.ascontiguousarray(ary, self.dtype))

    def set_async(self, ary: Array, stream: Stream | None = None) -> None:
        """As `set`, after the work that the stream holds now."""
        memcpy_htod_async(self.gpudata, np.ascontiguousarray(ary, self.dtype), stream)

    def __len__(self) -> int:
        return self.shape[0]


def empty(shape: Shape, dtype: npt.DTypeLike) -> GPUArray:
    """An array with any contents."""
    return GPUArray(shape, dtype)


def zeros(shape: Shape, dtype: npt.DTypeLike) -> GPUArray:
    """An array of zeros."""
    array = GPUArray(shape, dtype)
    memset_d8(array.gpudata, 0, array.nbytes)
    return array


def to_gpu(ary: Array) -> GPUArray:
    """An array with the contents of another one."""
    array = GPUArray(ary.shape, ary.dtype)
    array.set(ary)
    return array
