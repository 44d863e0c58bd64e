"""Compiles kernels without LLVM's optimisations: several times as fast, and the code does the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Self

import llvmlite.binding as llvm

from tensorwright.codegen.target import Target


class QuickCompiler:
    """Use it as a context manager, like other compilers."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._objects: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, name: str, text: str) -> None:
        pass

    def compile(self, name: str, text: str) -> bytes:
        if name not in self._objects:
            module = llvm.parse_assembly(text)
            module.triple = self._target.triple
            self._objects[name] = bytes(_machine(self._target).emit_object(module))
        return self._objects[name]

    def compile_all(self, modules: Mapping[str, str], done: Callable[[str], None]) -> None:
        for name, text in modules.items():
            self.compile(name, text)
            done(name)


@cache
def _machine(target: Target) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=0, reloc="pic", codemodel="small"
    )
