"""Plans from files and bytes to engines.

The weights are verified by another thread while this one imports the rest of the runtime, and NumPy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, overload

from tensorwright.base.errors import ExecutionError, PlanError
from tensorwright.base.fork import importing
from tensorwright.plan.file import open_plans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensorwright.devices.device import Allocator, Device
    from tensorwright.plan.file import OpenedPlan
    from tensorwright.plan.plan import Plan
    from tensorwright.plan.signature import PublicKey
    from tensorwright.runtime.engine import Engine
    from tensorwright.runtime.pool import Devices, EnginePool

Source = str | os.PathLike[str] | bytes | bytearray | memoryview


@overload
def load(
    source: Source,
    *,
    threads: int | None = None,
    allocator: Allocator | None = None,
    copy: bool = False,
    trusted: Sequence[PublicKey] | None = None,
    device: Device | str | None = None,
) -> Engine: ...


@overload
def load(
    source: Source | Sequence[str | os.PathLike[str]],
    *,
    threads: int | None = None,
    allocator: Allocator | None = None,
    copy: bool = False,
    trusted: Sequence[PublicKey] | None = None,
    devices: Devices,
    contexts: int | None = None,
    queue: int | None = None,
    patience: float | None = None,
    processes: bool = False,
    report: Callable[[str], object] | None = None,
) -> EnginePool: ...


def load(
    source: Source | Sequence[str | os.PathLike[str]],
    *,
    threads: int | None = None,
    allocator: Allocator | None = None,
    copy: bool = False,
    trusted: Sequence[PublicKey] | None = None,
    device: Device | str | None = None,
    devices: Devices | None = None,
    **options: Any,
) -> Engine | EnginePool:
    """The engine of a plan that is given as the path of a file or as bytes; with `devices` a pool of engines.

    Weights in a file are mapped: the file may be deleted or replaced afterwards, but must not be altered in place,
    which may give wrong answers or end the process. With `copy` they are read into memory of this process, and whatever
    happens to the file later is of no concern; processes that load the same plan do not share them then.

    trusted: public keys, as files or bytes in PEM: a plan that none of them has signed, or that was changed since, is
    refused before anything is made of it. None for the files that the environment variable TENSORWRIGHT_TRUSTED names;
    without it every plan is loaded.
    device: what it runs on, such as ``cuda:1``; None for the first of the kind that the plan was made for.
    devices: "all", or several such names: the plan is loaded on each, and requests go to whichever is free; see
    `EnginePool`, also for contexts, queue, patience, processes and report, which belong to `devices`.

    For devices that differ, a file may hold plans from one model for several targets (`bundle` writes it), and with
    `devices` `source` may be a list of files: each device takes the first plan that it can run.

    Raises:
        PlanError: it is no plan, damaged, of another version, for another machine or not to be trusted.
        ExecutionError: a device is not there or has not enough memory, or options contradict each other.
        OSError: the file cannot be read.
    """
    if devices is not None and device is not None:
        raise ExecutionError(f"load: device is {device!r} and devices {devices!r}; say one of them")
    if devices is None and options:
        raise ExecutionError(f"load: {', '.join(options)} belong to a pool; say its devices, such as devices='all'")
    sources: Sequence[object] = source if devices is not None and isinstance(source, list | tuple) else [source]
    opened = [plan for one in sources for plan in _opened(one, copy=copy, trusted=trusted)]
    loaded: Engine | EnginePool | None = None
    try:
        plans = [one.plan for one in opened]
        with importing:
            from tensorwright.runtime.engine import Engine
        if devices is None:
            loaded = Engine(_fitting(plans, device), allocator, threads, device)
        else:
            with importing:
                from tensorwright.runtime.pool import EnginePool
            loaded = EnginePool(plans, devices, allocator=allocator, threads=threads, **options)
        for one in opened:
            one.verify()
    except BaseException:
        for one in opened:
            one.wait()  # No thread is left that reads the file.
        if loaded is not None:
            loaded.close()
        raise
    return loaded


def _opened(source: object, *, copy: bool, trusted: Sequence[PublicKey] | None) -> tuple[OpenedPlan, ...]:
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        raise PlanError(f"load: expected the path of a plan, or its bytes, found {type(source).__name__}")
    return open_plans(source, copy=copy, trusted=trusted)


def _fitting(plans: Sequence[Plan], device: Device | str | None) -> Plan:
    """The first plan that the device can run.

    Raises:
        PlanError: there are several, and it can run none; the message says why.
    """
    if len(plans) == 1:
        return plans[0]
    with importing:
        from tensorwright.devices.find import device_for

    reasons = []
    for plan in plans:
        try:
            found = device_for(plan.stamp.device, device) if device is None or isinstance(device, str) else device
            found.check(plan.stamp)
        except (PlanError, ExecutionError) as error:
            reasons.append(f"{plan.stamp.target}: {error}")
        else:
            return plan
    raise PlanError(f"no plan for '{plans[0].name}' can run here ({'; '.join(reasons)})")
