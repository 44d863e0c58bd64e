"""LLVM IR text to object code for CPUs."""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm

from tensorwright.base.errors import BuildError
from tensorwright.codegen.memory import require_memory
from tensorwright.codegen.target import Target

STRAIGHT = 32 << 10
"""Kernels of so many bytes of text are tiles that were written out: passes over them take longer than making machine
code, and the code is as fast without (DenseNet-121, ResNet-50: within 1 %), once loops ask at their ends whether to go
on: else more of Winograd's sums leave their registers."""

OPTIMISED = "define internal", "@llvm.x86.tile"
"""Long text with these is optimised all the same: functions to be inlined; what was not measured on tile registers."""


@cache
def _initialise() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@cache
def _machine(target: Target) -> llvm.TargetMachine:
    _initialise()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="small"
    )


def _optimised(text: str, target: Target) -> llvm.ModuleRef:
    require_memory(text)
    _initialise()
    try:
        module = llvm.parse_assembly(text)
    except RuntimeError as error:
        raise BuildError(f"generated code is not valid LLVM IR (a defect of tensorwright): {error}") from error
    module.triple = target.triple
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_unrolling = False
    options.loop_interleaving = False
    builder = llvm.create_pass_builder(_machine(target), options)
    if len(text) < STRAIGHT or any(word in text for word in OPTIMISED):
        passes = builder.getModulePassManager()
    else:
        passes = llvm.create_new_module_pass_manager()
        passes.add_loop_rotate_pass()
    passes.run(module, builder)
    return module


def compile_object(text: str, target: Target) -> bytes:
    """A relocatable ELF object of a module.

    Raises:
        BuildError: LLVM does not accept the text, or there may be too little memory for it.
    """
    return bytes(_machine(target).emit_object(_optimised(text, target)))


def compile_assembly(text: str, target: Target) -> str:
    """The assembly of a module, for people and tests that look at it."""
    return str(_machine(target).emit_assembly(_optimised(text, target)))
