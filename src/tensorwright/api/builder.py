"""The builder: network definitions in, engines out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tensorwright.api.checks import as_integer, integer
from tensorwright.api.config import BuilderConfig, OptimizationProfile
from tensorwright.api.definition import Definition
from tensorwright.api.enums import BuilderFlag, NetworkDefinitionCreationFlag
from tensorwright.api.logger import SHARED_LOGGER, ILogger, Severity
from tensorwright.api.network import NetworkDefinition
from tensorwright.base.errors import BuildError, NetworkError
from tensorwright.build.config import BuildConfig
from tensorwright.build.profiles import Range
from tensorwright.devices.device import Allocator
from tensorwright.plan.file import serialize_plan
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, INT8, DType


class HostMemory(bytes):
    """The bytes of a plan."""

    @property
    def nbytes(self) -> int:
        return len(self)


class Builder:
    """Makes network definitions and compiles them for this machine.

    gpu_allocator: gives all device memory of builds and of the engines they make; None for the package's own.
    device: what configurations that it makes are for, such as ``cuda`` or ``cuda:1``.
    """

    def __init__(self, logger: ILogger | None = None) -> None:
        self.logger = SHARED_LOGGER.adopt(logger, "Builder")
        self.gpu_allocator: Allocator | None = None
        self.device = "cpu"
        self._max_batch_size: int | None = None
        self._max_workspace_size: int | None = None

    @property
    def max_batch_size(self) -> int:
        """The largest batch of networks with implicit batch, and of inputs whose first dimension is -1."""
        return self._max_batch_size or 1

    @max_batch_size.setter
    def max_batch_size(self, size: int) -> None:
        self._max_batch_size = integer(1)("max_batch_size", size)

    @property
    def max_workspace_size(self) -> int | None:
        """The workspace limit of builds whose configuration sets none; None for no limit."""
        return self._max_workspace_size

    @max_workspace_size.setter
    def max_workspace_size(self, size: int | None) -> None:
        self._max_workspace_size = None if size is None else integer(0)("max_workspace_size", size)

    @property
    def platform_has_fast_fp16(self) -> bool:
        """Whether plans for this machine multiply float16 faster than float32."""
        return FLOAT16 in _fast_types(self.device)

    @property
    def platform_has_fast_bf16(self) -> bool:
        """Whether plans for this machine multiply bfloat16 faster than float32."""
        return BFLOAT16 in _fast_types(self.device)

    @property
    def platform_has_fast_int8(self) -> bool:
        """Whether plans for this machine multiply int8 faster than float32."""
        return INT8 in _fast_types(self.device)

    def create_network(self, flags: int = 0) -> NetworkDefinition:
        """An empty network.

        Args:
            flags: ``1 << NetworkDefinitionCreationFlag.EXPLICIT_BATCH`` for complete shapes. Without it every tensor
                has a batch dimension of 1 to `max_batch_size` that shapes and axes do not mention; a parsed ONNX
                model always has explicit batch.
        """
        known = [1 << flag for flag in NetworkDefinitionCreationFlag]
        bits = as_integer(flags)
        if bits is None or bits < 0 or bits & ~sum(known):
            raise NetworkError(
                f"create_network: expected a combination of 1 << NetworkDefinitionCreationFlag members, found {flags!r}"
            )
        return NetworkDefinition(explicit_batch=bool(bits & 1 << NetworkDefinitionCreationFlag.EXPLICIT_BATCH))

    def create_builder_config(self) -> BuilderConfig:
        config = BuilderConfig(self.logger)
        config.device = self.device
        return config

    def create_optimization_profile(self) -> OptimizationProfile:
        return OptimizationProfile()

    def build_engine(self, network: NetworkDefinition, config: BuilderConfig | None = None) -> Engine:
        """The network compiled for this machine, ready to run.

        Raises:
            NetworkError: the network is wrong; the message names the call that made the layer.
            BuildError: no plan can be made within the limits.
        """
        config = config or self.create_builder_config()
        return Engine(self._plan(network, config), self.gpu_allocator, device=config.device)

    build_cuda_engine = build_engine

    def build_serialized_network(self, network: NetworkDefinition, config: BuilderConfig | None = None) -> HostMemory:
        """As `build_engine`, as the bytes of a plan."""
        return HostMemory(serialize_plan(self._plan(network, config)))

    build_engine_with_config = build_engine

    def _plan(self, network: NetworkDefinition, config: BuilderConfig | None) -> Plan:
        from tensorwright.build.build import build

        if not isinstance(network, Definition):
            raise BuildError(
                f"build_engine: expected a network, found {type(network).__name__}; make one with create_network()"
            )
        config = config or self.create_builder_config()
        self._tell_default_ranges(network, config)
        limit, constraints = self._max_workspace_size, network.precisions()
        with config.build_config(self.gpu_allocator, network.batch_symbol, limit, constraints) as chosen:
            options = replace(chosen, profiles=self._profiles(network, config))
            if self._knows_ranges(network, config):
                return self._quantised(network, config, options)
            return build(network.to_graph(config.ranges, self._max_batch_size), options)

    def _profiles(self, network: NetworkDefinition, config: BuilderConfig) -> Sequence[Mapping[str, Range]]:
        """The ranges of dimensions in each of several profiles; none for a single one, which the graph has itself."""
        if len(config.profiles) < 2:
            return ()
        return _varying([network.symbol_ranges(one, self._max_batch_size) for one in config.profiles])

    def _knows_ranges(self, network: NetworkDefinition, config: BuilderConfig) -> bool:
        """Whether int8 is asked for, and a calibrator or tensors say ranges."""
        is_wanted, calibrator = config.get_flag(BuilderFlag.INT8), config.int8_calibrator
        is_known = calibrator is not None or bool(network.dynamic_ranges())
        if is_wanted and not is_known:
            message = (
                "INT8 has no effect on what the network does not quantise itself: set int8_calibrator, or dynamic "
                "ranges of tensors"
            )
            self.logger.log(Severity.WARNING, message)
        elif calibrator is not None and not is_wanted:
            message = "a calibrator is given, but int8 is not asked for: set the flag INT8 to have ranges measured"
            self.logger.log(Severity.WARNING, message)
        return is_wanted and is_known

    def _quantised(self, network: NetworkDefinition, config: BuilderConfig, options: BuildConfig) -> Plan:
        from tensorwright.build.quantise import build_quantised

        calibrator, batch = config.int8_calibrator, self._max_batch_size
        if calibrator is not None and network.has_implicit_batch_dimension:
            batch = calibrator.samples_per_batch() or batch
        graph, tensors = network.to_graph_and_tensors(config.ranges, self._max_batch_size)
        measured = network.to_measured_graph(config.ranges, batch)
        return build_quantised(graph, tensors, measured, calibrator, options, network.dynamic_ranges())

    def _tell_default_ranges(self, network: NetworkDefinition, config: BuilderConfig) -> None:
        assumed = network.assumed_ranges(config.ranges, self._max_batch_size)
        ranges = [f"'{s.name}' from {s.min} to {s.max}, tuned for {s.opt}" for s in assumed]
        if ranges:
            message = (
                f"network '{network.name}': nobody said the range of some dimensions, assumed are {'; '.join(ranges)}. "
                "Add an optimization profile to the configuration to say other ones."
            )
            self.logger.log(Severity.WARNING, message)


def _varying(profiles: Sequence[Mapping[str, Range]]) -> list[dict[str, Range]]:
    """Of the ranges in each profile those of dimensions that are not the same single size in all of them."""
    return [
        {name: found for name, found in one.items() if any(other.get(name) != (found[0],) * 3 for other in profiles)}
        for one in profiles
    ]


def _fast_types(device: str) -> frozenset[DType]:
    from tensorwright.backends.find import backend_named

    return backend_named(device).toolchain(None, None, None).fast_types
