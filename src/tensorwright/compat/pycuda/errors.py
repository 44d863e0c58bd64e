"""The errors of `pycuda.driver`."""

from __future__ import annotations

import builtins

from tensorwright.base.errors import ExecutionError


class Error(ExecutionError):
    """Base of the driver's errors."""


class LogicError(Error):
    """A call was wrong."""


class LaunchError(Error):
    """Work could not be started."""


class MemoryError(Error, builtins.MemoryError):
    """There is not enough memory."""


class RuntimeError(Error, builtins.RuntimeError):
    """Something else went wrong."""
