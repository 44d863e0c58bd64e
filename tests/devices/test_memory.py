"""Memory is aligned, zeroed, given back once, and asked for from the user's allocator."""

from __future__ import annotations

import ctypes
import gc
import mmap

import numpy as np
import pytest

from tensorwright.base.addresses import buffer_address, bytes_at
from tensorwright.base.errors import ExecutionError
from tensorwright.base.pages import HUGE_PAGE
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cpu.memory import PageAllocator
from tensorwright.devices.device import Allocator


class Recorder:
    """Passes on to pages; remembers what is out."""

    def __init__(self):
        self.pages = PageAllocator()
        self.living = {}
        self.requests = []

    def allocate(self, size, alignment, flags):
        address = self.pages.allocate(size, alignment, flags)
        self.living[address] = size
        self.requests.append((size, alignment, flags))
        return address

    def free(self, address):
        del self.living[address]
        self.pages.free(address)


class Returning:
    def __init__(self, address):
        self.address = address
        self.freed = []

    def allocate(self, size, alignment, flags):
        return self.address

    def free(self, address):
        self.freed.append(address)


@pytest.mark.parametrize("size", [1, 4096, 4097, HUGE_PAGE, HUGE_PAGE + 1])
@pytest.mark.parametrize("alignment", [64, 4096, 1 << 16])
def test_pages_are_aligned_zeroed_and_writable(size, alignment):
    allocator = PageAllocator()
    address = allocator.allocate(size, alignment, 0)
    memory = bytes_at(address, size)
    assert address % alignment == 0
    assert not memory.any()
    memory[:] = 0xA5
    assert memory[-1] == 0xA5
    allocator.free(address)


def test_large_requests_start_at_a_huge_page():
    allocator = PageAllocator()
    address = allocator.allocate(3 * HUGE_PAGE, 64, 0)
    assert address % HUGE_PAGE == 0
    allocator.free(address)


def test_the_page_allocator_is_an_allocator():
    assert isinstance(PageAllocator(), Allocator)
    assert not isinstance(object(), Allocator)


def test_a_buffer_is_freed_once_when_closed():
    recorder = Recorder()
    buffer = Buffer(recorder, 1000, 64, "a test")
    assert recorder.living == {buffer.address: 1000}
    buffer.close()
    buffer.close()
    assert recorder.living == {}


def test_a_buffer_is_freed_when_nobody_refers_to_it():
    recorder = Recorder()
    buffer = Buffer(recorder, 1000, 64, "a test")
    del buffer
    gc.collect()
    assert recorder.living == {}


def test_a_failing_allocator_is_named_with_what_was_asked():
    class Empty(Recorder):
        def allocate(self, size, alignment, flags):
            raise MemoryError("nothing left")

    with pytest.raises(ExecutionError, match="Empty could not allocate 1000 bytes aligned to 64 for a test: Mem"):
        Buffer(Empty(), 1000, 64, "a test")


@pytest.mark.parametrize("address", [0, None])
def test_no_memory_is_named_with_what_was_asked(address):
    with pytest.raises(ExecutionError, match=f"could not allocate 1000 bytes aligned to 64 for a test: .*{address}"):
        Buffer(Returning(address), 1000, 64, "a test")


def test_misaligned_memory_is_refused_and_given_back():
    allocator = Returning(4096 + 8)
    with pytest.raises(ExecutionError, match="0x1008, which is no multiple of 64"):
        Buffer(allocator, 1000, 64, "a test")
    assert allocator.freed == [4096 + 8]


@pytest.mark.parametrize("address", [-64, 1 << 70, (1 << 64) - 64, 64.0, "64", b"", False])
def test_what_is_no_address_is_refused(address):
    allocator = Returning(address)
    with pytest.raises(ExecutionError, match=r"returned|could not allocate"):
        Buffer(allocator, 1000, 64, "a test")
    assert allocator.freed == []


def test_an_impossible_request_is_an_error():
    with pytest.raises(ExecutionError, match="could not allocate"):
        Buffer(PageAllocator(), 1 << 60, 64, "a test")


def test_the_address_of_a_read_only_buffer_is_known():
    array = np.arange(100, dtype=np.uint8)
    assert buffer_address(array.data.toreadonly()) == array.ctypes.data
    assert buffer_address(memoryview(b"")) == 0
    mapping = mmap.mmap(-1, 4096)
    assert buffer_address(memoryview(mapping)) == ctypes.addressof(ctypes.c_char.from_buffer(mapping))
