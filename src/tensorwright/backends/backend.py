"""What a build asks of a device's compiler half."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import Graph
from tensorwright.graph.region import Region
from tensorwright.kernels.compiler import Compiler
from tensorwright.kernels.tactic import Offer
from tensorwright.passes.rewrite import Pass
from tensorwright.plan.plan import Executable, MachineStamp
from tensorwright.schedule.program import Program
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.dtype import DType
from tensorwright.tune.bench import Bench
from tensorwright.tune.choice import Choice
from tensorwright.tune.estimate import Roofline


class Toolchain(Protocol):
    """A backend for one target: everything that depends on where a plan will run.

    target: its name; threads: how many share the work of an inference.
    """

    @property
    def target(self) -> str: ...

    @property
    def threads(self) -> int: ...

    @property
    def stamp(self) -> MachineStamp:
        """For which machine the code is."""
        ...

    @property
    def first_passes(self) -> tuple[Pass, ...]:
        """Rewrites for this target that have to see a network before those that always help."""
        ...

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Rewrites that help on this target beside those that always do."""
        ...

    @property
    def fast_types(self) -> frozenset[DType]:
        """Types in which this target multiplies faster than in float32; int8 stands for products of bytes."""
        ...

    @property
    def keeps_streams(self) -> bool:
        """Whether residual streams stay in float32 where the rest is narrower, since that costs little here."""
        ...

    @property
    def joins_untimed(self) -> bool:
        """Whether joined regions may take the place of their stages by estimates, where nothing is measured."""
        ...

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The tactics."""
        ...

    @property
    def roofline(self) -> Roofline:
        """What estimates are made with."""
        ...

    @property
    def bench(self) -> Bench:
        """What runs and times kernels."""
        ...

    def is_small(self, region: Region) -> bool:
        """Whether a region is so little work that a part of the device may compute it together with its neighbours."""
        ...

    def compiler(self) -> AbstractContextManager[Compiler]:
        """Compiles kernels until the context ends."""
        ...

    def listings(self, source: str) -> Mapping[str, str]:
        """The code of a kernel for people to read, by the ending of a file: its source, and what is made of it."""
        ...

    def lower(self, graph: Graph, choices: Sequence[Choice]) -> Program:
        """The order of the steps and where every tensor lies."""
        ...

    def check(self, program: Program, symbols: Sequence[Symbol], compiler: Compiler) -> None:
        """Prove, without what planned a program, that it does what its graph says on any number of threads.

        Raises:
            BuildError: it may not; the message names steps, tensors, bytes and threads.
        """
        ...

    def executable(self, program: Program, symbols: Sequence[Symbol], compiler: Compiler) -> Executable:
        """What the device runs: the code of all kernels and of what calls them.

        symbols: in the order of the plan.
        """
        ...


class Backend(Protocol):
    """A device with both halves: it makes toolchains here; `name` is that of the device, which runs their plans.

    targets: the names of what it can generate code for.
    """

    @property
    def name(self) -> str: ...

    @property
    def targets(self) -> tuple[str, ...]: ...

    def numbered(self, number: int) -> Backend:
        """The backend for one of several devices of the kind.

        Raises:
            BuildError: there are not several.
        """
        ...

    def compatible(self) -> Backend:
        """The backend whose plans run on devices of its kind that are newer than their target, too.

        Raises:
            BuildError: it makes no such plans; the message says what does instead.
        """
        ...

    def with_libraries(self, names: Collection[str]) -> Backend:
        """The backend whose plans may call libraries beside their own kernels, where these are made and timed here.

        Raises:
            BuildError: one is not installed; the message says what to do.
        """
        ...

    def narrow_gains(self, target: str) -> Mapping[str, float]:
        """How many times as fast as float32 a target multiplies other types at best, by name, where that is known."""
        ...

    def toolchain(self, target: str | None, threads: int | None, allocator: Allocator | None) -> Toolchain:
        """The toolchain for a target.

        target: None for the best of this machine. threads: None for as many as this process may use.
        allocator: gives the memory in which kernels are timed.

        Raises:
            BuildError: the target is unknown.
            PlanError: this machine cannot run or describe it.
        """
        ...
