"""Arrays of other libraries on a GPU, against a stand-in for the driver: who waits for whom, what lives how long."""

from __future__ import annotations

import ctypes
import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_fake import FakeLibrary
from graphs import binary, given, network
from tensorwright.base.errors import ExecutionError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.cuda import dlpack, library
from tensorwright.devices.cuda.arrays import CudaArray
from tensorwright.devices.cuda.device import CudaDevice, create
from tensorwright.devices.cuda.library import Driver
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT32


@pytest.fixture(scope="module")
def plan() -> Plan:
    graph = network(binary("add", given("x", symbol("batch", 1, 2, 4), 8), given("y", 8)))
    return build(graph, BuildConfig(device="cuda", target="sm_90", level=0, timing_cache=""))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    found = FakeLibrary(16 << 20, gpus=2)
    monkeypatch.setattr(library, "_DRIVERS", [Driver(found)])
    return found


@pytest.fixture
def engine(plan: Plan, fake: FakeLibrary) -> Engine:
    return Engine(plan)


class Owner:
    """Something that can be waited for to go."""


class Interface:
    """What another library shows of an array on a GPU. stream: None where it says nothing."""

    def __init__(self, device: CudaDevice, *shape: int, typestr: str = "<f4", **further: Any) -> None:
        size = int(np.prod(shape)) * np.dtype(typestr).itemsize
        self.address = device.allocator.allocate(size, 256, 0)
        self.interface = {"shape": shape, "typestr": typestr, "data": (self.address, False), "version": 3, **further}

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.interface


class Tensor:
    """What another library hands out through DLPack."""

    def __init__(self, device: CudaDevice, *shape: int, number: int = 0) -> None:
        self.address = device.allocator.allocate(4 * int(np.prod(shape)), 256, 0)
        self.shape, self.number, self.streams = shape, number, []

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.number

    def __dlpack__(self, *, stream: int | None = None) -> object:
        self.streams.append(stream)
        return dlpack.write_capsule(self.address, self.number, self.shape, "float", 32, self)


def test_arrays_are_taken_and_handed_on_without_a_copy(engine: Engine, fake: FakeLibrary) -> None:
    device = engine.device
    x, y = Tensor(device, 3, 8), Interface(device, 8)
    copies = [name for name in fake.names() if "Memcpy" in name]
    waits = fake.count("cuStreamSynchronize")
    (found,) = engine({"x": x, "y": y}).values()
    assert [name for name in fake.names() if "Memcpy" in name] == copies
    assert fake.count("cuStreamSynchronize") == waits
    assert isinstance(found, CudaArray)
    assert (found.shape, found.dtype, found.nbytes) == ((3, 8), FLOAT32, 96)
    assert set(fake.launches[-1]["arguments"]) >= {x.address, y.address, found.address, 3}
    assert x.streams == [1]
    assert [call for call in fake.calls if call[0] == "cuGraphLaunch"][-1][1][1] == 0
    interface = found.__cuda_array_interface__
    assert (interface["data"], interface["stream"], interface["typestr"]) == ((found.address, False), 1, "<f4")
    assert interface["strides"] is None
    assert repr(found) == "CudaArray([3, 8] float32 on cuda:0)"


def test_work_is_put_into_the_callers_stream(engine: Engine, fake: FakeLibrary) -> None:
    device = engine.device
    y = Interface(device, 8, stream=1234)
    x = Tensor(device, 2, 8)
    (found,) = engine({"x": x, "y": y}, stream=5678).values()
    assert x.streams == [5678]
    (waited,) = [arguments for name, arguments in fake.calls if name == "cuStreamWaitEvent"]
    recorded = [arguments for name, arguments in fake.calls if name == "cuEventRecord"]
    assert waited[0] == 5678
    assert (waited[1], 1234) in recorded
    assert [call for call in fake.calls if call[0] == "cuGraphLaunch"][-1][1][1] == 5678
    before = fake.count("cuStreamWaitEvent")
    found.__dlpack__(stream=5678)
    found.__dlpack__(stream=-1)
    assert fake.count("cuStreamWaitEvent") == before
    capsule = found.__dlpack__(stream=1)
    assert [arguments[0] for name, arguments in fake.calls if name == "cuStreamWaitEvent"] == [5678, 1]
    exported = dlpack.read_capsule(capsule)
    assert exported == (found.address, (2, 0), (2, 8), None, "float32")


def test_one_memory_is_used_by_one_stream_after_another(engine: Engine, fake: FakeLibrary) -> None:
    device = engine.device
    x, y = Tensor(device, 2, 8), Interface(device, 8)
    context = engine.create_execution_context()
    context({"x": x, "y": y}, stream=111)
    before = fake.count("cuStreamWaitEvent")
    context({"x": x, "y": y}, stream=111)
    assert fake.count("cuStreamWaitEvent") == before
    context({"x": x, "y": y}, stream=222)
    assert fake.count("cuStreamWaitEvent") == before + 1
    context({"x": np.ones((2, 8), np.float32), "y": np.ones(8, np.float32)})
    assert fake.count("cuStreamWaitEvent") == before + 2


def test_inputs_live_until_the_work_is_done(engine: Engine, fake: FakeLibrary) -> None:
    device = engine.device
    x, y = Tensor(device, 2, 8), Interface(device, 8)
    gone = weakref.ref(y)
    fake.pending = True
    engine({"x": x, "y": y})
    del y
    engine({"x": x, "y": Interface(device, 8)})
    assert gone() is not None
    fake.pending = False
    engine({"x": x, "y": Interface(device, 8)})
    assert gone() is None


def test_memory_of_outputs_is_used_again_unless_others_may_read_it(engine: Engine, fake: FakeLibrary) -> None:
    device = engine.device
    x, y = Tensor(device, 2, 8), Interface(device, 8)

    def run(**options: Any) -> CudaArray:
        (found,) = engine({"x": x, "y": y}, **options).values()
        return found

    first = run(stream=7)
    address = first.address
    first.__dlpack__(stream=7)
    del first
    gc.collect()
    second = run(stream=7)
    assert second.address == address
    second.__dlpack__(stream=8)
    frees = fake.count("cuMemFree_v2")
    del second
    dlpack.forget()
    assert fake.count("cuMemFree_v2") == frees + 1
    third = run(stream=7)
    third.__cuda_array_interface__  # noqa: B018 - asking for it is what is tested
    frees = fake.count("cuMemFree_v2")
    del third
    gc.collect()
    assert fake.count("cuMemFree_v2") == frees + 1


def test_results_can_be_read_on_the_host(engine: Engine, fake: FakeLibrary, rng: np.random.Generator) -> None:
    (found,) = engine({"x": Tensor(engine.device, 2, 8), "y": Interface(engine.device, 8)}).values()
    content = rng.standard_normal((2, 8), dtype=np.float32)
    fake.memory[found.address][:] = content.tobytes()
    np.testing.assert_array_equal(found.numpy(), content)
    np.testing.assert_array_equal(np.asarray(found), content)
    assert np.asarray(found, np.float64).dtype == np.float64


def test_what_does_not_fit_is_refused(engine: Engine, fake: FakeLibrary) -> None:
    device = engine.device
    x, y = Tensor(device, 2, 8), Interface(device, 8)
    launches = len(fake.launches)
    for inputs, message in (
        ({"x": x, "y": Interface(device, 8, typestr="<f8")}, r"input 'y' .* expected dtype float32, found float64"),
        ({"x": x, "y": Interface(device, 9)}, r"input 'y' .*expected shape \[8\], found \[9\]"),
        ({"x": x, "y": Interface(device, 8, strides=(8,))}, r"input 'y' .* row-major order; pass a contiguous copy"),
        ({"x": Tensor(device, 2, 8, number=1), "y": y}, r"'x' .* array on cuda:0, .* on cuda:1; .*device='cuda:1'"),
        ({"x": x, "y": np.ones(8, np.float32)}, r"'x' lies on the device, 'y' does not"),
        ({"x": x}, r"missing: \['y'\]"),
        (x, r"expected arrays for the inputs 'x', 'y', found Tensor"),
    ):
        with pytest.raises(ExecutionError, match=message):
            engine(inputs)
    with pytest.raises(
        ExecutionError, match="expected arrays on the device with the stream 7, found arrays of the host"
    ):
        engine({"x": np.ones((2, 8), np.float32), "y": np.ones(8, np.float32)}, stream=7)
    assert len(fake.launches) == launches


def test_raw_addresses_and_streams_of_others(engine: Engine, fake: FakeLibrary) -> None:
    context = engine.create_execution_context()
    addresses = [engine.device.allocator.allocate(256, 256, 0) for _ in range(3)]
    context.set_input_shape("x", (4, 8))
    waits = fake.count("cuStreamSynchronize")
    context.enqueue(None, addresses, 4321, 8765)
    assert fake.count("cuStreamSynchronize") == waits
    assert [call for call in fake.calls if call[0] == "cuGraphLaunch"][-1][1][1] == 4321
    assert fake.calls[-1] == ("cuEventRecord", (8765, 4321))
    context.enqueue(None, addresses, 0)
    assert [call for call in fake.calls if call[0] == "cuGraphLaunch"][-1][1][1] == 0


def test_capsules_are_read_as_others_write_them(rng: np.random.Generator) -> None:
    for dtype in ("float32", "float16", "int64", "uint8", "int8", "bool"):
        array = np.zeros((4, 6), dtype)[1:, ::2]
        found = dlpack.read_capsule(array.__dlpack__())
        assert found == (array.ctypes.data, (1, 0), (3, 3), (6, 2), dtype)


def test_a_capsule_that_nobody_takes_keeps_nothing_alive(fake: FakeLibrary) -> None:
    for address in (4096, 1 << 40):
        owner = Owner()
        gone = weakref.ref(owner)
        capsule = dlpack.write_capsule(address, 1, (2, 3), "bfloat", 16, owner)
        assert dlpack.read_capsule(capsule) == (address, (2, 1), (2, 3), None, "bfloat16")
        del owner
        dlpack.forget()
        assert gone() is not None
        del capsule
        dlpack.forget()
        assert gone() is None


def test_a_capsule_that_is_taken_lives_until_its_deleter_is_called() -> None:
    rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", ctypes.pythonapi))
    used = b"used_dltensor"
    for address in (4096, 1 << 40):
        owner = Owner()
        gone = weakref.ref(owner)
        capsule = dlpack.write_capsule(address, 1, (2, 3), "float", 32, owner)
        managed = dlpack._Managed.from_address(dlpack._pointer(capsule, b"dltensor"))
        rename(capsule, used)
        del owner, capsule
        dlpack.forget()
        assert gone() is not None
        assert managed.tensor.data + managed.tensor.byte_offset == address
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(managed.deleter)(ctypes.addressof(managed))
        del managed
        dlpack.forget()
        assert gone() is None


def test_bfloat16_has_no_interface(fake: FakeLibrary) -> None:
    device = create()
    array, _ = device.arrays(device.allocator).make((2,), BFLOAT16, device.find_stream(0), "a test")
    assert not hasattr(array, "__cuda_array_interface__")
    assert dlpack.read_capsule(array.__dlpack__()).dtype == "bfloat16"


def test_memory_of_arrays_comes_from_the_allocator(plan: Plan, fake: FakeLibrary, tmp_path: Path) -> None:
    device = create()

    class Counting:
        def __init__(self) -> None:
            self.alive: set[int] = set()

        def allocate(self, size: int, alignment: int, flags: int) -> int | None:
            address = device.allocator.allocate(size, alignment, flags)
            self.alive.add(address)
            return address

        def free(self, address: int) -> None:
            self.alive.remove(address)
            device.allocator.free(address)

    x, y = Tensor(device, 2, 8), Interface(device, 8)
    theirs, allocator = {x.address, y.address}, Counting()
    engine = Engine(plan, allocator, device=device)
    (found,) = engine({"x": x, "y": y}).values()
    engine({"x": np.ones((2, 8), np.float32), "y": np.ones(8, np.float32)})
    assert set(fake.memory) - theirs == allocator.alive
    engine.close()
    del found, engine
    gc.collect()
    assert not allocator.alive
