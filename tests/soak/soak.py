"""Rounds of turns in many threads, and what is left after each: memory, descriptors, threads."""

from __future__ import annotations

import gc
import os
import random
import resource
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from soak.turns import TURNS, Shared, shared

SETTLING = 20.0
"""Seconds within which the threads of streams and engines that nobody has any more end."""
WARM = 3
"""Rounds until everything that is made once has been made."""
MOST_GROWTH = 24 << 20
"""Bytes by which the process may grow from then on: what the allocators of Python and of C scatter."""


@dataclass(frozen=True)
class Left:
    """What a process holds."""

    memory: int
    descriptors: int
    threads: int

    def __str__(self) -> str:
        return f"{self.memory >> 20} MiB, {self.descriptors} descriptors, {self.threads} threads"


@dataclass
class Soak:
    """threads: so many. seed: of what they do. most_growth: bytes by which the process may grow once it is warm.
    turns: how often each was done. failures: what went wrong.
    """

    threads: int = 8
    seed: int = 0
    most_growth: int = MOST_GROWTH
    turns: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def run(self, seconds: float, rounds: int) -> None:
        """Some rounds, which together take a time; ends early where something is wrong."""
        everything = shared()
        for number in range(rounds):
            self._round(everything, number, seconds / rounds)
            self.left.append(settled(self.left[-1] if self.left else None))
            if self.failures:
                return
        self.failures += leaks(self.left, self.most_growth)

    def _round(self, everything: Shared, number: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        workers = [
            threading.Thread(target=self._work, args=(everything, (number, worker), deadline))
            for worker in range(self.threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _work(self, everything: Shared, name: tuple[int, int], deadline: float) -> None:
        rng = random.Random(f"{self.seed} {name}")
        choices, weights = zip(*TURNS, strict=True)
        while time.monotonic() < deadline and not self.failures:
            (turn,) = rng.choices(choices, weights)
            try:
                turn(everything, rng)
            except Exception:  # noqa: BLE001  # Whatever it is, it is told.
                self.failures.append(f"{turn.__name__}: {traceback.format_exc()}")
            self.turns[turn.__name__] += 1


def held() -> Left:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    descriptors = len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208  # Listing takes one itself.
    return Left(pages * resource.getpagesize(), descriptors, len(os.listdir("/proc/self/task")))  # noqa: PTH208


def settled(before: Left | None) -> Left:
    """What is held once it does not become less, or is no more than before."""
    deadline = time.monotonic() + SETTLING
    while True:
        gc.collect()
        now = held()
        if time.monotonic() > deadline or (
            before is not None and now.threads <= before.threads and now.descriptors <= before.descriptors
        ):
            return now
        time.sleep(0.1 if before is not None else 1.0)
        if before is None and held().threads == now.threads:
            return held()


def leaks(left: list[Left], most_growth: int = MOST_GROWTH) -> list[str]:
    """What a process held more of at the end than when it was warm."""
    if len(left) <= WARM:
        return []
    warm, last = left[WARM - 1], left[-1]
    found = [f"memory grew from {warm} to {last}"] if last.memory - warm.memory > most_growth else []
    found += [f"descriptors grew from {warm} to {last}"] if last.descriptors > warm.descriptors else []
    found += [f"threads grew from {warm} to {last}"] if last.threads > warm.threads else []
    return found
