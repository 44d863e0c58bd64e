"""All tactics for NVIDIA GPUs: the modules of this folder list theirs in `TACTICS`; the generic tactic comes last."""

from __future__ import annotations

from functools import cache

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.kernels import cuda
from tensorwright.kernels.catalogue import found_below
from tensorwright.kernels.cuda.generic import Generic
from tensorwright.kernels.tactic import AnyTactic


@cache
def tactics() -> tuple[AnyTactic[CudaTarget], ...]:
    """The catalogue, in alphabetical order of its modules, the generic tactic last."""
    return (*found_below(cuda), Generic())
