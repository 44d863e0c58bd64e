"""The driver layer against a stand-in for the driver's library: what is called, what is given back, what errors say."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading

import numpy as np
import pytest

from cuda_fake import LAUNCH_FAILED, NOT_READY, FakeLibrary
from tensorwright.base.errors import ExecutionError
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cuda import library
from tensorwright.devices.cuda.code import CudaCode, Launch
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.device import CudaDevice
from tensorwright.devices.cuda.graph import CudaGraph
from tensorwright.devices.cuda.library import CudaError, Driver
from tensorwright.devices.cuda.memory import Copies, DeviceAllocator, PageLockedAllocator
from tensorwright.devices.cuda.stream import CudaEvent, CudaStream
from tensorwright.devices.device import Allocator


@pytest.fixture
def fake() -> FakeLibrary:
    return FakeLibrary()


@pytest.fixture
def context(fake: FakeLibrary) -> Context:
    return Context(Driver(fake))


def test_importing_the_layer_loads_no_library() -> None:
    code = (
        "import sys, tensorwright.devices.cuda.device, tensorwright.devices.cuda.graph;"
        "from tensorwright.devices.cuda import library;"
        "assert not library._DRIVERS; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LIBRARY", "libcuda-that-nobody-has.so.1")
    with pytest.raises(
        ExecutionError, match=r"libcuda-that-nobody-has\.so\.1 was not found: .* needs the NVIDIA driver"
    ):
        library.open_library()


def test_an_old_driver_is_refused_with_both_versions() -> None:
    with pytest.raises(ExecutionError, match=r"supports CUDA 11\.4, expected 12\.0 or newer: update the driver"):
        Driver(FakeLibrary(version=11040))


def test_no_gpu_is_said(fake: FakeLibrary) -> None:
    fake.fail["cuInit"] = 100
    with pytest.raises(CudaError, match=r"initialising .* CUDA_ERROR_NO_DEVICE .*is there a GPU"):
        Driver(fake)


def test_a_function_that_the_driver_lacks_is_named() -> None:
    class Old:
        def __getattr__(self, name: str) -> object:
            if name == "cuGraphExecUpdate_v2":
                raise AttributeError(name)
            return getattr(FakeLibrary(), name)

    with pytest.raises(ExecutionError, match="no function cuGraphExecUpdate_v2: update the driver"):
        Driver(Old()).call("updating", "cuGraphExecUpdate_v2")


def test_properties_of_a_gpu(context: Context) -> None:
    found = context.properties
    assert (found.name, found.capability, found.multiprocessors) == ("Fake GPU", 90, 132)
    assert (found.l2_bytes, found.shared_bytes, found.memory_bytes) == (60 << 20, 227 << 10, 1 << 20)


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ExecutionError, match="no GPU 2: the GPUs that this process may use are cuda:0, cuda:1"):
        Context(Driver(FakeLibrary(gpus=2)), 2)


def test_the_context_is_current_in_every_thread(fake: FakeLibrary, context: Context) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            context.synchronize()
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    before = fake.count("cuCtxSetCurrent")
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert fake.count("cuCtxSetCurrent") - before == fake.count("cuCtxSynchronize") == 3


def test_the_context_is_given_back_once(fake: FakeLibrary, context: Context) -> None:
    context.close()
    context.close()
    assert fake.count("cuDevicePrimaryCtxRelease_v2") == 1


def test_the_context_of_others_stays_current(fake: FakeLibrary, context: Context) -> None:
    fake.foreign[0x777] = 11
    fake.on_cuCtxSetCurrent(0x777)
    context.synchronize()
    assert [arguments[0] for name, arguments in fake.calls if name == "cuCtxSetCurrent"][-1] == 0x777
    assert fake._thread.context == 0x777
    fake.fail["cuCtxSynchronize"] = LAUNCH_FAILED
    with pytest.raises(CudaError):
        context.synchronize()
    assert fake._thread.context == 0x777


def test_a_context_that_the_program_made_for_the_gpu_is_used(fake: FakeLibrary) -> None:
    driver = Driver(fake)
    fake.foreign[0x777] = 10
    fake.on_cuCtxSetCurrent(0x777)
    first = Context(driver)
    first.synchronize()
    assert not fake.count("cuDevicePrimaryCtxRetain")
    assert not fake.count("cuCtxSetCurrent")
    first.close()
    assert not fake.count("cuDevicePrimaryCtxRelease_v2")
    primary = ctypes.c_void_p()
    fake.on_cuDevicePrimaryCtxRetain(ctypes.byref(primary), 10)
    assert Context(driver)._handle.value == 0x777
    fake.on_cuCtxSetCurrent(primary)
    assert Context(driver)._handle.value == primary.value
    fake.foreign[0x999] = 11
    fake.on_cuCtxSetCurrent(0x999)
    assert Context(driver)._handle.value == primary.value


def test_a_context_that_was_given_back_is_not_taken_for_the_programs(fake: FakeLibrary) -> None:
    driver = Driver(fake)
    first = Context(driver)
    first.synchronize()
    first.close()
    assert fake._thread.context == first._handle.value
    second = Context(driver)
    assert second._handle.value in fake.contexts
    second.synchronize()
    second.close()
    assert fake.count("cuDevicePrimaryCtxRetain") == fake.count("cuDevicePrimaryCtxRelease_v2") == 2


def test_a_forked_process_is_told(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(ExecutionError, match=r"GPU 0 was opened before this process was forked.*'spawn'"):
        context.synchronize()
    monkeypatch.undo()


def test_bytes_go_to_the_device_and_back(context: Context, rng: np.random.Generator) -> None:
    allocator, copies, stream = DeviceAllocator(context), Copies(context), CudaStream(context)
    assert isinstance(allocator, Allocator)
    first, second = (allocator.allocate(64, 256, 0) for _ in range(2))
    sent, back = rng.integers(0, 256, 64, np.uint8), np.zeros(64, np.uint8)
    copies.to_device(first, sent.ctypes.data, 64)
    copies.on_device(second, first, 64, stream.handle)
    copies.fill(first, 7, 64, stream.handle)
    copies.to_host(back.ctypes.data, second, 64, stream.handle)
    np.testing.assert_array_equal(back, sent)
    copies.to_host(back.ctypes.data, first, 64)
    assert (back == 7).all()
    copies.to_device(second, back.ctypes.data, 32, stream.handle)
    copies.to_host(back.ctypes.data, second, 64)
    np.testing.assert_array_equal(back, np.concatenate([np.full(32, 7, np.uint8), sent[32:]]))


def test_out_of_memory_says_how_much_was_asked_and_is_free(fake: FakeLibrary, context: Context) -> None:
    allocator = DeviceAllocator(context)
    held = allocator.allocate(1 << 19, 256, 0)
    message = r"allocating 1048576 bytes of GPU 0, which has 524288 of 1048576 bytes free, failed: .*OUT_OF_MEMORY"
    with pytest.raises(CudaError, match=message) as caught:
        allocator.allocate(1 << 20, 256, 0)
    assert caught.value.name == "CUDA_ERROR_OUT_OF_MEMORY"
    allocator.free(held)
    assert not fake.memory


def test_a_buffer_gives_device_memory_back(fake: FakeLibrary, context: Context) -> None:
    Buffer(DeviceAllocator(context), 100, 256, "a test").close()
    assert not fake.memory


def test_a_lost_gpu_has_given_everything_back(fake: FakeLibrary, context: Context) -> None:
    buffer = Buffer(DeviceAllocator(context), 100, 256, "a test")
    fake.fail["cuMemFree_v2"] = LAUNCH_FAILED
    buffer.close()
    other = Buffer(DeviceAllocator(context), 100, 256, "a test")
    fake.fail["cuMemFree_v2"] = 1
    with pytest.raises(CudaError, match="freeing memory on GPU 0 failed"):
        other.close()


def test_alignment_beyond_the_drivers_is_refused(context: Context) -> None:
    with pytest.raises(ExecutionError, match="aligned to 256 bytes, 4096 were asked for"):
        DeviceAllocator(context).allocate(1, 4096, 0)


def test_page_locked_memory(fake: FakeLibrary, context: Context) -> None:
    allocator = PageLockedAllocator(context)
    address = allocator.allocate(100, 64, 0)
    ctypes.memset(address, 1, 100)
    allocator.free(address)
    fake.fail["cuMemHostAlloc"] = 2
    with pytest.raises(CudaError, match="locking 100 bytes of the host's memory failed"):
        allocator.allocate(100, 64, 0)


def test_code_that_the_driver_refuses_shows_its_log(context: Context) -> None:
    with pytest.raises(CudaError, match=r"loading the sum on GPU 0 failed: .*: ptxas fatal: no such thing"):
        CudaCode(context, b"bad code", "the sum")


def test_a_missing_kernel_is_named(context: Context) -> None:
    with pytest.raises(CudaError, match=r"finding the kernel missing .*CUDA_ERROR_NOT_FOUND"):
        CudaCode(context, b"code").function("missing")


def test_a_launch_passes_everything_on(fake: FakeLibrary, context: Context) -> None:
    function, stream = CudaCode(context, b"code").function("k"), CudaStream(context)
    function.launch(Launch((3, 2, 4), 128, (1 << 40, 5), 4, 100_000, dependent=True), stream.handle)
    (found,) = fake.launches
    assert (found["grid"], found["block"], found["shared"]) == ((3, 2, 4), (128, 1, 1), 100_000)
    assert (found["arguments"], found["stream"]) == ([1 << 40, 5], stream.handle)
    cluster = b"".join(number.to_bytes(4, "little") for number in (1, 1, 4))
    assert found["attributes"][4] == cluster
    assert found["attributes"][6][:4] == (1).to_bytes(4, "little")
    assert fake.count("cuFuncSetAttribute") == 1
    function.launch(Launch((1, 1, 1), 32, (), 1, 100_000), stream.handle)
    assert fake.count("cuFuncSetAttribute") == 1
    assert not fake.launches[-1]["attributes"]
    assert (function.registers, function.local_bytes) == (40, 0)


def test_a_launch_that_fails_is_named(fake: FakeLibrary, context: Context) -> None:
    function = CudaCode(context, b"code").function("conv3")
    fake.fail["cuLaunchKernelEx"] = LAUNCH_FAILED
    with pytest.raises(CudaError, match=r"launching the kernel conv3 \(grid \(1, 2, 3\), 64 threads\) on GPU 0 failed"):
        function.launch(Launch((1, 2, 3), 64, ()), 0)


def test_events_measure(fake: FakeLibrary, context: Context) -> None:
    stream, start, end = CudaStream(context), CudaEvent(context), CudaEvent(context)
    assert start.query()
    with pytest.raises(ExecutionError, match="start event was never recorded"):
        start.elapsed_time(end)
    start.record(stream)
    end.record(stream)
    fake.pending = True
    with pytest.raises(ExecutionError, match="start event is not reached yet"):
        start.elapsed_time(end)
    assert not stream.query()
    fake.pending = False
    assert start.elapsed_time(end) == 1.5
    assert stream.query()


def test_streams_wait_for_events_and_are_destroyed(fake: FakeLibrary, context: Context) -> None:
    stream, event, ran = CudaStream(context), CudaEvent(context), []
    event.record(stream)
    stream.wait_event(event)
    stream.enqueue(lambda: ran.append(1))
    stream.synchronize()
    assert ran == [1]
    assert ("cuStreamWaitEvent", (stream.handle, event.handle, 0)) in fake.calls
    del stream, event
    gc.collect()
    assert fake.count("cuStreamDestroy_v2") == fake.count("cuEventDestroy_v2") == 1


def test_borrowed_streams_are_left_alone(fake: FakeLibrary, context: Context) -> None:
    stream = CudaStream(context, 1234)
    assert stream.handle == 1234
    del stream
    gc.collect()
    assert not fake.count("cuStreamDestroy_v2")


def test_a_graph_is_made_launched_updated_and_given_back(fake: FakeLibrary, context: Context) -> None:
    function, stream = CudaCode(context, b"code").function("k"), CudaStream(context)
    graph = CudaGraph(context, lambda into: function.launch(Launch((1, 1, 1), 32, (1,)), into.handle))
    graph.launch(stream)
    assert graph.update(lambda into: function.launch(Launch((2, 1, 1), 32, (2,)), into.handle))
    fake.fail["cuGraphExecUpdate_v2"] = 910
    assert not graph.update(lambda into: None)
    graph.close()
    graph.close()
    assert [launch["arguments"] for launch in fake.launches] == [[1], [2]]
    assert fake.count("cuStreamBeginCapture_v2") == fake.count("cuGraphDestroy") == 3
    assert fake.count("cuGraphExecDestroy") == 1


def test_a_recording_that_fails_ends_the_capture(fake: FakeLibrary, context: Context) -> None:
    def fail(stream: CudaStream) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        CudaGraph(context, fail)
    assert fake.count("cuStreamEndCapture") == fake.count("cuGraphDestroy") == 1


def test_a_device_finds_what_it_made(context: Context) -> None:
    device = CudaDevice(context)
    stream, event = device.create_stream(), device.create_event()
    assert device.find_stream(stream.handle) is stream
    assert device.find_event(event.handle) is event
    assert device.find_stream(4321).handle == 4321
    assert device.find_event(4321).handle == 4321
    assert device.find_stream(0).handle == device.find_stream(1).handle == 0
    assert device.name == "cuda"
    assert isinstance(device.allocator, Allocator)


def test_asking_for_a_stream_that_is_not_done_is_no_error(fake: FakeLibrary, context: Context) -> None:
    stream = CudaStream(context)
    fake.fail["cuStreamQuery"] = NOT_READY
    assert not stream.query()
    fake.fail["cuStreamQuery"] = LAUNCH_FAILED
    with pytest.raises(CudaError, match="LAUNCH_FAILED"):
        stream.query()
