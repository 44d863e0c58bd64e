"""Memory that two processes share: where the inputs and outputs of an inference lie in it, and how it grows."""

from __future__ import annotations

import mmap
import os
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from tensorwright.base.addresses import mapping_address
from tensorwright.tensor.dim import evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorwright.plan.plan import Plan

ALIGNMENT = 256


class Layout(NamedTuple):
    """For each binding its offset and its bytes; and the bytes of all."""

    places: tuple[tuple[int, int], ...]
    size: int


def layout(plan: Plan, symbols: Sequence[int]) -> Layout:
    """Where the bindings of an inference with these sizes lie; both processes agree on it."""
    values = {symbol.name: value for symbol, value in zip(plan.symbols, symbols, strict=True)}
    places, end = [], 0
    for binding in plan.bindings:
        size = prod(evaluate(dim, values) for dim in binding.type.shape) * binding.type.dtype.size
        places.append((end, size))
        end += -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
    return Layout(tuple(places), end)


class SharedMemory:
    """Memory behind a file descriptor, which it owns, mapped into this process. address: where it starts."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.address = 0
        self._mapping: mmap.mmap | None = None

    def reserve(self, size: int) -> bool:
        """Have so many bytes mapped; returns whether the address has changed."""
        if self._mapping is not None and len(self._mapping) >= size:
            return False
        whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if os.fstat(self.descriptor).st_size < whole:
            os.ftruncate(self.descriptor, whole)
        self._mapping = mmap.mmap(self.descriptor, whole)
        self.address = mapping_address(self._mapping)
        return True

    def close(self) -> None:
        """Let go of the file; the mapping goes with the last reference."""
        os.close(self.descriptor)
        self._mapping = None
