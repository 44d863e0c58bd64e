"""Large copies in memory of this process, by several threads where there are cores for them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

PIECE = 4 << 20
"""Bytes that one thread copies at a time."""
THREADS = 4


class Copier:
    """Copies piece by piece. Its threads are started by the first large copy, and again in a forked process.

    threads: how many copy; None for up to 4, on half of the cores that this process may use.
    move: copies one piece, given two addresses and a number of bytes, while the interpreter goes on.
    """

    def __init__(self, threads: int | None = None, move: Callable[[int, int, int], object] = ctypes.memmove) -> None:
        self._move = move
        self._count = min(THREADS, len(os.sched_getaffinity(0)) // 2) if threads is None else threads
        self._threads: ThreadPoolExecutor | None = None
        self._process = 0

    def copy_whole(self, target: int, source: int, size: int) -> None:
        """Copy bytes between addresses."""
        for _ in self.copy(target, source, size):
            pass

    def copy(self, target: int, source: int, size: int) -> Iterator[tuple[int, int]]:
        """Copy bytes between addresses; yields offset and size of each piece, in order, when it is copied."""
        pieces = [(start, min(PIECE, size - start)) for start in range(0, size, PIECE)]
        if len(pieces) > 1 and self._count > 1:
            yield from self._by_several(target, source, pieces)
            return
        for start, count in pieces:
            self._move(target + start, source + start, count)
            yield start, count

    def close(self) -> None:
        """End the threads. Twice is once; the next large copy starts others."""
        if self._threads is not None and self._process == os.getpid():
            self._threads.shutdown()
        self._threads = None

    def _by_several(self, target: int, source: int, pieces: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        submit = self._ready().submit
        copies = [submit(self._move, target + start, source + start, count) for start, count in pieces]
        try:
            for piece, copied in zip(pieces, copies, strict=True):
                copied.result()
                yield piece
        finally:
            for copied in copies:  # Whoever stops early may give the memory away.
                copied.result()

    def _ready(self) -> ThreadPoolExecutor:
        if self._threads is None or self._process != os.getpid():
            self._threads = ThreadPoolExecutor(self._count, "tensorwright-copy")
            self._process = os.getpid()
        return self._threads
