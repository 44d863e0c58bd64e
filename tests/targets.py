"""The instruction sets that tests generate code for."""

from __future__ import annotations

import os
from collections.abc import Callable

from tensorwright.devices.cpu.host import runnable_instruction_sets
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS, InstructionSet

RUNNABLE = runnable_instruction_sets()
"""Those that this machine has, the best first."""

_EMULATES = "avx512" in RUNNABLE or os.environ.get("TENSORWRIGHT_EMULATE_AVX512") == "1"
"""Emulating AVX-512 with AVX2 takes minutes: `make test-kernels` asks for it."""

EXECUTABLE = tuple(
    name
    for name, known in INSTRUCTION_SETS.items()
    if name in RUNNABLE
    or (_EMULATES and "avx2" in RUNNABLE and known.architecture == INSTRUCTION_SETS["avx2"].architecture)
)
"""Those whose kernels tests can run: with `emulation`, all of a processor's family if that is quick or asked for."""


def _is_single(name: str) -> bool:
    known = INSTRUCTION_SETS[name]
    return not (known.has_bfloat16_dot or known.has_integer_dot)


SINGLE = tuple(filter(_is_single, RUNNABLE))
"""Those of this machine whose code for float32 differs: what only brings dot products of narrower types is left out."""

EMULATED_SINGLE = tuple(name for name in filter(_is_single, EXECUTABLE) if name not in RUNNABLE)
"""The same of those that are emulated."""


def with_one(has: Callable[[InstructionSet], bool]) -> tuple[str, ...]:
    """Those that this machine has, and the least one that has something more, emulated if it has to be."""
    least = [name for name in EXECUTABLE if has(INSTRUCTION_SETS[name])][-1:]
    return tuple(dict.fromkeys((*RUNNABLE, *least)))
