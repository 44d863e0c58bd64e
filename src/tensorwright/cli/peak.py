"""What this machine can do, as far as the report of a plan does not say it."""

from __future__ import annotations

from tensorwright.plan.plan import Json, MachineStamp
from tensorwright.plan.stamp import host_stamp


def machine_here(stamp: MachineStamp, threads: int) -> dict[str, Json]:
    """What a report says of its machine, measured now for so many threads; nothing for a plan of another machine."""
    from tensorwright.codegen.cpu.targets import target_named
    from tensorwright.tune.machine import measured_machine

    return measured_machine(target_named(stamp.instruction_set), threads).json() if _is_here(stamp) else {}


def speed_here(stamp: MachineStamp, threads: int, size: int) -> float | None:
    """GB/s at which this machine reads so many bytes over and over, measured now; None for a plan of another machine,
    and where the report says it: for sizes that a level of memory was measured for.
    """
    from tensorwright.codegen.cpu.targets import target_named
    from tensorwright.tune.machine import measured_speed

    return measured_speed(target_named(stamp.instruction_set), size, threads) if _is_here(stamp) else None


def _is_here(stamp: MachineStamp) -> bool:
    here = host_stamp()
    return stamp.cpu_model == here.cpu_model and set(stamp.features) <= set(here.features)
