"""Plans on GPUs that are newer than what they were built for: the driver compiles PTX that lies beside machine code.

Machine code runs on GPUs of its own major compute capability that are not older; PTX on all that are not older, unless
it uses what only one architecture has.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from tensorwright.base.errors import PlanError
from tensorwright.devices.cuda.context import GpuProperties
from tensorwright.devices.cuda.image import Image, ImageStep
from tensorwright.plan.plan import MachineStamp
from tensorwright.plan.stamp import OR_NEWER

MOST_PTX_BYTES = 64 << 20
"""Of one kernel; 100 KB are much."""


def needs_compiler(stamp: MachineStamp, gpu: GpuProperties) -> bool:
    """Whether a GPU runs a plan by its PTX, since it is newer than the machine code.

    Raises:
        PlanError: it cannot run the plan at all; the message names both.
    """
    found, wanted = gpu.capability, _capability(stamp.target)
    if found >= wanted and found // 10 == wanted // 10:
        return False
    if found > wanted and stamp.target.endswith(OR_NEWER):
        return True
    advice = "build it again here" + (", or there with compatible=True" if found > wanted else "")
    raise PlanError(f"{difference(stamp, gpu)}; {advice}")


def difference(stamp: MachineStamp, gpu: GpuProperties) -> str:
    """What a plan was built for, and what it meets."""
    target = stamp.target.removesuffix(OR_NEWER)
    return (
        f"the plan was built for {target} on {stamp.model}; this is {gpu.name} of compute capability "
        f"{gpu.capability / 10:.1f}"
    )


def _capability(target: str) -> int:
    """Ten times the compute capability that a target such as ``sm_90`` or ``sm_90+`` is for.

    Raises:
        PlanError: it is no such name.
    """
    number = target.removeprefix("sm_").removesuffix(OR_NEWER)
    if not number.isdecimal() or not target.startswith("sm_"):
        raise PlanError(f"the plan was built for the target '{target}', expected one such as sm_90; build it again")
    return int(number)


def loadable(image: Image, stamp: MachineStamp, gpu: GpuProperties, where: str) -> Iterator[tuple[str, bytes]]:
    """The name of each kernel and what the driver of a GPU loads: machine code or PTX. where: names the plan.

    Raises:
        PlanError: the GPU cannot run the plan, or its PTX is damaged.
    """
    _require_shared(image, gpu, where)
    if not needs_compiler(stamp, gpu):
        yield from image.modules.items()
        return
    for name in image.modules:
        yield name, _unpacked(image.ptx.get(name, b""), f"{where}: the PTX of the kernel {name}")


def _require_shared(image: Image, gpu: GpuProperties, where: str) -> None:
    launches = [step for step in image.steps if isinstance(step, ImageStep)]
    wanted = {step.kernel: step.shared_bytes for step in launches if step.shared_bytes > gpu.shared_bytes}
    if wanted:
        raise PlanError(
            f"{where}: {', '.join(f'{name} needs {size}' for name, size in wanted.items())} bytes of shared memory for "
            f"a block, of which {gpu.name} has {gpu.shared_bytes}; build it again here, or there with compatible=True"
        )


def packed(ptx: str) -> bytes:
    """PTX as a plan holds it."""
    return zlib.compress(ptx.encode(), 9)


def _unpacked(data: bytes, where: str) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        ptx = unpacker.decompress(data, MOST_PTX_BYTES)
    except zlib.error as error:
        raise PlanError(f"{where} cannot be read: {error}; build the plan again") from None
    if not unpacker.eof:
        raise PlanError(f"{where} is missing, cut off or larger than {MOST_PTX_BYTES} bytes; build the plan again")
    return ptx
