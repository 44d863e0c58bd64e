"""The execution of an engine: sizes, memory and checks of one inference after another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.buffer import Buffer
from tensorwright.runtime.arrays import Array, array_address, is_acceptable, output_maker, refusal
from tensorwright.runtime.calls import FixedCall, fixed_call

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Device, Event, Module, Stream
    from tensorwright.runtime.bindings import BindingTable, Extents, Sizes

_REMEMBERED_SIZES = 64

_Makers = tuple[tuple[int, str, Callable[[], tuple[Array, int]]], ...]


class ExecutionContext:
    """Runs an engine with memory of its own. Calls from several threads wait for each other.

    Use one context per thread to run at the same time: contexts share the engine's code and weights.
    """

    def __init__(
        self, device: Device, module: Module, table: BindingTable, allocator: Allocator, *, with_memory: bool
    ) -> None:
        self._device = device
        self._module = module
        self._table = table
        self._inputs = table.inputs
        self._executor = module.create_executor()
        self._bindings = self._executor.bindings
        self._lock = threading.Lock()
        self._takes_bare_array = len(table.inputs) == 1
        self._known: dict[object, tuple[Sizes, _Makers]] = {}
        self._current: Sizes | None = None
        self._shapes: dict[int, Extents] = {}
        self._batches: dict[int | None, Sizes] = {}
        self._memory: int | None = None
        self._closed = False
        self._fixed: FixedCall | None = None
        self._is_ready: list[bool] = []
        self._own_memory: Buffer | None = None
        self._obstacle: str | None = (
            "it has no device memory yet; set context.device_memory to the address of "
            f"{module.memory_bytes} bytes aligned to {device.memory_alignment}"
        )
        if with_memory:
            what = f"activations and scratch memory of a context of '{module.plan.name}'"
            self._own_memory = Buffer(allocator, module.memory_bytes, device.memory_alignment, what)
            self._use_memory(self._own_memory.address)

    def __call__(self, inputs: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Run on NumPy arrays: a mapping by name, or one bare array for a network of one input.

        Returns new arrays by name of output. Arrays must have exactly the dtype of their binding and be C-contiguous.

        Raises:
            ExecutionError: something about the inputs is wrong; nothing has run.
        """
        fixed = self._fixed
        found = fixed(inputs) if fixed is not None else None
        return self._run_arrays(inputs, self._executor.run) if found is None else found

    def profile(self, inputs: Array | Mapping[str, Array], steps: int) -> list[int]:
        """Run on NumPy arrays; the ticks of the device before, between and after the steps."""
        ticks: list[int] = []
        self._run_arrays(inputs, lambda: ticks.extend(self._executor.run_profiled(steps)))
        return ticks

    def _run_arrays(self, inputs: Array | Mapping[str, Array], run: Callable[[], None]) -> dict[str, Array]:
        arrays = [inputs] if self._takes_bare_array and isinstance(inputs, np.ndarray) else self._by_name(inputs)
        addresses = []
        for slot in self._inputs:
            array = arrays[slot.place]
            if not is_acceptable(slot, array):
                raise refusal(self._table, slot, array)
            addresses.append(array_address(array))
        key = arrays[0].shape if self._takes_bare_array else tuple([array.shape for array in arrays])
        results = {}
        with self._lock:
            if self._obstacle is not None:
                self._refuse()
            sizes, makers = self._known.get(key) or self._learn(key, arrays)
            if sizes is not self._current:
                self._use_sizes(sizes)
            bindings = self._bindings
            for slot in self._inputs:
                bindings[slot.number] = addresses[slot.place]
            for number, name, make in makers:
                results[name], bindings[number] = make()
            run()
        return results

    def execute(self, batch_size: int | None, bindings: Sequence[int]) -> bool:
        """Run on raw addresses, one per binding in the order of the engine, and wait for the end.

        batch_size: from 1 to the engine's `max_batch_size`; None when `set_input_shape` says all sizes.
        Returns True, as users of the older interface expect.

        Raises:
            ExecutionError: batch, number of bindings, an address or a size is wrong; nothing has run.
        """
        self._run_addresses(self._sizes_of_batch(batch_size), self._table.addresses(bindings))
        return True

    def enqueue(
        self, batch_size: int | None, bindings: Sequence[int], stream: Stream | int, event: Event | int | None = None
    ) -> bool:
        """Have a stream run on raw addresses, and return at once. Everything is checked before.

        stream, event: objects or their handles. The event is recorded when the inputs may be overwritten.
        """
        sizes, addresses = self._sizes_of_batch(batch_size), self._table.addresses(bindings)
        if self._obstacle is not None:
            self._refuse()
        target = self._device.find_stream(stream) if isinstance(stream, int) else stream
        consumed = self._device.find_event(event) if isinstance(event, int) else event
        target.enqueue(partial(self._run_addresses, sizes, addresses))
        if consumed is not None:
            consumed.record(target)
        return True

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of the steps of one inference, in order; none if the plan does not name all of them."""
        steps = self._table.plan.report.get("steps")
        found = (
            [step.get("name") if isinstance(step, dict) else None for step in steps] if isinstance(steps, list) else []
        )
        names = tuple(name for name in found if isinstance(name, str))
        return names if len(names) == len(found) else ()

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
        if address <= 0 or address % self._device.memory_alignment:
            raise ExecutionError(
                f"{where}: expected the address of {self._module.memory_bytes} bytes, a positive multiple of "
                f"{self._device.memory_alignment}, found {address!r}; allocate a little more and round the address up"
            )
        with self._lock:
            if self._closed:
                self._refuse()
            self._use_memory(address)

    def set_input_shape(self, name: str, shape: Sequence[int]) -> None:
        """State the shape of an input for the following calls with raw addresses.

        Raises:
            ExecutionError: the name is no input, or the shape does not fit the plan.
        """
        number = self._table.number(name)
        if self._table.bindings[number].mode != "input":
            raise ExecutionError(f"{self._table.describe(number)} is no input; its shape follows from the inputs")
        shapes = {number: tuple(shape)}
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
        with self._lock:
            self._closed = True
            self._is_ready.clear()
            self._obstacle = "it is closed; create another one"
            self._executor.close()
            if self._own_memory is not None:
                self._own_memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _by_name(self, inputs: object) -> list[Array]:
        names = self._table.input_names
        if isinstance(inputs, (dict, Mapping)) and len(inputs) == len(names):
            try:
                return [inputs[name] for name in names]
            except KeyError:
                pass
        raise self._wrong_names(inputs)

    def _wrong_names(self, inputs: object) -> ExecutionError:
        names = self._table.input_names
        wanted = f"{self._table.where}: expected arrays for the inputs {', '.join(map(repr, names)) or 'none'}"
        if not isinstance(inputs, Mapping):
            return ExecutionError(f"{wanted}, found {type(inputs).__name__}; pass a dict of arrays by name")
        missing = [name for name in names if name not in inputs]
        unknown = [name for name in inputs if name not in names]
        return ExecutionError(f"{wanted}; missing: {missing or 'none'}; unknown: {unknown or 'none'}")

    def _learn(self, key: object, arrays: Sequence[Array]) -> tuple[Sizes, _Makers]:
        sizes = self._table.sizes({slot.number: arrays[slot.place].shape for slot in self._inputs}, {})
        if len(self._known) >= _REMEMBERED_SIZES:
            self._known.clear()
        makers = tuple(
            (slot.number, slot.name, output_maker(sizes.shapes[slot.number], slot.dtype))
            for slot in self._table.outputs
        )
        self._known[key] = sizes, makers
        return sizes, makers

    def _sizes_of_batch(self, batch_size: int | None) -> Sizes:
        sizes = self._batches.get(batch_size)
        if sizes is None:
            known = {} if batch_size is None else self._table.batch_evidence(batch_size)
            sizes = self._table.sizes(self._shapes, known)
            self._batches[batch_size] = sizes
        return sizes

    def _run_addresses(self, sizes: Sizes, addresses: Sequence[int]) -> None:
        with self._lock:
            if self._obstacle is not None:
                self._refuse()
            if sizes is not self._current:
                self._use_sizes(sizes)
            for number, address in enumerate(addresses):
                self._bindings[number] = address
            self._executor.run()

    def _use_memory(self, address: int) -> None:
        self._executor.set_memory(address)
        self._memory = address
        self._obstacle = None
        self._is_ready[:] = [True]
        if self._fixed is None and self._has_fixed_sizes():
            sizes, runner = self._table.sizes({}, {}), self._executor.runner
            self._use_sizes(sizes)
            self._fixed = fixed_call(self._table, sizes, self._bindings, runner, self._lock, self._is_ready)

    def _has_fixed_sizes(self) -> bool:
        """Whether all sizes are known, and inputs come before outputs."""
        order = [slot.number for slot in (*self._inputs, *self._table.outputs)]
        return order == sorted(order) and all(symbol.min == symbol.max for symbol in self._table.plan.symbols)

    def _use_sizes(self, sizes: Sizes) -> None:
        for number, value in enumerate(sizes.symbols):
            self._executor.symbols[number] = value
        self._current = sizes

    def _refuse(self) -> None:
        raise ExecutionError(f"a context of {self._table.where} cannot run: {self._obstacle}")
