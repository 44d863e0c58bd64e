"""Finds tactics by folder."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from tensorwright.kernels.tactic import AnyTactic


def found_below(package: ModuleType) -> tuple[AnyTactic[Any], ...]:
    """What the modules of a package list in `TACTICS`, in alphabetical order of the modules."""
    found: list[AnyTactic[Any]] = []
    for module in sorted(info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")):
        found.extend(getattr(importlib.import_module(module), "TACTICS", ()))
    return tuple(found)
