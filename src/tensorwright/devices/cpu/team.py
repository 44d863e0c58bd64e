"""Threads that take part in the inferences of one context."""

from __future__ import annotations

import ctypes
import threading
import time
import weakref
from os import getpid

from tensorwright.base.errors import ExecutionError
from tensorwright.base.unique import Unique
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cpu.abi import TEAM_READY, team_bytes
from tensorwright.devices.cpu.code import CodeImage

STOP_TIMEOUT = 5.0
START_TIMEOUT = 30.0


class Team(Unique):
    """Threads 1 … threads-1 of a context, each in the native `worker`; thread 0 is who calls `run`.

    They start at the first `ensure`, and again after a fork, which leaves them behind in the parent process.
    They stop at `close`, when nobody refers to the team any more, and when the interpreter exits.

    image: code that the threads are in; control: memory that holds the context and the counters.
    """

    def __init__(self, image: CodeImage, control: Buffer, context: int, counters: int, threads: int) -> None:
        self._image = image
        self._control = control
        self._context = context
        self._counters = counters
        self._count = threads - 1
        self._threads: list[threading.Thread] = []
        self._process = 0
        """The process that the threads are in; 0 when there are none."""
        self._finalizer: weakref.finalize[[CodeImage, Buffer, int, list[threading.Thread]], Team] | None = None

    def ensure(self) -> None:
        """Have all threads ready. Costs nothing worth mentioning when they are."""
        if self._process != getpid():
            self._start()

    def close(self) -> None:
        """Stop the threads and wait for them. Twice is once."""
        if self._finalizer is not None:
            self._finalizer()
            self._finalizer = None
        self._threads, self._process = [], 0

    def _start(self) -> None:
        if self._finalizer is not None:
            self._finalizer.detach()
        ctypes.memset(self._counters, 0, team_bytes(self._count + 1))
        threads = [
            threading.Thread(
                target=self._image.worker, args=(self._context, number), name=f"tensorwright-team-{number}", daemon=True
            )
            for number in range(1, self._count + 1)
        ]
        self._threads, self._process = threads, getpid()
        self._finalizer = weakref.finalize(self, _stop, self._image, self._control, self._context, threads)
        started = 0
        try:
            for thread in threads:
                thread.start()
                started += 1
            self._wait_until_ready(self._count)
        except RuntimeError as error:
            self._wait_until_ready(started)
            self.close()
            raise ExecutionError(
                f"the system refused to start {self._count} more threads: {error}; load the plan with fewer threads"
            ) from error

    def _wait_until_ready(self, count: int) -> None:
        ready = ctypes.c_int32.from_address(self._counters + TEAM_READY)
        deadline = time.monotonic() + START_TIMEOUT
        while ready.value < count and time.monotonic() < deadline:
            time.sleep(0)
        if ready.value < count:
            raise ExecutionError(
                f"{ready.value} of {count} threads were ready after {START_TIMEOUT} s; load the plan with fewer threads"
            )


def _stop(image: CodeImage, control: Buffer, context: int, threads: list[threading.Thread]) -> None:
    """Stop the threads; `control` is only held until they are gone."""
    started = [thread for thread in threads if thread.is_alive()]
    if started:
        image.stop(context)
    deadline = time.monotonic() + STOP_TIMEOUT
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in started):
        control.leak()
