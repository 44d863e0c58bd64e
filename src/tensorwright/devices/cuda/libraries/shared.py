"""Functions of a library that return a status, called with a GPU's context current."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from ctypes import CDLL, c_int

from tensorwright.base.errors import DeviceError, ExecutionError
from tensorwright.devices.cuda.context import Context

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
    """Calls functions of a library and turns what they return into errors.

    library: an object with the library's functions as attributes: the loaded library, or what a test puts in its place.
    """

    def __init__(self, title: str, library: object, context: Context) -> None:
        self.title, self.library, self.context = title, library, context

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

    def try_call(self, function: str, *arguments: object) -> int:
        """Call a function and return its status, 0 for success."""
        found: Callable[..., int] | None = getattr(self.library, function, None)
        if found is None:
            raise ExecutionError(f"{self.title} has no function {function}: install a newer one")
        with self.context.current():
            return int(found(*arguments))
