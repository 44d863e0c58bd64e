"""Devices by name: each is a folder beside this file whose module `device` has a `create`."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from tensorwright.base.errors import ExecutionError, PlanError

if TYPE_CHECKING:
    from tensorwright.devices.device import Device


def device_names() -> tuple[str, ...]:
    """All there are, in alphabetical order."""
    folder = os.path.dirname(__file__)  # noqa: PTH120 - loading a plan imports as little as it can
    return tuple(
        sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("_"))
    )


def device_named(name: str) -> Device:
    """The device of a name, ready to load plans.

    Raises:
        PlanError: there is none, or this machine lacks it.
    """
    if name not in ("cpu", *device_names()):
        raise PlanError(
            f"the plan was built for the device '{name}', expected one of {', '.join(device_names())}; build it again"
        )
    try:
        device: Device = importlib.import_module(f"tensorwright.devices.{name}.device").create()
    except ExecutionError as error:
        raise PlanError(f"the plan was built for the device '{name}', which this machine lacks: {error}") from error
    return device
