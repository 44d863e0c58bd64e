"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from tensorwright.base.fork import importing


def names_of(package: str, **modules: Sequence[str]) -> Callable[[str], object]:
    """The ``__getattr__`` of a package: it finds names in those of its modules that have them."""
    where = {name: module for module, names in modules.items() for name in names}

    def find(name: str) -> object:
        if name not in where:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        with importing:
            return getattr(importlib.import_module(f"{package}.{where[name]}"), name)

    return find
