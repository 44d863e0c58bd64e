"""Compiles many kernels for CPUs at once, in processes."""

from __future__ import annotations

from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.pool import CompilerPool
from tensorwright.codegen.target import Target


class CpuCompilerPool(CompilerPool):
    """Turns modules into object files."""

    worker = "tensorwright.codegen.cpu.worker"

    def __init__(self, target: Target, processes: int) -> None:
        super().__init__(target.name, processes)
        self._cpu = target

    def compile_here(self, text: str) -> bytes:
        return compile_object(text, self._cpu)
