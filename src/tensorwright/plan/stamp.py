"""Whether a plan was made for a machine like this one, as far as that is the same for all devices."""

from __future__ import annotations

from tensorwright.base.errors import PlanError
from tensorwright.plan.plan import MachineStamp, Plan

OR_NEWER = "+"
"""What the name of a target ends with where newer devices run the plan, too, such as ``sm_80+``."""


def target_text(stamp: MachineStamp) -> str:
    """The target of a plan as people read it."""
    name = stamp.target.removesuffix(OR_NEWER)
    return name if name == stamp.target else f"{name} and newer"


def libraries_text(plan: Plan) -> str:
    """The libraries that a plan needs beside its device's own, as people read them; empty for none."""
    return ", ".join(f"{name} {version}" for name, version in plan.executable.libraries.items())


def require_equal(stamp: MachineStamp, host: MachineStamp) -> None:
    """Refuse a plan of another version of the package, for another device, system or architecture.

    Raises:
        PlanError: the message names both sides.
    """
    for what, found, expected in (
        ("version of tensorwright", stamp.package_version, host.package_version),
        ("device", stamp.device, host.device),
        ("operating system", stamp.operating_system, host.operating_system),
        ("processor architecture", stamp.architecture, host.architecture),
    ):
        if found != expected:
            raise PlanError(f"the plan was built for the {what} {found}, this is {expected}; build it again here")
