"""What runs beside the threads of a grid: copies to shared memory, and products of warpgroups."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ptx.memory import Race, SharedMemory, Threads

Bytes = npt.NDArray[np.uint8]
WARPGROUP = 128
STEP_BYTES, PIECE_BYTES = 32, 16


@dataclass
class _Copy:
    """One instruction's copies that have not landed. group: of each thread."""

    threads: Threads
    blocks: Threads
    at: Threads
    content: Bytes
    group: Threads


@dataclass
class Copies:
    """Copies that land when their thread waits for them, and not before. groups: that each thread has ended."""

    shared: SharedMemory
    groups: Threads
    waiting: list[_Copy] = field(default_factory=list)

    def begin(self, blocks: Threads, at: Threads, content: Bytes, threads: Threads) -> None:
        self.shared.expect(blocks, at, content.shape[1], threads)
        self.waiting.append(_Copy(threads, blocks, at, content, self.groups[threads].copy()))

    def end_group(self, threads: Threads) -> None:
        self.groups[threads] += 1

    def wait(self, threads: Threads, unfinished: int) -> None:
        waits = np.zeros(len(self.groups), np.bool_)
        waits[threads] = True
        left = []
        for copy in self.waiting:
            lands = waits[copy.threads] & (copy.group < self.groups[copy.threads] - unfinished)
            if lands.any():
                self.shared.land(copy.blocks[lands], copy.at[lands], copy.content[lands], copy.threads[lands])
            if not lands.all():
                stays = ~lands
                left.append(_Copy(*(a[stays] for a in (copy.threads, copy.blocks, copy.at, copy.content, copy.group))))
        self.waiting = left


@dataclass(frozen=True)
class _Product:
    """One instruction of a warpgroup. read: what it read, and from where, at its beginning. threads: of its warps."""

    warpgroup: int
    registers: list[str]
    blocks: Threads
    at: Threads
    read: Bytes
    group: int
    threads: Threads


@dataclass
class Products:
    """Products whose sums exist when their warpgroup has waited for them; until then nobody may change what they read.

    sums: of products that are under way, by register and thread. groups: that each warpgroup has ended.
    """

    shared: SharedMemory
    groups: Threads
    sums: dict[str, npt.NDArray[np.uint32]] = field(default_factory=dict)
    waiting: list[_Product] = field(default_factory=list)

    def under_way(self, register: str, warpgroup: int) -> bool:
        return any(warpgroup == product.warpgroup and register in product.registers for product in self.waiting)

    def begin(self, warpgroup: int, registers: list[str], block: int, at: Threads, threads: Threads) -> None:
        blocks = np.full(len(at), block)
        read = self.shared.peek(blocks, at, PIECE_BYTES)
        self.waiting.append(_Product(warpgroup, registers, blocks, at, read, int(self.groups[warpgroup]), threads))

    def end_group(self, warpgroups: Threads) -> None:
        self.groups[warpgroups] += 1

    def wait(self, warpgroups: Threads, unfinished: int) -> list[tuple[int, str]]:
        """The warpgroups and registers that hold finished sums now.

        Raises:
            Race: what a product reads has changed under way.
        """
        latest = self.groups - unfinished
        done = [p for p in self.waiting if p.warpgroup in warpgroups and p.group < latest[p.warpgroup]]
        for product in done:
            if (self.shared.peek(product.blocks, product.at, PIECE_BYTES) != product.read).any():
                raise Race("shared memory: a product under way reads what has changed since it began")
            self.shared.finish_reading(product.blocks, product.at, PIECE_BYTES, product.threads)
        self.waiting = [p for p in self.waiting if p.warpgroup not in warpgroups or p.group >= latest[p.warpgroup]]
        found = [(product.warpgroup, register) for product in done for register in product.registers]
        return [(w, r) for w, r in dict.fromkeys(found) if not self.under_way(r, w)]


def tile_places(descriptors: npt.NDArray[np.int64], rows: int) -> Threads:
    """Where the two pieces of each row of tiles lie, ``[tile, row, piece]``: 128 bytes a row, swizzled.

    Raises:
        NotImplementedError: a descriptor of another kind.
    """
    start, stride = (descriptors & 0x3FFF) << 4, (descriptors >> 32 & 0x3FFF) << 4
    if (descriptors >> 62 & 3 != 1).any() or (descriptors >> 49 & 7 != 0).any():
        raise NotImplementedError("a tile that is not swizzled by 128 bytes from a multiple of 1024 on")
    row, piece = np.arange(rows), np.arange(STEP_BYTES // PIECE_BYTES)
    inside = row[:, None] // 8 * stride[:, None, None] + row[:, None] % 8 * 128 + piece * PIECE_BYTES
    at = start[:, None, None] + inside
    return np.asarray(at ^ (at >> 7 & 7) << 4)
