"""Streams and events of the CPU."""

from __future__ import annotations

import atexit
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from os import getpid
from typing import TYPE_CHECKING

from tensorwright.base.errors import ExecutionError
from tensorwright.base.fork import forkable
from tensorwright.base.unique import Unique

if TYPE_CHECKING:
    from tensorwright.devices.device import Event, Stream

EXIT_TIMEOUT = 5.0


class CpuStream(Unique):
    """A thread that does work in the order in which it was enqueued.

    Work that fails does not keep later work from running; the first error is raised by the next `synchronize`.
    When nobody refers to the stream any more, its thread finishes what was enqueued and ends.
    After a fork, the stream of the child process starts empty.
    """

    def __init__(self) -> None:
        self.handle = next(_HANDLES)
        self._start()
        _STREAMS[self.handle] = self

    def enqueue(self, work: Callable[[], object]) -> None:
        """Put work behind all work that the stream holds now, and return at once."""
        if not self._thread.is_alive():
            self._finalizer.detach()
            self._start()
        self._queue.put(work)

    def wait_event(self, event: Event) -> None:
        """Work enqueued from now on starts after the event's latest mark."""
        mark = _of_this_device(event).mark
        if mark is not None and not mark.done.is_set():
            self.enqueue(mark.wait)

    def query(self) -> bool:
        """Whether all work is done."""
        return not self._thread.is_alive() or self._queue.is_empty()

    def synchronize(self) -> None:
        """Wait until all work is done, and raise the first error since the last call.

        Raises:
            ExecutionError: called by the stream's own work, which would wait for itself.
        """
        if self.is_caller():
            raise ExecutionError("a stream cannot wait for itself: its own work called synchronize")
        self.join()
        error = self._queue.take_error()
        if error is not None:
            raise error

    def is_caller(self) -> bool:
        """Whether the stream's own work is calling."""
        return threading.current_thread() is self._thread

    def join(self, timeout: float | None = None) -> None:
        """Wait until all work is done, at most `timeout` seconds."""
        if self._thread.is_alive():
            self._queue.join(timeout)

    def _start(self) -> None:
        self._queue = _Queue()
        self._thread = threading.Thread(target=self._queue.serve, name="tensorwright-stream", daemon=True)
        self._thread.start()
        self._finalizer = weakref.finalize(self, self._queue.put, None)
        self._finalizer.atexit = False


class CpuEvent(Unique):
    """A mark in the work of a stream."""

    def __init__(self) -> None:
        self.handle = next(_HANDLES)
        self.mark: _Mark | None = None
        _EVENTS[self.handle] = self

    def record(self, stream: Stream) -> None:
        """Put the mark behind all work that the stream holds now."""
        mark = _Mark()
        self.mark = mark
        stream.enqueue(mark.reach)

    def query(self) -> bool:
        """Whether the work before the latest mark is done; True when there is no mark."""
        return self.mark is None or self.mark.done.is_set()

    def synchronize(self) -> None:
        """Wait until the work before the latest mark is done.

        Raises:
            ExecutionError: in a child process, of a mark that was not reached when it was forked.
        """
        if self.mark is not None:
            self.mark.wait()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this mark to the mark of `end`.

        Raises:
            ExecutionError: one of the two events is not recorded or not reached.
        """
        return (_of_this_device(end)._time("end") - self._time("start")) * 1e-6

    def _time(self, role: str) -> int:
        if self.mark is None or not self.mark.done.is_set():
            state = "was never recorded" if self.mark is None else "is not reached yet"
            raise ExecutionError(f"elapsed_time: the {role} event {state}; record and synchronize both events first")
        return self.mark.time


class _Mark:
    """A point in a stream: `time` in nanoseconds is meaningful once `done` is set."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.time = 0
        self._process = getpid()

    def wait(self) -> None:
        if self._process != getpid() and not self.done.is_set():
            raise ExecutionError(
                "an event was recorded before this process was forked and not reached: its stream went on in the "
                "parent process; record the event again"
            )
        self.done.wait()

    def reach(self) -> None:
        self.time = time.perf_counter_ns()
        self.done.set()


class _Queue:
    """Work in order, done by one thread. Knows nothing of its stream, so that the stream can be collected."""

    def __init__(self) -> None:
        self._condition = threading.Condition(forkable(threading.RLock()))
        self._work: deque[Callable[[], object] | None] = deque()
        self._busy = False
        self._error: BaseException | None = None

    def put(self, work: Callable[[], object] | None) -> None:
        with self._condition:
            self._work.append(work)
            self._condition.notify_all()

    def is_empty(self) -> bool:
        with self._condition:
            return not self._work and not self._busy

    def join(self, timeout: float | None = None) -> None:
        with self._condition:
            self._condition.wait_for(lambda: not self._work and not self._busy, timeout)

    def take_error(self) -> BaseException | None:
        with self._condition:
            error, self._error = self._error, None
            return error

    def serve(self) -> None:
        """Do the work until None is found."""
        while True:
            work = self._next()
            if work is None:
                return
            error = _try(work)
            del work  # Let go of what it refers to before waiting for more.
            self._finish(error)

    def _next(self) -> Callable[[], object] | None:
        with self._condition:
            self._condition.wait_for(lambda: self._work)
            self._busy = True
            return self._work.popleft()

    def _finish(self, error: BaseException | None) -> None:
        with self._condition:
            self._busy = False
            self._error = self._error or error
            self._condition.notify_all()


def find_stream(handle: int) -> CpuStream:
    """The living stream with this handle; 0 stands for the default stream.

    Raises:
        ExecutionError: there is no such stream.
    """
    if handle == 0:
        return _default_stream()
    stream = _STREAMS.get(handle)
    if stream is None:
        raise ExecutionError(
            f"no stream has the handle {handle}: expected the `handle` of a stream that is still referred to, or 0"
        )
    return stream


def find_event(handle: int) -> CpuEvent:
    """The living event with this handle.

    Raises:
        ExecutionError: there is no such event.
    """
    event = _EVENTS.get(handle)
    if event is None:
        raise ExecutionError(
            f"no event has the handle {handle}: expected the `handle` of an event that is still referred to"
        )
    return event


def synchronize_all() -> None:
    """Wait until the work of all streams is done, and raise the first error of each in turn.

    A stream whose own work calls is left out: it could not wait for itself.
    """
    for stream in list(_STREAMS.values()):
        if not stream.is_caller():
            stream.synchronize()


def join_all() -> None:
    """As `synchronize_all`, without raising errors."""
    for stream in list(_STREAMS.values()):
        if not stream.is_caller():
            stream.join()


def is_called_by_stream() -> bool:
    """Whether it is the work of a stream that calls."""
    return any(stream.is_caller() for stream in list(_STREAMS.values()))


# A raw handle must lead back to its stream from anywhere in the process; the tables keep nothing alive.
_HANDLES = itertools.count(1)
_STREAMS: weakref.WeakValueDictionary[int, CpuStream] = weakref.WeakValueDictionary()
_EVENTS: weakref.WeakValueDictionary[int, CpuEvent] = weakref.WeakValueDictionary()
_DEFAULT: list[CpuStream] = []
_DEFAULT_LOCK = forkable(threading.Lock())


def _default_stream() -> CpuStream:
    with _DEFAULT_LOCK:
        if not _DEFAULT:
            _DEFAULT.append(CpuStream())
        return _DEFAULT[0]


def _of_this_device(event: Event) -> CpuEvent:
    if not isinstance(event, CpuEvent):
        raise ExecutionError(
            f"expected an event of the CPU, found {type(event).__name__}; create it on the same device"
        )
    return event


def _try(work: Callable[[], object]) -> BaseException | None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the stream
        return error
    return None


def _finish_streams() -> None:
    deadline = time.monotonic() + EXIT_TIMEOUT
    for stream in list(_STREAMS.values()):
        stream.join(deadline - time.monotonic())


# At exit, streams finish before teams are stopped. Handlers run last in, first out, and `weakref` registers its own
# with the first finalizer of the process, so that one has to exist before ours is registered.
weakref.finalize(CpuStream, _STREAMS.clear)
atexit.register(_finish_streams)
