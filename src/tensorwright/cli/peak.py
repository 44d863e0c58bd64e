"""The arithmetic peak of this machine, for plans whose report does not say it."""

from __future__ import annotations

from tensorwright.plan.plan import MachineStamp
from tensorwright.plan.stamp import host_stamp


def peak_here(stamp: MachineStamp, threads: int) -> float | None:
    """GFLOP/s that so many threads can reach on this machine, measured now; None for a plan of another machine."""
    from tensorwright.codegen.target import target_named
    from tensorwright.tune.peak import measured_peak

    here = host_stamp()
    if stamp.cpu_model != here.cpu_model or not set(stamp.features) <= set(here.features):
        return None
    return measured_peak(target_named(stamp.instruction_set)) * threads
