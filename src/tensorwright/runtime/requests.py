"""Requests that wait for one of several workers: a bounded queue that forgets none."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable
from concurrent.futures import Future, InvalidStateError
from typing import Generic, TypeVar

from tensorwright.base.fork import forkable

Inputs = TypeVar("Inputs")
Result = TypeVar("Result")


class Request(Generic[Inputs, Result]):
    """What is asked for, and the future that answers.

    failures: what it met, by the place where it was tried. late: places that did not answer in time.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.future: Future[Result] = Future()
        self.failures: dict[Hashable, BaseException] = {}
        self.late: list[Hashable] = []

    def begin(self) -> bool:
        """Whether it is still wanted; it cannot be cancelled from now on."""
        if self.future.done() and not self.future.cancelled():
            return False
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def answer(self, result: Result) -> None:
        """Answer, unless another worker was faster."""
        try:
            self.future.set_result(result)
        except InvalidStateError:
            return

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless another worker was faster."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return


class RequestQueue(Generic[Inputs, Result]):
    """Requests in the order in which they came, at most so many; who waits for room gets it in turn.

    capacity: how many may wait. patience: seconds after which a request that is still at work is given to another place
    as well, whose answer may be the first; None for never.
    """

    def __init__(self, capacity: int, patience: float | None = None) -> None:
        self.patience = patience
        self._capacity = capacity
        self._lock = forkable(threading.Lock())
        self._room = threading.Condition(self._lock)
        self._work = threading.Condition(self._lock)
        self._waiting: deque[Request[Inputs, Result]] = deque()
        self._line: deque[object] = deque()
        self._running: dict[Request[Inputs, Result], tuple[Hashable, float]] = {}
        self._obstacle: Callable[[], Exception] | None = None
        self._is_cancelled = False

    def put(self, request: Request[Inputs, Result]) -> None:
        """Add a request; waits for room, behind all who wait for it already.

        Raises:
            ExecutionError: the queue is closed, before or while it waits.
        """
        ticket = object()
        with self._lock:
            self._line.append(ticket)
            try:
                while self._obstacle is None and not self._is_next(ticket):
                    self._room.wait()
                if self._obstacle is not None:
                    raise self._obstacle()
                self._waiting.append(request)
            finally:
                self._line.remove(ticket)
                if self._line:
                    self._room.notify_all()
            self._work.notify()

    def put_back(self, request: Request[Inputs, Result]) -> None:
        """Add a request that was taken already, in front of all others, however many there are."""
        with self._lock:
            if not self._is_cancelled:
                self._waiting.appendleft(request)
                self._work.notify_all()
                return
        assert self._obstacle is not None
        request.fail(self._obstacle())

    def take(self, place: Hashable, is_open: Callable[[], bool]) -> Request[Inputs, Result] | None:
        """The next request that did not fail at this place; waits for one.

        Returns None when the place is not open any more, or the queue is closed and nothing can come back to it.
        """
        with self._lock:
            while is_open():
                found = self._overdue(place) or self._next(place)
                if found is not None:
                    self._running[found] = place, time.monotonic()
                    self._room.notify_all()
                    if self.patience is not None:
                        self._work.notify_all()  # Who has nothing to do is to look after this one.
                    return found
                if self._obstacle is not None and not self._waiting and not self._running:
                    return None
                self._work.wait(self._seconds())
        return None

    def take_now(self, place: Hashable) -> Request[Inputs, Result] | None:
        """The next request that did not fail at this place, if one waits; `take` does more for those that are late."""
        with self._lock:
            found = self._next(place)
            if found is not None:
                self._running[found] = place, time.monotonic()
                self._room.notify_all()
            return found

    def has_for(self, place: Hashable) -> bool:
        """Whether a request waits that did not fail at this place."""
        with self._lock:
            return any(place not in request.failures for request in self._waiting)

    @property
    def is_over(self) -> bool:
        """Whether it is closed and nothing can come back to it."""
        if self._obstacle is None:
            return False
        with self._lock:
            return not self._waiting and not self._running

    def done(self, request: Request[Inputs, Result], place: Hashable) -> None:
        """Forget a request that this place took, which has its answer or was put back."""
        with self._lock:
            if self._running.get(request, (None, 0.0))[0] == place:
                del self._running[request]
            if self._obstacle is not None:
                self._work.notify_all()

    def leave(self, places: Collection[Hashable]) -> list[Request[Inputs, Result]]:
        """Take out the requests that failed at all of these places, which are those that are left."""
        with self._lock:
            found = [request for request in self._waiting if all(place in request.failures for place in places)]
            for request in found:
                self._waiting.remove(request)
            self._work.notify_all()
            self._room.notify_all()
        return found

    def close(self, obstacle: Callable[[], Exception], *, cancel: bool = False) -> None:
        """Take no more requests: who asks gets the error that `obstacle` makes. Those that wait are still given out.

        cancel: have those that wait answered with the error, too.
        """
        with self._lock:
            self._obstacle = self._obstacle or obstacle
            self._is_cancelled = self._is_cancelled or cancel
            dropped = list(self._waiting) if cancel else []
            if cancel:
                self._waiting.clear()
            self._room.notify_all()
            self._work.notify_all()
        for request in dropped:
            if request.begin():
                request.fail(obstacle())

    def _is_next(self, ticket: object) -> bool:
        return self._line[0] is ticket and len(self._waiting) < self._capacity

    def _next(self, place: Hashable) -> Request[Inputs, Result] | None:
        for number, request in enumerate(self._waiting):
            if place not in request.failures:
                del self._waiting[number]
                return request
        return None

    def _overdue(self, place: Hashable) -> Request[Inputs, Result] | None:
        """A request that another place has had for too long. It is given out once more, and then again."""
        if self.patience is None:
            return None
        before = time.monotonic() - self.patience
        for request, (other, since) in self._running.items():
            if since <= before and other != place and place not in request.failures and not request.future.done():
                request.late.append(other)
                return request
        return None

    def _seconds(self) -> float | None:
        """How long it is until a request may be overdue; None for ever."""
        if self.patience is None or not self._running:
            return None
        return max(0.001, min(since for _, since in self._running.values()) + self.patience - time.monotonic())
