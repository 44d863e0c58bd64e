"""Outputs in memory that the application gives when their sizes are known."""

from __future__ import annotations

import numpy as np
import pytest

import tensorwright as tw
from graphs import given, network, unary
from importers.onnx.models import model_of, node
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.compat import tensorrt as trt
from tensorwright.compat.tensorrt.engine import CudaEngine
from tensorwright.runtime.engine import Engine


class Growing:
    """Keeps memory as long as it is large enough."""

    def __init__(self):
        self.memory, self.asked, self.shapes = None, [], []

    def reallocate_output(self, name, memory, size, alignment):
        self.asked.append((name, memory, size))
        if self.memory is None or self.memory.nbytes < size + alignment:
            self.memory = np.full(size + alignment, 0xAB, np.uint8)
        return self.address(alignment)

    def notify_shape(self, name, shape):
        self.shapes.append(shape)

    def address(self, alignment=256):
        return -(-self.memory.ctypes.data // alignment) * alignment

    def array(self):
        start = self.address() - self.memory.ctypes.data
        size = int(np.prod(self.shapes[-1])) * 4
        return self.memory[start : start + size].view(np.float32).reshape(self.shapes[-1])


@pytest.fixture(scope="module")
def engine():
    graph = network(unary("exp", given("x", tw.symbol("n", 1, 2, 8), 3)))
    return Engine(build(graph, BuildConfig(level=0, threads=1, timing_cache="")))


@pytest.mark.parametrize("call", ["execute", "enqueue"])
def test_the_allocator_is_asked_for_the_size_of_each_inference(engine, rng, call):
    allocator, stream = Growing(), engine.device.create_stream()
    with engine.create_execution_context() as context:
        context.set_output_allocator("out0", allocator)
        assert context.get_output_allocator("out0") is allocator
        assert context.get_max_output_size("out0") == 8 * 3 * 4
        for rows in (2, 5, 1):
            x = rng.standard_normal((rows, 3)).astype(np.float32)
            context.set_input_shape("x", (rows, 3))
            assert context.get_max_output_size("out0") == rows * 3 * 4
            if call == "execute":
                context.execute(None, [x.ctypes.data, 0])
            else:
                context.enqueue(None, [x.ctypes.data, 0], stream)
                stream.synchronize()
            np.testing.assert_allclose(allocator.array(), np.exp(x), rtol=1e-5)
        assert allocator.shapes == [(2, 3), (5, 3), (1, 3)]
        assert [size for _, _, size in allocator.asked] == [24, 60, 12]
        assert allocator.asked[0][1] == 0
        assert allocator.asked[2][1] == allocator.address()
        out = np.zeros((1, 3), np.float32)
        context.set_output_allocator("out0", None)
        context.execute(None, [x.ctypes.data, out.ctypes.data])
        np.testing.assert_allclose(out, np.exp(x), rtol=1e-5)


class Failing(Growing):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def reallocate_output(self, name, memory, size, alignment):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [None, 0, 8, -256, "memory", RuntimeError("none left")])
def test_memory_that_cannot_be_used_is_refused(engine, answer):
    x = np.zeros((1, 3), np.float32)
    with engine.create_execution_context() as context:
        context.set_input_shape("x", (1, 3))
        context.set_output_allocator("out0", Failing(answer))
        with pytest.raises(tw.ExecutionError, match=r"output allocator of 'out0': .*12 bytes"):
            context.execute(None, [x.ctypes.data, 0])
        with pytest.raises(tw.ExecutionError, match="expected an object with reallocate_output"):
            context.set_output_allocator("out0", "malloc")
        with pytest.raises(tw.ExecutionError, match="is no output"):
            context.set_output_allocator("x", Growing())


def test_scripts_subclass_the_allocator(engine, rng):
    class Outputs(trt.IOutputAllocator):
        def __init__(self):
            super().__init__()
            self.inner = Growing()

        def reallocate_output_async(self, tensor_name, memory, size, alignment, stream):
            return self.inner.reallocate_output(tensor_name, memory, size, alignment)

        def notify_shape(self, tensor_name, shape):
            self.inner.notify_shape(tensor_name, shape)

    x, outputs = rng.standard_normal((4, 3)).astype(np.float32), Outputs()
    context = CudaEngine(engine).create_execution_context()
    assert context.set_input_shape("x", (4, 3))
    assert context.set_output_allocator("out0", outputs)
    assert context.get_output_allocator("out0") is outputs
    context.set_tensor_address("x", x.ctypes.data)
    context.execute_async_v3(0)
    engine.device.find_stream(0).synchronize()
    np.testing.assert_allclose(outputs.inner.array(), np.exp(x), rtol=1e-5)


def test_sizes_that_follow_from_data_are_told_after_the_run(rng):
    x = rng.standard_normal((5, 4)).astype(np.float32)
    nodes = [node("NonZero", "x", "where"), node("Cast", "where", "y", to=1)]
    allocator = Growing()
    with tw.build(model_of(nodes, {"x": x}, ["y"]), level=0, threads=1, timing_cache="") as engine:
        engine.set_output_allocator("y", allocator)
        for _ in range(2):
            x = np.float32(rng.standard_normal((5, 4)) > 0)
            y = engine({"x": x})["y"]
            np.testing.assert_array_equal(y, np.stack(np.nonzero(x)))
            assert allocator.shapes[-1] == y.shape
            assert y.ctypes.data == allocator.address()
        with pytest.raises(tw.ExecutionError, match="has no output 'z'; expected one of 'y'"):
            engine.set_output_allocator("z", allocator)
