"""Memory that kernels were timed in, for others: fresh pages of the system take longer than filling them."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

MOST_KEPT = 1 << 28
"""So many bytes are kept at most."""

ROOMIER = 2
"""A block is taken for what needs so many times less of it at most."""


class SpareMemory:
    """An allocator of this process's memory that keeps what is freed for what is asked for next."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        """most: the bytes that it keeps at most."""
        self._most = most
        self._lent: dict[int, npt.NDArray[np.uint8]] = {}
        self._freed = deque[int]()
        self._kept: list[npt.NDArray[np.uint8]] = []

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        """The address of so many bytes, with what was left there."""
        self._collect()
        needed = size + alignment
        fitting = [block for block in self._kept if needed <= block.nbytes <= ROOMIER * needed]
        block = min(fitting, key=lambda one: one.nbytes, default=None)
        if block is None:
            block = np.empty(needed, np.uint8)
        else:
            self._kept = [other for other in self._kept if other is not block]
        address = block.ctypes.data + -block.ctypes.data % alignment
        self._lent[address] = block
        return address

    def free(self, address: int) -> None:
        """Take memory back; it may be called at any time, also while memory is allocated."""
        self._freed.append(address)

    def _collect(self) -> None:
        """Keep what has been freed, the last of it if it is too much."""
        while self._freed:
            self._kept.append(self._lent.pop(self._freed.popleft()))
        held = sum(block.nbytes for block in self._kept)
        while held > self._most:
            held -= self._kept.pop(0).nbytes
