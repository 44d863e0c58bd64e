"""Several plans of one network in one file, each for a target of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tensorwright.base.errors import PlanError
from tensorwright.base.files import replacing
from tensorwright.plan.file import parse_plan
from tensorwright.plan.places import MOST_PLANS, header_of
from tensorwright.plan.plan import Plan


def bundle(plans: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str]) -> None:
    """Write one file of several plans, with their signatures; it appears complete or not at all.

    plans: files of plans of one network, for different targets. `load` takes the first that fits a device.

    Raises:
        PlanError: one is no plan or damaged, their inputs or outputs differ, or there are none or too many.
        OSError: a file cannot be read or written.
    """
    contents = [Path(one).read_bytes() for one in plans]
    require_alike([parse_plan(content) for content in contents])
    if len(contents) > MOST_PLANS:
        raise PlanError(f"a bundle holds at most {MOST_PLANS} plans, found {len(contents)}; write several files")
    header, starts = header_of([len(content) for content in contents])
    with replacing(path) as file:
        file.write(header)
        for start, content in zip(starts, contents, strict=True):
            file.write(bytes(start - file.tell()))
            file.write(content)


def require_alike(plans: Sequence[Plan]) -> Sequence[Plan]:
    """The plans, which are of one network as far as callers see.

    Raises:
        PlanError: there is none, or their inputs or outputs differ.
    """
    if not plans:
        raise PlanError("expected a plan or several, found none")
    for plan in plans[1:]:
        if plan.bindings != plans[0].bindings:
            raise PlanError(
                f"plans for one pool are expected to have the same inputs and outputs, found {_shown(plans[0])} and "
                f"{_shown(plan)}; build them from one model, for several targets"
            )
    return plans


def _shown(plan: Plan) -> str:
    bindings = ", ".join(f"{binding.mode} {binding.name}: {binding.type}" for binding in plan.bindings)
    return f"'{plan.name}' for {plan.stamp.target} ({bindings})"
