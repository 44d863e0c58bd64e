"""A null device that works only when it is waited for, as late as a GPU may."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy
from functools import partial
from threading import RLock

from tensorwright.devices.device import Stream
from tensorwright.devices.null.device import NullDevice, NullEvent, NullExecutor, NullStream


class LateStream(NullStream):
    """Holds work until somebody waits for it."""

    def __init__(self) -> None:
        self._work: deque[Callable[[], object]] = deque()
        self._lock = RLock()

    def enqueue(self, work: Callable[[], object]) -> None:
        self._work.append(_as_now(work))

    def query(self) -> bool:
        return not self._work

    def synchronize(self) -> None:
        self.work_until(lambda: False)

    def work_until(self, is_enough: Callable[[], bool]) -> None:
        with self._lock:
            while self._work and not is_enough():
                self._work.popleft()()


def _as_now(work: Callable[[], object]) -> Callable[[], object]:
    """Work on the addresses and sizes that an executor knows now, as a graph of launches has them."""
    executor = getattr(work, "__self__", None)
    if not isinstance(executor, NullExecutor):
        return work
    found = copy(executor)
    found.bindings, found.symbols = list(executor.bindings), list(executor.symbols)
    return found.run


class LateEvent(NullEvent):
    """A mark that is reached when the work before it was waited for; then `waited` is called first."""

    def __init__(self, waited: Callable[[], object]) -> None:
        super().__init__()
        self._waited = waited
        self._stream = LateStream()
        self._is_reached = True

    def record(self, stream: Stream) -> None:
        assert isinstance(stream, LateStream)
        self._stream, self._is_reached = stream, False
        stream.enqueue(self._reach)

    def query(self) -> bool:
        return self._is_reached

    def synchronize(self) -> None:
        self._waited()
        self._stream.work_until(self.query)

    def _reach(self) -> None:
        self._is_reached = True


class LateDevice(NullDevice):
    """waited: called when somebody begins to wait for an event."""

    def __init__(self, waited: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.waited = waited

    def create_stream(self) -> LateStream:
        return LateStream()

    def create_event(self) -> LateEvent:
        return LateEvent(self.waited)

    def upload(self, address: int, source: int, size: int, stream: Stream | None = None) -> None:
        self._put(stream, partial(super().upload, address, source, size))

    def download(self, target: int, address: int, size: int, stream: Stream | None = None) -> None:
        self._put(stream, partial(super().download, target, address, size))

    def _put(self, stream: Stream | None, work: Callable[[], object]) -> None:
        if stream is None:
            work()
        else:
            stream.enqueue(work)
