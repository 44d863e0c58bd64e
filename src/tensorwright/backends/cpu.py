"""CPUs: kernels in LLVM IR, one native function for a network, a team of threads that goes through it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

from tensorwright.backends.backend import Backend
from tensorwright.base.errors import BuildError
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.entry import entry_module
from tensorwright.codegen.cpu.link import link
from tensorwright.codegen.cpu.pool import CpuCompilerPool
from tensorwright.codegen.cpu.steps import EntryStep
from tensorwright.codegen.cpu.targets import TARGETS, target_named
from tensorwright.codegen.target import Target
from tensorwright.devices.cpu.code import ENTRIES
from tensorwright.devices.cpu.host import (
    best_instruction_set,
    host_stamp,
    lacking,
    refused_features,
    stamp_elsewhere,
)
from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import Graph
from tensorwright.graph.region import Region
from tensorwright.kernels.compiler import Compiler
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.tactic import AnyTactic, Kernel, Offer, offers
from tensorwright.passes.blocks import weights_in_blocks
from tensorwright.passes.caches import read_caches
from tensorwright.passes.integers import integer_products
from tensorwright.passes.requantise import requantise
from tensorwright.passes.rewrite import Pass
from tensorwright.plan.plan import Executable, MachineStamp
from tensorwright.schedule.check.check import check_program
from tensorwright.schedule.cpu.arrange import arrange_for
from tensorwright.schedule.lower import lower
from tensorwright.schedule.program import Program, Step
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, INT8, DType
from tensorwright.tune.choice import Choice
from tensorwright.tune.cpu.bench import CpuBench
from tensorwright.tune.cpu.kernel_runner import LoadedKernel
from tensorwright.tune.estimate import Roofline

CLOCK = 3.0e9
BYTES_PER_SECOND = 15e9
CALL_SECONDS = 0.3e-6

ENTRY = "network"
"""The name of the module that holds what a plan is entered by; kernels have others."""

CHECKED_THREADS = (1, 2, 3)
"""Programs are checked for so many threads, besides the number that they are tuned for."""


@dataclass(frozen=True)
class CpuToolchain:
    """An instruction set with a catalogue for it."""

    machine: Target
    stamp: MachineStamp
    threads: int
    catalogue: tuple[AnyTactic[Target], ...]
    allocator: Allocator | None

    @property
    def target(self) -> str:
        return self.machine.name

    @cached_property
    def offers(self) -> tuple[Offer, ...]:
        return offers(self.catalogue, self.machine)

    @property
    def fast_types(self) -> frozenset[DType]:
        machine = self.machine
        fast = {
            BFLOAT16: machine.has_bfloat16_dot,
            FLOAT16: machine.has_half_arithmetic,
            INT8: machine.has_integer_dot,
        }
        return frozenset(dtype for dtype, is_fast in fast.items() if is_fast)

    @property
    def keeps_streams(self) -> bool:
        return True

    @property
    def joins_untimed(self) -> bool:
        return False

    @property
    def first_passes(self) -> tuple[Pass, ...]:
        integers = (integer_products, requantise) if self.machine.has_integer_dot else ()
        return (*integers, weights_in_blocks)

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (read_caches,)

    @property
    def roofline(self) -> Roofline:
        operations = self.machine.float_lanes * (2 if self.machine.has_fma else 1)
        return Roofline(CLOCK * operations, BYTES_PER_SECOND, CALL_SECONDS)

    @property
    def bench(self) -> CpuBench:
        return CpuBench(self.machine, self.threads, self.allocator)

    def is_small(self, region: Region) -> bool:
        return False

    def compiler(self) -> AbstractContextManager[Compiler]:
        return CpuCompilerPool(self.machine, len(os.sched_getaffinity(0)))

    def listings(self, source: str) -> Mapping[str, str]:
        return {"ll": source, "s": compile_assembly(source, self.machine)}

    def lower(self, graph: Graph, choices: Sequence[Choice]) -> Program:
        return lower(graph, choices, arrange_for(self.threads))

    def check(self, program: Program, symbols: Sequence[Symbol], compiler: Compiler) -> None:
        def load(kernel: Kernel) -> LoadedKernel:
            return LoadedKernel(kernel, self.machine, compiler.compile(kernel.name, kernel.code))

        check_program(program, symbols, {*CHECKED_THREADS, self.threads}, load if self.bench.is_here else None)

    def executable(self, program: Program, symbols: Sequence[Symbol], compiler: Compiler) -> Executable:
        kernels = {step.kernel.name: step.kernel for step in program.steps}
        steps = [_entry_step(step) for step in program.steps]
        entry = entry_module(steps, symbols, program.workspace_bytes, self.machine)
        objects = [compiler.compile(kernel.name, kernel.code) for kernel in kernels.values()]
        name = f"{ENTRY}_{sha256(entry.encode()).hexdigest()[:16]}"
        image = link([compiler.compile(name, entry), *objects])
        return Executable(image.code, {name: image.functions[name] for name in ENTRIES})


def _entry_step(step: Step) -> EntryStep:
    kernel = step.kernel
    return EntryStep(kernel.name, step.operands, kernel.symbols, kernel.tasks_of_wave, step.free, kernel.waves)


@dataclass(frozen=True)
class CpuBackend:
    """catalogue: the tactics to choose from; None for all there are."""

    catalogue: tuple[AnyTactic[Target], ...] | None = None
    name = "cpu"
    targets = tuple(TARGETS)

    def numbered(self, number: int) -> CpuBackend:
        if number:
            raise BuildError(f"device 'cpu:{number}': all processors of this machine are one device, cpu")
        return self

    def with_libraries(self, names: Collection[str]) -> CpuBackend:
        return self

    def narrow_gains(self, target: str) -> Mapping[str, float]:
        return {}

    def compatible(self) -> CpuBackend:
        raise BuildError(
            "compatible is for GPUs: a plan for a CPU runs on all that have its instruction set; say the oldest of "
            f"them as instruction_set, one of {', '.join(self.targets)}"
        )

    def toolchain(self, target: str | None, threads: int | None, allocator: Allocator | None) -> CpuToolchain:
        count = threads or len(os.sched_getaffinity(0))
        machine = replace(target_named(target or _best_instruction_set()), threads=count)
        catalogue = tactics() if self.catalogue is None else self.catalogue
        stamp = stamp_elsewhere(machine.name) if lacking(machine.name) else host_stamp(machine.name)
        return CpuToolchain(machine, stamp, count, catalogue, allocator)


def _best_instruction_set() -> str:
    """The best one that this process may use, with a warning if the processor has a better one."""
    best, refused = best_instruction_set(), refused_features()
    if refused:
        warnings.warn(
            f"this processor has {', '.join(sorted(refused))}, but the system does not permit this process to use them "
            f"(Linux does from version 5.16 on, some sandboxes do not): '{best}' is taken in place of 'avx512_amx'",
            RuntimeWarning,
            stacklevel=2,
        )
    return best


BACKEND: Backend = CpuBackend()
