"""The execution of an engine: sizes, memory and checks of one inference after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Self, SupportsIndex, cast

from tensorwright.base.errors import ExecutionError
from tensorwright.base.unique import Unique
from tensorwright.devices.buffer import END_OF_MEMORY, Buffer
from tensorwright.runtime.launcher import Launcher

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Device, Event, Module, Stream
    from tensorwright.plan.plan import Plan
    from tensorwright.runtime.arrays import Array
    from tensorwright.runtime.bindings import BindingTable, Extents, Sizes
    from tensorwright.runtime.buffers import Bytes
    from tensorwright.runtime.calls import ArrayCalls
    from tensorwright.runtime.device_calls import DeviceCalls
    from tensorwright.runtime.fixed_calls import FixedCall


class ExecutionContext(Unique):
    """Runs an engine with memory of its own. Calls from several threads wait for each other.

    Use one context per thread to run at the same time: contexts share the engine's code and weights.

    fixed_call: after the first call on arrays, what shortens the next ones if the plan's sizes are fixed; else None.
    """

    def __init__(
        self, device: Device, module: Module, table: BindingTable, allocator: Allocator, *, with_memory: bool
    ) -> None:
        self._device = device
        self._module = module
        self._table = table
        self._shapes: dict[int, Extents] = {}
        self._batches: dict[int | None, Sizes] = {}
        self._memory: int | None = None
        self._calls: ArrayCalls | None = None
        self._allocator = allocator
        self._device_calls: DeviceCalls | None = None
        self.fixed_call: FixedCall | None = None
        self._own_memory: Buffer | None = None
        obstacle = (
            "it has no device memory yet; set context.device_memory to the address of "
            f"{module.memory_bytes} bytes aligned to {device.memory_alignment}"
        )
        watched = device if device.has_host_memory and not module.checks_indices else None
        self._launcher = Launcher(table, module.create_executor(), watched, obstacle)
        self._here = self._launcher if device.has_host_memory else self._staging_launcher(allocator, obstacle)
        if with_memory:
            what = f"activations and scratch memory of a context of '{module.plan.name}'"
            self._own_memory = Buffer(allocator, module.memory_bytes, device.memory_alignment, what)
            self._use_memory(self._own_memory.address)

    def __call__(self, inputs: Array | Mapping[str, Array], stream: Stream | int | None = None) -> dict[str, Array]:
        """Run on arrays: a mapping by name, or one bare array for a network of one input.

        Returns new arrays by name of output. Arrays must have exactly the dtype of their binding and be C-contiguous.
        NumPy arrays give NumPy arrays. Arrays in the memory of the device (of PyTorch, CuPy, JAX: what has DLPack or
        ``__cuda_array_interface__``) are taken without a copy and give arrays of the same kind, `CudaArray`, which
        `torch.from_dlpack` and its like take without a copy. The work is put into a stream and not waited for.

        stream: for arrays on the device: that of the caller, or its handle; None for the default stream.

        Raises:
            ExecutionError: something about the inputs is wrong; nothing has run.
        """
        fixed = self.fixed_call
        found = fixed(inputs) if fixed is not None and stream is None else None
        if found is None and not self._device.has_host_memory:
            found = self._run_on_device(inputs, stream)
        if found is not None:
            return found
        if stream is not None:
            raise ExecutionError(
                f"{self._table.where}: expected arrays on the device with the stream {stream!r}, found arrays of the "
                "host, whose results are waited for; leave the stream out"
            )
        return self._run_arrays(inputs, self._here.execute)

    def run_buffers(self, inputs: Mapping[str, Bytes]) -> dict[str, memoryview]:
        """Run on objects with the buffer protocol, such as bytes, array.array or memoryview, by name of input; a
        program that does not import NumPy starts faster.

        Elements lie in row-major order, in the shape and format of their binding; or flat, or as plain bytes, if the
        shape is known from the plan or from `set_input_shape`. Returns new memory by name of output, in the shape and
        format of the binding; plain bytes for float16 and bfloat16, and for no elements at all.

        Raises:
            ExecutionError: something about the inputs is wrong; nothing has run.
        """
        from tensorwright.runtime.buffers import run_buffers

        return run_buffers(self._table, self._here, self._shapes, inputs)

    def profile(self, inputs: Array | Mapping[str, Array], steps: int) -> list[int]:
        """Run on NumPy arrays; the ticks of the device before, between and after the steps.

        Raises:
            ExecutionError: the plan has another number of steps, or something about the inputs is wrong.
        """
        count = len(self._table.plan.steps)
        if steps != count:
            raise ExecutionError(f"{self._table.where} has {count} steps; expected ticks for them, found {steps!r}")
        ticks: list[int] = []
        self._run_arrays(inputs, lambda: ticks.extend(self._here.executor.run_profiled(count)))
        return ticks

    def execute(self, batch_size: int | None, bindings: Sequence[int]) -> bool:
        """Run on raw addresses, one per binding in the order of the engine, and wait for the end.

        batch_size: from 1 to the engine's `max_batch_size`; None when `set_input_shape` says all sizes.
        Returns True, as users of the older interface expect.

        Raises:
            ExecutionError: batch, number of bindings, an address or a size is wrong; nothing has run.
        """
        self._launcher.run(self._sizes_of_batch(batch_size), self._table.addresses(bindings))
        return True

    def enqueue(
        self, batch_size: int | None, bindings: Sequence[int], stream: Stream | int, event: Event | int | None = None
    ) -> bool:
        """Have a stream run on raw addresses, and return at once. Everything is checked before.

        stream, event: objects or their handles. The event is recorded when the inputs may be overwritten.
        """
        sizes, addresses = self._sizes_of_batch(batch_size), self._table.addresses(bindings)
        self._launcher.require_ready()
        target = self._device.find_stream(stream) if isinstance(stream, int) else stream
        consumed = self._device.find_event(event) if isinstance(event, int) else event
        if not hasattr(target, "enqueue") or not (consumed is None or hasattr(consumed, "record")):
            raise ExecutionError(
                f"enqueue of {self._table.where}: expected a stream and an event or None, or their handles, found "
                f"{type(stream).__name__} and {type(event).__name__}"
            )
        target.enqueue(partial(self._run_enqueued, sizes, addresses))
        if consumed is not None:
            consumed.record(target)
        return True

    @property
    def plan(self) -> Plan:
        """What it runs."""
        return self._module.plan

    def run_here(self, sizes: Sizes, addresses: Sequence[int], steps: int = 0) -> list[int]:
        """Run on addresses of this process, one per binding, for sizes that are right; the ticks of so many steps."""
        if not steps:
            self._here.run(sizes, addresses)
            return []
        with self._here.lock:
            self._here.prepare(sizes)
            self._here.bindings[:] = addresses
            return self._here.executor.run_profiled(steps)

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of the steps of one inference, in order; none if the plan does not name all of them."""
        steps = self._table.plan.report.get("steps")
        found = (
            [step.get("name") if isinstance(step, dict) else None for step in steps] if isinstance(steps, list) else []
        )
        names = tuple(name for name in found if isinstance(name, str))
        return names if len(names) == len(found) == len(self._table.plan.steps) else ()

    @property
    def device_memory(self) -> int | None:
        """The address of the memory for activations and scratch, None before it is set.

        It can be set for contexts created without device memory. The memory must have `engine.device_memory_size`
        bytes and stay untouched from the call of `execute` or `enqueue` until the work is done.
        """
        return self._memory

    @device_memory.setter
    def device_memory(self, address: int) -> None:
        where = f"device_memory of a context of {self._table.where}"
        if self._own_memory is not None:
            raise ExecutionError(
                f"{where}: this context has memory of its own; use create_execution_context_without_device_memory"
            )
        if not self._is_memory(address):
            raise ExecutionError(
                f"{where}: expected the address of {self._module.memory_bytes} bytes, a positive multiple of "
                f"{self._device.memory_alignment}, found {address!r}; allocate a little more and round the address up"
            )
        with self._launcher.lock:
            self._use_memory(index(address))

    def set_input_shape(self, name: str, shape: Sequence[int]) -> None:
        """State the shape of an input for the following calls with raw addresses.

        Raises:
            ExecutionError: the name is no input, or the shape does not fit the plan.
        """
        number = self._table.number(name)
        if self._table.bindings[number].mode != "input":
            raise ExecutionError(f"{self._table.describe(number)} is no input; its shape follows from the inputs")
        shapes = {number: self._table.extents(number, shape)}
        self._table.check(shapes)
        self._shapes.update(shapes)
        self._batches.clear()

    def get_binding_shape(self, binding: int | str) -> Extents:
        """The shape that a binding has with the input shapes set so far; -1 for what is not known yet."""
        return self._table.partial_shape(self._table.number(binding), self._table.evidence(self._shapes, {}))

    @property
    def all_binding_shapes_specified(self) -> bool:
        """Whether the input shapes set so far say all sizes."""
        known = self._table.evidence(self._shapes, {})
        return all(symbol.name in known for symbol in self._table.plan.symbols)

    def close(self) -> None:
        """Stop the threads and give the memory back, after a call that is running. Twice is once."""
        with self._launcher.lock:
            for launcher in self._launchers:
                launcher.close()
            if self._own_memory is not None:
                self._own_memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _staging_launcher(self, allocator: Allocator, obstacle: str) -> Launcher:
        """A launcher whose bindings are addresses of this process."""
        from tensorwright.runtime.staging import StagedExecutor

        staged = StagedExecutor(self._module.create_executor(), self._device, allocator, self._module.plan)
        return Launcher(self._table, staged, self._device, obstacle, self._launcher.lock)

    @property
    def _launchers(self) -> tuple[Launcher, ...]:
        return (self._launcher,) if self._here is self._launcher else (self._launcher, self._here)

    def _run_on_device(self, inputs: object, stream: Stream | int | None) -> dict[str, Array] | None:
        """Outputs on the device for inputs there; None for others."""
        given = inputs.values() if isinstance(inputs, Mapping) else (inputs,)
        if stream is None and all(hasattr(value, "__array_struct__") for value in given):
            return None  # Arrays of NumPy, which this module does not import.
        if self._device_calls is None:
            self._device_calls = self._made_device_calls()
        target = self._device.find_stream(stream or 0) if isinstance(stream, int | None) else stream
        found = None if self._device_calls is None else self._device_calls.run(inputs, target)
        return cast("dict[str, Array] | None", found)

    def _made_device_calls(self) -> DeviceCalls | None:
        from tensorwright.runtime.device_calls import DeviceCalls

        arrays = self._device.arrays(self._allocator)
        return None if arrays is None else DeviceCalls(self._table, self._launcher, arrays)

    def _run_arrays(self, inputs: Array | Mapping[str, Array], execute: Callable[[], None]) -> dict[str, Array]:
        calls = self._calls
        if calls is not None:
            return calls.run(inputs, execute)
        from tensorwright.runtime.calls import ArrayCalls

        calls = ArrayCalls(self._table, self._here)
        results = calls.run(inputs, execute)
        self._calls, self.fixed_call = calls, calls.fixed()
        return results

    def _run_enqueued(self, sizes: Sizes, addresses: Sequence[int]) -> None:
        """What a stream holds: with it the context, whose memory is needed until the work is done."""
        self._launcher.run(sizes, addresses)

    def _sizes_of_batch(self, batch_size: int | None) -> Sizes:
        sizes = self._batches.get(batch_size)
        if sizes is None:
            known = {} if batch_size is None else self._table.batch_evidence(batch_size)
            sizes = self._table.sizes(self._shapes, known)
            self._batches[batch_size] = sizes
        return sizes

    def _is_memory(self, address: object) -> bool:
        if not isinstance(address, SupportsIndex):
            return False
        value = index(address)
        fits = 0 < value <= END_OF_MEMORY - self._module.memory_bytes
        return fits and value % self._device.memory_alignment == 0

    def _use_memory(self, address: int) -> None:
        for launcher in self._launchers:
            launcher.use_memory(address)
        self._memory = address
