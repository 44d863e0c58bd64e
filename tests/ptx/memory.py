"""Memory whose every access is checked: it has to be allocated, and no two threads may meet in it without a barrier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ptx.ordering import Order

Addresses = npt.NDArray[np.int64]
Threads = npt.NDArray[np.int64]
GUARD = 256
NOBODY, SEVERAL = -1, -2


class Race(Exception):
    """Two threads touched the same memory, one of them writing, without a barrier between them."""


class Stray(Exception):
    """An access to memory that is not allocated, or is not aligned."""


class GlobalMemory:
    """Memory of the whole grid. A thread may read what nobody has written in the kernel, or it itself, or what counters
    that blocks let each other know by, or barriers, have told it of.
    """

    def __init__(self, size: int) -> None:
        self.bytes = np.full(size, 0xA5, np.uint8)
        self._allocated = np.zeros(size, np.bool_)
        self._writers = np.full(size, NOBODY, np.int64)
        self._end = GUARD
        self._order: Order | None = None
        self._clocks, self._told = np.zeros(0, np.int64), dict[int, npt.NDArray[np.int64]]()

    def watch(self, order: Order | None) -> None:
        """Begin a kernel, whose blocks let each other know by counters and barriers if its warps have an order."""
        self._order, self._told = order, {}
        self._clocks = np.zeros(self.bytes.size if order else 0, np.int64)

    def place(self, content: npt.NDArray[np.generic]) -> int:
        """The address of a copy of an array."""
        raw = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
        address = self._end
        self.bytes[address : address + raw.size] = raw
        self._allocated[address : address + raw.size] = True
        self._end = -(-(address + raw.size + GUARD) // GUARD) * GUARD
        return address

    def require(self, at: Addresses) -> None:
        """Raises Stray where nothing is allocated."""
        self._places(at, 1)

    def load(self, at: Addresses, size: int, threads: Threads) -> npt.NDArray[np.uint8]:
        places = self._places(at, size)
        writers = self._writers[places]
        others = (writers != NOBODY) & (writers != threads[:, None])
        if others.any() and not self._is_told(places, threads, others):
            raise Race("a thread reads what another one wrote in the same kernel")
        return self.bytes[places]

    def _is_told(self, places: Addresses, threads: Threads, others: npt.NDArray[np.bool_]) -> bool:
        """Whether the threads know of what others wrote."""
        writers = self._writers[places]
        if self._order is None or (writers[others] == SEVERAL).any():
            return False
        rows = np.broadcast_to(self._order.rows_of(threads)[:, None], places.shape)[others]
        own_rows = self._order.rows_of(writers[others])
        known = self._order.known[rows, own_rows] - (rows == own_rows)  # Threads of a warp have to meet, too.
        return bool((self._clocks[places][others] <= known).all())

    def read_counters(self, at: Addresses, threads: Threads, words: Sequence[str]) -> Threads:
        """What counters of four bytes hold. words: of the instruction, which say whether a thread learns there what
        those that counted let others know (acquire), and lets them know itself (release).
        """
        return np.array([self._counter(*one, words)[0] for one in zip(at, threads, strict=True)], np.int64)

    def count(self, at: Addresses, threads: Threads, words: Sequence[str], last: npt.NDArray[np.uint64]) -> Threads:
        """What counters hold, which then count one more, or from `last` on to 0 again; words: as for reading."""
        found = np.zeros(len(at), np.int64)
        for turn, (place, thread) in enumerate(zip(at, threads, strict=True)):
            counter = self._counter(place, thread, words)
            found[turn], self._writers[place : place + 4] = counter[0], SEVERAL
            counter[0] = 0 if counter[0] >= last[turn] else counter[0] + 1
            if not {"release", "acq_rel"}.isdisjoint(words):
                assert self._order is not None
                own = self._order.tell(int(self._order.rows_of(thread)))
                self._told[place] = np.maximum(own, self._told.get(place, own))
        return found

    def _counter(self, place: int, thread: int, words: Sequence[str]) -> npt.NDArray[np.uint32]:
        """A counter, and what a thread learns there."""
        assert self._order is not None
        if self._writers[self._places(np.array([place]), 4)].max() >= 0:
            raise Race("a counter in memory that a thread has written")
        if place in self._told and not {"acquire", "acq_rel"}.isdisjoint(words):
            self._order.learn(int(self._order.rows_of(thread)), self._told[place])
        return self.bytes[place : place + 4].view(np.uint32)

    def store(self, at: Addresses, content: npt.NDArray[np.uint8], threads: Threads) -> None:
        places = self._places(at, content.shape[1])
        writers = self._writers[places]
        if ((writers != NOBODY) & (writers != threads[:, None])).any() or len(np.unique(at)) < len(at):
            raise Race("two threads write the same element")
        self._writers[places] = threads[:, None]
        if self._order is not None:
            rows = self._order.rows_of(threads)
            self._clocks[places] = self._order.known[rows, rows][:, None]
        self.bytes[places] = content

    def _places(self, at: Addresses, size: int) -> Addresses:
        places = at[:, None] + np.arange(size)
        if (at % size).any():
            raise Stray(f"global memory: an access of {size} bytes is not aligned")
        if places.size and (places.min() < 0 or places.max() >= self.bytes.size or not self._allocated[places].all()):
            raise Stray("global memory: an access outside of all operands")
        return places


class SharedMemory:
    """Shared memory of every block, in words of four bytes. epochs: barriers that a block or its cluster has passed."""

    def __init__(self, blocks: int, size: int) -> None:
        words = -(-size // 4)
        self.bytes = np.full((blocks, 4 * words), 0xA5, np.uint8)
        self.epochs, self.cluster_epochs = np.zeros(blocks, np.int64), np.zeros(blocks, np.int64)
        shape = (blocks, words)
        self._writers, self._written = np.full(shape, NOBODY), np.full(shape, -1)
        self._written_in_cluster = np.full(shape, -1)
        self._readers, self._read = np.full(shape, NOBODY), np.full(shape, -1)
        self._coming, self._unpublished = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)

    def load(self, blocks: Threads, at: Addresses, size: int, threads: Threads, *, far: bool) -> npt.NDArray[np.uint8]:
        places, words = self._places(at, size)
        own, flat, now = threads[:, None], self._numbers(blocks, words), self.epochs[blocks][:, None]
        if self._coming.take(flat).any():
            raise Race("shared memory: a thread reads what is still being copied there")
        recent = self._written.take(flat) == now
        if far:
            recent = self._written_in_cluster.take(flat) == self.cluster_epochs[blocks][:, None]
        if (recent & (self._writers.take(flat) != own)).any():
            raise Race("shared memory: a thread reads what another one wrote since the last barrier")
        known = (self._read.take(flat) == now) & (self._readers.take(flat) != own)
        self._readers.put(flat, np.where(known, SEVERAL, own))
        self._read.put(flat, np.broadcast_to(now, flat.shape))
        return self.bytes[blocks[:, None], places]

    def load_for_tensor_cores(
        self, blocks: Threads, at: Addresses, size: int, threads: Threads
    ) -> npt.NDArray[np.uint8]:
        """What products read, which are no thread's, and see only what its writers published to them.

        threads: the first one of each access's warpgroup.
        """
        if self._unpublished.take(self._numbers(blocks, self._places(at, size)[1])).any():
            raise Race("shared memory: tensor cores read what its writer did not publish to them (fence.proxy.async)")
        return self.load(blocks, at, size, np.full(len(at), SEVERAL), far=False)

    def finish_reading(self, blocks: Threads, at: Addresses, size: int, threads: Threads) -> None:
        """Nothing: barriers of whole blocks stand behind products."""

    def publish(self, threads: Threads) -> None:
        """Products may read what these threads have written."""
        self._unpublished &= ~np.isin(self._writers, threads)

    def peek(self, blocks: Threads, at: Addresses, size: int) -> npt.NDArray[np.uint8]:
        """What lies there, whoever may read it."""
        return self.bytes[blocks[:, None], self._places(at, size)[0]]

    def expect(self, blocks: Threads, at: Addresses, size: int, threads: Threads) -> None:
        """Begin a copy of a thread's to here: nobody may use the place before it has landed."""
        flat = self._numbers(blocks, self._places(at, size)[1])
        self._require_unused(blocks, flat, threads)
        if self._coming.take(flat).any():
            raise Race("shared memory: two copies to one place")
        self._coming.put(flat, True)

    def land(self, blocks: Threads, at: Addresses, content: npt.NDArray[np.uint8], threads: Threads) -> None:
        """Store what a thread's copy brought."""
        self._coming.put(self._numbers(blocks, self._places(at, content.shape[1])[1]), False)
        self.store(blocks, at, content, threads)

    def store(self, blocks: Threads, at: Addresses, content: npt.NDArray[np.uint8], threads: Threads) -> None:
        places, words = self._places(at, content.shape[1])
        flat = self._numbers(blocks, words)
        self._require_unused(blocks, flat, threads)
        if self._coming.take(flat).any():
            raise Race("shared memory: a thread writes where a copy has not landed")
        for marks, new in (
            (self._writers, threads),
            (self._written, self.epochs[blocks]),
            (self._written_in_cluster, self.cluster_epochs[blocks]),
        ):
            marks.put(flat, np.broadcast_to(new[:, None], flat.shape))
        self._unpublished.put(flat, True)
        self.bytes[blocks[:, None], places] = content

    def _require_unused(self, blocks: Threads, flat: Addresses, threads: Threads) -> None:
        """No other thread may have used the words since the last barrier."""
        now, own = self.epochs[blocks][:, None], threads[:, None]
        if ((self._written.take(flat) == now) & (self._writers.take(flat) != own)).any():
            raise Race("shared memory: two threads write one word between barriers")
        if ((self._read.take(flat) == now) & (self._readers.take(flat) != own)).any():
            raise Race("shared memory: a thread writes what another one read since the last barrier")

    def _numbers(self, blocks: Threads, words: Addresses) -> Addresses:
        """Words of blocks, counted through all blocks: one index is found several times as fast as two."""
        return blocks[:, None] * self._writers.shape[1] + words

    def _places(self, at: Addresses, size: int) -> tuple[Addresses, Addresses]:
        places = at[:, None] + np.arange(size)
        if (at % size).any():
            raise Stray(f"shared memory: an access of {size} bytes is not aligned")
        if places.size and (places.min() < 0 or places.max() >= self.bytes.shape[1]):
            raise Stray("shared memory: an access outside of the block's")
        return places, places[:, ::4] // 4 if size >= 4 else places[:, :1] // 4
