"""Builds of tiny networks through builder, configuration and runtime."""

from __future__ import annotations

import numpy as np
import pytest

import tensorwright as tw
from tensorwright.devices.cpu.memory import PageAllocator

EXPLICIT = 1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


class Recorder(tw.ILogger):
    def __init__(self):
        self.messages = []

    def log(self, severity, msg):
        self.messages.append((severity, msg))


class CountingAllocator:
    def __init__(self):
        self.inner, self.held, self.total = PageAllocator(), set(), 0

    def allocate(self, size, alignment, flags):
        address = self.inner.allocate(size, alignment, flags)
        self.held.add(address)
        self.total += 1
        return address

    def free(self, address):
        self.held.remove(address)
        self.inner.free(address)


class Monitor(tw.IProgressMonitor):
    def __init__(self, limit=10**9):
        self.events, self.limit = [], limit

    def phase_start(self, phase_name, parent_phase, num_steps):
        self.events.append(("start", phase_name))

    def step_complete(self, phase_name, step):
        self.events.append(("step", phase_name))
        return len(self.events) < self.limit

    def phase_finish(self, phase_name):
        self.events.append(("finish", phase_name))


@pytest.fixture
def builder():
    found = tw.Builder()
    found.max_batch_size = 4
    return found


def scaled(builder, flags=0, factor=3.0):
    """y = max(factor x, 0) over inputs of shape [-1, 5], or [5] with implicit batch."""
    network = builder.create_network(flags)
    x = network.add_input("x", tw.float32, (-1, 5) if flags else (5,))
    weights = np.full((5,) if not flags else (1, 5), factor, np.float32)
    constant = network.add_constant(weights.shape, weights).get_output()
    product = network.add_elementwise(x, constant, tw.ElementWiseOperation.PROD).get_output()
    relu = network.add_activation(product, tw.ActivationType.RELU).get_output()
    relu.name = "y"
    network.mark_output(relu)
    return network


def quick(builder, **options):
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    config.threads = 1
    for name, value in options.items():
        setattr(config, name, value)
    return config


@pytest.mark.parametrize("flags", [0, EXPLICIT])
def test_a_network_becomes_an_engine(builder, flags, rng):
    with builder.build_engine(scaled(builder, flags), quick(builder)) as engine:
        assert engine.max_batch_size == 4
        assert [engine.get_binding_name(n) for n in range(engine.num_bindings)] == ["x", "y"]
        for batch in range(1, 5):
            x = rng.normal(size=(batch, 5)).astype(np.float32)
            np.testing.assert_array_equal(engine(x)["y"], np.maximum(3 * x, 0))
        context = engine.create_execution_context()
        x, y = rng.normal(size=(3, 5)).astype(np.float32), np.full((3, 5), np.nan, np.float32)
        assert context.execute(3, [x.ctypes.data, y.ctypes.data])
        np.testing.assert_array_equal(y, np.maximum(3 * x, 0))
        with pytest.raises(tw.ExecutionError, match="batch"):
            context.execute(5, [x.ctypes.data, y.ctypes.data])


def test_a_serialized_network_runs_through_the_runtime(builder, rng, tmp_path):
    memory = builder.build_serialized_network(scaled(builder), quick(builder))
    assert isinstance(memory, bytes)
    assert memory.nbytes == len(memory)
    (tmp_path / "x.plan").write_bytes(memory)
    x = rng.normal(size=(2, 5)).astype(np.float32)
    runtime = tw.Runtime()
    for engine in (runtime.deserialize_cuda_engine(memory), tw.load(tmp_path / "x.plan")):
        np.testing.assert_array_equal(engine(x)["y"], np.maximum(3 * x, 0))
        engine.close()
    with pytest.raises(tw.PlanError):
        runtime.deserialize_engine(bytes(memory[:-7]))


def test_one_allocator_gives_all_device_memory(builder, rng):
    allocator = builder.gpu_allocator = CountingAllocator()
    config = quick(builder)
    memory = builder.build_serialized_network(scaled(builder), config)
    assert not allocator.held
    runtime = tw.Runtime()
    runtime.gpu_allocator = allocator
    before = allocator.total
    engine = runtime.deserialize_engine(memory)
    context = engine.create_execution_context()
    x = rng.normal(size=(2, 5)).astype(np.float32)
    np.testing.assert_array_equal(context(x)["y"], np.maximum(3 * x, 0))
    assert allocator.total > before
    engine.close()
    assert not allocator.held


def test_the_network_may_be_edited_between_builds(builder, rng):
    network, x = scaled(builder), rng.normal(size=(1, 5)).astype(np.float32)
    first = builder.build_engine(network, quick(builder))
    constant = next(layer for layer in network if layer.type is tw.LayerType.CONSTANT)
    constant.weights = np.full(5, -2, np.float32)
    second = builder.build_engine(network, quick(builder))
    np.testing.assert_array_equal(first(x)["y"], np.maximum(3 * x, 0))
    np.testing.assert_array_equal(second(x)["y"], np.maximum(-2 * x, 0))


def test_what_nobody_said_about_shapes_is_told(rng):
    logger = Recorder()
    builder = tw.Builder(logger)
    if builder.logger is not logger:
        pytest.skip("another test keeps a logger alive")
    engine = builder.build_engine(scaled(builder, EXPLICIT), quick(builder))
    assert engine.max_batch_size == 16
    ((severity, message),) = logger.messages
    assert severity is tw.Severity.WARNING
    assert "'x_0' from 1 to 16" in message
    logger.messages.clear()
    profile, config = builder.create_optimization_profile(), quick(builder)
    profile.set_shape("x", (1, 5), (2, 5), (7, 5))
    assert config.add_optimization_profile(profile) == 0
    assert builder.build_engine(scaled(builder, EXPLICIT), config).max_batch_size == 7
    assert logger.messages == []


def test_int8_without_ranges_gets_a_warning():
    logger = Recorder()
    builder = tw.Builder(logger)
    if builder.logger is not logger:
        pytest.skip("another test keeps a logger alive")
    config = quick(builder)
    config.set_flag(tw.BuilderFlag.INT8)
    assert config.get_flag(tw.BuilderFlag.INT8)
    builder.build_engine(product(builder), config)
    ((severity, message),) = logger.messages
    assert severity is tw.Severity.WARNING
    assert "set int8_calibrator" in message
    config.clear_flag(tw.BuilderFlag.INT8)
    assert not config.get_flag(tw.BuilderFlag.INT8)


def test_the_flag_tf32_is_an_option_of_builds(builder):
    config = quick(builder)
    config.set_flag(tw.BuilderFlag.TF32)
    assert config.options.tf32
    config.clear_flag(tw.BuilderFlag.TF32)
    assert not config.options.tf32


def test_masks_of_tactic_sources_are_an_option_of_builds(builder):
    config, own = quick(builder), 0b11000
    assert config.get_tactic_sources() == own
    assert config.set_tactic_sources(1 << int(tw.TacticSource.CUBLAS_LT))
    assert config.options.libraries == ("cublas",)
    assert config.get_tactic_sources() == own | 0b011
    assert config.set_tactic_sources(config.get_tactic_sources() | 1 << int(tw.TacticSource.CUDNN))
    assert config.options.libraries == ("cublas", "cudnn")
    assert config.set_tactic_sources(0)
    assert not config.options.libraries
    with pytest.raises(tw.NetworkError, match="tactic_sources: expected an integer of at least 0, found 'CUDNN'"):
        config.set_tactic_sources("CUDNN")


def test_libraries_have_no_effect_on_a_cpu(builder):
    config = quick(builder)
    config.set_tactic_sources(0b111)
    config.builder_optimization_level = 1
    engine = builder.build_engine(product(builder), config)
    assert engine({"x": np.ones((8, 64), np.float32)})


def product(builder, precision=None):
    network = builder.create_network(EXPLICIT)
    x = network.add_input("x", np.float32, (8, 64))
    weights = network.add_constant((64, 64), np.ones((64, 64), np.float32))
    layer = network.add_matrix_multiply(x, tw.MatrixOperation.NONE, weights.get_output(0), tw.MatrixOperation.NONE)
    layer.name, layer.precision = "product [0]", precision
    network.mark_output(layer.get_output(0))
    return network


def computed_in(builder, network, *flags, **attributes):
    config = quick(builder, **attributes)
    for flag in flags:
        config.set_flag(flag)
    return [step["precision"] for step in builder.build_engine(network, config).report["steps"] if step["flops"] > 1e4]


def test_flags_permit_precisions(builder):
    assert computed_in(builder, product(builder)) == ["float32"]
    fast = ["bfloat16"] if builder.platform_has_fast_bf16 else ["float32"]
    half = ["float16"] if builder.platform_has_fast_fp16 else ["float32"]
    assert computed_in(builder, product(builder), tw.BuilderFlag.BF16) == fast
    assert computed_in(builder, product(builder), precision="bf16") == fast
    assert computed_in(builder, product(builder), tw.BuilderFlag.FP16) == half


@pytest.mark.parametrize(
    ("dtype", "wanted"), [(np.float16, "float16"), ("bfloat16", "bfloat16"), (tw.float32, "float32")], ids=str
)
def test_layers_are_computed_in_their_precision_if_it_is_a_constraint(builder, dtype, wanted):
    network = product(builder, dtype)
    for flag in (tw.BuilderFlag.OBEY_PRECISION_CONSTRAINTS, tw.BuilderFlag.PREFER_PRECISION_CONSTRAINTS):
        assert computed_in(builder, network, flag, precision="bf16") == [wanted]
    assert computed_in(builder, network) == ["float32"]


def test_a_precision_that_no_layer_can_have_is_refused(builder):
    with pytest.raises(tw.BuildError, match=r"layer 'product \[0\]': precision is int32; expected float32"):
        computed_in(builder, product(builder, np.int32), tw.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    with pytest.raises(tw.NetworkError, match="precision: expected one of"):
        product(builder, "float7")


def test_an_output_is_converted_to_the_type_that_is_set(builder):
    network = product(builder)
    layer = network.get_layer(1)
    layer.set_output_type(0, np.float16)
    assert layer.get_output(0).dtype == tw.float16
    (result,) = builder.build_engine(network, quick(builder))({"x": np.ones((8, 64), np.float32)}).values()
    assert result.dtype == np.float16
    assert np.array_equal(result, np.full((8, 64), 64, np.float16))
    layer.reset_output_type(0)
    assert layer.get_output(0).dtype == tw.float32


def test_a_progress_monitor_hears_of_phases_and_may_cancel(builder):
    monitor = Monitor()
    builder.build_engine(scaled(builder), quick(builder, progress_monitor=monitor))
    starts = [phase for event, phase in monitor.events if event == "start"]
    assert starts
    assert starts == [phase for event, phase in monitor.events if event == "finish"]
    with pytest.raises(tw.BuildError, match="progress monitor cancelled the build in phase"):
        builder.build_engine(scaled(builder, factor=4.0), quick(builder, progress_monitor=Monitor(limit=2)))


@pytest.mark.parametrize("strict", [False, True])
def test_the_flag_for_strict_nans_is_the_option(builder, strict):
    config = builder.create_builder_config()
    if strict:
        config.set_flag(tw.BuilderFlag.STRICT_NANS)
    with config.build_config(None, None, None, {}) as options:
        assert options.strict_nans is strict


def test_a_timing_cache_is_filled_and_used_again(builder):
    config = quick(builder, builder_optimization_level=1)
    cache = config.create_timing_cache()
    config.set_timing_cache(cache)
    assert config.get_timing_cache() is cache
    builder.build_engine(scaled(builder), config)
    data = cache.serialize()
    assert data
    other = config.create_timing_cache()
    other.combine(config.create_timing_cache(data))
    assert other.serialize() == data
    config.set_timing_cache(other)
    builder.build_engine(scaled(builder), config)
    assert other.serialize() == data


@pytest.mark.parametrize(
    ("change", "error", "pattern"),
    [
        (
            lambda b, c: setattr(b, "max_batch_size", 0),
            tw.NetworkError,
            "max_batch_size: expected an integer",
        ),
        (lambda b, c: b.create_network(7), tw.NetworkError, "create_network: expected a combination"),
        (
            lambda b, c: setattr(c, "builder_optimization_level", 6),
            tw.BuildError,
            "level is 6; expected .* from 0 to 5",
        ),
        (
            lambda b, c: setattr(c, "threads", 0),
            tw.BuildError,
            "threads is 0; expected an integer from 1 to 1024, or None",
        ),
        (lambda b, c: setattr(c, "exclude_tactics", "row"), tw.BuildError, "is 'row'; expected several texts"),
        (lambda b, c: c.set_memory_pool_limit("x", 1), tw.NetworkError, "pool: expected a tensorwright.MemoryPoolType"),
        (lambda b, c: c.add_optimization_profile({}), tw.BuildError, "expected an OptimizationProfile, found dict"),
        (lambda b, c: b.build_engine("network", c), tw.BuildError, "expected a network, found str"),
    ],
)
def test_wrong_options_are_refused(builder, change, error, pattern):
    with pytest.raises(error, match=pattern):
        change(builder, builder.create_builder_config())


def test_limits_and_platform(builder):
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tw.MemoryPoolType.WORKSPACE, 1 << 20)
    assert config.max_workspace_size == config.get_memory_pool_limit(tw.MemoryPoolType.WORKSPACE) == 1 << 20
    builder.max_workspace_size = 1 << 10
    assert builder.max_workspace_size == 1 << 10
    for name in ("fp16", "bf16", "int8"):
        assert isinstance(getattr(builder, f"platform_has_fast_{name}"), bool)


def test_several_profiles_are_several_programs(builder, rng):
    network = builder.create_network(EXPLICIT)
    x = network.add_input("x", tw.float32, (-1, 5))
    network.mark_output(network.add_activation(x, tw.ActivationType.RELU).get_output(0))
    config = quick(builder)
    for low, opt, high in ((1, 1, 1), (2, 4, 8)):
        profile = builder.create_optimization_profile()
        profile.set_shape("x", (low, 5), (opt, 5), (high, 5))
        config.add_optimization_profile(profile)
    engine = builder.build_engine(network, config)
    assert [engine.get_profile_shape(number, "x")[1] for number in range(2)] == [(1, 5), (4, 5)]
    for rows in (1, 8):
        values = rng.standard_normal((rows, 5)).astype(np.float32)
        (result,) = engine(values).values()
        np.testing.assert_array_equal(result, np.maximum(values, 0))
    with pytest.raises(tw.ExecutionError, match="they fit none"):
        engine(np.zeros((9, 5), np.float32))
