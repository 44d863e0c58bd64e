"""What this machine can do, as far as the report of a plan does not say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tensorwright.devices.cpu.host import host_stamp
from tensorwright.plan.plan import Json, MachineStamp

if TYPE_CHECKING:
    from tensorwright.tune.bench import Bench


def machine_here(stamp: MachineStamp, threads: int) -> dict[str, Json]:
    """What a report says of its machine, measured now for so many threads; nothing for a plan of another machine."""
    return _bench(stamp, threads).machine().json() if _is_here(stamp) else {}


def speed_here(stamp: MachineStamp, threads: int, size: int) -> float | None:
    """GB/s at which this machine reads so many bytes over and over, measured now; None for a plan of another machine,
    and where the report says it: for sizes that a level of memory was measured for.
    """
    return _bench(stamp, threads).read_speed(size) if _is_here(stamp) else None


def gains_of(stamp: MachineStamp) -> Mapping[str, float]:
    """How many times as fast as float32 the machine of a plan multiplies other types, where that is known, by name."""
    from tensorwright.backends.find import backend_named

    return backend_named(stamp.device).narrow_gains(stamp.target)


def _bench(stamp: MachineStamp, threads: int) -> Bench:
    from tensorwright.backends.find import backend_named

    return backend_named(stamp.device).toolchain(stamp.target, threads, None).bench


def _is_here(stamp: MachineStamp) -> bool:
    if stamp.device != "cpu":
        return False
    here = host_stamp()
    return stamp.model == here.model and set(stamp.features) <= set(here.features)
