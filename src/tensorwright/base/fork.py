"""Locks that a child process finds open, and imports that it finds done.

A fork copies the locks of a process as they are, but only the thread that calls it: what another thread held would stay
locked in the child for good. What such a lock protects has to be usable at every moment, whatever has been done of it.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar


class _Lock(Protocol):
    def _at_fork_reinit(self) -> None: ...


L = TypeVar("L")


def forkable(lock: L) -> L:
    """A lock (of `threading`) that is open in every child process."""
    _LOCKS.add(lock)  # type: ignore[arg-type]
    return lock


T_co = TypeVar("T_co", covariant=True)


class cached_property(functools.cached_property[T_co]):  # noqa: N801  # It is used as the one that it is.
    """That of Python, whose lock (before 3.12, one for all objects of a class) is open in every child process."""

    def __init__(self, function: Callable[[Any], T_co]) -> None:
        super().__init__(function)
        if hasattr(self, "lock"):
            forkable(self.lock)


importing = threading.RLock()
"""Held by a thread that imports modules when they are first used: no fork happens meanwhile. A child would wait for
ever for a module that a thread of its parent had begun to import.
"""

# What a fork has to find is a matter of the process; the set keeps nothing alive.
_LOCKS: weakref.WeakSet[_Lock] = weakref.WeakSet()


def _open_all() -> None:
    for lock in list(_LOCKS):
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)
    os.register_at_fork(before=importing.acquire, after_in_parent=importing.release, after_in_child=importing.release)
