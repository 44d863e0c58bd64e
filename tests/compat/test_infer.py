"""The older interface on networks made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.base.errors import ExecutionError, NetworkError, ShapeError, TensorwrightError
from tensorwright.compat.pycuda import driver as cuda
from tensorwright.compat.tensorrt import infer, utils


class Recorder(infer.Logger):
    def __init__(self):
        self.messages = []

    def log(self, severity, msg):
        self.messages.append((severity, msg))

    def said(self, severity, text):
        return any(found == severity and text in message for found, message in self.messages)


@pytest.fixture
def logger():
    return Recorder()


@pytest.fixture
def builder(logger):
    found = infer.create_infer_builder(logger)
    found.set_max_batch_size(3)
    found.set_max_workspace_size(1 << 20)
    return found


def small(builder, rng):
    """y = relu(3×3 convolution, stride 2, padding 1 of x [2, 5, 5]), as [4, 3, 3]; and the weights."""
    weights = rng.standard_normal((4, 2, 3, 3)).astype(np.float32)
    bias = rng.standard_normal(4).astype(np.float32)
    network = builder.create_network()
    x = network.add_input("x", infer.DataType_kFLOAT, infer.DimsCHW(2, 5, 5))
    convolution = network.add_convolution(x, 4, infer.DimsHW(3, 3), infer.Weights(weights), infer.Weights(bias))
    convolution.set_stride(infer.DimsHW(2, 2))
    convolution.set_padding((1, 1))
    convolution.set_name("conv")
    relu = network.add_activation(convolution.get_output(0), infer.ActivationType.RELU)
    relu.get_output(0).set_name("y")
    network.mark_output(relu.get_output(0))
    return network, weights, bias


def expected(x, weights, bias):
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
    return np.maximum(np.einsum("nchwij,ocij->nohw", windows, weights) + bias[:, None, None], 0)


def run(engine, context, x, batch, *, asynchronous=False):
    shape = (batch, *engine.get_binding_dimensions(1))
    y = np.full(shape, np.nan, np.float32)
    d_x, d_y = cuda.to_device(x), cuda.mem_alloc(y.nbytes)
    if asynchronous:
        stream, event = cuda.Stream(), cuda.Event()
        assert context.enqueue(batch, [int(d_x), int(d_y)], stream.handle, event)
        event.synchronize()
        cuda.memcpy_dtoh_async(y, d_y, stream)
    else:
        assert context.execute(batch, [d_x, d_y])
        cuda.memcpy_dtoh(y, d_y)
    return y


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_network_by_hand(builder, rng, asynchronous):
    network, weights, bias = small(builder, rng)
    engine = builder.build_cuda_engine(network)
    assert engine
    assert engine.get_nb_bindings() == 2
    assert [engine.get_binding_name(index) for index in range(2)] == ["x", "y"]
    assert engine.get_binding_index("y") == 1
    assert engine.binding_is_input(0)
    assert not engine.binding_is_input(1)
    assert engine.get_binding_dimensions(1) == (4, 3, 3)
    assert engine.get_binding_dimensions(0).to_DimsCHW().C() == 2
    assert engine.get_binding_data_type(0) is infer.DataType.FLOAT
    assert engine.get_max_batch_size() == 3
    assert engine.get_nb_layers() >= 1
    context = engine.create_execution_context()
    assert context.get_engine() is engine
    for batch in (3, 1):
        x = rng.standard_normal((batch, 2, 5, 5)).astype(np.float32)
        found = run(engine, context, x, batch, asynchronous=asynchronous)
        np.testing.assert_allclose(found, expected(x, weights, bias), rtol=1e-4, atol=1e-5)
    context.destroy()
    engine.destroy()
    engine.destroy()


def test_an_engine_goes_through_its_bytes(builder, logger, rng, tmp_path):
    network, weights, bias = small(builder, rng)
    engine = builder.build_cuda_engine(network)
    memory = engine.serialize()
    assert memory.size() == len(memory.data()) == len(memory)
    assert memory.type() is infer.DataType.INT8
    assert utils.write_engine_to_file(tmp_path / "e.plan", memory)
    memory.destroy()
    loaded = utils.load_engine(logger, tmp_path / "e.plan")
    padded = np.frombuffer(bytes(memory) + bytes(99), np.uint8)
    again = infer.create_infer_runtime(logger).deserialize_cuda_engine(padded, memory.size(), None)
    x = rng.standard_normal((2, 2, 5, 5)).astype(np.float32)
    for one in (loaded, again):
        found = run(one, one.create_execution_context(), x, 2)
        np.testing.assert_allclose(found, expected(x, weights, bias), rtol=1e-4, atol=1e-5)


def test_a_damaged_engine_gives_none_and_a_reason(logger, tmp_path):
    runtime = infer.create_infer_runtime(logger)
    assert runtime.deserialize_cuda_engine(b"no plan at all", 14, None) is None
    assert logger.said(infer.LogSeverity.ERROR, "plan")
    (tmp_path / "e.plan").write_bytes(b"no plan at all")
    with pytest.raises(AssertionError, match=r"e\.plan cannot be loaded"):
        utils.load_engine(logger, tmp_path / "e.plan")


def test_a_build_that_fails_gives_none_and_a_reason(builder, logger):
    assert builder.build_cuda_engine(builder.create_network()) is None
    assert logger.said(infer.LogSeverity.ERROR, "no outputs")


def test_memory_of_ones_own(builder, rng):
    network, weights, bias = small(builder, rng)
    engine = builder.build_cuda_engine(network)
    context = engine.create_execution_context_without_device_memory()
    x = rng.standard_normal((1, 2, 5, 5)).astype(np.float32)
    with pytest.raises(TensorwrightError, match="no device memory yet"):
        run(engine, context, x, 1)
    memory = cuda.mem_alloc(engine.get_device_memory_size() + 1)
    context.set_device_memory(memory)
    np.testing.assert_allclose(run(engine, context, x, 1), expected(x, weights, bias), rtol=1e-4, atol=1e-5)


def test_device_memory_that_is_too_small_is_refused(builder, rng):
    context = builder.build_cuda_engine(small(builder, rng)[0]).create_execution_context()
    x, y, short = (cuda.mem_alloc(size) for size in (2 * 50 * 4, 2 * 36 * 4, 2 * 36 * 4 - 1))
    stream = cuda.Stream()
    assert context.execute(np.int64(2), [x, y])
    with pytest.raises(ExecutionError, match=r"input 'x': 600 bytes are needed for a batch of 3, .* has 400"):
        context.execute(3, [x, y])
    with pytest.raises(ExecutionError, match="output 'y': 288 bytes are needed"):
        context.enqueue(2, [int(x), int(short)], stream.handle, None)
    with pytest.raises(ExecutionError, match=r"memory at its address has 0"):
        context.enqueue(2, [int(x), int(cuda.mem_alloc(1 << 16))], stream.handle, None)
    y.free()
    with pytest.raises(cuda.LogicError, match="freed already"):
        context.execute(1, [x, y])


def test_an_allocator_of_ones_own(builder, rng):
    class Counting(infer.GpuAllocator):
        def __init__(self):
            self.held = {}

        def allocate(self, size, alignment, flags):
            memory = np.empty(size + alignment, np.uint8)
            address = -(-memory.ctypes.data // alignment) * alignment
            self.held[address] = memory
            return address

        def free(self, memory):
            del self.held[memory]

    allocator = Counting()
    builder.set_gpu_allocator(allocator)
    engine = builder.build_cuda_engine(small(builder, rng)[0])
    context = engine.create_execution_context()
    assert allocator.held
    context.destroy()
    engine.destroy()
    assert not allocator.held


def test_a_profiler_hears_every_layer_of_a_synchronous_execution(builder, rng, capsys):
    class Times(infer.Profiler):
        calls = 0

        def report_layer_time(self, layerName, ms):  # noqa: N803
            self.calls += 1
            super().report_layer_time(layerName, ms)

    engine = builder.build_cuda_engine(small(builder, rng)[0])
    context = engine.create_execution_context()
    profiler = Times(2)
    context.set_profiler(profiler)
    assert context.get_profiler() is profiler
    x = rng.standard_normal((2, 2, 5, 5)).astype(np.float32)
    with_profiler = [run(engine, context, x, 2) for _ in range(2)]
    assert profiler.calls == 2 * engine.get_nb_layers()
    assert list(profiler.times) == list(context.inner.step_names)
    assert all(time >= 0 for time in profiler.times.values())
    profiler.print_layer_times()
    assert len(capsys.readouterr().out.splitlines()) == len(profiler.times) + 1
    context.set_profiler(None)
    assert np.array_equal(run(engine, context, x, 2), with_profiler[0])
    run(engine, context, x, 2, asynchronous=True)
    assert profiler.calls == 2 * engine.get_nb_layers()


def test_precisions_are_accepted_int8_with_a_warning(builder, logger, rng):
    builder.set_half2_mode(True)
    builder.set_int8_mode(True)
    assert builder.build_cuda_engine(small(builder, rng)[0])
    assert logger.said(infer.LogSeverity.WARNING, "set int8_calibrator")
    assert not logger.said(infer.LogSeverity.WARNING, "FP16")


def test_settings_of_the_builder(builder):
    for name, value in {
        "max_batch_size": 7, "max_workspace_size": 5, "half2_mode": True, "fp16_mode": True, "int8_mode": True,
        "debug_sync": True, "min_find_iterations": 3, "average_find_iterations": 2,
    }.items():  # fmt: skip
        getattr(builder, f"set_{name}")(value)
        assert getattr(builder, f"get_{name}")() == value == getattr(builder, name)
    assert builder.platform_has_fast_fp16() is bool(builder.platform_has_fast_fp16)
    assert builder.platform_has_fast_int8() in (True, False)


def test_layers_keep_what_is_set(builder, rng):
    network, weights, bias = small(builder, rng)
    assert (network.get_nb_inputs(), network.get_nb_outputs(), network.get_nb_layers()) == (1, 1, 2)
    x, y, layer = network.get_input(0), network.get_output(0), network.get_layer(0)
    assert isinstance(layer, infer.ConvolutionLayer)
    assert layer.get_type() is infer.LayerType.CONVOLUTION
    assert layer.get_name() == "conv"
    assert layer.get_stride() == (2, 2)
    assert layer.get_nb_output_maps() == 4
    assert np.array_equal(layer.get_kernel_weights().reshape(weights.shape), weights)
    assert np.array_equal(layer.get_bias_weights(), bias)
    assert layer.get_input(0) == x
    assert hash(layer.get_input(0)) == hash(x)
    assert x.get_dimensions().H() == 5
    assert y.get_name() == "y"
    assert y.get_type() is infer.DataType.FLOAT
    assert y.is_network_output()
    assert not y.is_network_input
    layer.set_dilation(infer.DimsHW((2, 2)))
    layer.stride = (1, 1)
    assert layer.get_dilation() == layer.dilation == (2, 2)
    assert y.get_dimensions() == (4, 3, 3)
    x.set_dimensions(infer.DimsCHW(2, 9, 9))
    assert y.shape == (4, 7, 7)


def test_every_kind_of_layer_can_be_added(builder, rng):
    network = builder.create_network()
    x = network.add_input("x", infer.DataType.FLOAT, (4, 6, 6))
    pool = network.add_pooling(x, infer.PoolingType_kMAX, infer.DimsHW(2, 2))
    pool.set_stride((2, 2))
    pool.set_average_count_excludes_padding(False)
    lrn = network.add_lrn(pool.get_output(0), 3, 1e-4, 0.75, 1.0)
    scale = network.add_scale(lrn.get_output(0), infer.ScaleMode.UNIFORM, np.float32(1), np.float32(2), None)
    kernel = rng.standard_normal((4, 2, 2, 2)).astype(np.float32)
    up = network.add_deconvolution(scale.get_output(0), 2, (2, 2), kernel, infer.Weights.empty)
    up.set_stride((2, 2))
    pair = network.add_concatenation([up.get_output(0), x])
    pair.set_axis(0)
    total = network.add_element_wise(pair.get_output(0), pair.get_output(0), infer.ElementWiseOperation_kSUM)
    root = network.add_unary(total.get_output(0), infer.UnaryOperation.ABS)
    padded = network.add_padding(root.get_output(0), infer.DimsHW(1, 0), infer.DimsHW(0, 1))
    shuffle = network.add_shuffle(padded.get_output(0))
    shuffle.set_first_transpose(infer.Permutation(1, 2, 0))
    shuffle.set_reshape_dimensions(infer.Dims(7, 42))
    mean = network.add_reduce(shuffle.get_output(0), infer.ReduceOperation.AVG, 1 << 1, False)
    assert (mean.get_reduce_axes(), mean.get_keep_dimensions()) == (1 << 1, False)
    matrix = network.add_constant(infer.Dims(7, 42), rng.random((7, 42), np.float32))
    product = network.add_matrix_multiply(shuffle.get_output(0), False, matrix.get_output(0), True)
    assert (product.get_transpose(0), product.get_transpose(1)) == (False, True)
    best = network.add_topk(product.get_output(0), infer.TopKOperation_kMAX, 2, 1 << 1)
    indices = network.add_constant((2,), np.array([3, 0], np.int32))
    rows = network.add_gather(shuffle.get_output(0), indices.get_output(0), 0)
    assert rows.get_gather_axis() == 0
    dense = network.add_fully_connected(
        x, 10, rng.random((10, 144), np.float32), infer.Weights.empty(infer.DataType.FLOAT)
    )
    soft = network.add_softmax(dense.get_output(0))
    shapes = [layer.get_output(0).get_dimensions() for layer in (up, pair, padded, mean, best, rows, soft)]
    assert shapes == [(2, 6, 6), (6, 6, 6), (6, 7, 7), (7,), (7, 2), (2, 42), (10, 1, 1)]


def test_recurrent_layers_and_ragged_softmax(builder, rng):
    network = builder.create_network()
    x = network.add_input("x", infer.DataType.FLOAT, infer.Dims(4, 3))
    layer = network.add_rnnv2(x, 1, 2, 4, infer.RNNOperation_kGRU)
    layer.set_direction(infer.RNNDirection_kBIDIRECTION)
    kinds = (infer.RNNGateType_kUPDATE, infer.RNNGateType_kRESET, infer.RNNGateType_kHIDDEN)
    for cell in range(2):
        for gate in kinds:
            layer.set_weights_for_gate(cell, gate, True, infer.Weights(rng.random((2, 3), np.float32)))
            layer.set_weights_for_gate(cell, gate, False, rng.random((2, 2), np.float32))
            layer.set_bias_for_gate(cell, gate, True, rng.random(2, np.float32))
    layer.set_hidden_state(network.add_input("h", infer.DataType.FLOAT, (2, 2)))
    layer.set_sequence_lengths(network.add_input("n", infer.DataType.INT32, ()))
    assert isinstance(layer, infer.RNNv2Layer)
    assert (layer.get_hidden_size(), layer.get_layer_count(), layer.get_max_seq_length()) == (2, 1, 4)
    assert (layer.get_data_length(), layer.get_operation()) == (3, infer.RNNOperation.GRU)
    assert layer.get_hidden_state().get_name() == "h"
    assert layer.get_weights_for_gate(1, kinds[0], True).shape == (2, 3)
    assert [layer.get_output(n).get_dimensions() for n in range(2)] == [(4, 4), (2, 2)]
    flat = infer.Weights(rng.random(2 * 3 + 2 * 2, np.float32)), infer.Weights(rng.random(4, np.float32))
    steps = network.add_input("steps", infer.DataType.FLOAT, infer.DimsCHW(4, 5, 3))
    mode, direction = infer.RNNInputMode_kLINEAR, infer.RNNDirection_kUNIDIRECTION
    old = network.add_rnn(steps, 1, 2, 4, infer.RNNOperation_kTANH, mode, direction, *flat)
    assert [old.get_output(n).get_dimensions() for n in range(2)] == [(4, 5, 2), (1, 5, 2)]
    bounds = network.add_input("bounds", infer.DataType.INT32, (4, 1))
    assert network.add_ragged_softmax(x, bounds).get_output(0).get_dimensions() == (4, 3)


def test_formulas_for_output_dimensions(builder, rng):
    class Ceil(infer.OutputDimensionsFormula):
        asked = None

        def compute(self, input_dims, kernel_size, stride, padding, dilation, layer_name):
            self.asked = (input_dims.H(), kernel_size.W(), stride, padding, dilation, layer_name)
            both = zip(input_dims, kernel_size, stride, padding, strict=True)
            return infer.DimsHW([-(-(i + 2 * p - k) // s) + 1 for i, k, s, p in both])

    class Fixed(infer.OutputDimensionsFormula):
        def compute(self, *given):
            return infer.DimsHW(7, 8)

    network = builder.create_network()
    x = network.add_input("x", infer.DataType.FLOAT, (2, 6, 6))
    pool = network.add_pooling(x, infer.PoolingType.MAX, (3, 3))
    pool.set_stride((2, 2))
    pool.set_name("pool")
    weights = rng.uniform(-1, 1, (4, 2, 3, 3)).astype(np.float32)
    conv = network.add_convolution(x, 4, (3, 3), weights, None)
    conv.set_stride((2, 2))
    conv.set_dilation((2, 2))
    up = network.add_deconvolution(x, 4, (3, 3), weights, None)
    assert pool.get_output(0).get_dimensions() == (2, 2, 2)
    formula = Ceil()
    network.set_pooling_output_dimensions_formula(formula)
    network.set_convolution_output_dimensions_formula(Ceil())
    network.set_deconvolution_output_dimensions_formula(Fixed())
    assert network.get_pooling_output_dimensions_formula() is formula
    found = [layer.get_output(0).get_dimensions() for layer in (pool, conv, up)]
    assert found == [(2, 3, 3), (4, 2, 2), (4, 7, 8)]
    assert formula.asked == (6, 3, (2, 2), (0, 0), (1, 1), "pool")
    network.set_pooling_output_dimensions_formula(Fixed())
    assert pool.get_output(0).get_dimensions() == (2, 7, 8)
    network.set_pooling_output_dimensions_formula(None)
    assert pool.get_output(0).get_dimensions() == (2, 2, 2)
    assert network.get_pooling_output_dimensions_formula() is None
    conv.set_stride((1, 1))
    network.set_convolution_output_dimensions_formula(One())
    with pytest.raises(NetworkError, match="gives 1 windows, fewer than fit"):
        _ = conv.get_output(0).get_dimensions()


class One(infer.OutputDimensionsFormula):
    def compute(self, *given):
        return (1, 1)


def test_what_has_no_effect_on_a_cpu_is_kept_and_told(builder, monkeypatch):
    told = []
    monkeypatch.setattr("tensorwright.compat.tensorrt.hints.warn", told.append)
    network = builder.create_network()
    network.set_name("mine")
    assert network.get_name() == "mine"
    x = network.add_input("x", infer.DataType.FLOAT, (2, 3))
    layer = network.add_unary(x, infer.UnaryOperation.ABS)
    assert (x.get_dynamic_range(), x.dynamic_range_is_set()) == (-1, False)
    assert x.set_dynamic_range(-3, 2)
    again = network.get_input(0)
    assert (again.get_dynamic_range(), again.get_dynamic_range_min(), again.get_dynamic_range_max()) == (3, -3, 2)
    again.reset_dynamic_range()
    assert not x.dynamic_range_is_set()
    with pytest.raises(NetworkError, match="min <= max"):
        x.set_dynamic_range(1, 0)
    x.set_location(infer.TensorLocation.HOST)
    x.set_broadcast_across_batch(False)
    with pytest.raises(NetworkError, match="use add_constant"):
        x.set_broadcast_across_batch(True)
    layer.set_precision(infer.DataType.HALF)
    layer.set_output_type(0, infer.DataType.HALF)
    assert (layer.precision_is_set(), layer.get_precision()) == (True, infer.DataType.HALF)
    assert (layer.output_type_is_set(0), layer.get_output_type(0)) == (True, infer.DataType.HALF)
    layer.reset_precision()
    layer.reset_output_type(0)
    assert not layer.precision_is_set()
    assert not layer.output_type_is_set(0)
    builder.set_device_type(layer, infer.DeviceType_kDLA)
    assert (builder.get_device_type(layer), builder.is_device_type_set(layer)) == (infer.DeviceType.DLA, True)
    builder.reset_device_type(layer)
    assert (builder.get_device_type(layer), builder.can_run_on_dla(layer)) == (infer.DeviceType.GPU, False)
    builder.set_engine_capability(infer.EngineCapability_kSAFE_GPU)
    assert builder.get_engine_capability() is infer.EngineCapability.SAFE_GPU
    builder.set_dla_core(1)
    assert (builder.get_nb_dla_cores(), builder.get_dla_core(), builder.get_max_dla_batch_size()) == (0, 0, 0)
    builder.allow_gpu_fallback(True)
    builder.reset(network)
    assert infer.create_infer_runtime().get_nb_dla_cores() == 0
    assert [message.split(":")[0] for message in told] == [
        "set_device_type", "set_engine_capability", "set_dla_core",
    ]  # fmt: skip


def test_engines_cannot_be_refitted():
    with pytest.raises(TensorwrightError, match="build the network again"):
        infer.create_infer_refitter(None, None)


def test_dimensions():
    assert infer.DimsHW(2, 3) == infer.DimsHW((2, 3)) == (2, 3)
    assert infer.DimsCHW(1, 28, 29).W() == 29
    dims = infer.DimsNCHW(5, 4, 3, 2)
    assert (dims.N(), dims.C(), dims.H(), dims.W(), dims.nbDims) == (5, 4, 3, 2, 4)
    vector = infer.Dims(10).to_DimsCHW()
    assert (vector.C(), vector.H(), vector.W()) == (10, 1, 1)
    assert infer.Dims(1, 3, 4, 5).to_DimsCHW() == (3, 4, 5)
    assert infer.Dims([3, 4, 5]).to_DimsNCHW() == (1, 3, 4, 5)
    assert infer.Dims(3, 4, 5).C() == 3
    assert repr(infer.Dims()) == "Dims()"
    for wrong in (
        lambda: infer.DimsHW(1, 2, 3),
        lambda: infer.DimsHW(1, 2).C(),
        lambda: infer.Dims(2, 3, 4, 5).to_DimsCHW(),
    ):
        with pytest.raises(ShapeError):
            wrong()


def test_loggers(capsys):
    for kind in (infer.ConsoleLogger, infer.ColorLogger):
        logger = kind(infer.LogSeverity.WARNING)
        logger.log(infer.LogSeverity.ERROR, "heard")
        logger.log(infer.LogSeverity.INFO, "unheard")
        assert capsys.readouterr().err == "[tensorwright] ERROR: heard\n"
        assert repr(logger) == f"{kind.__name__}(WARNING)"
    assert infer.ConsoleLogger(2).severity is infer.LogSeverity.WARNING


def test_facades_have_the_attributes_of_what_is_behind_them(builder):
    network = builder.create_network()
    assert network.has_implicit_batch_dimension
    network.name = "mine"
    assert network.inner.name == "mine"
    with pytest.raises(AttributeError, match="NetworkDefinition has no attribute 'nonsense'"):
        _ = network.nonsense
