"""NVIDIA GPUs: kernels in LLVM IR, PTX or machine code, one graph of launches for a network."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache, cached_property

from tensorwright.backends.backend import Backend
from tensorwright.base.errors import BuildError, ExecutionError
from tensorwright.codegen.cuda.compile import compile_ptx
from tensorwright.codegen.cuda.pool import CudaCompilerPool
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget, cuda_target_for, cuda_target_named
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.device import gpu_stamp
from tensorwright.devices.cuda.fallback import packed
from tensorwright.devices.cuda.image import ENTRY, CallStep, Image, ImageStep, write_image
from tensorwright.devices.cuda.libraries.calls import Libraries, is_call
from tensorwright.devices.cuda.library import driver
from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import Graph
from tensorwright.graph.region import Region
from tensorwright.kernels.compiler import Compiler
from tensorwright.kernels.cuda.catalogue import tactics
from tensorwright.kernels.cuda.cluster.small import is_small
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.libraries.catalogue import library_tactics
from tensorwright.kernels.cuda.libraries.kernel import CallKernel
from tensorwright.kernels.cuda.share import BYTES_PER_SECOND, FLOPS_PER_SECOND, LAUNCH_SECONDS
from tensorwright.kernels.tactic import Offer, offers
from tensorwright.passes.blocks import widened_products
from tensorwright.passes.caches import read_caches
from tensorwright.passes.float8 import products_of_float8
from tensorwright.passes.integers import products_of_bytes
from tensorwright.passes.requantise import requantise
from tensorwright.passes.residuals import sum_rows
from tensorwright.passes.rewrite import Pass
from tensorwright.passes.siblings import join_heads
from tensorwright.passes.windows import widen_channels
from tensorwright.plan.plan import Executable, MachineStamp
from tensorwright.schedule.check.check import check_program
from tensorwright.schedule.lower import lower
from tensorwright.schedule.program import Program, Step
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, INT8, DType
from tensorwright.tune.choice import Choice
from tensorwright.tune.cuda.bench import CudaBench
from tensorwright.tune.estimate import Roofline

CUDA_ROOFLINE = Roofline(FLOPS_PER_SECOND, BYTES_PER_SECOND, LAUNCH_SECONDS)


@dataclass(frozen=True)
class CudaToolchain:
    """An architecture with the catalogue for it; model: the GPU that plans are tuned on, which is here or not.

    number: of the GPU, if it is here. libraries: names of those that steps may call.
    """

    machine: CudaTarget
    model: str
    allocator: Allocator | None
    is_here: bool
    number: int = 0
    threads: int = 1
    libraries: frozenset[str] = frozenset()

    @property
    def target(self) -> str:
        return self.machine.name

    @property
    def stamp(self) -> MachineStamp:
        return gpu_stamp(self.machine.name, self.model)

    @cached_property
    def offers(self) -> tuple[Offer, ...]:
        extra = library_tactics(self._opened, self.libraries) if self.libraries else ()
        return offers((*extra, *tactics()), self.machine)

    @property
    def _opened(self) -> Libraries:
        return _opened(self.number)

    @property
    def fast_types(self) -> frozenset[DType]:
        return frozenset({FLOAT16, INT8, *([BFLOAT16] if self.machine.capability >= 80 else [])})

    @property
    def keeps_streams(self) -> bool:
        return False

    @property
    def joins_untimed(self) -> bool:
        return True

    @property
    def first_passes(self) -> tuple[Pass, ...]:
        numbers = (products_of_float8,) if self.machine.has_float8_products else ()
        return (products_of_bytes, requantise, *numbers, widened_products)

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (widen_channels, join_heads, sum_rows, read_caches)

    @property
    def roofline(self) -> Roofline:
        return CUDA_ROOFLINE

    @cached_property
    def bench(self) -> CudaBench:
        return CudaBench(self.machine, lambda: _open(self.number), self.allocator, self.is_here, lambda: self._opened)

    def is_small(self, region: Region) -> bool:
        return is_small(region)

    def compiler(self) -> AbstractContextManager[Compiler]:
        return CudaCompilerPool(self.machine, len(os.sched_getaffinity(0)))

    def listings(self, source: str) -> Mapping[str, str]:
        return {"json": source} if is_call(source) else {"ll": source, "ptx": compile_ptx(source, self.machine)}

    def lower(self, graph: Graph, choices: Sequence[Choice]) -> Program:
        return lower(graph, choices)

    def check(self, program: Program, symbols: Sequence[Symbol], compiler: Compiler) -> None:
        check_program(program, symbols, (self.threads,), None)

    def executable(self, program: Program, symbols: Sequence[Symbol], compiler: Compiler) -> Executable:
        kernels = {step.kernel.name: step.kernel for step in program.steps}
        calls = {name: kernel.call for name, kernel in kernels.items() if isinstance(kernel, CallKernel)}
        own = {name: kernel for name, kernel in kernels.items() if name not in calls}
        modules = {name: compiler.compile(name, kernel.code) for name, kernel in own.items()}
        kept = own if self.machine.is_compatible else {}
        ptx = {name: packed(compile_ptx(kernel.code, self.machine)) for name, kernel in kept.items()}
        counters = max((kernel.counters for kernel in own.values() if isinstance(kernel, CudaKernel)), default=0)
        steps = tuple(map(_image_step, program.steps))
        image = Image(modules, steps, program.workspace_bytes, ptx, calls, counters)
        versions = {name: self._opened.version(name) for name in {call.library: None for call in calls.values()}}
        return Executable(write_image(image), {ENTRY: 0}, versions)


def _image_step(step: Step) -> ImageStep | CallStep:
    kernel, operands = step.kernel, tuple((operand.base, operand.offset) for operand in step.operands)
    if isinstance(kernel, CallKernel):
        return CallStep(kernel.name, operands)
    assert isinstance(kernel, CudaKernel)
    return ImageStep(
        kernel=kernel.name,
        operands=operands,
        symbols=tuple(one if isinstance(one, int) else one.name for one in kernel.symbols),
        grid=kernel.grid,
        block=kernel.block,
        cluster=kernel.cluster,
        shared_bytes=kernel.shared_bytes,
        dependent=kernel.waits,
        maps=kernel.maps,
    )


@cache
def _open(number: int) -> Context:
    """A GPU, opened once."""
    return Context(driver(), number)


@cache
def _opened(number: int) -> Libraries:
    """The libraries for a GPU, each opened once."""
    return Libraries(_open(number))


@dataclass(frozen=True)
class CudaBackend:
    """Makes plans for a GPU of this machine or, without timing kernels, for any architecture.

    is_compatible: newer GPUs run them, too. libraries: names of those that plans for this machine's GPU may call.
    """

    number: int = 0
    is_compatible: bool = False
    libraries: frozenset[str] = frozenset()
    name = "cuda"
    targets = tuple(CUDA_TARGETS)

    def numbered(self, number: int) -> CudaBackend:
        return replace(self, number=number)

    def compatible(self) -> CudaBackend:
        return replace(self, is_compatible=True)

    def with_libraries(self, names: Collection[str]) -> CudaBackend:
        try:
            _opened(self.number).open(names)
        except ExecutionError as error:
            raise BuildError(f"libraries: {error}; or leave them out") from error
        return replace(self, libraries=frozenset(names))

    def narrow_gains(self, target: str) -> Mapping[str, float]:
        return cuda_target_named(target).narrow_gains

    def toolchain(self, target: str | None, threads: int | None, allocator: Allocator | None) -> CudaToolchain:
        if threads not in (None, 1):
            raise BuildError(f"threads: a GPU's plan is launched by one thread, found {threads}; leave it out")
        if target is None:
            return self._for_this_machine(allocator)
        return CudaToolchain(self._chosen(cuda_target_named(target)), f"a GPU of {target}", allocator, is_here=False)

    def _for_this_machine(self, allocator: Allocator | None) -> CudaToolchain:
        try:
            properties = _open(self.number).properties
        except ExecutionError as error:
            raise BuildError(
                f"no GPU to build for: {error}; name an architecture ({', '.join(self.targets)}) and build with level 0"
            ) from error
        machine = self._chosen(cuda_target_for(properties.capability))
        libraries = frozenset[str]() if self.is_compatible else self.libraries
        return CudaToolchain(machine, properties.name, allocator, True, self.number, libraries=libraries)

    def _chosen(self, target: CudaTarget) -> CudaTarget:
        return target.compatible() if self.is_compatible else target


BACKEND: Backend = CudaBackend()
