"""The instruction sets that code is generated for."""

from __future__ import annotations

from tensorwright.base.errors import BuildError
from tensorwright.codegen.target import Target

_AVX2 = "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+popcnt,+sse4.2,+lzcnt,+movbe"
_AVX512 = _AVX2 + ",+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd,-prefer-256-bit"

TARGETS = {
    target.name: target
    for target in (
        Target(
            "avx512", "x86_64-unknown-linux-gnu", "x86-64-v4", _AVX512, 64, 32, True, has_scale=True, has_lookup=True
        ),
        Target("avx2", "x86_64-unknown-linux-gnu", "x86-64-v3", _AVX2, 32, 16, True),
        Target("baseline", "x86_64-unknown-linux-gnu", "x86-64", "", 16, 16, False, has_rounding=False, has_half=False),
        Target("aarch64", "aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32, True),
    )
}


def target_named(name: str) -> Target:
    """The target of a name.

    Raises:
        BuildError: there is none; the message lists those there are.
    """
    if name not in TARGETS:
        raise BuildError(f"no instruction set '{name}'; expected one of {', '.join(TARGETS)}")
    return TARGETS[name]
