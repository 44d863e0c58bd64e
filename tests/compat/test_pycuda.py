"""Memory, copies and streams under the names of pycuda."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from tensorwright.compat.pycuda import autoinit, gpuarray, tools
from tensorwright.compat.pycuda import driver as cuda


def test_a_copy_to_the_device_and_back(rng):
    array = rng.random((3, 5), np.float32)
    memory = cuda.mem_alloc(array.nbytes)
    cuda.memcpy_htod(memory, array)
    back = np.full_like(array, np.nan)
    cuda.memcpy_dtoh(back, memory)
    assert np.array_equal(back, array)
    assert np.array_equal(cuda.from_device(memory, array.shape, array.dtype), array)
    assert np.array_equal(cuda.from_device_like(cuda.to_device(array), array), array)


def test_an_address_is_as_good_as_an_allocation(rng):
    array = rng.random(8)
    memory = cuda.mem_alloc(array.nbytes)
    cuda.memcpy_htod(int(memory), array)
    back = np.zeros(4)
    cuda.memcpy_dtoh(back, int(memory) + 32)
    assert np.array_equal(back, array[4:])


def test_fortran_order_is_copied_as_it_lies(rng):
    array = np.asfortranarray(rng.random((3, 4)))
    back = cuda.pagelocked_empty_like(array)
    assert back.flags.f_contiguous
    cuda.memcpy_dtoh(back, cuda.to_device(array))
    assert np.array_equal(back, array)


def test_copies_in_a_stream_keep_their_order(rng):
    first, second = rng.random(1000), rng.random(1000)
    gate = threading.Event()
    stream = cuda.Stream()
    memory, other = cuda.mem_alloc(first.nbytes), cuda.mem_alloc(first.nbytes)
    stream.stream.enqueue(gate.wait)
    cuda.memcpy_htod_async(memory, first, stream)
    cuda.memcpy_dtod_async(other, memory, first.nbytes, stream)
    cuda.memcpy_htod_async(memory, second, stream)
    assert not stream.is_done()
    threading.Timer(0.05, gate.set).start()
    results = [np.zeros(1000), np.zeros(1000)]
    cuda.memcpy_dtoh_async(results[0], other, stream)
    cuda.memcpy_dtoh_async(results[1], memory, stream)
    assert np.array_equal(results, [first, second])


def test_the_array_may_change_once_the_copy_to_the_device_is_enqueued(rng):
    array = rng.random(100)
    wanted = array.copy()
    gate = threading.Event()
    stream = cuda.Stream()
    stream.stream.enqueue(gate.wait)
    memory = cuda.mem_alloc(array.nbytes)
    cuda.memcpy_htod_async(memory, array, stream)
    array.fill(-1)
    gate.set()
    cuda.memcpy_dtoh_async(array, memory, stream)
    assert np.array_equal(array, wanted)


def test_a_copy_without_a_stream_waits_for_all_streams(rng):
    array = rng.random(100)
    stream = cuda.Stream()
    memory = cuda.to_device(np.zeros(100))
    stream.stream.enqueue(lambda: time.sleep(0.05))
    cuda.memcpy_htod_async(memory, array, stream)
    back = np.zeros(100)
    cuda.memcpy_dtoh(back, memory)
    assert np.array_equal(back, array)


def test_an_error_of_enqueued_work_reaches_whoever_reads_the_result():
    def fail() -> None:
        raise ValueError("out of tune")

    stream = cuda.Stream()
    stream.stream.enqueue(fail)
    memory = cuda.mem_alloc(8)
    with pytest.raises(ValueError, match="out of tune"):
        cuda.memcpy_dtoh_async(np.zeros(1), memory, stream)


def test_memory_that_is_dropped_outlives_the_work_of_its_stream(rng):
    array = rng.random(1 << 16)
    stream = cuda.Stream()
    kept = cuda.mem_alloc(array.nbytes)
    dropped = cuda.to_device(array)
    stream.stream.enqueue(lambda: time.sleep(0.05))
    cuda.memcpy_dtod_async(kept, dropped, array.nbytes, stream)
    del dropped, stream
    gc.collect()
    assert np.array_equal(cuda.from_device_like(kept, array), array)


def test_memset():
    memory = cuda.mem_alloc(16)
    cuda.memset_d8(memory, 0xFF, 16)
    cuda.memset_d32_async(memory, 7, 2)
    stream = cuda.Stream()
    cuda.memset_d16_async(int(memory) + 8, 3, 2, stream)
    stream.synchronize()
    assert list(cuda.from_device(memory, 4, np.uint32)) == [7, 7, 0x30003, 0xFFFFFFFF]


def test_page_locked_arrays():
    array = cuda.pagelocked_zeros((2, 3), np.float32)
    assert array.shape == (2, 3)
    assert not array.any()
    assert isinstance(array.base, cuda.PagelockedHostAllocation)
    assert array.base.get_device_pointer() == array.ctypes.data
    assert array.ctypes.data % 4096 == 0
    assert cuda.pagelocked_empty(np.int64(5), np.int8, mem_flags=cuda.host_alloc_flags.DEVICEMAP).shape == (5,)
    assert cuda.pagelocked_empty(0, np.float32).size == 0


def test_events_mark_times():
    start, end = cuda.Event(), cuda.Event()
    stream = cuda.Stream()
    start.record(stream)
    stream.stream.enqueue(lambda: time.sleep(0.02))
    other = cuda.Stream()
    end.record(stream).synchronize()
    other.wait_for_event(end)
    other.synchronize()
    assert end.query()
    assert start.time_till(end) >= 19
    assert end.time_since(start) == start.time_till(end)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cuda.mem_alloc(0), "positive number of bytes"),
        (lambda: cuda.memcpy_htod(cuda.mem_alloc(4), np.zeros(2, np.float32)), "8 bytes, the device memory 4"),
        (lambda: cuda.memcpy_dtoh(np.zeros((4, 4))[:, 1], cuda.mem_alloc(32)), "contiguous"),
        (lambda: cuda.memcpy_dtoh(np.broadcast_to(0.0, ()), cuda.mem_alloc(8)), "can be written"),
        (lambda: cuda.memcpy_htod("here", np.zeros(2)), "device memory, found str"),
        (lambda: cuda.memcpy_htod(0, np.zeros(2)), "address of device memory"),
        (lambda: cuda.Device(1), "the only device"),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(cuda.LogicError, match=message):
        call()


def test_freed_memory_is_not_used():
    memory = cuda.mem_alloc(8)
    memory.free()
    with pytest.raises(cuda.LogicError, match="freed already"):
        cuda.memcpy_htod(memory, np.zeros(1))
    with pytest.raises(cuda.LogicError, match="freed already"):
        memory.free()
    address = int(cuda.mem_alloc(8))
    with pytest.raises(cuda.LogicError, match="keep the object that owns it"):
        cuda.memcpy_htod(address, np.zeros(1))


def test_the_device_is_the_cpu():
    cuda.init()
    free, total = cuda.mem_get_info()
    assert 0 < free <= total == autoinit.device.total_memory()
    assert cuda.Device.count() == 1
    assert autoinit.context.get_device().name()
    autoinit.context.push()
    cuda.Context.synchronize()
    cuda.Context.pop()


def test_arrays_on_the_device(rng):
    values = rng.random((2, 3))
    array = gpuarray.to_gpu(values)
    assert np.array_equal(array.get(), values)
    assert int(array.gpudata) == array.ptr
    array.set(np.asfortranarray(values * 2))
    assert np.array_equal(array.get(np.zeros((2, 3))), values * 2)
    array.set_async(values)
    nothing = gpuarray.zeros((2, 3), np.float64)
    cuda.memcpy_dtod(array.gpudata, nothing.ptr, 24)
    assert np.array_equal(array.get(), values * [[0], [1]])
    assert (gpuarray.empty(5, np.int8).nbytes, len(array)) == (5, 2)
    tools.make_default_context().pop()
    tools.clear_context_caches()
