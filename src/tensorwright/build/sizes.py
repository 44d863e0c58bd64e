"""Refuses tensors that cannot exist, before anything is timed or compiled."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from tensorwright.base.errors import BuildError
from tensorwright.graph.graph import Graph, Value
from tensorwright.plan.limits import MAX_SIZE

Given = ParamSpec("Given")
Result = TypeVar("Result")

COPIES = 4
"""How often the bytes of a tensor fit into memory, at least, when kernels that make it are timed and checked."""

_SMALLER = "use smaller shapes or ranges"


def within_memory(build: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a build to which the system refuses memory or processes end with an error that says so."""

    @wraps(build)
    def bounded(*args: Given.args, **options: Given.kwargs) -> Result:
        try:
            return build(*args, **options)
        except (MemoryError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENOMEM:
                raise
            raise BuildError(f"building takes more memory than there is: {error}; {_SMALLER}, or level 0") from error

    return bounded


def require_tensors(graph: Graph, is_timed: bool) -> None:
    """Refuse a network with tensors that are too large, or that cannot be there to time kernels.

    Args:
        graph: the network.
        is_timed: whether kernels will be timed, for which their tensors and the reference in double precision have to
            fit into this machine's memory.

    Raises:
        BuildError: a tensor has more bytes than anything in a plan, or than this machine has; one that kernels are
            timed with has a negative size.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for value in graph.order():
        if (most := max(value.type.max_bytes, value.type.spanned_bytes)) > MAX_SIZE:
            raise _too_large(value, most, f"nothing in a plan has more than {MAX_SIZE}")
        if is_timed and min(value.type.tuning_shape, default=0) < 0:
            raise BuildError(
                f"tensor '{value.name}' ({value.type}) would have the shape {value.type.tuning_shape} at the sizes to "
                "tune for, and kernels cannot be timed: tune for larger inputs, or build at level 0"
            )
        if is_timed and (size := _tuned_bytes(value)) > memory // COPIES:
            raise _too_large(value, size, f"kernels cannot be timed on a machine with {memory}: build at level 0")


def _too_large(value: Value, size: int, reason: str) -> BuildError:
    return BuildError(f"tensor '{value.name}' ({value.type}) needs {size} bytes; {reason}, or {_SMALLER}")


def _tuned_bytes(value: Value) -> int:
    size = value.type.dtype.size
    for extent in value.type.tuning_shape:
        size *= extent
    return size
