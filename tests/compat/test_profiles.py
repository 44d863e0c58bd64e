"""Engines with several optimization profiles, as scripts of versions 7 to 10 use them."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.base.errors import ExecutionError
from tensorwright.compat import tensorrt as trt
from tensorwright.compat.pycuda import driver as cuda

EXPLICIT_BATCH = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


@pytest.fixture(scope="module")
def engine():
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    network = builder.create_network(EXPLICIT_BATCH)
    x = network.add_input("x", trt.float32, (-1, 5))
    layer = network.add_activation(x, trt.ActivationType.RELU)
    layer.get_output(0).name = "y"
    network.mark_output(layer.get_output(0))
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    for low, opt, high in ((1, 1, 1), (2, 4, 8)):
        profile = builder.create_optimization_profile()
        profile.set_shape("x", (low, 5), (opt, 5), (high, 5))
        config.add_optimization_profile(profile)
    return builder.build_engine(network, config)


def test_bindings_are_counted_for_each_profile(engine, rng):
    """As the sample for BERT does: the smallest profile that fits, and bindings behind those of the others."""
    rows = 3
    count = engine.num_bindings // engine.num_optimization_profiles
    shapes = [engine.get_profile_shape(profile_index=n, binding=n * count) for n in range(2)]
    chosen = next(n for n, (low, _, high) in enumerate(shapes) if low[0] <= rows <= high[0])
    assert chosen == 1
    assert list(engine) == ["x", "y", "x [profile 1]", "y [profile 1]"]
    assert [engine[name] for name in engine] == [0, 1, 2, 3]
    assert [engine.binding_is_input(n) for n in range(4)] == [True, False, True, False]
    with engine.create_execution_context() as context:
        context.active_optimization_profile = chosen
        assert context.active_optimization_profile == 1
        assert context.set_binding_shape(chosen * count, (rows, 5))
        assert context.get_binding_shape(chosen * count + 1) == (rows, 5)
        x = rng.standard_normal((rows, 5)).astype(np.float32)
        y = np.full((rows, 5), np.nan, np.float32)
        stream, d_x, d_y = cuda.Stream(), cuda.to_device(x), cuda.mem_alloc(y.nbytes)
        context.execute_async_v2([0] * (chosen * count) + [int(d_x), int(d_y)], stream.handle)
        cuda.memcpy_dtoh_async(y, d_y, stream)
        stream.synchronize()
        np.testing.assert_array_equal(y, np.maximum(x, 0))
        with pytest.raises(ExecutionError, match="expected 2 to 8"):
            context.set_binding_shape(2, (1, 5))


def test_tensors_are_counted_once(engine):
    assert engine.num_io_tensors == 2
    assert [engine.get_tensor_name(n) for n in range(2)] == ["x", "y"]
    assert [tuple(shape) for shape in engine.get_tensor_profile_shape("x", 1)] == [(2, 5), (4, 5), (8, 5)]
    with engine.create_execution_context() as context:
        assert context.set_optimization_profile_async(1, 0)
        assert not context.set_optimization_profile_async(2, 0)
        assert context.active_optimization_profile == 1
