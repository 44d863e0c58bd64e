"""The instruction sets that tests generate code for."""

from __future__ import annotations

from tensorwright.devices.cpu.host import runnable_instruction_sets
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS

RUNNABLE = runnable_instruction_sets()
"""Those that this machine has, the best first."""

EXECUTABLE = (*dict.fromkeys(("avx512_amx", *RUNNABLE)),) if "avx512_bf16" in RUNNABLE else RUNNABLE
"""Those whose kernels tests can run: with `tile_emulation`, tile registers need a processor with all the rest."""

SINGLE = tuple(
    name for name in RUNNABLE if not (INSTRUCTION_SETS[name].has_bfloat16_dot or INSTRUCTION_SETS[name].has_integer_dot)
)
"""Those whose code for float32 differs: what only brings dot products of narrower types is left out."""
