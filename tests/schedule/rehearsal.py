"""Runs programs step by step, threads one after another in any order: what a race would do, without the chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cases.case import Array
from tensorwright.codegen.target import Target
from tensorwright.kernels.tactic import Kernel
from tensorwright.plan.plan import Address
from tensorwright.schedule.program import Program, Step
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.cpu.kernel_runner import LoadedKernel
from tensorwright.tune.memory import aligned_bytes

POISON = 0xA5
MARGIN = 1 << 16
"""Bytes around the arena, for programs that leave it."""


class Kernels:
    """Compiles kernels, each once."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._loaded: dict[str, LoadedKernel] = {}

    def load(self, kernel: Kernel) -> LoadedKernel:
        if kernel.name not in self._loaded:
            self._loaded[kernel.name] = LoadedKernel(kernel, self._target)
        return self._loaded[kernel.name]


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """A program with inputs, and symbols by name."""

    kernels: Kernels
    inputs: Mapping[str, Array]
    symbols: Mapping[str, int]

    def run(self, program: Program, threads: int, order: Sequence[int]) -> list[bytes]:
        """The outputs when, between two times that all wait, the threads run one after another in this order."""
        memory = _Memory(program, self)
        groups: list[list[Step]] = [[]]
        for number, step in enumerate(program.steps):
            if number and step.waits(threads):
                groups.append([])
            groups[-1].append(step)
        for group in groups:
            for share in order:
                for step in group:
                    tasks = evaluate(step.kernel.tasks, self.symbols)
                    ends = [tasks * (share + more) // threads for more in (0, 1)]
                    addresses = [memory.address(operand) for operand in step.operands]
                    symbols = step.kernel.arguments(self.symbols)
                    self.kernels.load(step.kernel).call(*addresses, memory.workspace.ctypes.data, *symbols, *ends)
        return [memory.bindings[number].tobytes() for number in range(len(program.inputs), len(memory.bindings))]


class _Memory:
    def __init__(self, program: Program, rehearsal: Rehearsal) -> None:
        self.arena = _filled(program.arena_bytes + 2 * MARGIN)
        self.workspace = _filled(program.workspace_bytes)
        self.weights = aligned_bytes(program.weights_bytes)
        for constant in program.constants:
            flat = np.ascontiguousarray(constant.packed).reshape(-1).view(np.uint8)
            self.weights[constant.offset : constant.offset + constant.size] = flat
        self.bindings = []
        for name, value in program.inputs:
            self.bindings.append(aligned_bytes(rehearsal.inputs[name].nbytes))
            self.bindings[-1][:] = rehearsal.inputs[name].reshape(-1).view(np.uint8)
            assert rehearsal.inputs[name].dtype == value.type.dtype.numpy
        for _, value in program.outputs:
            self.bindings.append(_filled(evaluate(value.type.elements, rehearsal.symbols) * value.type.dtype.size))

    def address(self, operand: Address) -> int:
        if operand.base == "binding":
            return self.bindings[operand.offset].ctypes.data
        start = self.weights.ctypes.data if operand.base == "weights" else self.arena.ctypes.data + MARGIN
        return start + operand.offset


def _filled(size: int) -> np.ndarray:
    memory = aligned_bytes(size)
    memory[:] = POISON
    return memory
