"""All tactics for CPUs: the modules of this folder list theirs in `TACTICS`; the generic tactic comes last."""

from __future__ import annotations

from functools import cache

from tensorwright.codegen.target import Target
from tensorwright.kernels import cpu
from tensorwright.kernels.catalogue import found_below
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.tactic import AnyTactic


@cache
def tactics() -> tuple[AnyTactic[Target], ...]:
    """The catalogue, in alphabetical order of its modules, the generic tactic last."""
    return (*found_below(cpu), Generic())
