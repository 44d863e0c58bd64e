"""Devices by name: each kind is a folder beside this file whose module `device` has a `create` and a `count`.

A name is a kind, such as ``cuda``, with the number of one of several: ``cuda:1``. Without, it is number 0.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Protocol, cast

from tensorwright.base.errors import ExecutionError, PlanError
from tensorwright.base.fork import importing

if TYPE_CHECKING:
    from tensorwright.devices.device import Device


class _Kind(Protocol):
    def create(self, number: int) -> Device:
        """The device of a number. Raises ExecutionError: there is none."""
        ...

    def count(self) -> int:
        """How many there are. Raises ExecutionError: this machine cannot have any."""
        ...


def device_kinds() -> tuple[str, ...]:
    """All there are, in alphabetical order."""
    folder = os.path.dirname(__file__)  # noqa: PTH120 - loading a plan imports as little as it can
    return tuple(
        sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("_"))
    )


def split_name(name: str) -> tuple[str, int]:
    """Kind and number of a device: ``("cuda", 1)`` of ``cuda:1``.

    Raises:
        ExecutionError: it is no name of a device.
    """
    kind, colon, number = str(name).partition(":")
    if kind not in device_kinds() or (colon and not (number.isascii() and number.isdecimal())):
        raise ExecutionError(
            f"device {name!r}: expected one of {', '.join(device_kinds())}, with a number if there are several: cuda:1"
        )
    return kind, int(number or 0)


def device_named(name: str) -> Device:
    """The device of a name, ready to load plans.

    Raises:
        ExecutionError: the name is none, or this machine lacks the device; what it has is said.
    """
    kind, number = split_name(name)
    return _kind(kind).create(number)


def devices_of(kind: str) -> tuple[str, ...]:
    """The names of all devices of a kind that this machine has.

    Raises:
        ExecutionError: it has none, for the reason that the message gives.
    """
    return tuple(f"{kind}:{number}" for number in range(_kind(kind).count()))


def device_for(kind: str, name: str | None = None) -> Device:
    """The device for plans of a kind: the one that is named, or else the first.

    Raises:
        PlanError: the kind is unknown, this machine lacks it, or the name is one of another kind.
        ExecutionError: the device that is named is not there.
    """
    if kind not in device_kinds():
        raise PlanError(
            f"the plan was built for the device '{kind}', expected one of {', '.join(device_kinds())}; build it again"
        )
    if name is not None and name != kind:
        if split_name(name)[0] != kind:
            raise PlanError(f"the plan was built for the device '{kind}', it cannot run on '{name}'; build it for that")
        return device_named(name)
    try:
        return device_named(kind)
    except ExecutionError as error:
        raise PlanError(f"the plan was built for the device '{kind}', which this machine lacks: {error}") from error


def _kind(kind: str) -> _Kind:
    with importing:
        return cast("_Kind", importlib.import_module(f"tensorwright.devices.{kind}.device"))
