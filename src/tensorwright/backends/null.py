"""The null device, both halves: NumPy code, a made-up clock, a program that is a Python function.

It is the smallest complete backend, and the one to copy for another device.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from tensorwright.backends.backend import Backend
from tensorwright.base.errors import BuildError
from tensorwright.codegen.null.compiler import NullCompiler
from tensorwright.codegen.null.numpy_code import PRELUDE, NumpyCode
from tensorwright.devices.device import Allocator
from tensorwright.devices.null.device import ENTRY, null_stamp
from tensorwright.graph.graph import Graph, Value
from tensorwright.graph.region import Region
from tensorwright.kernels import null
from tensorwright.kernels.catalogue import found_below
from tensorwright.kernels.compiler import Compiler
from tensorwright.kernels.tactic import Offer, offers
from tensorwright.passes.rewrite import Pass
from tensorwright.plan.plan import Executable, MachineStamp
from tensorwright.schedule.check.check import check_program
from tensorwright.schedule.lower import lower
from tensorwright.schedule.program import Program, Step
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.dtype import DType
from tensorwright.tune.choice import Choice
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.null.bench import NullBench

TARGET = "numpy"


@dataclass(frozen=True)
class NullToolchain:
    """There is one target, and one thread."""

    target: str = TARGET
    stamp: MachineStamp = field(default_factory=null_stamp)
    threads: int = 1
    offers: tuple[Offer, ...] = field(default_factory=lambda: offers(found_below(null), None))
    roofline: Roofline = field(default_factory=lambda: Roofline(1e9, 1e9, 0.0))
    bench: NullBench = field(default_factory=NullBench)
    first_passes: tuple[Pass, ...] = ()
    passes: tuple[Pass, ...] = ()
    fast_types: frozenset[DType] = frozenset()
    keeps_streams: bool = False
    joins_untimed: bool = False

    def is_small(self, region: Region) -> bool:
        return False

    def compiler(self) -> AbstractContextManager[Compiler]:
        return nullcontext(NullCompiler())

    def listings(self, source: str) -> Mapping[str, str]:
        return {"py": source}

    def lower(self, graph: Graph, choices: Sequence[Choice]) -> Program:
        return lower(graph, choices)

    def check(self, program: Program, symbols: Sequence[Symbol], compiler: Compiler) -> None:
        check_program(program, symbols, (self.threads,), None)

    def executable(self, program: Program, symbols: Sequence[Symbol], compiler: Compiler) -> Executable:
        kernels = {step.kernel.name: step.kernel for step in program.steps}
        parts = [compiler.compile(kernel.name, kernel.code) for kernel in kernels.values()]
        entry = compiler.compile(ENTRY, _entry(program, symbols))
        return Executable(b"\n".join([PRELUDE.encode(), *parts, entry]), {ENTRY: 0})


def _entry(program: Program, symbols: Sequence[Symbol]) -> str:
    """The function that calls the kernels one after another."""
    names = {symbol.name: f"s{number}" for number, symbol in enumerate(symbols)}
    lines = [f"def {ENTRY}(view, symbols, done):"]
    if names:
        lines.append(f"    {', '.join(names.values())}, = symbols")
    for step in program.steps:
        lines += [f"    {_call(step, names)}", "    done()"]
    return "\n".join([*lines, "    return", ""])


def _call(step: Step, names: dict[str, str]) -> str:
    region = step.choice.region
    values = (region.output, *region.inputs)
    views = [
        f"view('{operand.base}', {operand.offset}, {_bytes(value, names)})"
        for operand, value in zip(step.operands, values, strict=True)
    ]
    symbols = "".join(f"{one if isinstance(one, int) else names[one.name]}, " for one in step.kernel.symbols)
    return f"{step.kernel.name}({views[0]}, [{', '.join(views[1:])}], ({symbols}))"


def _bytes(value: Value, names: dict[str, str]) -> str:
    return NumpyCode(names).integer(value.type.elements * value.type.dtype.size, ())


@dataclass(frozen=True)
class NullBackend:
    """For every machine."""

    name = "null"
    targets = (TARGET,)

    def numbered(self, number: int) -> NullBackend:
        """All null devices are alike."""
        return self

    def with_libraries(self, names: Collection[str]) -> NullBackend:
        return self

    def narrow_gains(self, target: str) -> Mapping[str, float]:
        return {}

    def compatible(self) -> NullBackend:
        """Its plans run everywhere."""
        return self

    def toolchain(self, target: str | None, threads: int | None, allocator: Allocator | None) -> NullToolchain:
        if target not in (None, TARGET):
            raise BuildError(f"no target '{target}' of the null device; expected {TARGET}")
        return NullToolchain()


BACKEND: Backend = NullBackend()
