"""The names of versions 5 to 8, as their sample programs use them."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from compat.lenet import DEMO, DIGITS, frozen_lenet, image, label
from tensorwright.compat import tensorrt as trt
from tensorwright.compat import uff
from tensorwright.compat.pycuda import driver as cuda

EXPLICIT_BATCH = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
TRT_LOGGER = trt.Logger(trt.Logger.WARNING)


def allocate(engine):
    """Host and device memory for every binding, as the samples allocate it."""
    hosts, devices = [], []
    for binding in engine:
        size = trt.volume(engine.get_binding_shape(binding)) * engine.max_batch_size
        hosts.append(cuda.pagelocked_empty(size, trt.nptype(engine.get_binding_dtype(binding))))
        devices.append(cuda.mem_alloc(hosts[-1].nbytes))
    return hosts, devices


def test_implicit_batch():
    model = uff.from_tensorflow(frozen_lenet(), ["fc2/Relu"], quiet=True)
    with trt.Builder(TRT_LOGGER) as builder, builder.create_network() as network, trt.UffParser() as parser:
        builder.max_workspace_size = 1 << 20
        builder.max_batch_size = 2
        parser.register_input("Placeholder", (1, 28, 28), trt.UffInputOrder.NCHW)
        parser.register_output("fc2/Relu")
        assert parser.parse_buffer(model, network)
        with builder.build_cuda_engine(network) as engine, engine.create_execution_context() as context:
            (h_input, h_output), devices = allocate(engine)
            stream = cuda.Stream()
            np.copyto(h_input, np.stack([image(file) for file in DIGITS[:2]]).ravel())
            cuda.memcpy_htod_async(devices[0], h_input, stream)
            bindings = [int(device) for device in devices]
            context.execute_async(batch_size=2, bindings=bindings, stream_handle=stream.handle)
            cuda.memcpy_dtoh_async(h_output, devices[1], stream)
            stream.synchronize()
            assert list(h_output.reshape(2, 10).argmax(1)) == [label(file) for file in DIGITS[:2]]


@pytest.fixture(scope="module")
def engine():
    builder = trt.Builder(TRT_LOGGER)
    network = builder.create_network(EXPLICIT_BATCH)
    parser = trt.OnnxParser(network, TRT_LOGGER)
    assert parser.parse((DEMO / "lenet.onnx").read_bytes())
    assert parser.num_errors == 0
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 20)
    config.builder_optimization_level = 0
    profile = builder.create_optimization_profile()
    profile.set_shape("image", (1, 1, 28, 28), (2, 1, 28, 28), (4, 1, 28, 28))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan.nbytes > 0
    return trt.Runtime(TRT_LOGGER).deserialize_cuda_engine(plan)


@pytest.mark.parametrize("call", ["execute_v2", "execute_async_v2", "execute_async_v3"])
def test_explicit_batch(engine, call):
    context = engine.create_execution_context()
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    assert names == list(engine) == ["image", "probabilities"]
    assert [engine.get_tensor_mode(name) for name in names] == [trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT]
    assert tuple(engine.get_tensor_shape("image")) == (-1, 1, 28, 28)
    assert engine.get_tensor_dtype("image") is trt.float32
    assert context.set_input_shape("image", (3, 1, 28, 28))
    assert context.get_tensor_shape("probabilities") == (3, 10)
    images = np.stack([image(file) for file in DIGITS[:3]])
    output = np.full((3, 10), np.nan, np.float32)
    d_input, d_output = cuda.to_device(images), cuda.mem_alloc(output.nbytes)
    stream = cuda.Stream()
    if call == "execute_v2":
        assert context.execute_v2([int(d_input), int(d_output)])
    elif call == "execute_async_v2":
        assert context.execute_async_v2([int(d_input), int(d_output)], stream.handle)
    else:
        with pytest.raises(Exception, match="set_tensor_address for 'image', 'probabilities'"):
            context.execute_async_v3(stream.handle)
        for name, memory in zip(names, (d_input, d_output), strict=True):
            assert context.set_tensor_address(name, int(memory))
        assert context.execute_async_v3(stream_handle=stream.handle)
    cuda.memcpy_dtoh_async(output, d_output, stream)
    expected = onnxruntime.InferenceSession(DEMO / "lenet.onnx").run(None, {"image": images})[0]
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_caffe(tmp_path, rng):
    import caffe_models

    text = caffe_models.definition(caffe_models.layer("ReLU"), data=(1, 2, 3, 3))
    (tmp_path / "net.prototxt").write_bytes(text)
    (tmp_path / "net.caffemodel").write_bytes(caffe_models.model({"none": [np.zeros(1, np.float32)]}))
    with trt.Builder(TRT_LOGGER) as builder, builder.create_network() as network, trt.CaffeParser() as parser:
        files = {"deploy": tmp_path / "net.prototxt", "model": tmp_path / "net.caffemodel"}
        tensors = parser.parse(**files, network=network, dtype=trt.float32)
        network.mark_output(tensors.find("out"))
        engine = builder.build_engine(network, builder.create_builder_config())
    x = rng.standard_normal((1, 2, 3, 3)).astype(np.float32)
    y = cuda.mem_alloc(x.nbytes)
    assert engine.create_execution_context().execute(1, [cuda.to_device(x), y])
    assert np.array_equal(cuda.from_device_like(y, x), np.maximum(x, 0))


def test_layers_have_properties():
    network = trt.Builder(TRT_LOGGER).create_network(EXPLICIT_BATCH)
    x = network.add_input("x", trt.float32, (1, 3, 8, 8))
    layer = network.add_convolution_nd(x, 4, (3, 3), np.ones((4, 3, 3, 3), np.float32))
    layer.stride_nd = (2, 2)
    layer.padding = (1, 1)
    layer.name = "conv"
    layer.get_output(0).name = "y"
    network.mark_output(layer.get_output(0))
    assert (network.num_layers, network.num_inputs, network.num_outputs) == (1, 1, 1)
    assert network[0].name == next(iter(network)).name == "conv"
    assert network.get_output(0).shape == (1, 4, 4, 4)
    assert network.get_input(0).is_network_input
    assert network.get_input(0).dtype == trt.float32
