"""Compiles kernels without LLVM's optimisations: several times as fast, and the code does the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Self

import llvmlite.binding as llvm

from tensorwright.codegen.memory import require_memory
from tensorwright.codegen.target import Target

REMEMBERED = 4096
"""So many modules need not be compiled again by later compilers: networks that are changed a little share most."""


class QuickCompiler:
    """Use it as a context manager, like other compilers."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, name: str, text: str) -> None:
        pass

    def compile(self, name: str, text: str) -> bytes:
        return _object(text, self._target)

    def compile_all(self, modules: Mapping[str, str], done: Callable[[str], None]) -> None:
        for name, text in modules.items():
            self.compile(name, text)
            done(name)


@lru_cache(REMEMBERED)
def _object(text: str, target: Target) -> bytes:
    require_memory(text)
    module = llvm.parse_assembly(text)
    module.triple = target.triple
    return bytes(_machine(target).emit_object(module))


@cache
def _machine(target: Target) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=0, reloc="pic", codemodel="small"
    )
