"""Runs single kernels on a GPU: for the tuner, for benchmarks and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cuda.code import CudaCode, CudaFunction, Launch
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.graph import CudaGraph
from tensorwright.devices.cuda.libraries.calls import PreparedCall
from tensorwright.devices.cuda.memory import ALIGNMENT, Copies, DeviceAllocator
from tensorwright.devices.cuda.placed import Placed, PlacedCall, PlacedLaunch, put_all
from tensorwright.devices.cuda.stream import CudaEvent, CudaStream
from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.libraries.kernel import CallKernel
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.arrange import from_layout, to_layout
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.dtype import DType
from tensorwright.tune.bench import POISON

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class DeviceArray:
    """Elements in device memory, which is given back with the last reference."""

    buffer: Buffer
    elements: int
    dtype: DType

    @property
    def address(self) -> int:
        return self.buffer.address


@dataclass(frozen=True)
class Workspace:
    """Scratch memory with counters in front of it."""

    buffer: Buffer
    counters: int

    @property
    def address(self) -> int:
        """Where it begins, behind the counters."""
        return self.buffer.address + self.counters


class DeviceArrays:
    """Moves arrays to a GPU and back."""

    def __init__(self, context: Context, allocator: Allocator | None = None) -> None:
        self._allocator, self._copies = allocator or DeviceAllocator(context), Copies(context)

    def place(self, array: Array, dtype: DType) -> DeviceArray:
        """A copy of an array's elements on the device, in order."""
        elements = np.ascontiguousarray(array).reshape(-1)
        placed = self.reserve(elements.size, dtype)
        if elements.nbytes:
            self._copies.to_device(placed.address, elements.ctypes.data, elements.nbytes)
        return placed

    def reserve(self, elements: int, dtype: DType) -> DeviceArray:
        """Room for elements, which holds anything."""
        size = elements * dtype.size
        return DeviceArray(Buffer(self._allocator, size, ALIGNMENT, "running a kernel"), elements, dtype)

    def workspace(self, kernel: Kernel) -> Workspace:
        """Memory for a kernel that holds anything, and counters that are 0."""
        counters = kernel.counters if isinstance(kernel, CudaKernel) else 0
        size, zeros = max(counters + kernel.workspace, 1), np.zeros(counters, np.uint8)
        found = Workspace(Buffer(self._allocator, size, ALIGNMENT, "the workspace of a kernel"), counters)
        if counters:
            self._copies.to_device(found.buffer.address, zeros.ctypes.data, counters)
        return found

    def copy(self, array: DeviceArray) -> DeviceArray:
        """The same elements once more."""
        return self.place(self.fetch(array), array.dtype)

    def poison(self, array: DeviceArray) -> None:
        """Fill memory with a pattern that no kernel computes: NaN for floats."""
        poison = np.full(array.elements * array.dtype.size, POISON, np.uint8).view(array.dtype.numpy)
        if array.dtype.is_float:
            poison[:] = np.nan
        if poison.nbytes:
            self._copies.to_device(array.address, poison.ctypes.data, poison.nbytes)

    def fetch(self, array: DeviceArray) -> Array:
        """A copy of the elements on the host."""
        found = np.empty(array.elements, array.dtype.numpy)
        if found.nbytes:
            self._copies.to_host(found.ctypes.data, array.address, found.nbytes)
        return found


class Loaded(Protocol):
    """What computes a region, ready for a GPU."""

    @property
    def kernel(self) -> Kernel: ...

    def placed(self, addresses: Sequence[int], workspace: int, symbols: Mapping[str, int]) -> Placed:
        """The step on addresses of output and inputs."""
        ...


@dataclass(frozen=True)
class LoadedKernel:
    """A kernel and its function."""

    kernel: CudaKernel
    function: CudaFunction

    def placed(self, addresses: Sequence[int], workspace: int, symbols: Mapping[str, int]) -> Placed:
        return PlacedLaunch(self.function, launch_of(self.kernel, [*addresses, workspace], symbols))


@dataclass(frozen=True)
class LoadedCall:
    """A call that its library has accepted."""

    kernel: CallKernel
    call: PreparedCall

    def placed(self, addresses: Sequence[int], workspace: int, symbols: Mapping[str, int]) -> Placed:
        return PlacedCall(self.call, tuple(addresses), workspace)


def launch_of(kernel: CudaKernel, addresses: Sequence[int], symbols: Mapping[str, int]) -> Launch:
    """The launch of a kernel on addresses of output, inputs and workspace."""
    x, y, z = (evaluate(size, symbols) for size in kernel.grid)
    maps = tuple(one.at(addresses[one.operand], symbols) for one in kernel.maps)
    arguments = (*addresses, *kernel.arguments(symbols))
    return Launch((x, y, z), kernel.block, arguments, kernel.cluster, kernel.shared_bytes, kernel.waits, maps)


def arranged(region: Region, kernel: Kernel, arrays: Sequence[Array]) -> list[Array]:
    """Row-major input arrays as the kernel wants them."""
    found = []
    for number, array in enumerate(arrays):
        packing = kernel.packings[number] if is_constant(region.inputs[number]) else None
        found.append(to_layout(array, kernel.inputs[number]) if packing is None else packing.pack(array))
    return found


def run_cuda_kernel(
    context: Context,
    region: Region,
    kernel: CudaKernel,
    image: bytes,
    arrays: Sequence[Array],
    symbols: Mapping[str, int] | None = None,
) -> Array:
    """The region's output, row-major, for row-major inputs. `image`: the kernel's machine code or PTX."""
    values, memory = dict(symbols or {}), DeviceArrays(context)
    inputs = [
        memory.place(array, value.type.dtype)
        for array, value in zip(arranged(region, kernel, arrays), region.inputs, strict=True)
    ]
    shape = tuple(evaluate(dim, values) for dim in region.output.type.shape)
    output = memory.reserve(evaluate(kernel.output.elements(shape), values), region.output.type.dtype)
    memory.poison(output)
    workspace = memory.workspace(kernel)
    addresses = [array.address for array in (output, *inputs)]
    launch, stream = launch_of(kernel, [*addresses, workspace.address], values), CudaStream(context)
    if launch.grid[0]:
        CudaCode(context, image, kernel.name).function(kernel.name).launch(launch, stream.handle)
    stream.synchronize()
    return from_layout(memory.fetch(output), kernel.output, shape)


def time_steps(context: Context, steps: Sequence[Placed], rounds: int = 100) -> list[float]:
    """Microseconds of a graph of steps, one after another in it; one number for every round."""
    stream, start, end = CudaStream(context), CudaEvent(context), CudaEvent(context)
    graph, times = CudaGraph(context, lambda into: put_all(steps, into.handle)), []
    for _ in range(rounds + 3):
        start.record(stream)
        graph.launch(stream)
        end.record(stream)
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return times[3:]
