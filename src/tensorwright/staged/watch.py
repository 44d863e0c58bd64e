"""What a call of an engine that runs in stages may cost: a loop whose end follows from data may have none."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from tensorwright.base.errors import ExecutionError

if TYPE_CHECKING:
    from tensorwright.build.config import BuildConfig
    from tensorwright.importers.onnx.host import Known


class Watch:
    """Counts what one call has cost, and ends it where it costs more than the options of its engine allow.

    Any thread may `cancel`; everything else is for the thread that runs the call.
    """

    def __init__(self, name: str, config: BuildConfig) -> None:
        self._name = name
        self._config = config
        self._start = time.monotonic()
        self._trips = 0
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End the call at its next `check`."""
        self._cancelled.set()

    def check(self) -> None:
        """Go on or not.

        Raises:
            ExecutionError: the call was cancelled, or takes longer than it may.
        """
        if self._cancelled.is_set():
            raise ExecutionError(f"engine '{self._name}': the call was cancelled")
        spent, most = time.monotonic() - self._start, self._config.max_call_seconds
        if most is not None and spent > most:
            raise ExecutionError(
                f"engine '{self._name}': the call has taken {spent:.1f} s; max_call_seconds is {most}; "
                "allow more in build"
            )

    def begin_loop(self, label: str, trips: int) -> None:
        """A loop of a node begins, of which only the number of its trips is an end.

        Raises:
            ExecutionError: these are more than the call may still take.
        """
        most = self._config.max_trips
        if most is not None and trips > most - self._trips:
            raise self._too_many(label, trips, most)

    def trip(self, label: str, trips: int | None) -> None:
        """One more trip of a loop of a node, which asks for so many, or for as many as its condition wants.

        Raises:
            ExecutionError: it is more than the call may take; else as `check`.
        """
        most = self._config.max_trips
        if most is not None and self._trips >= most:
            raise self._too_many(label, trips, most)
        self._trips += 1
        self.check()

    def hold(self, where: str, found: int) -> None:
        """So many bytes lie on the host at the same time.

        Raises:
            ExecutionError: they are more than there may be.
        """
        most = self._config.max_memory
        if most is not None and found > most:
            raise ExecutionError(
                f"engine '{self._name}', {where}: tensors take {found} bytes; max_memory is {most}; allow more in build"
            )

    def _too_many(self, label: str, trips: int | None, most: int) -> ExecutionError:
        asked = "as its condition wants" if trips is None else f"as {trips}"
        return ExecutionError(
            f"{label}: a loop asks for as many trips {asked}; all loops of a call may take {most} together, of which "
            f"{self._trips} are spent; allow more by max_trips in build"
        )


def size(known: Known) -> int:
    """The bytes of something known; of strings those of their references."""
    if isinstance(known, list):
        return sum(map(size, known))
    return known.nbytes if isinstance(known, np.ndarray) else 0
