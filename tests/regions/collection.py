"""All examples, found by folder."""

from __future__ import annotations

import importlib
import pkgutil

import regions
from regions.example import Example


def _found() -> dict[str, Example]:
    """What the modules beside this one list in `EXAMPLES`, by name."""
    modules = [importlib.import_module(f"regions.{info.name}") for info in pkgutil.iter_modules(regions.__path__)]
    examples = [example for module in modules for example in getattr(module, "EXAMPLES", ())]
    by_name = {example.name: example for example in examples}
    assert len(by_name) == len(examples), "two examples have the same name"
    return by_name


EXAMPLES = _found()
"""By name."""
