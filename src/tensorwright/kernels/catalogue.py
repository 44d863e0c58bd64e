"""All tactics there are: the modules below `kernels/cpu` list theirs in `TACTICS`; the generic tactic comes last."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from tensorwright.kernels import cpu
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.tactic import Tactic


@cache
def tactics() -> tuple[Tactic, ...]:
    """The catalogue, in alphabetical order of its modules, the generic tactic last."""
    found: list[Tactic] = []
    for module in sorted(info.name for info in pkgutil.walk_packages(cpu.__path__, f"{cpu.__name__}.")):
        found.extend(getattr(importlib.import_module(module), "TACTICS", ()))
    return (*found, Generic())
