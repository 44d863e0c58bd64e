"""Runs a function in a process of its own, which may crash or hang."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

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
