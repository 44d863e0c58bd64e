"""Plans on a GPU: code and weights that contexts share, and the graph of steps that each context has."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableSequence, Sequence
from typing import TYPE_CHECKING

from tensorwright.base.addresses import buffer_address
from tensorwright.base.errors import DeviceError, ExecutionError
from tensorwright.base.unique import Unique
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cuda.code import CudaCode, Launch
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.extents import require_inside
from tensorwright.devices.cuda.fallback import loadable
from tensorwright.devices.cuda.graph import CudaGraph
from tensorwright.devices.cuda.image import CallStep, ImageStep, read_image
from tensorwright.devices.cuda.libraries.calls import Libraries
from tensorwright.devices.cuda.memory import ALIGNMENT, Copies
from tensorwright.devices.cuda.placed import Placed, PlacedCall, PlacedLaunch
from tensorwright.devices.cuda.stream import DEFAULT, CudaEvent, CudaStream
from tensorwright.devices.cuda.turns import Turns
from tensorwright.plan.plan import Base, Plan
from tensorwright.tensor.dim import evaluate

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator

BINDING_ALIGNMENT = 16
"""Bytes to which kernels want bindings aligned: one access of a thread."""
TICKS_PER_MILLISECOND = 1e6


class CudaModule(Unique):
    """Kernels, calls of libraries and weights of a plan on a GPU. weights: those of another module, if they are the
    same. libraries: those of the GPU.
    """

    checks_indices = False

    def __init__(
        self,
        plan: Plan,
        context: Context,
        allocator: Allocator,
        libraries: Libraries,
        weights: Buffer | None = None,
    ) -> None:
        self.plan = plan
        self.context = context
        where = f"plan '{plan.name}'"
        self.image = read_image(plan.executable.code, plan.symbols, where)
        self.workspace_offset = _aligned(plan.arena_bytes) + self.image.counter_bytes
        self.memory_bytes = max(ALIGNMENT, self.workspace_offset + self.image.workspace_bytes)
        codes = loadable(self.image, plan.stamp, context.properties, where)
        self._codes = {name: CudaCode(context, code, f"kernel {name}") for name, code in codes}
        self.functions = {name: code.function(name) for name, code in self._codes.items()}
        require_inside(self.image, plan, where)
        libraries.require(plan.executable.libraries, self.image.calls.values(), where)
        self.calls = {name: libraries.prepared(call, where) for name, call in self.image.calls.items()}
        size = plan.weights.nbytes
        self.turns = Turns(context)
        self.weights = weights or Buffer(allocator, max(size, 1), ALIGNMENT, f"the weights of '{plan.name}'")
        if size and weights is None:
            Copies(context).to_device(self.weights.address, buffer_address(plan.weights), size)

    def create_executor(self) -> CudaExecutor:
        return CudaExecutor(self)

    def step(self, number: int) -> str:
        """A step as messages name it."""
        steps = self.plan.report.get("steps")
        found = steps[number] if isinstance(steps, list) and number < len(steps) else None
        name = f" '{found['name']}'" if isinstance(found, dict) and "name" in found else ""
        return f"step {number + 1}{name} of plan '{self.plan.name}'"

    def close(self) -> None:
        for code in self._codes.values():
            code.close()
        self.weights.close()


class CudaExecutor(Unique):
    """One graph of steps, made for the addresses and sizes of the latest inference and kept while they stay."""

    def __init__(self, module: CudaModule) -> None:
        self.bindings: MutableSequence[int] = [0] * len(module.plan.bindings)
        self.symbols: MutableSequence[int] = [0] * len(module.plan.symbols)
        self._module = module
        self._memory = 0
        self._stream = CudaStream(module.context, DEFAULT)
        self._graph: CudaGraph | None = None
        self._made_for: tuple[int, ...] = ()

    @property
    def runner(self) -> Callable[[], None]:
        return self.run

    def set_memory(self, address: int) -> None:
        self._memory = address

    def run(self) -> None:
        """One inference: as work of a stream it is put there, otherwise it is waited for.

        Raises:
            ExecutionError: a binding is not aligned, or the GPU failed.
        """
        stream = CudaStream.current()
        graph, target = self._ready_graph(), stream or self._stream
        with self._module.turns.turn(self._memory, target):
            graph.launch(target)
        if stream is None:
            target.synchronize()

    def run_profiled(self, steps: int) -> list[int]:
        """Nanoseconds: of the host's clock when it begins, and behind it of the GPU's; every launch waits for the one
        before it.
        """
        self._require_aligned()
        events = [CudaEvent(self._module.context) for _ in range(steps + 1)]

        def record(stream: CudaStream) -> None:
            self._clear_counters(stream)
            events[0].record_in_graph(stream)
            for number, (event, found) in enumerate(zip(events[1:], self._each_step(), strict=True)):
                if found is not None:
                    self._put(number, found, stream, early=False)
                event.record_in_graph(stream)

        graph = CudaGraph(self._module.context, record)
        began = time.perf_counter_ns()
        graph.launch(self._stream)
        self._stream.synchronize()
        graph.close()
        return [began + round(events[0].elapsed_time(event) * TICKS_PER_MILLISECOND) for event in events]

    def close(self) -> None:
        if self._graph is not None:
            self._stream.synchronize()
            self._graph.close()
            self._graph = None
            self._made_for = ()

    def _ready_graph(self) -> CudaGraph:
        wanted = (self._memory, *self.bindings, *self.symbols)
        if self._graph is None or wanted != self._made_for:
            self._require_aligned()
            if self._graph is None or not self._graph.update(self._record):
                self._graph = CudaGraph(self._module.context, self._record)
            self._made_for = wanted
        return self._graph

    def _require_aligned(self) -> None:
        for binding, address in zip(self._module.plan.bindings, self.bindings, strict=True):
            if address % BINDING_ALIGNMENT:
                raise ExecutionError(
                    f"{binding.mode} '{binding.name}' of plan '{self._module.plan.name}': expected device memory that "
                    f"starts at a multiple of {BINDING_ALIGNMENT} bytes, found {address:#x}; copy it to such memory"
                )

    def _record(self, stream: CudaStream) -> None:
        self._clear_counters(stream)
        early = False  # The first one depends on nothing.
        for number, found in enumerate(self._each_step()):
            if found is not None:
                self._put(number, found, stream, early=early)
                early = found.is_kernel

    def _clear_counters(self, stream: CudaStream) -> None:
        """Before every inference: memory that is lent may hold anything."""
        size = self._module.image.counter_bytes
        if size:
            Copies(self._module.context).fill(self._workspace - size, 0, size, stream.handle)

    def _put(self, number: int, step: Placed, stream: CudaStream, *, early: bool) -> None:
        try:
            step.put(stream.handle, early=early)
        except DeviceError as error:
            error.args = (f"{error}; it is {self._module.step(number)}",)
            raise

    def _each_step(self) -> list[Placed | None]:
        """Each step with all addresses and sizes; None for a launch of an empty grid."""
        names = (symbol.name for symbol in self._module.plan.symbols)
        values = dict(zip(names, self.symbols, strict=True))
        return [
            self._call(step) if isinstance(step, CallStep) else self._launch(step, values)
            for step in self._module.image.steps
        ]

    def _addresses(self, operands: Sequence[tuple[Base, int]]) -> tuple[int, ...]:
        bases = {"arena": self._memory, "weights": self._module.weights.address}
        return tuple(self.bindings[place] if base == "binding" else bases[base] + place for base, place in operands)

    @property
    def _workspace(self) -> int:
        return self._memory + self._module.workspace_offset

    def _call(self, step: CallStep) -> PlacedCall:
        return PlacedCall(self._module.calls[step.call], self._addresses(step.operands), self._workspace)

    def _launch(self, step: ImageStep, values: dict[str, int]) -> PlacedLaunch | None:
        x, y, z = (evaluate(size, values) for size in step.grid)
        if 0 in (x, y, z):
            return None
        addresses = (*self._addresses(step.operands), self._workspace)
        arguments = (*addresses, *(values[one] if isinstance(one, str) else one for one in step.symbols))
        maps = tuple(one.at(addresses[one.operand], values) for one in step.maps)
        launch = Launch((x, y, z), step.block, arguments, step.cluster, step.shared_bytes, step.dependent, maps)
        return PlacedLaunch(self._module.functions[step.kernel], launch)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
