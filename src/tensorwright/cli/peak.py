"""What this machine can do, for plans whose report does not say it."""

from __future__ import annotations

from tensorwright.plan.plan import Json, MachineStamp
from tensorwright.plan.stamp import host_stamp


def machine_here(stamp: MachineStamp, threads: int) -> dict[str, Json]:
    """What a report says of its machine, measured now for so many threads; nothing for a plan of another machine."""
    from tensorwright.codegen.target import target_named
    from tensorwright.tune.machine import measured_machine

    here = host_stamp()
    if stamp.cpu_model != here.cpu_model or not set(stamp.features) <= set(here.features):
        return {}
    return measured_machine(target_named(stamp.instruction_set), threads).json()
