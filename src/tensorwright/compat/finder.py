"""Makes the names importable that old scripts import, without installing anything."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from tensorwright.compat.machine import choose

PACKAGES = ("tensorrt", "uff", "pycuda", "graphsurgeon")
HOME = "tensorwright.compat"
LEGACY = "tensorrt.legacy"
"""The name under which the fifth version kept the interface of the third and fourth: here the same modules."""


class CompatFinder(MetaPathFinder):
    """Finds modules of this package under the names that scripts import.

    displaced: modules of the same names that were imported before, and come back on `deactivate`.
    """

    def __init__(self, displaced: dict[str, ModuleType]) -> None:
        self.displaced = displaced

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, rest = fullname.partition(".")
        if top not in PACKAGES or (rest and not _is_ours(sys.modules.get(top))):
            return None
        name = _real_name(fullname)
        if importlib.util.find_spec(name) is None:
            return None
        return ModuleSpec(fullname, _AliasLoader(name), is_package=True)


class _AliasLoader(Loader):
    """Loads a module by importing another one: both names mean the same object."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # The import system has put the alias there.


def activate(*, force: bool = False, device: str = "cpu") -> None:
    """Make `tensorrt`, `uff` and `pycuda` importable. Twice is once.

    Args:
        device: what engines are built for and run on, and what has memory and streams: "cpu", "cuda" or "cuda:1".
        force: take precedence over installed packages of these names. Without it, what is installed stays; a warning
            tells when `tensorrt` would come from one place and `pycuda` from another, because the addresses of one
            mean nothing to the other.
    """
    deactivate()
    choose(device)
    displaced: dict[str, ModuleType] = {}
    if force:
        displaced = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in PACKAGES}
        for name in displaced:
            del sys.modules[name]
        sys.meta_path.insert(0, CompatFinder(displaced))
    else:
        _warn_of_mixtures()
        sys.meta_path.append(CompatFinder(displaced))
    importlib.invalidate_caches()


def deactivate() -> None:
    """Take the names back. Modules that `activate(force=True)` displaced come back. Twice is once."""
    for finder in [finder for finder in sys.meta_path if isinstance(finder, CompatFinder)]:
        sys.meta_path.remove(finder)
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in PACKAGES and _is_ours(module):
                del sys.modules[name]
        sys.modules.update(finder.displaced)


def _real_name(fullname: str) -> str:
    if fullname == LEGACY or fullname.startswith(f"{LEGACY}."):
        fullname = "tensorrt" + fullname.removeprefix(LEGACY)
    return f"{HOME}.{fullname}"


def _is_ours(module: ModuleType | None) -> bool:
    return module is not None and module.__name__.startswith(f"{HOME}.")


def _warn_of_mixtures() -> None:
    installed = [name for name in ("tensorrt", "pycuda") if importlib.util.find_spec(name) is not None]
    if len(installed) == 1:
        other = {"tensorrt": "pycuda", "pycuda": "tensorrt"}[installed[0]]
        warnings.warn(
            f"{installed[0]} is installed and stays in use, {other} comes from tensorwright: addresses of one are no "
            f"memory of the other. Use tensorwright.compat.activate(force=True) or --force to have both from "
            "tensorwright.",
            RuntimeWarning,
            stacklevel=3,
        )
