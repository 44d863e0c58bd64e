"""A GPU as a bench."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.devices.cuda.code import CudaCode
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.graph import CudaGraph
from tensorwright.devices.cuda.libraries.calls import Libraries
from tensorwright.devices.cuda.placed import Placed
from tensorwright.devices.cuda.stream import CudaStream
from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.libraries.kernel import CallKernel
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.arrange import Places, from_layout
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.bench import Array, Prepared
from tensorwright.tune.cuda.runner import (
    DeviceArray,
    DeviceArrays,
    Loaded,
    LoadedCall,
    LoadedKernel,
    Workspace,
    arranged,
    time_steps,
)
from tensorwright.tune.machine import Capacities, Machine, MemoryLevel

REPEATS = 20
"""Steps in a graph that is timed, each with constants of its own as far as they have to be cold."""
ROUNDS = 8
MEMORY_SHARE = 0.85
"""The share of the nominal speed that memory reaches."""


@dataclass(frozen=True)
class CudaPrepared:
    """A kernel or a call on the GPU, and its operands in device memory."""

    context: Context
    region: Region
    loaded: Loaded
    output: DeviceArray
    inputs: tuple[DeviceArray, ...]
    workspace: Workspace
    symbols: Mapping[str, int]
    memory: DeviceArrays = field(repr=False)

    def run(self, places: Places | None = None) -> Array:
        stream = CudaStream(self.context)
        self.memory.poison(self.output)
        if not self.is_empty:
            # As in a network: what cannot be recorded in a graph is of no use.
            step = self.placed(self.inputs)
            graph = CudaGraph(self.context, lambda into: step.put(into.handle, early=False))
            graph.launch(stream)
        stream.synchronize()
        shape = tuple(evaluate(dim, self.symbols) for dim in self.region.output.type.shape)
        return from_layout(self.memory.fetch(self.output), self.loaded.kernel.output, shape, places)

    @property
    def is_empty(self) -> bool:
        return not evaluate(self.loaded.kernel.tasks, self.symbols)

    def placed(self, inputs: Sequence[DeviceArray]) -> Placed:
        addresses = [array.address for array in (self.output, *inputs)]
        return self.loaded.placed(addresses, self.workspace.address, self.symbols)

    def copies(self, cold_bytes: int) -> list[tuple[DeviceArray, ...]]:
        """The inputs with different copies of the constants: for each launch at most, `cold_bytes` in all at most."""
        constants = [number for number, value in enumerate(self.region.inputs) if is_constant(value)]
        size = sum(self.inputs[n].elements * self.inputs[n].dtype.size for n in constants)
        count = min(REPEATS, max(1, cold_bytes // size)) if size else 1
        return [self.inputs, *(self._copied(constants) for _ in range(count - 1))]

    def _copied(self, constants: Sequence[int]) -> tuple[DeviceArray, ...]:
        return tuple(self.memory.copy(a) if n in constants else a for n, a in enumerate(self.inputs))


@dataclass(frozen=True)
class CudaBench:
    """Runs kernels on a GPU that is opened when the first one is; `open_context` opens it.

    is_here: whether the target is that of this machine's GPU. open_libraries: opens those that calls are of.
    """

    target: CudaTarget
    open_context: Callable[[], Context]
    allocator: Allocator | None = None
    is_here: bool = True
    open_libraries: Callable[[], Libraries] | None = None

    @cached_property
    def context(self) -> Context:
        return self.open_context()

    @property
    def lacking(self) -> str:
        return ""

    @property
    def capacities(self) -> Capacities:
        return [("L2", self.target.l2_bytes), ("memory", 0)]

    def prepare(
        self,
        region: Region,
        kernel: Kernel,
        compiled: bytes,
        arrays: Sequence[Array],
        symbols: Mapping[str, int],
        sources: Mapping[int, Prepared],
        alike: Sequence[Prepared] = (),
    ) -> CudaPrepared:
        memory = DeviceArrays(self.context, self.allocator)
        inputs = [
            memory.place(array, value.type.dtype)
            for array, value in zip(arranged(region, kernel, arrays), region.inputs, strict=True)
        ]
        for number, source in sources.items():
            inputs[number] = _own(source).output
        shape = tuple(evaluate(dim, symbols) for dim in region.output.type.shape)
        output = memory.reserve(evaluate(kernel.output.elements(shape), symbols), region.output.type.dtype)
        return CudaPrepared(
            context=self.context,
            region=region,
            loaded=self.loaded(kernel, compiled),
            output=output,
            inputs=tuple(inputs),
            workspace=memory.workspace(kernel),
            symbols=symbols,
            memory=memory,
        )

    def loaded(self, kernel: Kernel, compiled: bytes) -> Loaded:
        """A kernel or a call, ready for the GPU."""
        if isinstance(kernel, CallKernel):
            assert self.open_libraries is not None
            return LoadedCall(kernel, self.open_libraries().prepared(kernel.call, "a kernel"))
        assert isinstance(kernel, CudaKernel)
        return LoadedKernel(kernel, CudaCode(self.context, compiled, kernel.name).function(kernel.name))

    def race(self, contestants: Sequence[Sequence[Prepared]], cold_bytes: Sequence[int]) -> list[float]:
        """Seconds of a launch among its like in a graph, the median of some rounds."""
        return [
            sum(self._seconds(_own(kernel), cold) for kernel in kernels)
            for kernels, cold in zip(contestants, cold_bytes, strict=True)
        ]

    def read_speed(self, size: int) -> float | None:
        return None

    def machine(self) -> Machine:
        """What the GPU's clocks and widths say: multiply-adds of all cores, the speed of memory, twice that for L2."""
        found = self.context.properties
        memory = found.memory_gigabytes_per_second * MEMORY_SHARE
        levels = (MemoryLevel("L2", self.target.l2_bytes, 2 * memory), MemoryLevel("memory", 0, memory))
        return Machine(found.float32_gflops, levels)

    def _seconds(self, prepared: CudaPrepared, cold: int) -> float:
        if prepared.is_empty:
            return 0.0
        copies = prepared.copies(cold)  # They have to live until the last step is done.
        steps = [prepared.placed(copies[number % len(copies)]) for number in range(REPEATS)]
        return statistics.median(time_steps(self.context, steps, ROUNDS)) * 1e-6 / len(steps)


def _own(prepared: Prepared) -> CudaPrepared:
    assert isinstance(prepared, CudaPrepared)
    return prepared
