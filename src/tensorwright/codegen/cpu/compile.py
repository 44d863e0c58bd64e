"""LLVM IR text to object code. The only module, with `linking`, that knows LLVM's Python binding."""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm

from tensorwright.base.errors import BuildError
from tensorwright.codegen.target import Target


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
    builder.getModulePassManager().run(module, builder)
    return module


def compile_object(text: str, target: Target) -> bytes:
    """A relocatable ELF object of a module.

    Raises:
        BuildError: LLVM does not accept the text.
    """
    return bytes(_machine(target).emit_object(_optimised(text, target)))


def compile_assembly(text: str, target: Target) -> str:
    """The assembly of a module, for people and tests that look at it."""
    return str(_machine(target).emit_assembly(_optimised(text, target)))


def host_target_name() -> str:
    """The best instruction set of this machine, by the name of its target.

    Raises:
        BuildError: the processor is of a family that no target covers.
    """
    _initialise()
    triple = llvm.get_process_triple()
    if triple.startswith(("aarch64", "arm64")):
        return "aarch64"
    if not triple.startswith("x86_64"):
        raise BuildError(f"no code generation for this processor ({triple}); x86-64 and AArch64 are supported")
    features = llvm.get_host_cpu_features()
    if all(features.get(name) for name in ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd")):
        return "avx512"
    return "avx2" if features.get("avx2") and features.get("fma") else "baseline"
