"""The instruction sets that tests generate code for."""

from __future__ import annotations

from tensorwright.devices.cpu.host import runnable_instruction_sets
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS

RUNNABLE = runnable_instruction_sets()
"""Those that this machine has, the best first."""

EMULATED = ("avx512_amx", "avx512_fp16") if "avx512_bf16" in RUNNABLE else ()
EXECUTABLE = (*dict.fromkeys((*EMULATED, *RUNNABLE)),)
"""Those whose kernels tests can run: with `emulation`, tile registers and arithmetic in float16 need a processor with
all the rest.
"""

SINGLE = tuple(
    name for name in RUNNABLE if not (INSTRUCTION_SETS[name].has_bfloat16_dot or INSTRUCTION_SETS[name].has_integer_dot)
)
"""Those whose code for float32 differs: what only brings dot products of narrower types is left out."""
