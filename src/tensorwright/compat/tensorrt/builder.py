"""Builders and runtimes."""

from __future__ import annotations

from tensorwright.api.builder import Builder as ApiBuilder
from tensorwright.api.config import BuilderConfig
from tensorwright.api.enums import BuilderFlag
from tensorwright.api.logger import ILogger, Severity
from tensorwright.api.runtime import Runtime as ApiRuntime
from tensorwright.base.errors import TensorwrightError
from tensorwright.compat.machine import machine
from tensorwright.compat.tensorrt.calibrators import Calibrator
from tensorwright.compat.tensorrt.engine import CudaEngine, HostMemory
from tensorwright.compat.tensorrt.facade import Answer, Facade, accessors
from tensorwright.compat.tensorrt.hints import BuilderHints, WithoutDla
from tensorwright.compat.tensorrt.network import NetworkDefinition
from tensorwright.compat.tensorrt.plugins import PluginFactory, tell_not_asked
from tensorwright.devices.device import Allocator


class GpuAllocator:
    """Gives out device memory; subclass it. See `tensorwright.Allocator`."""

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        """The address of `size` bytes that is a multiple of `alignment`."""
        raise NotImplementedError(f"{type(self).__name__} must implement allocate(size, alignment, flags)")

    def free(self, memory: int) -> None:
        """Take memory back."""
        raise NotImplementedError(f"{type(self).__name__} must implement free(memory)")


@accessors(
    max_batch_size="max_batch_size",
    max_workspace_size="max_workspace_size",
    half2_mode="half2_mode",
    fp16_mode="fp16_mode",
    int8_mode="int8_mode",
    int8_calibrator="int8_calibrator",
    debug_sync="debug_sync",
    strict_type_constraints="strict_type_constraints",
    refittable="refittable",
    min_find_iterations="min_find_iterations",
    average_find_iterations="average_find_iterations",
    default_device_type="default_device_type",
    gpu_allocator="gpu_allocator",
)
class Builder(BuilderHints, Facade["BuilderState"]):
    """Makes networks and engines. A build that fails logs why and gives None.

    Precisions below float32 get a warning and have no effect yet. The number of timings, debugging and device types are
    accepted without effect.
    """

    def __init__(self, logger: ILogger | None = None) -> None:
        super().__init__(BuilderState(logger))
        self.inner.device = machine().device

    @property
    def platform_has_fast_fp16(self) -> Answer:
        """Whether float16 is faster than float32; can be called."""
        return Answer(self.inner.platform_has_fast_fp16)

    @property
    def platform_has_fast_int8(self) -> Answer:
        """Whether int8 is faster than float32; can be called."""
        return Answer(self.inner.platform_has_fast_int8)

    def create_network(self, flags: int = 0) -> NetworkDefinition:
        """An empty network, with implicit batch unless the flags say EXPLICIT_BATCH."""
        return NetworkDefinition(self.inner.create_network(flags))

    def build_cuda_engine(self, network: NetworkDefinition) -> CudaEngine | None:
        """The engine of a network; None if it fails, for reasons that are logged."""
        return self.build_engine(network, None)

    def build_engine(self, network: NetworkDefinition, config: BuilderConfig | None = None) -> CudaEngine | None:
        """The engine of a network; None if it fails, for reasons that are logged."""
        try:
            return CudaEngine(self.inner.build_engine(network.inner, self.inner.configured(config)))
        except TensorwrightError as error:
            self.inner.logger.log(Severity.ERROR, str(error))
            return None

    def build_serialized_network(
        self, network: NetworkDefinition, config: BuilderConfig | None = None
    ) -> HostMemory | None:
        """The bytes of a plan; None if it fails, for reasons that are logged."""
        engine = self.build_engine(network, config)
        return None if engine is None else engine.serialize()


class BuilderState(ApiBuilder):
    """The builder of the package with the switches that later became a configuration."""

    half2_mode = False
    fp16_mode = False
    int8_mode = False
    strict_type_constraints = False
    refittable = False
    debug_sync = False
    min_find_iterations = 1
    average_find_iterations = 1
    default_device_type = 0
    max_dla_batch_size = 0
    int8_calibrator: Calibrator | None = None

    def configured(self, config: BuilderConfig | None) -> BuilderConfig:
        """A configuration, with the switches set if there was none."""
        if config is not None:
            return config
        made = self.create_builder_config()
        if self.half2_mode or self.fp16_mode:
            made.set_flag(BuilderFlag.FP16)
        if self.strict_type_constraints:
            made.set_flag(BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        if self.int8_mode:
            made.set_flag(BuilderFlag.INT8)
        made.int8_calibrator = self.int8_calibrator
        return made


class Runtime(WithoutDla, Facade[ApiRuntime]):
    """Loads engines. What cannot be loaded is logged and gives None."""

    def __init__(self, logger: ILogger | None = None) -> None:
        super().__init__(ApiRuntime(logger))
        self.inner.device = machine().device

    def deserialize_cuda_engine(
        self, data: bytes | bytearray | memoryview, size: int | None = None, plugin_factory: PluginFactory | None = None
    ) -> CudaEngine | None:
        """The engine of the first `size` bytes, all of them without a size."""
        tell_not_asked(plugin_factory, self.inner.logger)
        try:
            return CudaEngine(self.inner.deserialize_engine(memoryview(data).cast("B")[:size]))
        except TensorwrightError as error:
            self.inner.logger.log(Severity.ERROR, str(error))
            return None

    def set_gpu_allocator(self, allocator: Allocator | None) -> None:
        """What gives all device memory of the engines."""
        self.inner.gpu_allocator = allocator


def create_infer_builder(logger: ILogger | None = None) -> Builder:
    """A builder."""
    return Builder(logger)


def create_infer_runtime(logger: ILogger | None = None) -> Runtime:
    """A runtime."""
    return Runtime(logger)


def create_infer_refitter(engine: CudaEngine, logger: ILogger | None = None) -> object:
    """Engines cannot be refitted.

    Raises:
        TensorwrightError: always.
    """
    del engine, logger
    raise TensorwrightError(
        "create_infer_refitter: engines cannot take other weights, which are packed into their plans; build the "
        "network again: the timing cache makes that fast"
    )
