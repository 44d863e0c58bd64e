"""Tactics that call libraries, on a GPU that is here or emulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cases.case import Array
from regions.example import Symbols
from regions.rigs import CudaRig
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.libraries.calls import Libraries
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.libraries.catalogue import library_tactics
from tensorwright.kernels.cuda.libraries.kernel import CallKernel
from tensorwright.kernels.tactic import AnyTactic
from tensorwright.tune.cuda.bench import CudaBench


class LibraryRig(CudaRig):
    """Kernels run as the tuner runs them."""

    targets = CUDA_TARGETS

    def __init__(self, context: Context, names: Sequence[str]) -> None:
        libraries = Libraries(context)
        self.tactics = library_tactics(libraries, names)
        self._bench = CudaBench(self.targets[self.main], lambda: context, open_libraries=lambda: libraries)

    def runs(self, target: str, tactic: AnyTactic[CudaTarget], region: Region, symbols: Symbols) -> bool:
        return True

    def compiled(self, kernel: CallKernel, target: str) -> str:
        return kernel.code

    def outputs(
        self,
        region: Region,
        kernel: CallKernel,
        compiled: str,
        arrays: Sequence[Array],
        symbols: Symbols,
        rng: np.random.Generator,
    ) -> Iterator[tuple[str, Array]]:
        yield "", self._bench.prepare(region, kernel, compiled.encode(), arrays, symbols, {}).run()
