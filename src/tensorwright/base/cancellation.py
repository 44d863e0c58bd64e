"""Ends work early: because somebody says so from another thread, or because it takes too long."""

from __future__ import annotations

import threading
import time

from tensorwright.base.errors import BuildError
from tensorwright.base.progress import Progress


class Cancellation:
    """Says, from any thread, that nobody wants the result of some builds any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """End all builds that were given this object, at their next step. Twice is once."""
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        return self._event.is_set()


class WatchedProgress:
    """Hands the progress of work on, and ends the work where it has to end.

    The thread that made it does the work; only there errors are raised.
    """

    def __init__(self, progress: Progress, cancellation: Cancellation | None, seconds: float | None) -> None:
        self._progress = progress
        self._cancellation = cancellation
        self._seconds = seconds
        self._start = time.monotonic()
        self._thread = threading.get_ident()

    def phase(self, name: str, steps: int) -> None:
        """A phase of so many steps begins. Raises as `check`."""
        self.check()
        self._progress.phase(name, steps)

    def step(self, description: str) -> None:
        """One step of the phase is done. Raises as `check`."""
        self._progress.step(description)
        self.check()

    def done(self) -> None:
        """The work has ended."""
        self._progress.done()

    def check(self) -> None:
        """Go on or not.

        Raises:
            BuildError: the work was cancelled, or takes longer than it may.
        """
        if threading.get_ident() != self._thread:
            return
        if self._cancellation is not None and self._cancellation.is_cancelled:
            raise BuildError("the build was cancelled")
        spent = time.monotonic() - self._start
        if self._seconds is not None and spent > self._seconds:
            raise BuildError(
                f"the build has taken {spent:.1f} s; max_seconds is {self._seconds}; allow more, or use a lower level"
            )
