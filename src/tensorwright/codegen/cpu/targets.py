"""Targets of code generation for CPUs, one for each instruction set."""

from __future__ import annotations

from tensorwright.base.errors import BuildError
from tensorwright.codegen.target import Target
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS, InstructionSet


def _target(known: InstructionSet) -> Target:
    return Target(
        name=known.name,
        triple=f"{known.architecture}-unknown-linux-gnu",
        cpu=known.llvm_cpu,
        features=known.llvm_features,
        vector_bytes=known.vector_bytes,
        registers=known.registers,
        has_fma=known.has_fma,
        has_rounding=known.has_rounding,
        has_half=known.has_half,
        has_scale=known.has_scale,
        has_lookup=known.has_lookup,
        has_bfloat16_dot=known.has_bfloat16_dot,
        has_integer_dot=known.has_integer_dot,
        has_half_arithmetic=known.has_half_arithmetic,
        has_tiles=known.has_tiles,
    )


TARGETS = {known.name: _target(known) for known in INSTRUCTION_SETS.values()}


def target_named(name: str) -> Target:
    """The target of a name.

    Raises:
        BuildError: there is none; the message lists those there are.
    """
    if name not in TARGETS:
        raise BuildError(f"no instruction set '{name}'; expected one of {', '.join(TARGETS)}")
    return TARGETS[name]
