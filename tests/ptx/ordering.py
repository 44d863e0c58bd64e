"""What comes before what: warps with vector clocks, barriers in shared memory that count arrivals and bytes, and shared
memory that knows from them whether a warp may touch what another one, or the copy engine, has touched.

A clock counts what a warp has done between the places where it lets others know; a warp's row of a table says how much
of every other one it knows of. The copy engine of a block has a clock, too: it is behind those of the warps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ptx.memory import Addresses, Race, SharedMemory, Threads

Clocks = npt.NDArray[np.int64]
WARP = 32
POISON = 0x5A


class Order:
    """warps: of each block, of which there are `blocks`."""

    def __init__(self, blocks: int, warps: int) -> None:
        self.warps, count = warps, blocks * (warps + 1)
        self.known: Clocks = np.zeros((count, count), np.int64)
        np.fill_diagonal(self.known, 1)

    def warp(self, threads: Threads, block: int) -> int:
        """The row of the warp that threads of a block belong to."""
        return int(threads.reshape(-1)[0]) // WARP + block

    def rows_of(self, threads: Threads) -> Threads:
        """The row of each thread's warp."""
        return threads // WARP + threads // (WARP * self.warps)

    def engine(self, block: int) -> int:
        return block * (self.warps + 1) + self.warps

    def tell(self, row: int) -> Clocks:
        """What a warp lets others know; what it does from now on they do not."""
        told = self.known[row].copy()
        self.known[row, row] += 1
        return told

    def learn(self, row: int, told: Clocks) -> None:
        self.known[row] = np.maximum(self.known[row], told)

    def meet(self, blocks: Sequence[int]) -> None:
        """All warps of some blocks wait for each other."""
        self.meet_rows(np.concatenate([np.arange(self.warps) + block * (self.warps + 1) for block in blocks]))

    def meet_rows(self, rows: Threads) -> None:
        """Some warps wait for each other."""
        self.known[rows] = self.known[rows].max(0)
        self.known[rows, rows] += 1


@dataclass
class Barrier:
    """maker: the warp that made it, and its clock then. pending: arrivals that its phase waits for, of `arrivals`.

    bytes: announced, and not begun to be copied. told: what those that arrived let others know, in this phase and the
    last one.
    """

    arrivals: int
    maker: tuple[int, int]
    pending: int
    published: bool = False
    phase: int = 0
    bytes: int = 0
    landing: list[tuple[int, Addresses, npt.NDArray[np.uint8]]] = field(default_factory=list)
    told: Clocks | None = None
    told_last: Clocks | None = None


class Barriers:
    """The barriers of all blocks, by block and address."""

    def __init__(self, shared: OrderedMemory, order: Order) -> None:
        self._shared, self._order = shared, order
        self._made: dict[tuple[int, int], Barrier] = {}

    def make(self, block: int, at: int, arrivals: int, row: int) -> None:
        if at % 8:
            raise Race("a barrier that is not aligned")
        self._made[block, at] = Barrier(arrivals, (row, int(self._order.known[row, row])), arrivals)

    def publish(self, rows: Threads) -> None:
        for barrier in self._made.values():
            barrier.published |= barrier.maker[0] in rows

    def _known(self, block: int, at: int, row: int) -> Barrier:
        barrier = self._made.get((block, at))
        if barrier is None or barrier.maker[1] > self._order.known[row, barrier.maker[0]]:
            raise Race("a barrier that is used before it was made, or before its maker was met")
        return barrier

    def announce(self, block: int, at: int, size: int, row: int) -> None:
        self._known(block, at, row).bytes += size

    def arrive(self, block: int, at: int, row: int) -> bool:
        """Whether the phase is complete by that."""
        barrier, told = self._known(block, at, row), self._order.tell(row)
        if not barrier.pending:
            raise Race("more threads arrive at a barrier than it was made for")
        barrier.told = told if barrier.told is None else np.maximum(barrier.told, told)
        barrier.pending -= 1
        return self._completed(block, barrier)

    def copy(self, block: int, at: int, to: Addresses, content: npt.NDArray[np.uint8], row: int) -> bool:
        """Begin copies of pieces to places of a block; whether the phase is complete by that."""
        barrier = self._known(block, at, row)
        if not barrier.published:
            raise Race("the copy engine counts bytes at a barrier that was not published to it")
        if content.size > barrier.bytes:
            raise Race("the copy engine brings more bytes than were announced")
        self._shared.await_copy(block, to, content.shape[1], row)
        barrier.bytes -= content.size
        barrier.landing.append((block, to, content))
        return self._completed(block, barrier)

    def _completed(self, block: int, barrier: Barrier) -> bool:
        if barrier.pending or barrier.bytes:
            return False
        engine, told = self._order.engine(block), barrier.told
        assert told is not None
        for home, to, content in barrier.landing:
            self._shared.land_copy(home, to, content, engine)
        told[engine] = self._order.tell(engine)[engine] if barrier.landing else told[engine]
        barrier.told_last, barrier.told, barrier.landing = told, None, []
        barrier.pending, barrier.phase = barrier.arrivals, barrier.phase + 1
        return True

    def is_complete(self, block: int, at: int, parity: int, row: int) -> bool:
        """Whether the phase of a parity is, which the warp then knows of."""
        barrier = self._known(block, at, row)
        if barrier.phase % 2 == parity:
            return False
        if barrier.told_last is not None:
            self._order.learn(row, barrier.told_last)
        return True


class OrderedMemory(SharedMemory):
    """Shared memory in which barriers, not only those of whole blocks, say what comes before what."""

    def __init__(self, blocks: int, size: int, order: Order) -> None:
        super().__init__(blocks, size)
        self._order, words = order, self._coming.shape[1]
        self._writer, self._write_clock = np.zeros((blocks, words), np.int64), np.zeros((blocks, words), np.int64)
        self._read_clocks = np.zeros((blocks, words, order.warps), np.int64)

    def load(self, blocks: Threads, at: Addresses, size: int, threads: Threads, *, far: bool) -> npt.NDArray[np.uint8]:
        places, words = self._places(at, size)
        rows, home = self._order.rows_of(threads), blocks[:, None]
        self._require_written(home, words, rows[:, None])
        own = self._order.known[rows, rows]
        for column in range(0 if far else words.shape[1]):  # Nobody writes what other blocks read last.
            self._read_clocks[blocks, words[:, column], rows % (self._order.warps + 1)] = own
        return self.bytes[home, places]

    def load_for_tensor_cores(
        self, blocks: Threads, at: Addresses, size: int, threads: Threads
    ) -> npt.NDArray[np.uint8]:
        places, words = self._places(at, size)
        if self._unpublished[blocks[:, None], words].any():
            raise Race("shared memory: tensor cores read what its writer did not publish to them (fence.proxy.async)")
        self._require_written(blocks[:, None], words, self._order.rows_of(threads)[:, None])
        return self.bytes[blocks[:, None], places]

    def finish_reading(self, blocks: Threads, at: Addresses, size: int, threads: Threads) -> None:
        """Products of a warpgroup, whose first threads of warps these are, have read what lies there."""
        _, words = self._places(at, size)
        for row in self._order.rows_of(threads):
            warp = row % (self._order.warps + 1)
            self._read_clocks[blocks[:, None], words, warp] = self._order.known[row, row]

    def await_copy(self, block: int, to: Addresses, size: int, row: int) -> None:
        """Begin a copy of the copy engine's for a warp: until it has landed the place holds nothing."""
        places, words = self._places(to, size)
        self._require_free(np.full((len(to), 1), block), words, np.full((len(to), 1), row))
        if self._coming[block, words].any():
            raise Race("shared memory: two copies to one place")
        self._coming[block, words] = True
        self.bytes[block, places] = POISON

    def land_copy(self, block: int, to: Addresses, content: npt.NDArray[np.uint8], engine: int) -> None:
        places, words = self._places(to, content.shape[1])
        self.bytes[block, places] = content
        self._coming[block, words] = self._unpublished[block, words] = False
        self._writer[block, words], self._write_clock[block, words] = engine, self._order.known[engine, engine]

    def store(self, blocks: Threads, at: Addresses, content: npt.NDArray[np.uint8], threads: Threads) -> None:
        places, words = self._places(at, content.shape[1])
        home, rows = blocks[:, None], self._order.rows_of(threads)
        if self._coming[home, words].any():
            raise Race("shared memory: a thread writes where a copy has not landed")
        self._require_free(home, words, rows[:, None])
        self._writers[home, words] = threads[:, None]
        self._writer[home, words] = rows[:, None]
        self._write_clock[home, words] = self._order.known[rows, rows][:, None]
        self._unpublished[home, words] = True
        self.bytes[home, places] = content

    def _require_written(self, home: Threads, words: Addresses, rows: Threads) -> None:
        if self._coming[home, words].any():
            raise Race("shared memory: a thread reads what is still being copied there")
        if (self._write_clock[home, words] > self._order.known[rows, self._writer[home, words]]).any():
            raise Race("shared memory: a warp reads what was written without having waited for it")

    def _require_free(self, home: Threads, words: Addresses, rows: Threads) -> None:
        """A warp knows of all that was written and read there."""
        if (self._write_clock[home, words] > self._order.known[rows, self._writer[home, words]]).any():
            raise Race("shared memory: a warp writes over what was written without having waited for it")
        others = home[..., None] * (self._order.warps + 1) + np.arange(self._order.warps)
        known = self._order.known[rows[..., None], others]
        if (self._read_clocks[home, words] > known).any():
            raise Race("shared memory: a warp writes over what is read without having waited for it")
