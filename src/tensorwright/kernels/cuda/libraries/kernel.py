"""What stands for a kernel where a library is called."""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorwright.devices.cuda.libraries.calls import Call, written_call
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.kernel import ALIGNMENT
from tensorwright.kernels.cuda.share import BYTES_PER_SECOND, roofline_share
from tensorwright.kernels.tactic import AnyConfig, Kernel, Packing, TacticOptions
from tensorwright.kernels.work import work
from tensorwright.tensor.dim import tuning_value
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType

FLOPS_PER_SECOND = {FLOAT16: 550e12, BFLOAT16: 550e12, FLOAT32: 45e12}
TF32_FLOPS_PER_SECOND, CALL_SECONDS = 300e12, 4e-6


@dataclass(frozen=True)
class Algorithm(TacticOptions):
    """rank: the place of an algorithm among those that the library proposes; version: of the library, as one number;
    turned: whether constant columns are packed one behind the other.
    """

    rank: int
    version: int
    turned: bool = False


@dataclass(frozen=True)
class CallKernel(Kernel):
    """A call of a library, whose text takes the place of code. workspace: bytes of device memory."""

    call: Call = field(kw_only=True)
    alignment: int = ALIGNMENT


def call_kernel(
    config: AnyConfig, call: Call, packings: tuple[Packing | None, ...], in_place: tuple[int, ...] = ()
) -> CallKernel:
    """The kernel that is a call for a whole region."""
    return CallKernel(
        text=written_call(call),
        inputs=config.inputs,
        output=config.output,
        tasks=1,
        packings=packings,
        workspace=call.workspace,
        in_place=in_place,
        call=call,
    )


def assumed_share(region: Region, dtype: DType, *, tf32: bool = False) -> float:
    """The share of the roofline that a library is assumed to reach, as it does for large products on an H100 or H200;
    little is known of small ones. dtype: of the factors.
    """
    needed = work(region)
    flops_per_second = TF32_FLOPS_PER_SECOND if tf32 else FLOPS_PER_SECOND[dtype]
    busy = max(tuning_value(needed.flops) / flops_per_second, tuning_value(needed.bytes) / BYTES_PER_SECOND)
    return roofline_share(region, (busy + CALL_SECONDS) * 1e6)


def number_of(version: str) -> int:
    """A version such as 13.1.0 as one number."""
    number = 0
    for part in version.split("."):
        number = 1000 * number + int(part)
    return number
