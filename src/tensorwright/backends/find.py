"""Backends by name: each is a module or folder beside this one whose `BACKEND` is a `Backend`."""

from __future__ import annotations

import importlib
import pkgutil

from tensorwright import backends
from tensorwright.backends.backend import Backend
from tensorwright.base.errors import BuildError, ExecutionError
from tensorwright.devices.find import split_name

_NOT_BACKENDS = ("backend", "find")


def backend_names() -> tuple[str, ...]:
    """All there are, in alphabetical order."""
    found = (info.name for info in pkgutil.iter_modules(backends.__path__))
    return tuple(sorted(name for name in found if name not in _NOT_BACKENDS))


def backend_named(name: str) -> Backend:
    """The backend of a device: of a kind, or of one of several, such as ``cuda:1``.

    Raises:
        BuildError: there is none; the message lists those there are.
    """
    kind = name.partition(":")[0]
    if kind not in backend_names():
        raise BuildError(f"no device '{name}'; expected one of {', '.join(backend_names())}")
    try:
        _, number = split_name(name)
    except ExecutionError as error:
        raise BuildError(str(error)) from None
    backend: Backend = importlib.import_module(f"{backends.__name__}.{kind}").BACKEND
    return backend.numbered(number)
