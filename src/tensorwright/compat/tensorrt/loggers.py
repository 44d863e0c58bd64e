"""Loggers."""

from __future__ import annotations

import sys

from tensorwright.api.logger import ILogger, Logger, Severity

__all__ = ["ColorLogger", "ConsoleLogger", "ILogger", "Logger"]

_COLORS = {
    Severity.INTERNAL_ERROR: "\033[1;31m",
    Severity.ERROR: "\033[31m",
    Severity.WARNING: "\033[33m",
    Severity.INFO: "\033[32m",
    Severity.VERBOSE: "\033[2m",
}
_PLAIN = "\033[0m"


class ConsoleLogger(Logger):
    """Prints messages of a severity, and more serious ones, to standard error."""

    def __init__(self, severity: Severity | int = Severity.WARNING) -> None:
        super().__init__(Severity(severity))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.min_severity.name})"

    @property
    def severity(self) -> Severity:
        """The least serious messages that are printed."""
        return self.min_severity


class ColorLogger(ConsoleLogger):
    """As `ConsoleLogger`, in a colour for each severity where standard error is a terminal."""

    def log(self, severity: Severity, msg: str) -> None:
        colored = sys.stderr.isatty()
        super().log(severity, f"{_COLORS[Severity(severity)]}{msg}{_PLAIN}" if colored else msg)
