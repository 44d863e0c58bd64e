"""Memory of this process for the operands of single kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tensorwright.devices.buffer import Buffer
from tensorwright.devices.device import Allocator
from tensorwright.tensor.dtype import DType
from tensorwright.tune.bench import POISON

Array = npt.NDArray[np.generic]
ALIGNMENT = 64


@dataclass(frozen=True, eq=False)
class _Memory:
    """Lets NumPy use a buffer, which lives as long as some array does."""

    buffer: Buffer

    @property
    def __array_interface__(self) -> dict[str, object]:
        return {"version": 3, "shape": (self.buffer.size,), "typestr": "|u1", "data": (self.buffer.address, False)}


def aligned_bytes(size: int, allocator: Allocator | None = None) -> npt.NDArray[np.uint8]:
    """Uninitialised memory that starts at a multiple of 64 bytes and is freed with its last array."""
    if allocator is not None:
        return np.asarray(_Memory(Buffer(allocator, max(size, 1), ALIGNMENT, "timing a kernel")))[:size]
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def aligned_copy(array: Array, allocator: Allocator | None = None) -> Array:
    """The elements of an array, in order, in memory that starts at a multiple of 64 bytes."""
    copy = aligned_bytes(array.nbytes, allocator).view(array.dtype)
    copy.reshape(array.shape)[...] = array
    return copy


def poisoned(elements: int, dtype: DType, allocator: Allocator | None = None) -> Array:
    """Memory filled with a pattern that no kernel computes: NaN for floats."""
    raw = aligned_bytes(elements * dtype.size, allocator)
    memory = raw.view(dtype.numpy)
    if dtype.is_float:
        memory[:] = np.nan
    else:
        raw[:] = POISON
    return memory
