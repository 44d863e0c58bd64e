"""Kernels of the null device run in this process; their times are made up, and always the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorwright.codegen.null.numpy_code import PRELUDE
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.arrange import Places
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.bench import POISON, Array, Prepared
from tensorwright.tune.machine import Capacities, Machine, MemoryLevel

SECONDS_PER_CHARACTER = 1e-9
LEVELS = (MemoryLevel("memory", 0, 1.0),)


@dataclass(frozen=True)
class NullPrepared:
    """A function, its operands in memory, and how long it pretends to take."""

    function: Callable[..., None]
    inputs: tuple[Array, ...]
    output: Array
    symbols: tuple[int, ...]
    seconds: float

    def run(self, places: Places | None = None) -> Array:
        memory = [array.reshape(-1).view(np.uint8).data for array in (self.output, *self.inputs)]
        self.function(memory[0], memory[1:], self.symbols)
        return self.output.copy() if places is None else self.output[places].reshape(-1)


class NullBench:
    """A clock that counts the characters of a kernel's text."""

    @property
    def is_here(self) -> bool:
        return True

    @property
    def lacking(self) -> str:
        return ""

    @property
    def capacities(self) -> Capacities:
        return self.machine().capacities

    def prepare(
        self,
        region: Region,
        kernel: Kernel,
        compiled: bytes,
        arrays: Sequence[Array],
        symbols: Mapping[str, int],
        sources: Mapping[int, Prepared],
        alike: Sequence[Prepared] = (),
    ) -> NullPrepared:
        namespace: dict[str, Any] = {}
        exec(PRELUDE.encode() + compiled, namespace)  # noqa: S102 - it was generated a moment ago
        inputs = [np.array(array, order="C") for array in arrays]
        for number, source in sources.items():
            inputs[number] = _own(source).output
        type = region.output.type
        output = np.empty(tuple(evaluate(dim, symbols) for dim in type.shape), type.dtype.numpy)
        output.reshape(-1).view(np.uint8).fill(POISON)
        seconds = len(compiled) * SECONDS_PER_CHARACTER
        return NullPrepared(namespace[kernel.name], tuple(inputs), output, kernel.arguments(symbols), seconds)

    def race(self, contestants: Sequence[Sequence[Prepared]], cold_bytes: Sequence[int]) -> list[float]:
        return [
            sum(kernel.seconds for kernel in kernels if isinstance(kernel, NullPrepared)) for kernels in contestants
        ]

    def read_speed(self, size: int) -> float | None:
        return None

    def machine(self) -> Machine:
        return Machine(1.0, LEVELS)


def _own(prepared: Prepared) -> NullPrepared:
    assert isinstance(prepared, NullPrepared)
    return prepared
