"""Runs single kernels: for the tuner, for benchmarks and for tests."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.link import link
from tensorwright.codegen.target import Target
from tensorwright.devices.cpu.code import ExecutableMemory
from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.arrange import from_layout, to_layout
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.dtype import UINT8
from tensorwright.tune.memory import aligned_copy, poisoned

Array = npt.NDArray[np.generic]


class LoadedKernel:
    """A kernel's machine code in memory, ready to be called with addresses."""

    def __init__(self, kernel: Kernel, target: Target, compiled: bytes | None = None) -> None:
        image = link([compiled if compiled is not None else compile_object(kernel.code, target)])
        self._memory = ExecutableMemory(image.code)
        arguments = [ctypes.c_void_p] * (len(kernel.inputs) + 2) + [ctypes.c_int64] * (len(kernel.symbols) + 2)
        self._function = ctypes.CFUNCTYPE(None, *arguments)(self._memory.address + image.functions[kernel.name])

    def call(self, *arguments: int) -> None:
        """Run it on addresses of output, inputs and workspace, the symbols' values, the first task, the last + 1."""
        self._function(*arguments)


@dataclass(frozen=True)
class Operands:
    """Memory that one call of a kernel works on: arrays in the kernel's layouts and packings."""

    output: Array
    inputs: tuple[Array, ...]
    workspace: Array
    symbols: tuple[int, ...]
    tasks: int

    @property
    def arguments(self) -> tuple[int, ...]:
        addresses = [array.ctypes.data for array in (self.output, *self.inputs, self.workspace)]
        return (*addresses, *self.symbols, 0, self.tasks)


def prepare(
    region: Region,
    kernel: Kernel,
    arrays: Sequence[Array],
    symbols: Mapping[str, int],
    allocator: Allocator | None = None,
) -> Operands:
    """Lay out row-major input arrays as the kernel wants them; the output is poisoned.

    The memory comes from `allocator`, NumPy's if there is none.
    """
    inputs = []
    for number, array in enumerate(arrays):
        packing = kernel.packings[number] if is_constant(region.inputs[number]) else None
        moved = to_layout(array, kernel.inputs[number]) if packing is None else packing.pack(array)
        inputs.append(aligned_copy(moved, allocator))
    shape = tuple(evaluate(dim, symbols) for dim in region.output.type.shape)
    elements = evaluate(kernel.output.elements(shape), symbols)
    return Operands(
        output=poisoned(elements, region.output.type.dtype, allocator),
        inputs=tuple(inputs),
        workspace=poisoned(kernel.workspace, UINT8, allocator),
        symbols=kernel.arguments(symbols),
        tasks=evaluate(kernel.tasks, symbols),
    )


def run_kernel(
    region: Region, kernel: Kernel, target: Target, arrays: Sequence[Array], symbols: Mapping[str, int] | None = None
) -> Array:
    """The region's output, row-major, for row-major inputs."""
    values = dict(symbols or {})
    operands = prepare(region, kernel, arrays, values)
    LoadedKernel(kernel, target).call(*operands.arguments)
    shape = tuple(evaluate(dim, values) for dim in region.output.type.shape)
    return from_layout(operands.output, kernel.output, shape)
