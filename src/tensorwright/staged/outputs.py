"""Results in memory that the application gives."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tensorwright.importers.onnx.host import Known
    from tensorwright.runtime.outputs import OutputAllocators


def placed(results: Mapping[str, Known], allocators: OutputAllocators) -> dict[str, Known]:
    """The results; those with allocators as arrays over the memory that these give.

    Raises:
        ExecutionError: an allocator failed.
    """
    found = dict(results)
    for name, value in results.items():
        if allocators.get(name) is not None and isinstance(value, np.ndarray) and not value.dtype.hasobject:
            address = allocators.memory(name, 0, max(value.nbytes, 1))
            memory = (ctypes.c_char * max(value.nbytes, 1)).from_address(address)
            target = np.frombuffer(memoryview(memory), np.uint8, value.nbytes).view(value.dtype).reshape(value.shape)
            target[...] = value
            allocators.notify(name, value.shape)
            found[name] = target
    return found
