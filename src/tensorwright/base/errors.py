"""Every error that tensorwright raises on purpose.

    TensorwrightError
    ├── NetworkError        the network definition is wrong (names the user's own call or layer)
    │   └── ShapeError      types or shapes do not fit an operator
    ├── ImportFailure       a model file cannot be read or uses what is not supported
    ├── BuildError          no plan can be made within the given limits
    │   └── WorkspaceError  no kernel fits the workspace limit
    ├── PlanError           a plan cannot be loaded (damaged, other version, other machine)
    ├── ExecutionError      a call of an engine or context is wrong (dtype, shape, size, order)
    │   └── DeviceError     the device failed, whatever it was asked to do
    └── FileError           something else than a file lies where a file is to be written or read

Each message says what was expected, what was found, where, and what to do.
"""

from __future__ import annotations

from tensorwright.base.text import printable_lines


class TensorwrightError(Exception):
    """Base of all errors raised on purpose. Names in its message cannot command the terminal that shows it."""

    def __str__(self) -> str:
        return printable_lines(super().__str__())


class NetworkError(TensorwrightError):
    """The network definition is wrong."""


class ShapeError(NetworkError):
    """Types or shapes of inputs do not fit the operator."""


class ImportFailure(TensorwrightError):
    """A model file cannot be read, or uses what is not supported."""


class BuildError(TensorwrightError):
    """No plan can be made within the given limits."""


class WorkspaceError(BuildError):
    """No kernel for a layer fits the workspace limit."""


class PlanError(TensorwrightError):
    """A plan cannot be loaded: damaged, of another version or for another machine."""


class ExecutionError(TensorwrightError):
    """A call of an engine or an execution context is wrong."""


class DeviceError(ExecutionError):
    """The device failed, not who asked. lost: nothing will run on it any more in this process."""

    def __init__(self, message: str, *, lost: bool = False) -> None:
        super().__init__(message)
        self.lost = lost


class FileError(TensorwrightError):
    """Something else than a regular file lies where a file is to be written or read."""
