"""Runs single kernels: for the tuner, for benchmarks and for tests."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.target import Target
from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import Kernel, Packing
from tensorwright.tensor.arrange import from_layout, in_order
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.dtype import UINT8
from tensorwright.tensor.layout import Layout
from tensorwright.tune.cpu.loaded import LoadedFunction
from tensorwright.tune.memory import aligned_copy, poisoned

Array = npt.NDArray[np.generic]


class LoadedKernel:
    """A kernel's machine code in memory, ready to be called with addresses.

    target: what the code is for. compiled: the code, if it was compiled before.

    Raises:
        PlanError: this machine lacks the target's instruction set.
    """

    def __init__(self, kernel: Kernel, target: Target, compiled: bytes | None = None) -> None:
        code = compiled if compiled is not None else compile_object(kernel.code, target)
        addresses, numbers = len(kernel.inputs) + 2, len(kernel.symbols) + 2
        self._function = LoadedFunction(
            kernel.name, code, target, (*[ctypes.c_void_p] * addresses, *[ctypes.c_int64] * numbers)
        )

    def call(self, *arguments: int) -> None:
        """Run it on addresses of output, inputs and workspace, the symbols' values, the first task, the last + 1."""
        self._function.call(*arguments)


@dataclass(frozen=True)
class Place:
    """How an input of a region lies in memory: in a layout, or, a constant, in a packing of this name."""

    number: int
    layout: Layout
    packing: str


NOTHING_KNOWN: Mapping[Place, Array] = MappingProxyType({})


def places(region: Region, kernel: Kernel) -> list[Place]:
    """How a kernel wants the inputs of a region."""
    named = ["" if packing is None else packing.name for packing in packings_of(region, kernel)]
    return [Place(number, *how) for number, how in enumerate(zip(kernel.inputs, named, strict=True))]


def packings_of(region: Region, kernel: Kernel) -> list[Packing | None]:
    """For every input, how a kernel wants it packed if it is a constant."""
    pairs = zip(kernel.packings, region.inputs, strict=True)
    return [packing if is_constant(value) else None for packing, value in pairs]


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
    known: Mapping[Place, Array] = NOTHING_KNOWN,
) -> Operands:
    """Lay out row-major input arrays as the kernel wants them; the output is poisoned.

    The memory comes from `allocator`, NumPy's if there is none. known: inputs that have been laid out before.
    """
    inputs = []
    for array, place, packing in zip(arrays, places(region, kernel), packings_of(region, kernel), strict=True):
        found = known.get(place)
        if found is None:
            moved = in_order(array, place.layout) if packing is None else packing.pack(array)
            found = aligned_copy(moved, allocator)
        inputs.append(found)
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
