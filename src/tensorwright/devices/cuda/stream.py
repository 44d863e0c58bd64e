"""Streams and events of a GPU."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable
from ctypes import c_float, c_void_p
from typing import TYPE_CHECKING

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import NOT_READY

if TYPE_CHECKING:
    from tensorwright.devices.device import Event, Stream

_NON_BLOCKING = 1
_EXTERNAL = 1
_CURRENT = threading.local()
DEFAULT, LEGACY = 0, 1
"""Handles of the default stream, which waits for all streams that were not made to run beside it; interfaces of arrays,
where 0 is no stream, say the second one.
"""


class CudaStream:
    """A stream of the driver: its own, or a borrowed one (`handle` given), which is not destroyed.

    waits_for_default: whether its work and that of the default stream wait for each other.
    """

    def __init__(self, context: Context, handle: int | None = None, *, waits_for_default: bool = False) -> None:
        self.context = context
        self.is_borrowed = handle is not None
        if handle is not None:
            self.handle = handle
            return
        created = c_void_p()
        context.call(
            "creating a stream", "cuStreamCreate", ctypes.byref(created), 0 if waits_for_default else _NON_BLOCKING
        )
        self.handle = created.value or 0
        weakref.finalize(self, _destroy, context, "cuStreamDestroy_v2", self.handle)

    def enqueue(self, work: Callable[[], object]) -> None:
        """Call what puts work of the GPU into this stream. It is called at once: the GPU keeps the order."""
        outer, _CURRENT.stream = self.current(), self
        try:
            work()
        finally:
            _CURRENT.stream = outer

    @staticmethod
    def current() -> CudaStream | None:
        """The stream whose work is being enqueued by this thread."""
        return getattr(_CURRENT, "stream", None)

    def wait_event(self, event: Event) -> None:
        """Work enqueued from now on starts after the event's latest mark."""
        self.context.call("letting a stream wait for an event", "cuStreamWaitEvent", self.handle, event.handle, 0)

    def query(self) -> bool:
        """Whether all work is done."""
        return _is_done(self.context, "asking for a stream's state", "cuStreamQuery", self.handle)

    def synchronize(self) -> None:
        """Wait until all work is done.

        Raises:
            CudaError: some of it failed.
        """
        self.context.call("waiting for a stream", "cuStreamSynchronize", self.handle)


class CudaEvent:
    """A mark in the work of a stream: its own, or a borrowed one (`handle` given)."""

    def __init__(self, context: Context, handle: int | None = None) -> None:
        self.context = context
        self._recorded = handle is not None
        if handle is not None:
            self.handle = handle
            return
        created = c_void_p()
        context.call("creating an event", "cuEventCreate", ctypes.byref(created), 0)
        self.handle = created.value or 0
        weakref.finalize(self, _destroy, context, "cuEventDestroy_v2", self.handle)

    def record(self, stream: Stream) -> None:
        """Put the mark behind all work that the stream holds now."""
        self.context.call("recording an event", "cuEventRecord", self.handle, stream.handle)
        self._recorded = True

    def record_in_graph(self, stream: CudaStream) -> None:
        """While a graph is recorded: put the mark into the graph, which sets it whenever it runs."""
        attempt = "recording an event in a graph"
        self.context.call(attempt, "cuEventRecordWithFlags", self.handle, stream.handle, _EXTERNAL)
        self._recorded = True

    def query(self) -> bool:
        """Whether the work before the latest mark is done; True when there is no mark."""
        return _is_done(self.context, "asking for an event's state", "cuEventQuery", self.handle)

    def synchronize(self) -> None:
        """Wait until the work before the latest mark is done."""
        self.context.call("waiting for an event", "cuEventSynchronize", self.handle)

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this mark to the mark of `end`, in steps of about half a microsecond.

        Raises:
            ExecutionError: one of the two events is not recorded or not reached.
        """
        for role, event in (("start", self), ("end", end)):
            if isinstance(event, CudaEvent) and not (event._recorded and event.query()):
                state = "is not reached yet" if event._recorded else "was never recorded"
                raise ExecutionError(
                    f"elapsed_time: the {role} event {state}; record and synchronize both events first"
                )
        time = c_float()
        attempt = "measuring the time between events"
        self.context.call(attempt, "cuEventElapsedTime", ctypes.byref(time), self.handle, end.handle)
        return time.value


def _is_done(context: Context, attempt: str, function: str, handle: int) -> bool:
    code = context.try_call(function, handle)
    if code not in (0, NOT_READY):
        raise context.driver.error(f"{attempt} of {context}", function, code)
    return code == 0


def _destroy(context: Context, function: str, handle: int) -> None:
    try:
        context.try_call(function, handle)
    except ExecutionError:
        return  # The context is gone, and with it all that it had.
