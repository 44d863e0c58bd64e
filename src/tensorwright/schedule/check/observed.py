"""What kernels write, seen by running them on memory filled with a pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import BuildError
from tensorwright.graph.graph import is_constant
from tensorwright.kernels.tactic import Kernel
from tensorwright.schedule.check.shares import NOBODY, Owners, Segments
from tensorwright.schedule.program import PackedConstant, Step
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.layout import physical_bytes
from tensorwright.tune.memory import aligned_bytes, aligned_copy

Bytes = npt.NDArray[np.uint8]

POISONS = (0xA5, 0x5A)
"""A byte that a kernel writes differs from one of them."""

MARGIN = 256
"""Bytes before and behind the output and behind the workspace that have to stay as they are."""


class Loaded(Protocol):
    """A kernel that this process can call."""

    def call(self, *arguments: int) -> None:
        """Run it on addresses of output, inputs and workspace, the symbols' values, the first task, the last + 1."""
        ...


@dataclass(frozen=True, eq=False)
class Run:
    """A step's kernel with memory of its own: activations of ones, the constants of the program."""

    kernel: Loaded
    size: int
    width: int
    inputs: tuple[Bytes, ...]
    workspace: Bytes
    symbols: tuple[int, ...]
    waves: int

    def segment_of(self, poison: int, ranges: Sequence[tuple[int, int]], order: Sequence[int]) -> Owners:
        """The first segment, in an order, that writes each element of the output; NOBODY where none does.

        The ranges are tasks of one wave; all segments of a wave run before those of the next one.

        Raises:
            BuildError: the kernel writes outside its output or its workspace.
        """
        memory = aligned_bytes(self.size + 2 * MARGIN)
        memory[:], self.workspace[:] = poison, poison
        output = memory[MARGIN : MARGIN + self.size]
        found = np.full(self.size // self.width, NOBODY, np.int32)
        addresses = [array.ctypes.data for array in (output, *self.inputs, self.workspace)]
        tasks = max((behind for _, behind in ranges), default=0)
        for turn, number in product(range(self.waves), order):
            first, behind = ranges[number]
            self.kernel.call(*addresses, *self.symbols, first + turn * tasks, behind + turn * tasks)
            changed = (output != poison).reshape(-1, self.width).any(axis=1) & (found == NOBODY)
            found[changed] = number
        edges = [memory[:MARGIN], memory[MARGIN + self.size :], self.workspace[-MARGIN:]]
        if any((edge != poison).any() for edge in edges):
            raise BuildError("it writes outside its output and its workspace")
        return found


def prepare(step: Step, loaded: Loaded, constants: Mapping[int, PackedConstant], symbols: Mapping[str, int]) -> Run:
    """A step ready to run; symbols: the values of dimensions by name."""
    region, kernel = step.choice.region, step.kernel
    inputs = []
    for value, layout, address in zip(region.inputs, kernel.inputs, step.operands[1:], strict=True):
        if is_constant(value):
            inputs.append(aligned_copy(np.ascontiguousarray(constants[address.offset].packed)).view(np.uint8))
            continue
        memory = aligned_bytes(evaluate(physical_bytes(value.type, layout), symbols))
        memory.view(value.type.dtype.numpy)[:] = 1
        inputs.append(memory)
    return Run(
        loaded,
        evaluate(physical_bytes(region.output.type, kernel.output), symbols),
        region.output.type.dtype.size,
        tuple(inputs),
        aligned_bytes(kernel.workspace + MARGIN),
        kernel.arguments(symbols),
        evaluate(kernel.waves, symbols),
    )


def written(run: Run, segments: Segments) -> Owners:
    """The segment of tasks that writes each element of the output's memory; NOBODY where none does.

    Raises:
        BuildError: two segments write the same element, or the kernel writes where it must not.
    """
    ranges = segments.ranges
    first = run.segment_of(POISONS[0], ranges, range(len(ranges)))
    second = run.segment_of(POISONS[1], ranges, range(len(ranges))[::-1])
    twice = (first != second) & (first != NOBODY) & (second != NOBODY)
    if twice.any():
        element = int(np.argmax(twice))
        tasks = " and ".join(f"{ranges[found[element]]}" for found in (first, second))
        raise BuildError(f"its tasks {tasks} both write element {element} of its output")
    return np.maximum(first, second)


def claimed(kernel: Kernel, size: int, width: int, segments: Segments) -> Owners | None:
    """The same by what the kernel says of itself, for kernels that cannot run here; None if it says nothing."""
    if kernel.writes is None:
        return None
    found = np.full(kernel.writes.shape, NOBODY, np.int32)
    for number, (first, behind) in enumerate(segments.ranges):
        for task in range(first, behind):
            found[tuple(slice(low, high) for low, high in kernel.writes.box(task))] = number
    return found.reshape(size // width)
