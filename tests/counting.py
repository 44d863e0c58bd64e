"""An allocator that knows what it has given out."""

from __future__ import annotations

from tensorwright.devices.device import Allocator


class CountingAllocator:
    """Memory of another allocator; `alive` are the addresses of what was not given back."""

    def __init__(self, inner: Allocator) -> None:
        self.inner, self.alive = inner, set[int]()

    def allocate(self, size: int, alignment: int, flags: int) -> int | None:
        address = self.inner.allocate(size, alignment, flags)
        assert address is not None
        self.alive.add(address)
        return address

    def free(self, address: int) -> None:
        self.alive.remove(address)
        self.inner.free(address)
