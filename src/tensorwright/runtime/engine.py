"""A loaded plan."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from tensorwright.base.errors import ExecutionError
from tensorwright.base.fork import forkable
from tensorwright.base.unique import Unique
from tensorwright.devices.find import device_for
from tensorwright.plan.file import serialize_plan, write_plan
from tensorwright.plan.limits import MAX_THREADS
from tensorwright.plan.plan import Binding, Json, MachineStamp, Plan
from tensorwright.runtime.bindings import Extents
from tensorwright.runtime.context import ExecutionContext
from tensorwright.runtime.profiles import ProfileTable
from tensorwright.tensor.dim import evaluate

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Device, Module, Stream
    from tensorwright.plan.signature import PrivateKey
    from tensorwright.runtime.arrays import Array
    from tensorwright.runtime.buffers import Bytes
    from tensorwright.runtime.fixed_calls import FixedCall
    from tensorwright.tensor.dtype import DType


class Engine(Unique):
    """A plan in memory, ready to run on NumPy arrays or, through contexts, on raw addresses.

    plan: made by this version of the package for a machine like this one.
    allocator: gives all device memory of the engine and its contexts; None for the device's own.
    threads: how many threads an inference uses; None for the plan's own number.
    device: what it runs on, or its name, such as ``cuda:1``; None for the first that the plan was made for.

    Raises:
        PlanError: the plan was made by another version or for a machine that this one cannot stand in for.
        ExecutionError: the device is not there, or has not enough memory.
    """

    def __init__(
        self,
        plan: Plan,
        allocator: Allocator | None = None,
        threads: int | None = None,
        device: Device | str | None = None,
    ) -> None:
        self.threads = plan.threads if threads is None else _checked_threads(threads)
        self._device = _device(plan, device)
        self._device.check(plan.stamp)
        self._allocator = self._device.allocator if allocator is None else allocator
        self._modules = self._loaded(plan)
        self._plan = replace(plan, weights=self._modules[0].plan.weights)
        self._profile_table = ProfileTable(self._plan, [module.plan for module in self._modules])
        self._table = self._profile_table.whole
        self._contexts: weakref.WeakSet[ExecutionContext] = weakref.WeakSet()
        self._lock = forkable(threading.RLock())
        self._default: ExecutionContext | None = None
        self._fixed: FixedCall | None = None
        self._closed = False

    def __call__(
        self,
        inputs: Array | Mapping[str, Array],
        stream: Stream | int | None = None,
        *,
        outputs: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Run on arrays; see `ExecutionContext.__call__`. Calls from several threads wait for each other."""
        fixed = self._fixed
        found = fixed(inputs) if fixed is not None and stream is None and outputs is None else None
        return self._call_context(inputs, stream, outputs) if found is None else found

    def run_buffers(self, inputs: Mapping[str, Bytes]) -> dict[str, memoryview]:
        """Run on objects with the buffer protocol, without NumPy; see `ExecutionContext.run_buffers`."""
        return (self._default or self._default_context()).run_buffers(inputs)

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def stamp(self) -> MachineStamp:
        """For which machine the plan was made."""
        return self._plan.stamp

    @property
    def device(self) -> Device:
        """What it runs on."""
        return self._device

    @property
    def modules(self) -> tuple[Module, ...]:
        """What the device has loaded, for each profile of the plan."""
        return self._modules

    @property
    def report(self) -> Mapping[str, Json]:
        """What the builder decided and measured."""
        return self._plan.report

    @property
    def num_layers(self) -> int:
        """Steps of one inference, after fusion."""
        steps = self._plan.report.get("steps", [])
        return len(steps) if isinstance(steps, list) else 0

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """Inputs and outputs in order, with their types; dimensions may be symbolic."""
        return self._plan.bindings

    @property
    def num_bindings(self) -> int:
        return len(self._table.bindings)

    @property
    def max_batch_size(self) -> int:
        """The largest `batch_size` of `execute` and `enqueue`."""
        return self._table.max_batch_size

    @property
    def has_implicit_batch_dimension(self) -> bool:
        """Whether the network was defined without the batch dimension, which all bindings have in front."""
        return self._plan.batch_symbol is not None

    @property
    def device_memory_size(self) -> int:
        """Bytes that each context needs for activations and scratch memory."""
        return max(module.memory_bytes for module in self._modules)

    @property
    def device_memory_alignment(self) -> int:
        """What the address of a context's memory must be a multiple of."""
        return self._device.memory_alignment

    @property
    def num_optimization_profiles(self) -> int:
        """How many ranges of shapes the plan has code for."""
        return len(self._profile_table)

    def get_profile_shape(self, profile: int, binding: int | str) -> tuple[Extents, Extents, Extents]:
        """The smallest shape of an input that a profile takes, the one that it is tuned for, and the largest.

        Raises:
            ExecutionError: there is no such profile, or no such input.
        """
        table = self._profile_table.tables[self._profile_table.number(profile)]
        number = table.number(binding)
        if table.bindings[number].mode != "input":
            raise ExecutionError(f"{table.describe(number)} is no input; its shape follows from the inputs")
        shape, symbols = table.bindings[number].type.shape, table.plan.symbols
        ranges: list[dict[str, int]] = [
            {s.name: s.min for s in symbols},
            {s.name: s.opt for s in symbols},
            {s.name: s.max for s in symbols},
        ]
        low, opt, high = (tuple(evaluate(dim, values) for dim in shape) for values in ranges)
        return low, opt, high

    def get_binding_index(self, name: str) -> int:
        return self._table.number(name)

    def get_binding_name(self, index: int) -> str:
        return self._table.bindings[self._table.number(index)].name

    def get_binding_shape(self, binding: int | str) -> Extents:
        """The shape of a binding, -1 for dimensions that are only known at run time."""
        return self._table.partial_shape(self._table.number(binding), self._table.evidence({}, {}))

    def get_binding_dtype(self, binding: int | str) -> DType:
        return self._table.bindings[self._table.number(binding)].type.dtype

    def binding_is_input(self, binding: int | str) -> bool:
        return self._table.bindings[self._table.number(binding)].mode == "input"

    def __len__(self) -> int:
        return self.num_bindings

    def __iter__(self) -> Iterator[str]:
        return (binding.name for binding in self._table.bindings)

    def __contains__(self, name: object) -> bool:
        return name in self._table.numbers

    def __getitem__(self, binding: int | str) -> str | int:
        """The name of a binding by number, the number by name."""
        return self.get_binding_index(binding) if isinstance(binding, str) else self.get_binding_name(binding)

    def save(self, path: str | os.PathLike[str], *, key: PrivateKey | None = None) -> None:
        """Write the plan to a file, which appears complete or not at all.

        key: signs the plan: a private key of Ed25519, as a file or bytes in PEM (`tensorwright keygen` makes one).
        """
        write_plan(self._open_plan(), path, key)

    def serialize(self, *, key: PrivateKey | None = None) -> bytes:
        """The bytes that `save` writes."""
        return serialize_plan(self._open_plan(), key)

    def create_execution_context(self) -> ExecutionContext:
        """A context with memory of its own."""
        return self._create_context(with_memory=True)

    def create_execution_context_without_device_memory(self) -> ExecutionContext:
        """A context that runs once `device_memory` is set."""
        return self._create_context(with_memory=False)

    def close(self) -> None:
        """Close all contexts and give all memory back, after calls that are running. Twice is once."""
        with self._lock:
            self._closed = True
            for context in list(self._contexts):
                context.close()
            for module in reversed(self._modules):
                module.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        bindings = ", ".join(f"{b.mode} {b.name}: {b.type}" for b in self._table.bindings)
        return f"Engine('{self.name}', {bindings})"

    def _loaded(self, plan: Plan) -> tuple[Module, ...]:
        """The modules of all profiles, which have the weights of the first."""
        modules: list[Module] = []
        try:
            for profile in plan.profiles or (plan,):
                shared = modules[0] if modules else None
                modules.append(self._device.load(profile, self._allocator, self.threads, shared))
        except BaseException:
            for module in reversed(modules):
                module.close()
            raise
        return tuple(modules)

    def _call_context(
        self, inputs: Array | Mapping[str, Array], stream: Stream | int | None, outputs: Mapping[str, Array] | None
    ) -> dict[str, Array]:
        context = self._default or self._default_context()
        results = context(inputs, stream, outputs=outputs)
        self._fixed = context.fixed_call
        return results

    def _default_context(self) -> ExecutionContext:
        context = self.create_execution_context()
        with self._lock:
            if self._default is None:
                self._default = context
            return self._default

    def _create_context(self, *, with_memory: bool) -> ExecutionContext:
        with self._lock:
            self._require_open()
            context = ExecutionContext(
                self._device, self._modules, self._profile_table, self._allocator, with_memory=with_memory
            )
            self._contexts.add(context)
            return context

    def _open_plan(self) -> Plan:
        """The plan, whose weights may lie in memory that goes away when the engine is closed."""
        self._require_open()
        return self._plan

    def _require_open(self) -> None:
        if self._closed:
            raise ExecutionError(f"{self._table.where} is closed; load its plan again")


def _device(plan: Plan, wanted: Device | str | None) -> Device:
    return device_for(plan.stamp.device, wanted) if wanted is None or isinstance(wanted, str) else wanted


def _checked_threads(threads: object) -> int:
    if not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise ExecutionError(f"threads: expected an integer from 1 to {MAX_THREADS}, found {threads!r}")
    return threads
