"""Memory that is used again."""

from __future__ import annotations

import ctypes

import numpy as np

from tensorwright.tune.memory import aligned_bytes
from tensorwright.tune.spare import ROOMIER, SpareMemory


def test_freed_memory_is_used_again() -> None:
    spare = SpareMemory()
    first, other = (spare.allocate(1000, 64, 0) for _ in range(2))
    assert first % 64 == other % 64 == 0
    assert abs(first - other) >= 1000
    ctypes.memset(first, 7, 1000)
    spare.free(first)
    again = spare.allocate(900, 64, 0)
    assert again == first
    assert ctypes.string_at(again, 1000) == bytes([7] * 1000)
    assert spare.allocate(900, 64, 0) not in (first, other)


def test_what_is_too_small_or_too_large_is_left() -> None:
    spare = SpareMemory()
    for size, wanted in ((1000, 1001), (1000, 1000 // ROOMIER - 64)):
        address = spare.allocate(size, 64, 0)
        spare.free(address)
        assert spare.allocate(wanted, 64, 0) != address


def test_what_is_too_much_is_given_up_the_oldest_first() -> None:
    spare = SpareMemory(most=2 * 1064)
    addresses = [spare.allocate(1000, 64, 0) for _ in range(3)]
    for address in addresses:
        spare.free(address)
    found = [spare.allocate(1000, 64, 0) for _ in range(2)]
    assert set(found) == set(addresses[1:])


def test_arrays_give_their_memory_back() -> None:
    spare = SpareMemory()
    array = aligned_bytes(1000, spare).view(np.float32)
    address, part = array.ctypes.data, array[5:]
    del array
    other = aligned_bytes(1000, spare)
    assert other.ctypes.data != address
    del part
    assert aligned_bytes(1000, spare).ctypes.data == address
