"""Builders, engines and contexts on an emulated GPU, which executes their kernels: results are right."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tensorwright as tw
from cuda_emulator import EmulatedLibrary, emulated
from graphs import given, network, unary
from tensorwright.base.errors import BuildError, DeviceError, ExecutionError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.cuda.device import CudaDevice, create
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import apply, constant_value, input_value
from tensorwright.kernels.cuda.generic import Generic
from tensorwright.kernels.cuda.tiles.tactic import SpecialisedProduct
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Concatenation
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

SMALL = network(unary("exp", given("x", 8)))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EmulatedLibrary:
    return emulated(monkeypatch, tmp_path, gpus=2)


class Counting:
    """Gives out memory of a GPU and knows what of it is alive, as a program's own allocator would."""

    def __init__(self, device: CudaDevice) -> None:
        self.inner, self.alive, self.given, self.lock = device.allocator, dict[int, int](), 0, threading.Lock()

    def allocate(self, size: int, alignment: int, flags: int) -> int | None:
        with self.lock:
            address = self.inner.allocate(size, alignment, flags)
            self.alive[address] = size
            self.given += 1
            return address

    def free(self, address: int) -> None:
        with self.lock:
            del self.alive[address]
            self.inner.free(address)


@pytest.fixture
def allocator(gpu: EmulatedLibrary) -> Counting:
    return Counting(create())


@pytest.fixture
def engine(gpu: EmulatedLibrary, allocator: Counting, rng: np.random.Generator) -> Iterator[Engine]:
    """Two layers, built by a builder that was given an allocator."""
    builder = tw.Builder()
    builder.device, builder.gpu_allocator = "cuda", allocator
    network = builder.create_network(1 << tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    x = network.add_input("x", tw.float32, (2, 3, 6, 6))
    weights = rng.standard_normal((4, 3, 3, 3), dtype=np.float32)
    convolution = network.add_convolution(x, 4, (3, 3), weights, np.ones(4, np.float32))
    relu = network.add_activation(convolution.get_output(0), tw.ActivationType.RELU)
    relu.get_output(0).name = "y"
    network.mark_output(relu.get_output(0))
    config = builder.create_builder_config()
    config.builder_optimization_level = 0  # Kernels are run once; timing them here would take minutes.
    config.set_flag(tw.BuilderFlag.DISABLE_TIMING_CACHE)
    engine = builder.build_engine(network, config)
    engine.expected = _reference(network)
    yield engine
    engine.close()


def _reference(network: tw.NetworkDefinition):
    from tensorwright.graph.evaluate import evaluate_graph

    graph = network.to_graph()
    return lambda x: evaluate_graph(graph, {"x": x})["y"]


def test_tensor_maps_are_made_for_the_addresses_of_every_inference(
    gpu: EmulatedLibrary, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensorwright.backends.cuda.tactics", lambda: (SpecialisedProduct(), Generic()))
    x = input_value("x", TensorType(FLOAT16, (symbol("rows", 1, 40, 70), 136)))
    weights = constant_value(weights_of(rng.standard_normal((136, 40)).astype(np.float16)))
    graph = network(apply(MatMul(), x, weights))
    plan = build(graph, BuildConfig(device="cuda", level=0, timing_cache=""))
    assert [step["tactic"] for step in plan.report["steps"]] == ["specialised product"]
    with Engine(plan, device=create()) as engine:
        for rows in (70, 3):
            given = {"x": rng.standard_normal((rows, 136)).astype(np.float16)}
            ((name, expected),) = evaluate_graph(graph, given).items()
            np.testing.assert_allclose(engine(given)[name], expected, rtol=2e-3, atol=2e-2)
    assert {(one.extents, one.box) for one in gpu.maps.values()} >= {((136, 70), (64, 64)), ((136, 3), (64, 64))}


class Shown:
    """An array on the GPU as other libraries show it; those without elements lie at address 0."""

    def __init__(self, array: np.ndarray) -> None:
        device = create()
        self.address = device.allocator.allocate(array.nbytes, 256, 0) if array.size else 0
        if array.size:
            device.upload(self.address, array.ctypes.data, array.nbytes)
        self.__cuda_array_interface__ = {"shape": array.shape, "typestr": "<f4", "data": (self.address, False)}


@pytest.mark.parametrize("before", [3, 0])
def test_what_has_no_elements_may_lie_nowhere(gpu: EmulatedLibrary, rng: np.random.Generator, before: int) -> None:
    """Threads whose element comes from another operand load from where this one starts."""
    past, now = (rng.standard_normal((rows, 6), dtype=np.float32) for rows in (before, 2))
    graph = network(apply(Concatenation(0), given("past", symbol("before", 0, 4, 8), 6), given("now", 2, 6)))
    inputs, result = (Shown(past), Shown(now)), Shown(np.zeros((before + 2, 6), np.float32))
    with Engine(build(graph, BuildConfig(device="cuda", level=0, timing_cache="")), device=create()) as engine:
        context = engine.create_execution_context()
        found = context(dict(zip(("past", "now"), inputs, strict=True)))["out0"]
        np.testing.assert_array_equal(found.numpy(), np.concatenate([past, now]))
        context.set_input_shape("past", past.shape)
        context.execute(None, [array.address for array in (*inputs, result)])
        copied = np.empty((before + 2, 6), np.float32)
        engine.device.download(copied.ctypes.data, result.address, copied.nbytes)
        np.testing.assert_array_equal(copied, np.concatenate([past, now]))


def test_the_allocator_sees_all_memory_of_builder_and_runtime(
    engine: Engine, gpu: EmulatedLibrary, allocator: Counting, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((2, 3, 6, 6), dtype=np.float32)
    np.testing.assert_allclose(engine(x)["y"], engine.expected(x), rtol=1e-5, atol=1e-6)
    assert allocator.given == gpu.count("cuMemAlloc_v2")
    assert allocator.given > 5
    assert set(allocator.alive) == set(gpu.memory)
    engine.close()
    gc.collect()
    assert not gpu.memory


def test_contexts_take_lent_memory_and_raw_streams(
    engine: Engine, gpu: EmulatedLibrary, rng: np.random.Generator
) -> None:
    device = create()
    context = engine.create_execution_context_without_device_memory()
    with pytest.raises(ExecutionError, match=rf"no device memory yet; .* {engine.device_memory_size} bytes aligned to"):
        context(rng.standard_normal((2, 3, 6, 6), dtype=np.float32))
    before = set(gpu.memory)
    x = rng.standard_normal((2, 3, 6, 6), dtype=np.float32)
    place, result = (device.allocator.allocate(size, 256, 0) for size in (x.nbytes, 4 * 2 * 4 * 4 * 4))
    context.device_memory = device.allocator.allocate(engine.device_memory_size, 256, 0)
    device.upload(place, x.ctypes.data, x.nbytes)
    assert context.enqueue(None, [place, result], device.create_stream().handle, device.create_event().handle)
    found = np.empty((2, 4, 4, 4), np.float32)
    device.download(found.ctypes.data, result, found.nbytes)
    np.testing.assert_allclose(found, engine.expected(x), rtol=1e-5, atol=1e-6)
    assert len(set(gpu.memory) - before) == 3, "nothing but the program's own memory is used"


def test_a_build_for_the_second_gpu_runs_there(gpu: EmulatedLibrary, rng: np.random.Generator) -> None:
    with tw.build(SMALL, device="cuda:1", level=0, timing_cache="") as engine:
        assert engine.device.label == "cuda:1"
        assert engine.stamp.model == "Fake GPU"
        opened = {arguments[1] for name, arguments in gpu.calls if name == "cuDevicePrimaryCtxRetain"}
    assert opened == {11}, "another GPU than the second was opened"


def test_memory_that_is_used_up_says_what_for(gpu: EmulatedLibrary, engine: Engine) -> None:
    gpu.size = sum(map(len, gpu.memory.values())) + 64
    with pytest.raises(DeviceError, match=r"could not allocate \d+ bytes .* for activations .* bytes of GPU 0, which"):
        engine.create_execution_context()
    gpu.size = 100
    with pytest.raises((BuildError, DeviceError), match=r"could not allocate \d+ bytes"):
        tw.build(SMALL, device="cuda", level=0, timing_cache="")


def test_two_gpus_share_requests(engine: Engine, gpu: EmulatedLibrary, rng: np.random.Generator) -> None:
    cases = [rng.standard_normal((2, 3, 6, 6), dtype=np.float32) for _ in range(12)]
    with tw.load(engine.serialize(), devices="all") as pool:
        assert [state.name for state in pool.devices] == ["cuda:0", "cuda:1"]
        for case, found in zip(cases, pool.map(cases), strict=True):
            np.testing.assert_allclose(found["y"], engine.expected(case), rtol=1e-5, atol=1e-5)
        assert sum(state.completed for state in pool.devices) == 12
