"""Compiles many kernels for GPUs at once, in processes."""

from __future__ import annotations

from tensorwright.codegen.cuda.compile import compile_image
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.pool import CompilerPool


class CudaCompilerPool(CompilerPool):
    """Turns modules into cubins, or into PTX where there is no assembler."""

    worker = "tensorwright.codegen.cuda.worker"

    def __init__(self, target: CudaTarget, processes: int) -> None:
        super().__init__(target.name, processes)
        self._gpu = target

    def compile_here(self, text: str) -> bytes:
        return compile_image(text, self._gpu)
