"""Engines, their contexts and their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import SupportsIndex, cast

from tensorwright.api.builder import HostMemory as ApiHostMemory
from tensorwright.base.errors import ExecutionError
from tensorwright.compat.machine import fetch, machine
from tensorwright.compat.pycuda.memory import room_at
from tensorwright.compat.tensorrt.bindings import Key, joined, split
from tensorwright.compat.tensorrt.dims import Dims
from tensorwright.compat.tensorrt.enums import DataType, TensorIOMode, TensorLocation
from tensorwright.compat.tensorrt.facade import Facade, faces, forward, getter
from tensorwright.compat.tensorrt.outputs import Adapter, OutputAllocator
from tensorwright.compat.tensorrt.profilers import IProfiler
from tensorwright.runtime.context import ExecutionContext as RuntimeContext
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.profiler import profile
from tensorwright.tensor.dtype import DType

UNKNOWN = -1


@faces(ApiHostMemory)
class HostMemory(ApiHostMemory):
    """The bytes of a plan."""

    def data(self) -> memoryview:
        """The bytes."""
        return memoryview(self)

    def size(self) -> int:
        """How many bytes there are."""
        return len(self)

    def type(self) -> DType:
        """Bytes."""
        return DataType.INT8

    def destroy(self) -> None:
        """Nothing: the memory goes when nobody refers to it."""


@faces(Engine)
class CudaEngine(Facade[Engine]):
    """An engine. Dimensions of bindings do not count an implicit batch.

    Bindings are counted for each profile: those of profile 1 follow behind those of profile 0, and their names end in
    ``[profile 1]``. Tensors are counted once.
    """

    get_tensor_dtype = forward("get_binding_dtype")
    get_tensor_name = forward("get_binding_name")
    get_max_batch_size = getter("max_batch_size")
    get_nb_layers = getter("num_layers")
    get_workspace_size = getter("device_memory_size")
    get_device_memory_size = getter("device_memory_size")
    get_name = getter("name")
    num_io_tensors = property(getter("num_bindings"))
    refittable = False

    def get_binding_dimensions(self, index: Key) -> Dims:
        """The extents without the batch.

        Where a network has explicit batch, the first extent is taken for the batch if it is variable or 1.
        """
        shape = self.inner.get_binding_shape(self._key(index))
        has_batch = self.inner.has_implicit_batch_dimension or shape[:1] in ((UNKNOWN,), (1,))
        return Dims(shape[1:] if has_batch else shape)

    def get_binding_shape(self, binding: Key) -> Dims:
        """The extents, -1 for what is only known at run time; without the batch if that is implicit."""
        shape = self.inner.get_binding_shape(self._key(binding))
        return Dims(shape[1:] if self.inner.has_implicit_batch_dimension else shape)

    def get_tensor_shape(self, name: str) -> Dims:
        """As `get_binding_shape`."""
        return self.get_binding_shape(name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        """Whether it is an input or an output."""
        return TensorIOMode.INPUT if self.inner.binding_is_input(name) else TensorIOMode.OUTPUT

    @property
    def num_bindings(self) -> int:
        """How many bindings all profiles have together."""
        return len(self.inner) * self.inner.num_optimization_profiles

    def get_nb_bindings(self) -> int:
        """As `num_bindings`."""
        return self.num_bindings

    def get_binding_index(self, name: str) -> int:
        """The number of a binding."""
        profile, key = split(self.inner, name)
        return (profile or 0) * len(self.inner) + self.inner.get_binding_index(cast("str", key))

    def get_binding_name(self, index: int) -> str:
        """The name of a binding."""
        profile, key = split(self.inner, index)
        return joined(self.inner.get_binding_name(cast("int", key)), profile or 0)

    def get_binding_dtype(self, index: Key) -> DType:
        """The type of the elements of a binding."""
        return self.inner.get_binding_dtype(self._key(index))

    get_binding_data_type = get_binding_dtype

    def binding_is_input(self, index: Key) -> bool:
        """Whether a binding is an input."""
        return self.inner.binding_is_input(self._key(index))

    def get_profile_shape(self, profile_index: int, binding: Key) -> list[Dims]:
        """The smallest shape of an input in a profile, the one that it is tuned for, and the largest."""
        return [Dims(shape) for shape in self.inner.get_profile_shape(profile_index, self._key(binding))]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        """As `get_profile_shape`."""
        return self.get_profile_shape(profile_index, name)

    def get_location(self, index: Key) -> TensorLocation:
        """Where a binding lies: memory of host and device is the same."""
        self.get_binding_dtype(index)
        return TensorLocation.DEVICE

    def is_refittable(self) -> bool:
        """False: weights are packed into the plan."""
        return False

    def serialize(self) -> HostMemory:
        """The bytes of the plan."""
        return HostMemory(self.inner.serialize())

    def create_execution_context(self) -> ExecutionContext:
        """A context with memory of its own."""
        return ExecutionContext(self.inner.create_execution_context(), self)

    def create_execution_context_without_device_memory(self) -> ExecutionContext:
        """A context that runs once `set_device_memory` is called."""
        return ExecutionContext(self.inner.create_execution_context_without_device_memory(), self)

    def destroy(self) -> None:
        """Close the engine and its contexts, after the work of all streams."""
        machine().join()
        self.inner.close()

    def __len__(self) -> int:
        return self.num_bindings

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return map(self.get_binding_name, range(self.num_bindings))

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __getitem__(self, binding: Key) -> Key:
        return self.get_binding_index(binding) if isinstance(binding, str) else self.get_binding_name(binding)

    def _key(self, binding: Key) -> Key:
        return split(self.inner, binding)[1]


class ExecutionContext(Facade[RuntimeContext]):
    """The execution of an engine on addresses."""

    name = ""
    debug_sync = False

    def __init__(self, inner: RuntimeContext, engine: CudaEngine) -> None:
        super().__init__(inner)
        self.engine = engine
        self.profiler: IProfiler | None = None
        self._addresses: dict[str, int] = {}
        self._sizes: dict[int | None, tuple[int, ...]] = {}

    def get_engine(self) -> CudaEngine:
        """The engine of the context."""
        return self.engine

    def execute(self, batch_size: int = 1, bindings: Sequence[SupportsIndex] = ()) -> bool:
        """Run and wait for the end. The times of the layers are then reported to the profiler, if there is one."""
        return self._execute(batch_size, bindings)

    def enqueue(
        self, batch_size: int, bindings: Sequence[SupportsIndex], stream_handle: object, event: object = None
    ) -> bool:
        """Have a stream run. `event` is recorded when the inputs may be overwritten. Nothing is profiled."""
        return self._enqueue(batch_size, bindings, stream_handle, event)

    def execute_async(
        self,
        batch_size: int = 1,
        bindings: Sequence[SupportsIndex] = (),
        stream_handle: object = 0,
        input_consumed: object = None,
    ) -> bool:
        """As `enqueue`."""
        return self._enqueue(batch_size, bindings, stream_handle, input_consumed)

    def execute_v2(self, bindings: Sequence[SupportsIndex]) -> bool:
        """As `execute`, for networks with explicit batch."""
        return self._execute(None, bindings)

    def execute_async_v2(
        self, bindings: Sequence[SupportsIndex], stream_handle: object, input_consumed: object = None
    ) -> bool:
        """As `enqueue`, for networks with explicit batch."""
        return self._enqueue(None, bindings, stream_handle, input_consumed)

    def execute_async_v3(self, stream_handle: object) -> bool:
        """As `execute_async_v2`, with the addresses that `set_tensor_address` said."""
        names = list(self.engine.inner)
        missing = [n for n in names if n not in self._addresses and self.inner.get_output_allocator(n) is None]
        if missing:
            raise ExecutionError(f"execute_async_v3: call set_tensor_address for {', '.join(map(repr, missing))}")
        return self._enqueue(None, [self.get_tensor_address(name) for name in names], stream_handle, None)

    def set_tensor_address(self, name: str, memory: SupportsIndex) -> bool:
        """Say where an input or output lies."""
        self.engine.inner.get_binding_index(name)
        self._addresses[name] = memory.__index__()
        return True

    def get_tensor_address(self, name: str) -> int:
        """Where an input or output lies; 0 before it is said."""
        return self._addresses.get(name, 0)

    def set_output_allocator(self, name: str, output_allocator: OutputAllocator | None) -> bool:
        """Have an allocator give the memory of an output when its size is known; None for its address again."""
        self.inner.set_output_allocator(name, None if output_allocator is None else Adapter(output_allocator))
        return True

    def get_output_allocator(self, name: str) -> OutputAllocator | None:
        """What gives the memory of an output."""
        found = self.inner.get_output_allocator(name)
        return found.inner if isinstance(found, Adapter) else None

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        """Say the shape of an input."""
        self.inner.set_input_shape(name, tuple(shape))
        self._sizes.clear()
        return True

    def set_binding_shape(self, binding: int, shape: Sequence[int]) -> bool:
        """Say the shape of an input."""
        _, key = split(self.engine.inner, binding)
        return self.set_input_shape(self.engine.inner.get_binding_name(cast("int", key)), shape)

    def get_binding_shape(self, binding: Key) -> Dims:
        """The extents with the input shapes said so far, -1 for what is not known yet."""
        return Dims(self.inner.get_binding_shape(split(self.engine.inner, binding)[1]))

    def get_tensor_shape(self, name: str) -> Dims:
        """As `get_binding_shape`."""
        return self.get_binding_shape(name)

    @property
    def active_optimization_profile(self) -> int:
        """The profile that runs; as long as it is not set, each inference runs the one that fits its shapes best."""
        return self.inner.optimization_profile or 0

    @active_optimization_profile.setter
    def active_optimization_profile(self, profile_index: int) -> None:
        self.inner.optimization_profile = profile_index
        self._sizes.clear()

    def set_optimization_profile_async(self, profile_index: int, stream_handle: object) -> bool:
        """Set `active_optimization_profile`, not for what streams hold already; False if there is no such profile."""
        del stream_handle
        if not 0 <= profile_index < self.engine.inner.num_optimization_profiles:
            return False
        self.active_optimization_profile = profile_index
        return True

    def set_profiler(self, profiler: IProfiler | None) -> None:
        """Whom `execute` tells the times of the layers."""
        self.profiler = profiler

    def get_profiler(self) -> IProfiler | None:
        """Whom `execute` tells the times of the layers."""
        return self.profiler

    def set_debug_sync(self, sync: bool) -> None:
        """Accepted without effect: layers never overlap."""
        self.debug_sync = bool(sync)

    def get_debug_sync(self) -> bool:
        """What was set."""
        return self.debug_sync

    def set_name(self, name: str) -> None:
        """What the context is called."""
        self.name = name

    def get_name(self) -> str:
        """What the context is called."""
        return self.name

    def set_device_memory(self, memory: SupportsIndex) -> None:
        """Where the context keeps activations: `engine.get_device_memory_size()` bytes."""
        self.inner.device_memory = memory.__index__()

    def destroy(self) -> None:
        """Close the context, after the work of all streams."""
        machine().join()
        self.inner.close()

    def _execute(self, batch_size: int | None, bindings: Sequence[SupportsIndex]) -> bool:
        batch_size, addresses = self._checked(batch_size, bindings)
        done = self.inner.execute(batch_size, addresses)
        if self.profiler is not None:
            self._report_times(self.profiler, batch_size, addresses)
        return done

    def _enqueue(
        self, batch_size: int | None, bindings: Sequence[SupportsIndex], stream: object, event: object
    ) -> bool:
        batch_size, addresses = self._checked(batch_size, bindings)
        return self.inner.enqueue(batch_size, addresses, _handle(stream) or 0, _handle(event))

    def _checked(
        self, batch_size: SupportsIndex | None, bindings: Sequence[SupportsIndex]
    ) -> tuple[int | None, list[int]]:
        """Batch and addresses as plain integers. Device memory that is too small is refused, not overrun."""
        batch = None if batch_size is None else batch_size.__index__()
        addresses = self._addresses_of_profile([address.__index__() for address in bindings])
        sizes = self._sizes.get(batch)
        if sizes is None:
            sizes = self._sizes[batch] = self._needed(batch)
        for number, (needed, address) in enumerate(zip(sizes, addresses, strict=False)):
            room = room_at(address)
            if room is not None and room < needed:
                binding = self.engine.inner.bindings[number]
                raise ExecutionError(
                    f"{binding.mode} '{binding.name}': {needed} bytes are needed for a batch of {batch}, the device "
                    f"memory at its address has {room}; allocate more, keep what owns it, check the order of bindings"
                )
        return batch, addresses

    def _addresses_of_profile(self, addresses: list[int]) -> list[int]:
        """The addresses for the profile that runs, if there are addresses for the bindings of several."""
        count = len(self.engine.inner)
        if len(addresses) <= count:
            return addresses
        first = self.active_optimization_profile * count
        return addresses[first : first + count] if first + count <= len(addresses) else addresses

    def _needed(self, batch: int | None) -> tuple[int, ...]:
        """Bytes of each binding; 0 where that is not known."""
        bindings = self.engine.inner.bindings
        return tuple(max(0, prod(self._extents(i, batch))) * b.type.dtype.size for i, b in enumerate(bindings))

    def _extents(self, number: int, batch: int | None) -> tuple[int, ...]:
        """The shape of a binding: what is unknown in front is the batch."""
        known = self.inner.get_binding_shape(number)
        return (batch, *known[1:]) if known[:1] == (UNKNOWN,) and batch else known

    def _report_times(self, profiler: IProfiler, batch_size: int | None, addresses: Sequence[int]) -> None:
        """Run twice more on the same inputs, into other outputs, and report the smaller time of each layer."""
        inputs = {}
        for number, binding in enumerate(self.engine.inner.bindings):
            if binding.mode == "input":
                dtype, extents = binding.type.dtype, self._extents(number, batch_size)
                values = fetch(addresses[number], prod(extents) * dtype.size)
                inputs[binding.name] = values.view(dtype.numpy).reshape(extents)
        for step in profile(self.inner, inputs, runs=2).steps:
            profiler.report_layer_time(step.name, step.nanoseconds * 1e-6)


def _handle(owner: object) -> int | None:
    """The handle of a stream or event, which may be given itself."""
    handle = getattr(owner, "handle", owner)
    if handle is not None and not isinstance(handle, int):
        raise ExecutionError(f"expected a stream or event, or the handle of one, found {type(owner).__name__}")
    return handle
