"""The CPU as a bench: kernels run in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tensorwright.codegen.target import Target
from tensorwright.devices.cpu.host import lacking
from tensorwright.devices.device import Allocator
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.arrange import Places, from_layout
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.bench import Array, Prepared
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, Operands, Place, places, prepare
from tensorwright.tune.cpu.machine import capacities, measured_machine, measured_speed
from tensorwright.tune.cpu.timer import Call, Contestant, race, run_timed, timed_call
from tensorwright.tune.machine import Capacities, Machine
from tensorwright.tune.spare import SpareMemory


@dataclass(frozen=True)
class CpuPrepared:
    """A kernel in executable memory and its operands.

    share: how many of its tasks one thread has. seconds: how long the share took in every run of all tasks.
    """

    region: Region
    kernel: Kernel
    loaded: LoadedKernel
    operands: Operands
    symbols: Mapping[str, int]
    share: int
    seconds: list[float] = field(default_factory=list)

    def placed(self) -> Iterator[tuple[Place, Array]]:
        """Its inputs by how they lie."""
        return zip(places(self.region, self.kernel), self.operands.inputs, strict=True)

    def run(self, places: Places | None = None) -> Array:
        self.seconds.append(run_timed(self.loaded, self.operands, self.share))
        shape = tuple(evaluate(dim, self.symbols) for dim in self.region.output.type.shape)
        return from_layout(self.operands.output, self.kernel.output, shape, places)


@dataclass(frozen=True)
class CpuBench:
    """Runs kernels on one thread of this process; times are those of one thread's share out of `threads`.

    allocator: gives the memory of the operands; `spare` does if there is none.
    """

    target: Target
    threads: int
    allocator: Allocator | None = None
    spare: SpareMemory = field(default_factory=SpareMemory, repr=False, compare=False)

    @property
    def _memory(self) -> Allocator:
        return self.spare if self.allocator is None else self.allocator

    @property
    def is_here(self) -> bool:
        return not self.lacking

    @property
    def lacking(self) -> str:
        return lacking(self.target.name)

    @property
    def capacities(self) -> Capacities:
        return capacities(self.target, self.threads)

    def prepare(
        self,
        region: Region,
        kernel: Kernel,
        compiled: bytes,
        arrays: Sequence[Array],
        symbols: Mapping[str, int],
        sources: Mapping[int, Prepared],
        alike: Sequence[Prepared] = (),
    ) -> CpuPrepared:
        known = {place: array for other in map(_own, alike) for place, array in other.placed()}
        operands = prepare(region, kernel, arrays, symbols, self._memory, known)
        inputs = list(operands.inputs)
        for number, source in sources.items():
            inputs[number] = _own(source).operands.output
        loaded = LoadedKernel(kernel, self.target, compiled)
        share = -(-operands.tasks // self.threads)
        return CpuPrepared(region, kernel, loaded, replace(operands, inputs=tuple(inputs)), symbols, share)

    def race(self, contestants: Sequence[Sequence[Prepared]], cold_bytes: Sequence[int]) -> list[float]:
        racing = [
            Contestant([self._call(one, cold) for one in kernels], _known_seconds(kernels))
            for kernels, cold in zip([list(map(_own, some)) for some in contestants], cold_bytes, strict=True)
        ]
        race(racing)
        return [contestant.seconds for contestant in racing]

    def read_speed(self, size: int) -> float | None:
        return measured_speed(self.target, size, self.threads)

    def _call(self, it: CpuPrepared, cold_bytes: int) -> Call:
        return timed_call(
            it.region, it.kernel, it.loaded, it.operands, it.symbols, self.threads, cold_bytes, self._memory
        )

    def machine(self) -> Machine:
        return measured_machine(self.target, self.threads)


def _known_seconds(kernels: Sequence[CpuPrepared]) -> list[float]:
    """What kernels took together when they were run to see what they compute; nothing if one has not run."""
    if not all(kernel.seconds for kernel in kernels):
        return []
    return [sum(kernel.seconds[-1] for kernel in kernels)]


def _own(prepared: Prepared) -> CpuPrepared:
    assert isinstance(prepared, CpuPrepared)
    return prepared
