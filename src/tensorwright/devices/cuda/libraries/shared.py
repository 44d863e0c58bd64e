"""Libraries whose functions return a status, called with a GPU's context current."""

from __future__ import annotations

import ctypes
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from ctypes import CDLL, c_int, c_size_t, c_void_p

from tensorwright.base.errors import DeviceError, ExecutionError
from tensorwright.devices.cuda.context import Context

ALIGNMENT = 16
"""Bytes to which operands of calls are aligned, as those of every step."""
Prototypes = Mapping[str, Sequence[object]]


class LibraryError(DeviceError):
    """A call of a library failed. `code` is its status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def declared(library: CDLL, prototypes: Prototypes) -> CDLL:
    """The library with the types of its functions' arguments."""
    for name, arguments in prototypes.items():
        function = getattr(library, name, None)
        if function is not None:
            function.argtypes, function.restype = tuple(arguments), c_int
    return library


class StatusLibrary(ABC):
    """A library, opened for one GPU: calls its functions and turns what they return into errors.

    title: what messages call it; prefix: what its functions begin with. library: an object with these as attributes:
    the loaded library, or what a test puts in its place.

    Raises:
        LibraryError: it does not accept the GPU.
    """

    def __init__(self, title: str, prefix: str, library: object, context: Context) -> None:
        self.title, self.library, self.context = title, library, context
        self.version = _version(library, f"{prefix}GetVersion")
        self.handle = c_void_p()
        self.call(f"opening {title}", f"{prefix}Create", ctypes.byref(self.handle))
        finalizer = weakref.finalize(self, _destroy, library, f"{prefix}Destroy", self.handle, os.getpid())
        finalizer.atexit = False

    @abstractmethod
    def meaning(self, code: int) -> str:
        """The name of a status."""

    def call(self, attempt: str, function: str, *arguments: object) -> None:
        """Call a function; `attempt` says for the error's message what it was to do.

        Raises:
            LibraryError: it returned an error.
        """
        code = self.try_call(function, *arguments)
        if code:
            meaning = self.meaning(code)
            raise LibraryError(
                f"{attempt} on {self.context} failed: {function} of {self.title} returned {meaning} ({code})", code
            )

    def release(self, function: str, handle: c_void_p) -> None:
        """Give something back, wherever and whenever that is: no GPU has to be there."""
        getattr(self.library, function)(handle)

    def try_call(self, function: str, *arguments: object) -> int:
        """Call a function and return its status, 0 for success."""
        found: Callable[..., int] | None = getattr(self.library, function, None)
        if found is None:
            raise ExecutionError(f"{self.title} has no function {function}: install a newer one")
        with self.context.current():
            return int(found(*arguments))


def _version(library: object, function: str) -> str:
    """Both libraries count alike."""
    found = getattr(library, function)
    found.restype = c_size_t
    number = int(found())
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _destroy(library: object, function: str, handle: c_void_p, process: int) -> None:
    if os.getpid() == process:
        getattr(library, function)(handle)
