"""Compiles many kernels for GPUs at once, in processes."""

from __future__ import annotations

from tensorwright.codegen.cuda.compile import compile_image
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.pool import CompilerPool
from tensorwright.devices.cuda.libraries.calls import is_call


class CudaCompilerPool(CompilerPool):
    """Turns modules into cubins, or into PTX where there is no assembler; calls of libraries stay what they are."""

    worker = "tensorwright.codegen.cuda.worker"

    def __init__(self, target: CudaTarget, processes: int) -> None:
        super().__init__(target.name, processes)
        self._gpu = target

    def submit(self, name: str, text: str) -> None:
        if not is_call(text):
            super().submit(name, text)

    def compile_here(self, text: str) -> bytes:
        return text.encode() if is_call(text) else compile_image(text, self._gpu)
