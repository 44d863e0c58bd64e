"""All cases, found by folder."""

from __future__ import annotations

import importlib
import pkgutil

import cases

MODULES = sorted(info.name for info in pkgutil.iter_modules(cases.__path__) if info.name not in ("case", "collection"))
CASES = [case for name in MODULES for case in importlib.import_module(f"cases.{name}").CASES]
