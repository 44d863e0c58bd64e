"""Runs functions in processes of their own, which may crash or hang."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

A = TypeVar("A")
T = TypeVar("T")
_CONTEXT = multiprocessing.get_context("fork")


class Ended(Exception):
    """The process gave no result: it crashed or took too long."""


def isolated(function: Callable[[], T], seconds: float) -> T:
    """The result of a function that a forked process calls.

    Raises:
        Ended: it crashed, or did not end in time.
    """
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_send, args=(function, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise Ended(f"no result within {seconds:g} seconds")
        return receiver.recv()
    except EOFError:
        process.join()
        raise Ended(f"the process ended with exit status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        receiver.close()


def _send(function: Callable[[], object], sender: Connection) -> None:
    sender.send(function())


class Companion(Generic[A, T]):
    """A forked process that calls one function again and again, and is replaced where it crashes or takes too long.

    calls: after so many it is replaced as well, so that memory that others never give back does not add up.
    """

    def __init__(self, function: Callable[[A], T], seconds: float, calls: int = 1000) -> None:
        self._function = function
        self._seconds = seconds
        self._calls = calls
        self._left = 0
        self._owner = 0

    def ask(self, argument: A) -> T:
        """The result of the function.

        Raises:
            Ended: the process crashed, or did not answer in time.
        """
        if not self._left or self._owner != os.getpid():
            self._begin()
        left, self._left = self._left, 0  # Whatever ends the call, this process would answer the next one too late.
        answer = self._answer(argument)
        self._left = left - 1
        return answer

    def close(self) -> None:
        if self._owner == os.getpid():
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._owner = 0

    def _begin(self) -> None:
        self.close()
        self._connection, theirs = _CONTEXT.Pipe()
        arguments = (self._function, theirs, self._connection)
        self._process = _CONTEXT.Process(target=_answer_all, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._left, self._owner = self._calls, os.getpid()

    def _answer(self, argument: A) -> T:
        try:
            self._connection.send(argument)
            if not self._connection.poll(self._seconds):
                raise Ended(f"no result within {self._seconds:g} seconds")
            return self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise Ended(f"the process ended with exit status {self._process.exitcode}") from None


def _answer_all(function: Callable[[A], T], mine: Connection, other: Connection) -> None:
    other.close()
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            mine.send(function(mine.recv()))
