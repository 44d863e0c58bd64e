"""The execution of an engine: sizes, memory and checks of one inference after another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from operator import index
from typing import TYPE_CHECKING, Self, SupportsIndex

from tensorwright.base.errors import ExecutionError
from tensorwright.base.fork import forkable, importing
from tensorwright.base.unique import Unique
from tensorwright.devices.buffer import END_OF_MEMORY, Buffer
from tensorwright.runtime.outputs import OutputAllocators
from tensorwright.runtime.profiles import ProfileCalls, ProfileTable

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Device, Event, Module, Stream
    from tensorwright.plan.plan import Plan
    from tensorwright.runtime.arrays import Array
    from tensorwright.runtime.bindings import BindingTable, Evidence, Extents, Sizes
    from tensorwright.runtime.buffers import Bytes
    from tensorwright.runtime.fixed_calls import FixedCall
    from tensorwright.runtime.launcher import Launcher
    from tensorwright.runtime.outputs import OutputAllocator


class ExecutionContext(Unique):
    """Runs an engine with memory of its own. Calls from several threads wait for each other.

    Use one context per thread to run at the same time: contexts share the engine's code and weights.

    Of a plan with several profiles each inference runs the one that its shapes fit and that is tuned for the nearest
    sizes, unless `optimization_profile` says which.

    fixed_call: after a call on arrays, what shortens the next ones of these sizes if they are fixed; else None.
    """

    def __init__(
        self, device: Device, modules: Sequence[Module], table: ProfileTable, allocator: Allocator, *, with_memory: bool
    ) -> None:
        self._device = device
        self._profile_table = table
        self._table = table.whole
        self._memory_bytes = max(module.memory_bytes for module in modules)
        self._shapes: dict[int, Extents] = {}
        self._batches: dict[int | None, tuple[Launcher, Sizes]] = {}
        self._memory: int | None = None
        self._wanted: int | None = None
        self.fixed_call: FixedCall | None = None
        self._own_memory: Buffer | None = None
        self._output_allocators = OutputAllocators()
        self._lock = forkable(threading.Lock())
        obstacle = (
            "it has no device memory yet; set context.device_memory to the address of "
            f"{self._memory_bytes} bytes aligned to {device.memory_alignment}"
        )
        self._profiles = tuple(
            ProfileCalls(device, module, table, allocator, obstacle, self._lock)
            for module, table in zip(modules, table.tables, strict=True)
        )
        self._latest = self._profiles[0]
        if with_memory:
            what = f"activations and scratch memory of a context of '{self._table.plan.name}'"
            self._own_memory = Buffer(allocator, self._memory_bytes, device.memory_alignment, what)
            self._use_memory(self._own_memory.address)

    def __call__(
        self,
        inputs: Array | Mapping[str, Array],
        stream: Stream | int | None = None,
        *,
        outputs: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Run on arrays: a mapping by name, or one bare array for a network of one input.

        Returns new arrays by name of output. Arrays must have exactly the dtype of their binding and be C-contiguous.
        NumPy arrays give NumPy arrays. Arrays in the memory of the device (of PyTorch, CuPy, JAX: what has DLPack or
        ``__cuda_array_interface__``) are taken without a copy and give arrays of the same kind, `CudaArray`, which
        `torch.from_dlpack` and its like take without a copy. The work is put into a stream and not waited for.

        stream: for arrays on the device: that of the caller, or its handle; None for the default stream.
        outputs: NumPy arrays that results are written into, by name of output; others get new ones. An input may be
            one of them where the network allows it: see `caches_in_place` of `tensorwright.build`.

        Raises:
            ExecutionError: something about the inputs is wrong; nothing has run.
        """
        fixed = self.fixed_call
        found = fixed(inputs) if fixed is not None and stream is None and outputs is None else None
        if found is not None:
            return found
        calls = self._calls_for(inputs)
        if not self._device.has_host_memory and outputs is None:
            found = calls.run_on_device(inputs, stream)
        if found is not None:
            return found
        if stream is not None:
            raise ExecutionError(
                f"{self._table.where}: expected arrays on the device with the stream {stream!r}, found arrays of the "
                "host, whose results are waited for; leave the stream out"
            )
        results = calls.run(inputs, outputs=outputs)
        self.fixed_call = calls.fixed_call
        return results

    def run_buffers(self, inputs: Mapping[str, Bytes]) -> dict[str, memoryview]:
        """Run on objects with the buffer protocol, such as bytes, array.array or memoryview, by name of input; a
        program that does not import NumPy starts faster.

        Elements lie in row-major order, in the shape and format of their binding; or flat, or as plain bytes, if the
        shape is known from the plan or from `set_input_shape`. Returns new memory by name of output, in the shape and
        format of the binding; plain bytes for float16 and bfloat16, and for no elements at all.

        Raises:
            ExecutionError: something about the inputs is wrong; nothing has run.
        """
        with importing:
            from tensorwright.runtime.buffers import run_buffers

        return run_buffers(self._table, self._launched_here, self._shapes, inputs)

    @property
    def optimization_profile(self) -> int | None:
        """The number of the profile that all inferences run; None for the one that fits the shapes of each best.

        Raises:
            ExecutionError: it is set to no number of a profile.
        """
        return self._wanted

    @optimization_profile.setter
    def optimization_profile(self, profile: int | None) -> None:
        wanted = None if profile is None else self._profile_table.number(profile)
        with self._lock:
            self._wanted = wanted
            self._batches.clear()
            self.fixed_call = None
            if wanted is not None:
                self._latest = self._profiles[wanted]

    def profile(
        self, inputs: Array | Mapping[str, Array], steps: int, outputs: Mapping[str, Array] | None = None
    ) -> list[int]:
        """Run on NumPy arrays, as a call does; the ticks of the device before, between and after the steps.

        Raises:
            ExecutionError: the plan has another number of steps, or something about the inputs is wrong.
        """
        calls = self._calls_for(inputs)
        count = len(calls.table.plan.steps)
        if steps != count:
            raise ExecutionError(f"{self._table.where} has {count} steps; expected ticks for them, found {steps!r}")
        ticks: list[int] = []
        calls.run(inputs, lambda: ticks.extend(calls.here.execute_profiled(count)), outputs)
        return ticks

    def execute(self, batch_size: int | None, bindings: Sequence[int]) -> bool:
        """Run on raw addresses, one per binding in the order of the engine, and wait for the end.

        batch_size: from 1 to the engine's `max_batch_size`; None when `set_input_shape` says all sizes.
        Returns True, as users of the older interface expect.

        Raises:
            ExecutionError: batch, number of bindings, an address or a size is wrong; nothing has run.
        """
        launcher, sizes = self._launched(batch_size)
        launcher.run(sizes, self._all_addresses(bindings, sizes))
        self._output_allocators.notify_all(self._table, sizes)
        return True

    def enqueue(
        self, batch_size: int | None, bindings: Sequence[int], stream: Stream | int, event: Event | int | None = None
    ) -> bool:
        """Have a stream run on raw addresses, and return at once. Everything is checked before.

        stream, event: objects or their handles. The event is recorded when the inputs may be overwritten.
        """
        launcher, sizes = self._launched(batch_size)
        launcher.require_ready()
        target = self._device.find_stream(stream) if isinstance(stream, int) else stream
        consumed = self._device.find_event(event) if isinstance(event, int) else event
        if not hasattr(target, "enqueue") or not (consumed is None or hasattr(consumed, "record")):
            raise ExecutionError(
                f"enqueue of {self._table.where}: expected a stream and an event or None, or their handles, found "
                f"{type(stream).__name__} and {type(event).__name__}"
            )
        addresses = self._all_addresses(bindings, sizes)
        target.enqueue(partial(self._run_enqueued, launcher, sizes, addresses))
        if consumed is not None:
            consumed.record(target)
        self._output_allocators.notify_all(self._table, sizes)
        return True

    def set_output_allocator(self, name: str, allocator: OutputAllocator | None) -> None:
        """Have an allocator give the memory of an output to `execute` and `enqueue`, which ask it for memory when they
        know the output's size, and tell it the shape before they return. The address that they are given for the
        output may then be 0. None for the addresses that they are given.

        Raises:
            ExecutionError: the name is no output, or the object no allocator.
        """
        number = self._table.number(name)
        if self._table.bindings[number].mode != "output":
            raise ExecutionError(f"{self._table.describe(number)} is no output; inputs have the caller's memory")
        self._output_allocators.set(name, allocator)

    def get_output_allocator(self, name: str) -> OutputAllocator | None:
        """What gives the memory of an output."""
        return self._output_allocators.get(name)

    def get_max_output_size(self, name: str) -> int:
        """Bytes of an output for the input shapes set so far; at its largest shape as long as they do not say it."""
        table, number = self._said, self._table.number(name)
        type, shape = table.bindings[number].type, self.get_binding_shape(name)
        return type.max_bytes if -1 in shape else prod(shape) * type.dtype.size

    @property
    def plan(self) -> Plan:
        """What it runs."""
        return self._latest.table.plan

    def run_here(self, sizes: Sizes, addresses: Sequence[int], steps: int = 0) -> list[int]:
        """Run on addresses of this process, one per binding, for sizes that are right; the ticks of so many steps."""
        here = self._latest.here
        if not steps:
            here.run(sizes, addresses)
            return []
        with here.lock:
            here.prepare(sizes)
            here.bindings[:] = addresses
            return here.execute_profiled(steps)

    def begin_here(self, sizes: Sizes, addresses: Sequence[int]) -> Callable[[], None]:
        """Begin an inference on staging memory of the device, one address per binding, for sizes that are right.

        Returns what waits for its end, and raises what went wrong. Others may begin before.
        """
        return self._latest.begin(sizes, addresses)

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of the steps of the latest profile, in order; none if the plan does not name all of them."""
        plan = self._latest.table.plan
        steps = plan.report.get("steps")
        found = (
            [step.get("name") if isinstance(step, dict) else None for step in steps] if isinstance(steps, list) else []
        )
        names = tuple(name for name in found if isinstance(name, str))
        return names if len(names) == len(found) == len(plan.steps) else ()

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
                f"{where}: expected the address of {self._memory_bytes} bytes, a positive multiple of "
                f"{self._device.memory_alignment}, found {address!r}; allocate a little more and round the address up"
            )
        with self._lock:
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
        self._said.check(shapes)
        self._shapes.update(shapes)
        self._batches.clear()

    def get_binding_shape(self, binding: int | str) -> Extents:
        """The shape that a binding has with the input shapes set so far; -1 for what is not known yet."""
        table = self._said
        return table.partial_shape(table.number(binding), table.evidence(self._shapes, {}))

    @property
    def all_binding_shapes_specified(self) -> bool:
        """Whether the input shapes set so far say all sizes."""
        known = self._said.evidence(self._shapes, {})
        return all(symbol.name in known for symbol in self._said.plan.symbols)

    def close(self) -> None:
        """Stop the threads and give the memory back, after a call that is running. Twice is once."""
        with self._lock:
            for launcher in self._launchers:
                launcher.close()
            if self._own_memory is not None:
                self._own_memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _said(self) -> BindingTable:
        """The bindings as far as the choice of a profile settles them."""
        return self._table if self._wanted is None else self._profile_table.tables[self._wanted]

    @property
    def _launchers(self) -> tuple[Launcher, ...]:
        return tuple(launcher for calls in self._profiles for launcher in calls.launchers)

    def _calls_for(self, inputs: object) -> ProfileCalls:
        """What runs these inputs."""
        if self._wanted is None and len(self._profiles) > 1:
            self._latest = self._profiles[self._profile_table.of_arrays(inputs)]
        return self._latest

    def _chosen(self, shapes: Mapping[int, Extents], known: Mapping[str, Evidence]) -> tuple[ProfileCalls, Sizes]:
        """What runs inputs of these shapes, and all sizes."""
        if self._wanted is not None:
            return self._latest, self._latest.table.sizes(shapes, known)
        number, sizes = self._profile_table.nearest(shapes, known)
        return self._profiles[number], sizes

    def _launched_here(self, shapes: Mapping[int, Extents]) -> tuple[Launcher, Sizes]:
        calls, sizes = self._chosen(shapes, {})
        return calls.here, sizes

    def _launched(self, batch_size: int | None) -> tuple[Launcher, Sizes]:
        """The launcher on addresses of the device for the shapes that were said, and all sizes."""
        found = self._batches.get(batch_size)
        if found is None:
            known = {} if batch_size is None else self._table.batch_evidence(batch_size)
            calls, sizes = self._chosen(self._shapes, known)
            found = self._batches[batch_size] = calls.launcher, sizes
        return found

    def _all_addresses(self, bindings: Sequence[int], sizes: Sizes) -> list[int]:
        """The addresses of all bindings, also of outputs that allocators give memory to."""
        if not len(self._output_allocators):
            return self._table.addresses(bindings, sizes.empty)
        return self._table.addresses(self._output_allocators.placed(self._table, bindings, sizes), sizes.empty)

    def _run_enqueued(self, launcher: Launcher, sizes: Sizes, addresses: Sequence[int]) -> None:
        """What a stream holds: with it the context, whose memory is needed until the work is done."""
        launcher.run(sizes, addresses)

    def _is_memory(self, address: object) -> bool:
        if not isinstance(address, SupportsIndex):
            return False
        value = index(address)
        fits = 0 < value <= END_OF_MEMORY - self._memory_bytes
        return fits and value % self._device.memory_alignment == 0

    def _use_memory(self, address: int) -> None:
        for launcher in self._launchers:
            launcher.use_memory(address)
        self._memory = address
