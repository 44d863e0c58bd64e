"""Loggers: users subclass `ILogger`; one logger is shared by everything in the process."""

from __future__ import annotations

import sys
import threading
import weakref
from enum import IntEnum
from typing import ClassVar, TextIO

from tensorwright.base.errors import TensorwrightError
from tensorwright.base.fork import forkable
from tensorwright.base.text import printable_lines


class Severity(IntEnum):
    """How serious a message is; smaller is more serious."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


Level = Severity


class ILogger:
    """Base of all loggers: implement `log`. It may be called from several threads."""

    Severity = Severity
    INTERNAL_ERROR: ClassVar = Severity.INTERNAL_ERROR
    ERROR: ClassVar = Severity.ERROR
    WARNING: ClassVar = Severity.WARNING
    INFO: ClassVar = Severity.INFO
    VERBOSE: ClassVar = Severity.VERBOSE

    def log(self, severity: Level, msg: str) -> None:
        """Take one message of one or more lines, without a newline at its end."""
        raise NotImplementedError(f"{type(self).__name__} must implement log(severity, msg)")


class Logger(ILogger):
    """Prints messages that are at least as serious as `min_severity` to a stream, by default standard error."""

    def __init__(self, min_severity: Severity = Severity.WARNING, stream: TextIO | None = None) -> None:
        self.min_severity = Severity(min_severity)
        self._stream = stream

    def log(self, severity: Level, msg: str) -> None:
        if severity <= self.min_severity:
            print(f"[tensorwright] {Severity(severity).name}: {printable_lines(msg)}", file=self._stream or sys.stderr)

    def __repr__(self) -> str:
        return f"Logger({self.min_severity.name})"


class SharedLogger:
    """Which logger is in use: the first one given, for as long as anything refers to it."""

    def __init__(self) -> None:
        self._lock = forkable(threading.Lock())
        self._used: weakref.ref[ILogger] | None = None

    @property
    def in_use(self) -> ILogger | None:
        """The logger that somebody has given and that still lives."""
        with self._lock:
            return None if self._used is None else self._used()

    def adopt(self, logger: ILogger | None, user: str) -> ILogger:
        """The logger that `user` has to use. A second, different one gets a warning through both.

        Args:
            logger: what the user was given; None for whatever is in use, or else warnings on standard error.
            user: who asks, as the warning names it.

        Raises:
            TensorwrightError: `logger` is no ILogger.
        """
        if logger is not None and not isinstance(logger, ILogger):
            raise TensorwrightError(
                f"{user}: expected a logger, found {type(logger).__name__}; pass tensorwright.Logger() or an object of "
                "a subclass of tensorwright.ILogger"
            )
        with self._lock:
            used = None if self._used is None else self._used()
            if used is None:
                used = Logger() if logger is None else logger
                if logger is not None:
                    self._used = weakref.ref(logger)
        if logger is not None and logger is not used:
            message = (
                f"{user} was given a second logger, {logger!r}. A process has one: {used!r} came first and stays in "
                "use. Give the same logger to every Builder, Runtime and parser."
            )
            for one in (used, logger):
                one.log(Severity.WARNING, message)
        return used


SHARED_LOGGER = SharedLogger()
"""The only state of this package that belongs to the process."""
