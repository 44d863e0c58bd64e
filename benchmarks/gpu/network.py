"""Networks as lists of launches: regions, layouts chosen greedily, one arena."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cuda.code import CudaCode, CudaFunction, Launch
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.graph import CudaGraph
from tensorwright.devices.cuda.memory import ALIGNMENT, Copies, DeviceAllocator
from tensorwright.devices.cuda.stream import CudaStream
from tensorwright.graph.graph import Graph, Value, apply, is_constant, storage_root, weights_in
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cuda.fragments.problem import BLOCKED
from tensorwright.kernels.cuda.generic import Generic, configs_in
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.ops.elementwise import Identity
from tensorwright.ops.width_windows import WidthWindows
from tensorwright.passes.fuse import partition
from tensorwright.passes.outputs import separate_outputs
from tensorwright.passes.pipeline import PASSES, optimise
from tensorwright.passes.windows import widen_channels
from tensorwright.schedule.arena import Block, place
from tensorwright.tensor.layout import PLAIN, Layout
from tensorwright.tune.cuda.runner import launch_of

Stored = tuple[Value, Layout]
Choose = Callable[[Region], CudaKernel | None]


@dataclass(frozen=True, eq=False)
class Step:
    """A kernel, what it computes, and the tensors it works on: output first, then the inputs that are no constants."""

    region: Region
    kernel: CudaKernel
    output: Stored
    inputs: tuple[Stored, ...]


@dataclass
class Lowering:
    """Chooses a kernel for each region, by `choose` or else the generic one, and adds what changes layouts."""

    target: CudaTarget
    choose: Choose
    steps: list[Step] = field(default_factory=list)
    stored: set[Stored] = field(default_factory=set)

    def add(self, region: Region) -> None:
        kernel = self.choose(region) or self._generic(region)
        inputs = tuple(
            self._read(value, layout)
            for value, layout in zip(region.inputs, kernel.inputs, strict=True)
            if not is_constant(value)
        )
        self._append(Step(region, kernel, (region.output, kernel.output), inputs))

    def finish(self, outputs: Sequence[Value]) -> None:
        for value in outputs:
            self._read(value, PLAIN)

    def _append(self, step: Step) -> None:
        self.steps.append(step)
        self.stored.add(step.output)

    def _generic(self, region: Region) -> CudaKernel:
        inputs, output = self._layouts(region)
        return Generic().emit(region, configs_in(region, inputs, output)[0], self.target)

    def _layouts(self, region: Region) -> tuple[tuple[Layout, ...], Layout]:
        """Blocked where an operand is, plain for results of one pixel."""
        rank = region.output.type.rank
        found = tuple(BLOCKED if (value, BLOCKED) in self.stored else PLAIN for value in region.inputs)
        pixels = rank > 2 and any(extent != 1 for extent in region.output.type.shape[2:])
        channels = rank > 2 and isinstance(region.output.type.shape[1], int)
        blocked = BLOCKED in found or isinstance(region.output.op, WidthWindows)
        return found, BLOCKED if blocked and pixels and channels else PLAIN

    def _read(self, value: Value, layout: Layout) -> Stored:
        """A tensor in a layout; a kernel that copies it there is added if needed."""
        root = storage_root(value)
        if root is not value and layout.is_plain:
            value = root
        source = next((s for s in ((value, BLOCKED), (value, PLAIN)) if s in self.stored), (root, PLAIN))
        if (value, layout) not in self.stored and source != (value, layout):
            region = region_of([apply(Identity(), value)])
            config = configs_in(region, (source[1],), layout)[0]
            self._append(Step(region, Generic().emit(region, config, self.target), (value, layout), (source,)))
        return value, layout


def lower(graph: Graph, target: CudaTarget, choose: Choose) -> tuple[Graph, list[Step]]:
    """The optimised graph and its steps."""
    graph = separate_outputs(optimise(graph, passes=(*PASSES, widen_channels)))
    lowering = Lowering(target, choose)
    lowering.stored.update((value, PLAIN) for _, value in graph.inputs)
    for region in partition(graph):
        lowering.add(region)
    lowering.finish([value for _, value in graph.outputs])
    return graph, lowering.steps


class Network:
    """Steps on a GPU: code, weights, arena, and a graph that launches them."""

    def __init__(
        self,
        context: Context,
        graph: Graph,
        steps: Sequence[Step],
        images: Mapping[str, bytes],
        *,
        dependent: bool = True,
        same_weights: bool = False,
    ) -> None:
        """same_weights: all steps read the same memory as weights, to see what cold weights cost; results are wrong."""
        self._context, self.graph, self.steps = context, graph, steps
        self._allocator, self._copies = DeviceAllocator(context), Copies(context)
        self._keep: list[object] = []
        self._constants: dict[tuple[bytes, str], int] = {}
        self._shared = self._reserve(64 << 20) if same_weights else None
        self._modules = {name: CudaCode(context, image, name).function(name) for name, image in images.items()}
        self.addresses = self._place()
        self.launches = [self._launch(number, dependent) for number in range(len(steps))]
        self.cuda_graph = CudaGraph(context, self._record)

    def _record(self, stream: CudaStream) -> None:
        for function, launch in self.launches:
            function.launch(launch, stream.handle)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference on row-major arrays."""
        for name, value in self.graph.inputs:
            array = np.ascontiguousarray(inputs[name])
            self._copies.to_device(self.addresses[value, PLAIN], array.ctypes.data, array.nbytes)
        stream, found = CudaStream(self._context), {}
        self.cuda_graph.launch(stream)
        stream.synchronize()
        for name, value in self.graph.outputs:
            array = np.empty([int(extent) for extent in value.type.shape], value.type.dtype.numpy)
            self._copies.to_host(array.ctypes.data, self.addresses[storage_root(value), PLAIN], array.nbytes)
            found[name] = array
        return found

    def _place(self) -> dict[Stored, int]:
        """An address for every tensor; those that are not needed at the same time share memory."""
        first: dict[Stored, int] = {(value, PLAIN): -1 for _, value in self.graph.inputs}
        last: dict[Stored, int] = {}
        for number, step in enumerate(self.steps):
            first.setdefault(step.output, number)
            for stored in (step.output, *step.inputs):
                last[stored] = number
        end = len(self.steps)
        for _, value in self.graph.outputs:
            last[storage_root(value), PLAIN] = end
        for _, value in self.graph.inputs:
            last[value, PLAIN] = end
        order = list(first)
        sizes = [int(layout.elements(value.type.shape)) * value.type.dtype.size for value, layout in order]
        rounded = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
        blocks = [Block(size, first[s], last.get(s, end)) for size, s in zip(rounded, order, strict=True)]
        placement = place(blocks)
        self.arena_bytes = placement.size
        base = self._reserve(placement.size)
        return {stored: base + offset for stored, offset in zip(order, placement.offsets, strict=True)}

    def _launch(self, number: int, dependent: bool) -> tuple[CudaFunction, Launch]:
        step = self.steps[number]
        addresses, moving = [self.addresses[step.output]], iter(step.inputs)
        for position, value in enumerate(step.region.inputs):
            addresses.append(self._constant(step, position) if is_constant(value) else self.addresses[next(moving)])
        launch = launch_of(step.kernel, [*addresses, 0], {})
        if not dependent or number == 0:
            launch = Launch(launch.grid, launch.block, launch.arguments, launch.cluster, launch.shared_bytes)
        return self._modules[step.kernel.name], launch

    def _constant(self, step: Step, position: int) -> int:
        if self._shared is not None:
            return self._shared
        weights, packing = weights_in(step.region.inputs[position]), step.kernel.packings[position]
        key = (weights.digest, "" if packing is None else packing.name)
        if key not in self._constants:
            packed = np.ascontiguousarray(weights.array if packing is None else packing.pack(weights.array))
            self._constants[key] = self._reserve(packed.nbytes)
            self._copies.to_device(self._constants[key], packed.ctypes.data, packed.nbytes)
        return self._constants[key]

    def _reserve(self, size: int) -> int:
        buffer = Buffer(self._allocator, max(size, 1), ALIGNMENT, "a network")
        self._keep.append(buffer)
        return buffer.address
