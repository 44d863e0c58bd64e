"""Bindings as engines with several profiles count them: all of the first profile, then all of the next."""

from __future__ import annotations

import re
from operator import index

from tensorwright.base.errors import ExecutionError
from tensorwright.runtime.engine import Engine

Key = int | str

_SUFFIX = re.compile(r"(.*) \[profile (\d+)\]", re.DOTALL)


def split(engine: Engine, binding: Key) -> tuple[int | None, Key]:
    """The profile that a binding is meant for, None for any; and what the engine itself calls the binding.

    Raises:
        ExecutionError: there is no such profile.
    """
    if isinstance(binding, str):
        found = None if binding in engine else _SUFFIX.fullmatch(binding)
        profile, key = (int(found[2]), found[1]) if found else (None, binding)
    else:
        profile, key = divmod(index(binding), len(engine))
    if profile is not None and not 0 <= profile < engine.num_optimization_profiles:
        raise ExecutionError(
            f"engine '{engine.name}' has no binding {binding!r}: it has {len(engine)} bindings for each of its "
            f"{engine.num_optimization_profiles} profile(s)"
        )
    return profile, key


def joined(name: str, profile: int) -> str:
    """The name of a binding of a profile."""
    return f"{name} [profile {profile}]" if profile else name
