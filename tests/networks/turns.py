"""Runs a program as unlucky threads would: between two places where all wait, one after the other does its share.

Whatever one thread must not overtake shows at once, and in every run. The shares are those of any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from networks.memory import Guarded
from networks.toolchain import Built
from tensorwright.plan.plan import Address
from tensorwright.schedule.program import Step
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.cpu.kernel_runner import LoadedKernel

Array = npt.NDArray[np.generic]
ALIGNMENT = 64


class Turns:
    """A built program, loaded kernel by kernel."""

    def __init__(self, built: Built) -> None:
        self._program = built.program
        self._symbols = [symbol.name for symbol in built.symbols]
        self._kernels = {
            step.kernel.name: LoadedKernel(step.kernel, built.tools.machine, built.objects[step.kernel.name])
            for step in built.program.steps
        }
        self._arena = Guarded(built.program.arena_bytes, ALIGNMENT)
        self._scratch = Guarded(built.program.workspace_bytes, ALIGNMENT)
        self._weights = Guarded(built.program.weights_bytes, ALIGNMENT)
        self._weights.bytes[:] = np.frombuffer(built.program.weights, np.uint8)

    def run(
        self,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        symbols: Mapping[str, int],
        order: Sequence[int],
        poison: int,
    ) -> dict[str, Array]:
        """The outputs, whose shapes `outputs` says.

        order: the numbers of the threads, in the order in which they do their shares.

        Raises:
            AssertionError: something was written outside of the outputs and the arena.
        """
        given = [_guarded(inputs[name]) for name, _ in self._program.inputs]
        made = {name: _guarded(outputs[name].astype(value.type.dtype.numpy)) for name, value in self._program.outputs}
        for place in (self._arena, self._scratch, *made.values()):
            place.fill(poison)
        bindings = [place.address for place in (*given, *made.values())]
        for group in self._groups(len(order)):
            for thread in order:
                for step in group:
                    self._share(step, thread, len(order), bindings, symbols, poison)
        for name, place in {"the arena": self._arena, "scratch memory": self._scratch, **made}.items():
            assert place.is_intact(poison), f"something was written outside of {name}"
        types = {name: value.type.dtype.numpy for name, value in self._program.outputs}
        return {name: place.bytes.view(types[name]).reshape(outputs[name].shape) for name, place in made.items()}

    def _groups(self, threads: int) -> Iterator[list[Step]]:
        group: list[Step] = []
        for step in self._program.steps:
            if group and step.waits(threads):
                yield group
                group = []
            group.append(step)
        yield group

    def _share(
        self, step: Step, thread: int, threads: int, bindings: Sequence[int], symbols: Mapping[str, int], poison: int
    ) -> None:
        kernel = step.kernel
        tasks = evaluate(kernel.tasks, symbols)
        self._scratch.fill(poison)
        addresses = [self._address(operand, bindings) for operand in step.operands]
        begin, end = tasks * thread // threads, tasks * (thread + 1) // threads
        self._kernels[kernel.name].call(*addresses, self._scratch.address, *kernel.arguments(symbols), begin, end)

    def _address(self, operand: Address, bindings: Sequence[int]) -> int:
        if operand.base == "binding":
            return bindings[operand.offset]
        return (self._arena if operand.base == "arena" else self._weights).address + operand.offset


def _guarded(array: Array) -> Guarded:
    place = Guarded(array.nbytes, ALIGNMENT)
    place.bytes[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return place
