"""What stands for a kernel where a library is called."""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorwright.devices.cuda.libraries.calls import Call, written_call
from tensorwright.kernels.cuda.kernel import ALIGNMENT
from tensorwright.kernels.tactic import AnyConfig, Kernel, Packing, TacticOptions


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


def number_of(version: str) -> int:
    """A version such as 13.1.0 as one number."""
    number = 0
    for part in version.split("."):
        number = 1000 * number + int(part)
    return number
