"""Measures kernels side by side as they will run in the network: weights cold, activations warm.

Candidates take turns (A B C A B C …), so that a change of the machine's speed hits all alike; those that fall far
behind after the first turns drop out. The figure is the lower quartile of the times of single calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil

import numpy as np
import numpy.typing as npt

from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, Operands
from tensorwright.tune.memory import ALIGNMENT, aligned_bytes

Array = npt.NDArray[np.generic]

MAX_COPIES = 48
EVICTING_BYTES = 16 << 20
"""Once copies of so many bytes are made, the first of them is in no cache of a core any more."""
FIRST_TURNS, ALL_TURNS = 3, 12
FAR_BEHIND = 1.35
HOPELESS, HOPELESS_STEADY = 3.0, 2.0
"""Long, or steady, calls that took so many times as long as the fastest are not repeated."""
LONG_CALL = 1e-3
"""From so many seconds on, what one call takes hardly varies."""
STEADY_CALL = 1e-2
"""What takes so many seconds is judged by one turn: what interrupts it is a small part of it."""
ENOUGH_SECONDS = 0.05
"""So long the fastest is timed, all turns together, if the first turns take that long, or one of steady calls."""
SHORT_CALL = 20e-6
"""Calls shorter than this (seconds) are repeated within one turn."""

WAIT_SECONDS = 2e-6
"""What it costs all threads to wait for each other between two waves of tasks, which one thread alone does not show."""


@dataclass(frozen=True)
class Call:
    """One kernel as it is timed: its code, its operands with copies of its constants, how many of its tasks, and the
    seconds in which threads would wait for each other.

    wanted: how many copies there should be, and what makes so many operands with them. evicting: how many of these
    drive the first one out of the nearer caches.
    """

    loaded: LoadedKernel
    operands: Sequence[Operands]
    share: int
    waits: float
    wanted: int
    evicting: int
    copies: Callable[[int], Sequence[Operands]]

    def copied(self, most: int) -> Call:
        """The same with all copies that are wanted, but not more than `most`."""
        count = min(self.wanted, most)
        return self if count == 1 else replace(self, operands=self.copies(count))

    def arguments(self, turn: int) -> tuple[int, ...]:
        """Those of the copy whose turn it is."""
        return (*self.operands[turn % len(self.operands)].arguments[:-1], self.share)


@dataclass
class Contestant:
    """Kernels in the race, called one after another, and their times together so far: at first none, or one if they
    have run before.
    """

    calls: Sequence[Call]
    times: list[float] = field(default_factory=list)
    repeats: int = 1
    turn: int = 0

    def begin(self, turns: int) -> None:
        """Get ready for so many turns, once the first call has told how long they take."""
        first = self.times.pop()
        self.repeats = max(1, min(32, int(SHORT_CALL / max(first, 1e-7))))
        used, is_steady = 1 + turns * self.repeats, first >= STEADY_CALL
        self.calls = [call.copied(used if is_steady else max(used, call.evicting)) for call in self.calls]

    @property
    def seconds(self) -> float:
        return _lower_quartile(self.times) + sum(call.waits for call in self.calls)

    def run(self) -> None:
        """One turn: as many rounds as `repeats`, each on the next copy of the constants."""
        arguments: list[tuple[Callable[..., None], tuple[int, ...]]] = []
        for _ in range(self.repeats):
            self.turn += 1
            arguments += [(each.loaded.call, each.arguments(self.turn)) for each in self.calls]
        start = time.perf_counter()
        for call, each in arguments:
            call(*each)
        self.times.append((time.perf_counter() - start) / self.repeats)


def _lower_quartile(times: Sequence[float]) -> float:
    """As NumPy's percentile, which takes longer than most kernels."""
    ordered, place = sorted(times), (len(times) - 1) / 4
    below, above = ordered[int(place)], ordered[min(int(place) + 1, len(times) - 1)]
    return below + (above - below) * (place % 1)


def run_timed(loaded: LoadedKernel, operands: Operands, share: int) -> float:
    """Run all tasks of a kernel; the seconds that the first `share` of them took."""
    *places, begin, end = operands.arguments
    start = time.perf_counter()
    loaded.call(*places, begin, share)
    seconds = time.perf_counter() - start
    loaded.call(*places, share, end)
    return seconds


def timed_call(
    region: Region,
    kernel: Kernel,
    loaded: LoadedKernel,
    first: Operands,
    symbols: Mapping[str, int],
    threads: int,
    cold_bytes: int,
    allocator: Allocator | None = None,
) -> Call:
    """A kernel prepared for timing one thread's share of its tasks.

    first: its operands; others will be made with copies of the constants, if there have to be several.
    cold_bytes: how much memory the copies of its constants should take together, so that no copy stays in a cache.
    """
    constants = [number for number, value in enumerate(region.inputs) if is_constant(value)]
    size = sum(first.inputs[number].nbytes for number in constants)
    count = min(MAX_COPIES, max(1, cold_bytes // size)) if size else 1
    tasks, waits = evaluate(kernel.tasks, symbols), evaluate(kernel.waves, symbols) - 1
    waiting = waits * WAIT_SECONDS if threads > 1 else 0.0
    copies = partial(_with_copies, first, constants, allocator)
    evicting = min(count, -(-EVICTING_BYTES // size)) if size else 1
    return Call(loaded, [first], -(-tasks // threads), waiting, count, evicting, copies)


def _with_copies(operands: Operands, numbers: Sequence[int], allocator: Allocator | None, count: int) -> list[Operands]:
    """So many times the operands, each with constants of its own. These lie side by side, as in a plan, so that they
    have huge pages as there.
    """
    sizes = {number: -(-operands.inputs[number].nbytes // ALIGNMENT) * ALIGNMENT for number in numbers}
    block, found = aligned_bytes(count * sum(sizes.values()), allocator), list[Operands]()
    for start in range(0, block.nbytes, sum(sizes.values())):
        inputs, place = list(operands.inputs), start
        for number, size in sizes.items():
            array = operands.inputs[number].reshape(-1)
            inputs[number] = block[place : place + array.nbytes].view(array.dtype)
            inputs[number][:] = array
            place += size
        found.append(replace(operands, inputs=tuple(inputs)))
    return found


def race(contestants: Sequence[Contestant]) -> None:
    """Time all contestants; afterwards each has its `seconds`."""
    for one in contestants:
        if not one.times:
            one.run()
    running = _hopeful(contestants)
    turns = _turns(min((one.times[0] for one in running), default=0.0))
    for one in running:
        one.begin(turns)
    for turn in range(ALL_TURNS):
        for one in running:
            one.run()
        best = min(running, key=lambda one: one.seconds, default=None)
        if best is not None and (turn + 1 >= FIRST_TURNS or best.seconds >= STEADY_CALL):
            running = [one for one in running if one.seconds <= FAR_BEHIND * best.seconds]
            if sum(best.times) * best.repeats >= ENOUGH_SECONDS:
                break


def _hopeful(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Those whose first call does not tell already that they are far behind."""
    fastest = min((one.times[0] for one in contestants), default=0.0)
    most = max(LONG_CALL, (HOPELESS if fastest < STEADY_CALL else HOPELESS_STEADY) * fastest)
    return [one for one in contestants if one.times[0] <= most]


def _turns(fastest: float) -> int:
    """How many turns a race will have whose fastest first call took so many seconds."""
    return min(ALL_TURNS, ceil(ENOUGH_SECONDS / max(fastest, 1e-7)))
