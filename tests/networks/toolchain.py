"""A compiler for CPUs whose habits can be switched off, or that chooses among correct kernels by chance."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from networks.quick import QuickCompiler
from tensorwright.backends.cpu import CpuBackend, CpuToolchain
from tensorwright.codegen.cpu.pool import CpuCompilerPool
from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import Graph
from tensorwright.graph.region import Region
from tensorwright.kernels.compiler import Compiler
from tensorwright.kernels.tactic import Config, Kernel, Offer
from tensorwright.plan.plan import Executable
from tensorwright.schedule.program import Program
from tensorwright.tensor.dim import Symbol
from tensorwright.tune.bench import Prepared
from tensorwright.tune.choice import Choice
from tensorwright.tune.cpu.bench import CpuBench
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.machine import Capacities, Machine, MemoryLevel

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Switches:
    """layouts: whether blocked layouts may be used; in_place: whether a step may overwrite its operand; freedom:
    whether threads may go on without waiting; times: "chance" for random ones instead of estimates and measurements,
    so that every correct kernel and joined region is taken sometimes, with the `seed` of the chance; optimised: whether
    LLVM optimises the kernels.
    """

    layouts: bool = True
    in_place: bool = True
    freedom: bool = True
    times: Literal["real", "chance"] = "real"
    seed: int = 0
    optimised: bool = True

    def __str__(self) -> str:
        return _changes(self, NORMAL)


def _changes(one: Switches, other: Switches) -> str:
    changed = {name: value for name, value in vars(one).items() if value != getattr(other, name)}
    return ", ".join(f"{name}={value}" for name, value in changed.items())


NORMAL = Switches()


@dataclass(frozen=True)
class Built:
    """What a build made on its way to a plan."""

    program: Program
    symbols: tuple[Symbol, ...]
    objects: Mapping[str, bytes]
    tools: CpuToolchain


@dataclass(frozen=True)
class SwitchedBackend:
    """The backend for CPUs with switches. built: where its toolchain leaves what it builds."""

    switches: Switches = NORMAL
    built: list[Built] = field(default_factory=list)
    name = "cpu"
    targets = CpuBackend.targets

    def toolchain(self, target: str | None, threads: int | None, allocator: Allocator | None) -> SwitchedToolchain:
        return SwitchedToolchain(CpuBackend().toolchain(target, threads, allocator), self.switches, self.built)


@dataclass(frozen=True)
class SwitchedToolchain:
    """A toolchain that is the one for CPUs in all that no switch concerns."""

    tools: CpuToolchain
    switches: Switches
    built: list[Built]

    def __getattr__(self, name: str) -> object:
        return getattr(self.tools, name)

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(SwitchedOffer(offer, self.switches) for offer in self.tools.offers)

    @property
    def roofline(self) -> Roofline:
        known = self.tools.roofline
        return known if self.switches.times == "real" else ChanceRoofline(**vars(known), seed=self.switches.seed)

    @property
    def bench(self) -> CpuBench | ChanceBench:
        return self.tools.bench if self.switches.times == "real" else ChanceBench(self.tools.bench, self.switches.seed)

    def compiler(self) -> AbstractContextManager[Compiler]:
        """Compiles in this process: networks are small, and every core has work."""
        machine = self.tools.machine
        return CpuCompilerPool(machine, 1) if self.switches.optimised else QuickCompiler(machine)

    def lower(self, graph: Graph, choices: Sequence[Choice]) -> Program:
        program = self.tools.lower(graph, choices)
        if self.switches.freedom:
            return program
        steps = tuple(replace(step, free=0) for step in program.steps)
        return replace(program, steps=steps)

    def executable(self, program: Program, symbols: Sequence[Symbol], compiler: Compiler) -> Executable:
        kernels = {step.kernel.name: step.kernel for step in program.steps}
        objects = {name: compiler.compile(name, kernel.code) for name, kernel in kernels.items()}
        self.built.append(Built(program, tuple(symbols), objects, self.tools))
        return self.tools.executable(program, symbols, compiler)


@dataclass(frozen=True)
class SwitchedOffer:
    """A tactic with switches."""

    offer: Offer
    switches: Switches

    def __getattr__(self, name: str) -> object:
        return getattr(self.offer, name)

    def configs(self, region: Region) -> Sequence[Config]:
        configs = self.offer.configs(region)
        if self.switches.layouts:
            return configs
        return [c for c in configs if all(layout.is_plain for layout in (*c.inputs, c.output))]

    def emit(self, region: Region, config: Config) -> Kernel:
        kernel = self.offer.emit(region, config)
        return kernel if self.switches.in_place else replace(kernel, in_place=())


@dataclass(frozen=True)
class ChanceRoofline(Roofline):
    """Estimates by chance; kernels that would take very long are never taken."""

    seed: int = 0

    def estimate(self, region: Region, offer: Offer, config: Config, rank: int) -> float:
        key = zlib.crc32(f"{self.seed} {region.signature} {offer.name} {config}".encode())
        return 1e-6 * float(np.random.default_rng(key).uniform(0.5, 5.0))


@dataclass(frozen=True)
class ChanceBench:
    """Runs kernels, and makes up how long they take."""

    bench: CpuBench
    seed: int

    def __getattr__(self, name: str) -> object:
        return getattr(self.bench, name)

    @property
    def capacities(self) -> Capacities:
        return [(level.name, level.bytes) for level in self.machine().levels]

    def race(self, contestants: Sequence[Sequence[Prepared]], cold_bytes: Sequence[int]) -> list[float]:
        rng = np.random.default_rng([self.seed, len(contestants)])
        return [float(rng.uniform(1e-6, 5e-6)) for _ in contestants]

    def read_speed(self, size: int) -> float | None:
        return None

    def machine(self) -> Machine:
        return Machine(100.0, (MemoryLevel("memory", 1 << 30, 10.0),))
