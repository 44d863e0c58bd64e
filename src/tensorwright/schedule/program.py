"""A program: a straight line of steps over slices of one arena, plus packed constants."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.graph.graph import Value
from tensorwright.graph.op import Array
from tensorwright.kernels.tactic import Kernel
from tensorwright.plan.plan import Address
from tensorwright.tensor.weights import Weights
from tensorwright.tune.choice import Choice


@dataclass(frozen=True)
class PackedConstant:
    """A constant, the same as a kernel wants it, and where that starts among the program's weights.

    packed: a view of them.
    """

    weights: Weights
    packed: Array
    offset: int

    @property
    def size(self) -> int:
        return self.packed.nbytes


@dataclass(frozen=True)
class Step:
    """A choice that is carried out, and where the operands of its kernel lie, output first.

    free: the numbers of threads with which no thread has to wait for others before this step, as the bits of a number;
    with every other number of threads all wait for each other.
    """

    choice: Choice
    operands: tuple[Address, ...]
    free: int = 0

    @property
    def kernel(self) -> Kernel:
        return self.choice.kernel

    def waits(self, threads: int) -> bool:
        """Whether so many threads wait for each other before this step."""
        return not self.free >> threads & 1


@dataclass(frozen=True)
class Program:
    """What the network does, step by step.

    kept: results that are no outputs but stay in the arena until the end.

    arena_bytes: the arena that all activations share; arena_lower_bound: the most that is alive at once;
    weights: packed constants, zeros between them.
    """

    inputs: tuple[tuple[str, Value], ...]
    outputs: tuple[tuple[str, Value], ...]
    kept: tuple[tuple[str, Value], ...]
    steps: tuple[Step, ...]
    constants: tuple[PackedConstant, ...]
    arena_bytes: int
    arena_lower_bound: int
    weights: memoryview
    workspace_bytes: int

    @property
    def weights_bytes(self) -> int:
        return self.weights.nbytes

    def waits(self, threads: int) -> tuple[int, ...]:
        """The steps before which so many threads wait for each other; nobody waits before the first one."""
        return tuple(n for n, step in enumerate(self.steps) if n and step.waits(threads))
