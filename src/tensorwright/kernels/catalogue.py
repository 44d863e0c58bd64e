"""All tactics there are: every module in `kernels/cpu` lists its own in `TACTICS`; the generic tactic comes last."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from tensorwright.kernels import cpu
from tensorwright.kernels.generic import Generic
from tensorwright.kernels.tactic import Tactic


@cache
def tactics() -> tuple[Tactic, ...]:
    """The catalogue, in alphabetical order of its modules, the generic tactic last."""
    found: list[Tactic] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(cpu.__path__)):
        found.extend(getattr(importlib.import_module(f"{cpu.__name__}.{module}"), "TACTICS", ()))
    return (*found, Generic())
