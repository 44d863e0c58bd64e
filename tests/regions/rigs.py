"""What compiles and runs the kernels of a device in tests: CPUs, the null device, and a machine that executes PTX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from cases.case import Array
from emulation import load
from guarded import GuardedMemory
from ptx.run import run_on_machine
from regions.example import Symbols
from schedule.slabs import check_slabs
from targets import EMULATED_SINGLE, EXECUTABLE, SINGLE
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.codegen.cuda.compile import compile_ptx
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.codegen.null.compiler import NullCompiler
from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels import null
from tensorwright.kernels.catalogue import found_below
from tensorwright.kernels.cpu.catalogue import tactics as cpu_tactics
from tensorwright.kernels.cpu.matmul.strassen_tactic import StrassenMatMul
from tensorwright.kernels.cuda.catalogue import tactics as cuda_tactics
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.problem import Problem
from tensorwright.kernels.cuda.tiles.specialised import specialised_tilings
from tensorwright.kernels.cuda.tiles.tactic import SpecialisedProduct, StreamProduct
from tensorwright.kernels.cuda.tiles.tiling import Tiling
from tensorwright.kernels.tactic import AnyTactic, Kernel
from tensorwright.kernels.work import work
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import evaluate, product, tuning_value
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, INT8
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, Operands, prepare
from tensorwright.tune.memory import POISON
from tensorwright.tune.null.bench import NullBench

TargetType = TypeVar("TargetType")
MOST_FLOPS = 1 << 16


class Rig(ABC, Generic[TargetType]):
    """A device's tactics, its targets, and how its kernels run.

    main: the target that most is tried on. native: others that run as they would on a device of their own.
    further: those that have instructions for some element types beside what another one, `plain`, has, and run, too;
    emulated, they take long if that one is as well.
    """

    name: ClassVar[str]
    main: ClassVar[str]
    native: ClassVar[Sequence[str]] = ()
    further: ClassVar[Sequence[str]] = ()
    plain: ClassVar[str] = ""

    @property
    @abstractmethod
    def tactics(self) -> Sequence[AnyTactic[TargetType]]: ...

    @property
    @abstractmethod
    def targets(self) -> Mapping[str, TargetType]: ...

    def fits(self, region: Region, target: str) -> bool:
        """Whether code for a region on a target can differ from that for another one that is tried."""
        return True

    def runs(self, target: str, tactic: AnyTactic[TargetType], region: Region, symbols: Symbols) -> bool:
        """Whether a kernel can be run, in reasonable time; others are compiled only."""
        return True

    @abstractmethod
    def compiled(self, kernel: Any, target: str) -> Any:
        """What `outputs` takes."""

    @abstractmethod
    def outputs(
        self,
        region: Region,
        kernel: Any,
        compiled: Any,
        arrays: Sequence[Array],
        symbols: Symbols,
        rng: np.random.Generator,
    ) -> Iterator[tuple[str, Array]]:
        """Run a kernel on row-major inputs in every way that it allows: the way, and the output, row-major."""


class CpuRig(Rig[Target]):
    """All instruction sets; the processor's own ones run, and those that it can emulate."""

    name = "cpu"
    main, native = SINGLE[0], (*SINGLE[1:], *EMULATED_SINGLE)
    further = tuple(name for name in EXECUTABLE if name not in (*SINGLE, *EMULATED_SINGLE))
    plain = next((name for name in TARGETS if name in (*SINGLE, *EMULATED_SINGLE)), "")
    tactics = (*cpu_tactics(), StrassenMatMul(32, 32))
    targets = TARGETS

    def fits(self, region: Region, target: str) -> bool:
        """Dot products need elements of their types; what else there is differs from set to set."""
        dtypes, known = {type.dtype for type in region.input_types}, TARGETS[target]
        own = {BFLOAT16: known.has_bfloat16_dot, INT8: known.has_integer_dot, FLOAT16: known.has_half_arithmetic}
        return not any(own.values()) or any(has and dtype in dtypes for dtype, has in own.items())

    def runs(self, target: str, tactic: AnyTactic[Target], region: Region, symbols: Symbols) -> bool:
        return target in EXECUTABLE

    def compiled(self, kernel: Kernel, target: str) -> LoadedKernel | None:
        if target in EXECUTABLE:
            return load(kernel, TARGETS[target])
        assert compile_object(kernel.code, TARGETS[target])
        return None

    def outputs(
        self,
        region: Region,
        kernel: Kernel,
        compiled: LoadedKernel,
        arrays: Sequence[Array],
        symbols: Symbols,
        rng: np.random.Generator,
    ) -> Iterator[tuple[str, Array]]:
        memory = GuardedMemory()
        operands = prepare(region, kernel, arrays, symbols, memory)
        shape = tuple(evaluate(dim, symbols) for dim in region.output.type.shape)
        pieces = 2 if kernel.waves == 1 else 1
        _run_in_pieces(compiled, operands, operands.output.ctypes.data, pieces, rng)
        memory.check()
        yield "", from_layout(operands.output, kernel.output, shape)
        if not region.symbols:
            check_slabs(region, kernel, compiled, arrays, rng)
        for number in kernel.in_place:
            operands = prepare(region, kernel, arrays, symbols, memory)
            shared = operands.inputs[number].view(operands.output.dtype)
            _run_in_pieces(compiled, operands, shared.ctypes.data, pieces, rng)
            memory.check()
            yield f"in place of input {number}", from_layout(shared, kernel.output, shape)


def _run_in_pieces(
    loaded: LoadedKernel, operands: Operands, output: int, pieces: int, rng: np.random.Generator
) -> None:
    """All tasks in one piece, or the later ones first; then their workspace holds nothing that is of use."""
    _, *addresses, first, last = operands.arguments
    if pieces == 1:
        loaded.call(output, *addresses, first, last)
        return
    middle = int(rng.integers(first, last + 1))
    loaded.call(output, *addresses, middle, last)
    operands.workspace[:] = POISON
    loaded.call(output, *addresses, first, middle)


class NullRig(Rig[None]):
    """NumPy code, on its bench."""

    name, main = "null", "numpy"
    tactics = found_below(null)
    targets = MappingProxyType({"numpy": None})

    def compiled(self, kernel: Kernel, target: str) -> bytes:
        return NullCompiler().compile(kernel.name, kernel.code)

    def outputs(
        self,
        region: Region,
        kernel: Kernel,
        compiled: bytes,
        arrays: Sequence[Array],
        symbols: Symbols,
        rng: np.random.Generator,
    ) -> Iterator[tuple[str, Array]]:
        yield "", NullBench().prepare(region, kernel, compiled, arrays, symbols, {}).run()


MOST_TILES = 12
"""The machine takes its time for each."""


class StayingProduct(SpecialisedProduct):
    """Blocks compute about three tiles each, however few these are."""

    name = "staying product"

    def tilings(self, problem: Problem, target: CudaTarget) -> Sequence[Tiling]:
        found = specialised_tilings(problem, self.arithmetic(problem.dtype, target), target)
        counts = [
            (tiling, tuning_value(product(tiling.tiles(problem))))
            for tiling in found
            if tiling.cluster == 1 and not tiling.staying
        ]
        return [replace(tiling, staying=max(2, count // 3)) for tiling, count in counts if count <= MOST_TILES]


class SmallStreamProduct(SpecialisedProduct):
    """Blocks compute about one tile and a half each, or two and a half, however few these are."""

    name = "small stream-K product"

    def tilings(self, problem: Problem, target: CudaTarget) -> Sequence[Tiling]:
        found = specialised_tilings(problem, self.arithmetic(problem.dtype, target), target)
        counts = {
            replace(tiling, staying=max(2, share(count)), stream_k=True): count
            for tiling in found
            if tiling.cluster == 1 and not tiling.staying
            for count in [tuning_value(product(tiling.tiles(problem)))]
            for share in (lambda tiles: -(-2 * tiles // 3), lambda tiles: 2 * tiles // 5)
        }
        return [tiling for tiling, count in counts.items() if count <= MOST_TILES]


_GPUS = {**CUDA_TARGETS, "sm_90+": CUDA_TARGETS["sm_90"].compatible()}
"""With what sm_90 has in common with newer ones, and no other target has: clusters beside products of warps."""


class CudaRig(Rig[CudaTarget]):
    """All architectures. Their PTX is executed by a machine, one thread after another, and assembled if that can be."""

    name, main = "cuda", "sm_90"
    tactics = (*(t for t in cuda_tactics() if not isinstance(t, StreamProduct)), StayingProduct(), SmallStreamProduct())
    targets = _GPUS

    def runs(self, target: str, tactic: AnyTactic[CudaTarget], region: Region, symbols: Symbols) -> bool:
        """The machine takes microseconds for an operation, if it is not one of a tensor core."""
        return tactic.general is None or evaluate(work(region).flops, symbols) <= MOST_FLOPS

    def compiled(self, kernel: CudaKernel, target: str) -> str:
        ptx = compile_ptx(kernel.code, self.targets[target])
        assert f".entry {kernel.name}(" in ptx
        assert f".target {self.targets[target].cpu}\n" in ptx
        return ptx

    def outputs(
        self,
        region: Region,
        kernel: CudaKernel,
        compiled: str,
        arrays: Sequence[Array],
        symbols: Symbols,
        rng: np.random.Generator,
    ) -> Iterator[tuple[str, Array]]:
        yield "", run_on_machine(region, kernel, compiled, arrays, symbols)
        for number in kernel.in_place:
            yield f"in place of input {number}", run_on_machine(region, kernel, compiled, arrays, symbols, number)
