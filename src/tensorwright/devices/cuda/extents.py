"""Whether the memory that calls of libraries touch is what a plan says of them, and so is there."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.base.errors import PlanError
from tensorwright.devices.cuda.image import CallStep, Image
from tensorwright.devices.cuda.libraries.shared import ALIGNMENT
from tensorwright.plan.plan import Plan, PlanStep, Slice
from tensorwright.tensor.dim import bounds


def require_inside(image: Image, plan: Plan, where: str) -> None:
    """Refuse calls that would read or write more than the slices of their steps, which the plan's reader has checked.

    Raises:
        PlanError: a call does; names the step and its operand.
    """
    if not image.calls:
        return
    if len(image.steps) != len(plan.steps):
        raise PlanError(f"{where}: expected as many steps as launches, found {len(plan.steps)} and {len(image.steps)}")
    for number, (step, touched) in enumerate(zip(image.steps, plan.steps, strict=True)):
        if isinstance(step, CallStep):
            reason = _wrong(image, step, touched)
            if reason:
                raise PlanError(f"{where}: step {number + 1}, a call of a library, {reason}; build it again")


def _wrong(image: Image, step: CallStep, touched: PlanStep) -> str:
    """What a call touches that its step does not; empty if there is nothing."""
    call = image.calls[step.call]
    if call.workspace > image.workspace_bytes:
        return f"needs {call.workspace} bytes of workspace, of which there are {image.workspace_bytes}"
    for operand, size in call.extents.items():
        if operand >= len(step.operands):
            return f"has {len(step.operands)} operands, none of them number {operand}"
        base, place = step.operands[operand]
        if base != "binding" and place % ALIGNMENT:
            return f"has its operand {operand} at {place} of the {base}, expected a multiple of {ALIGNMENT}"
        room = _room(step, operand, touched.reads if operand else touched.writes)
        if size > room:
            return f"touches {size} bytes of its operand {operand}, expected at most {room}"
    return ""


def _room(step: CallStep, operand: int, slices: Sequence[Slice]) -> int:
    """Bytes that there are from where an operand starts."""
    base, place = step.operands[operand]
    return max((bounds(part.bytes)[0] for part in slices if (part.base, part.place) == (base, place)), default=0)
