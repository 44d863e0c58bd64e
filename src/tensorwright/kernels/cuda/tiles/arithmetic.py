"""The arithmetics that read tiles in shared memory: how each multiplies one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tensorwright.codegen.cuda.matrix import load_matrices, multiply_16x8, rounded_to_tf32, word_rounded_to_tf32
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.cuda.warpgroup import (
    ROW_BYTES,
    STEP_BYTES,
    advanced,
    begin_products,
    end_products,
    multiply_rows,
    publish_to_tensor_cores,
    tile_descriptor,
    wait_for_products,
)
from tensorwright.codegen.values import Register, literal
from tensorwright.tensor.dtype import FLOAT8, FLOAT32, INT32, DType

Sums = list[list[Register]]
"""For each tile of 64 rows a thread's sums, 4 for every 8 columns: two of row g and two of row g + 8 of its warp."""
PARTS = ROW_BYTES // STEP_BYTES
TILE_BYTES = 64 * ROW_BYTES
_PIECE_BYTES = 16


@dataclass(frozen=True)
class Place:
    """Where a step lies for one warpgroup, and which thread of it this is.

    left: its first row in shared memory, right: the first column, i32. warp: of the warpgroup, lane: of the warp, i32.
    plane_bytes: from one plane of a stage to the next.
    """

    left: Register
    right: Register
    warp: Register
    lane: Register
    plane_bytes: int


@dataclass(frozen=True)
class Stage:
    """What this thread copied of a step: where it lies in shared memory (i32), and how many elements side by side.

    packed: the part of it that was packed. plane_bytes: from one plane of a stage to the next.
    """

    given: list[tuple[Register, int]]
    packed: list[tuple[Register, int]]
    plane_bytes: int


@dataclass(frozen=True)
class Pace:
    """Microseconds, as fitted: of a multiprocessor for one output and one step; of a step at least, and of one that was
    begun to be copied only when the one before was multiplied.
    """

    output: float
    least: float
    copied: float


class Arithmetic(Protocol):
    """stages_in_use: stages that the products may be reading besides those that are copied ahead.

    planes: how many numbers a stage has for each element. most_sums: of a thread. pace: what it takes on an H200.
    """

    @property
    def stages_in_use(self) -> int: ...

    @property
    def planes(self) -> int: ...

    @property
    def most_sums(self) -> int: ...

    @property
    def pace(self) -> Pace: ...

    def publish(self, builder: ThreadBuilder, stage: Stage) -> None:
        """Behind the wait for this thread's copies, before threads meet."""

    def multiply(self, builder: ThreadBuilder, place: Place, sums: Sums) -> Sums:
        """Begin the products of one step: sums for `settle`."""

    def settle(self, builder: ThreadBuilder, sums: Sums, begun: Sums) -> Sums:
        """The sums with what was begun, and may not be finished; what was begun for the step before is."""

    def finish(self, builder: ThreadBuilder, sums: Sums) -> Sums:
        """Wait for all products."""


@dataclass(frozen=True)
class WarpgroupProducts:
    """`wgmma`: a step is read while the next one is begun. float32 is rounded to TF32 where it was copied to."""

    dtype: DType
    stages_in_use: int = 2
    planes: int = 1
    most_sums: int = 128
    pace: Pace = Pace(1.4e-5, 0.2, 0.85)

    def publish(self, builder: ThreadBuilder, stage: Stage) -> None:
        if self.dtype == FLOAT32:
            for place, elements in stage.given:
                _round(builder, place, elements)
        publish_to_tensor_cores(builder)

    def multiply(self, builder: ThreadBuilder, place: Place, sums: Sums) -> Sums:
        return _step(builder, self.dtype, place, sums)

    def settle(self, builder: ThreadBuilder, sums: Sums, begun: Sums) -> Sums:
        return _waited(builder, 1, begun)

    def finish(self, builder: ThreadBuilder, sums: Sums) -> Sums:
        return _waited(builder, 0, sums)


def _round(builder: ThreadBuilder, place: Register, elements: int) -> None:
    """Round 1 or 4 float32 in shared memory to TF32."""
    _write(builder, place, 0, [rounded_to_tf32(builder, value) for value in _read(builder, place, 0, elements)])


def _waited(builder: ThreadBuilder, unfinished: int, sums: Sums) -> Sums:
    flat = iter(wait_for_products(builder, unfinished, [register for tile in sums for register in tile]))
    return [[next(flat) for _ in tile] for tile in sums]


class _AtOnce:
    """What arithmetics have in common whose products are finished at once."""

    stages_in_use = 1
    planes = 1

    def publish(self, builder: ThreadBuilder, stage: Stage) -> None:
        """Nothing: threads that met see what was copied."""

    def settle(self, builder: ThreadBuilder, sums: Sums, begun: Sums) -> Sums:
        return begun

    def finish(self, builder: ThreadBuilder, sums: Sums) -> Sums:
        return sums


@dataclass(frozen=True)
class SplitProducts:
    """float32 by `wgmma` in TF32: each factor is the sum of two, ``a = h + l``, and ``hh' + hl' + lh'`` is added up.

    The tensor cores drop what TF32 does not have, so h is a itself as they read it, and l, which is exact, a second
    plane of the stage. Their sums, of which they drop as much, are those of one step; steps are added up in float32.
    What is left out is below 2^-20 of a product.
    """

    stages_in_use: int = 1
    planes: int = 2
    most_sums: int = 64
    pace: Pace = Pace(8e-5, 0.39, 1.5)

    def publish(self, builder: ThreadBuilder, stage: Stage) -> None:
        for place, elements in [*stage.given, *stage.packed]:
            lower = [_without_tf32(builder, value) for value in _read(builder, place, 0, elements)]
            _write(builder, place, stage.plane_bytes, lower)
        publish_to_tensor_cores(builder)

    def multiply(self, builder: ThreadBuilder, place: Place, sums: Sums) -> Sums:
        parts, left, right = list(sums), _planes(builder, place.left, place), _planes(builder, place.right, place)
        begin_products(builder)
        first = True
        for part in range(PARTS):
            for own, other in ((0, 1), (1, 0), (0, 0)):
                columns = advanced(builder, right[other], part * STEP_BYTES)
                for tile, total in enumerate(parts):
                    rows = advanced(builder, left[own], tile * TILE_BYTES + part * STEP_BYTES)
                    parts[tile] = multiply_rows(builder, FLOAT32, rows, columns, total, from_zero=first)
                first = False
        end_products(builder)
        return parts

    def settle(self, builder: ThreadBuilder, sums: Sums, begun: Sums) -> Sums:
        parts = _waited(builder, 0, begun)
        return [[builder.add(a, b) for a, b in zip(*pair, strict=True)] for pair in zip(sums, parts, strict=True)]

    def finish(self, builder: ThreadBuilder, sums: Sums) -> Sums:
        return sums


def _planes(builder: ThreadBuilder, address: Register, place: Place) -> list[Register]:
    """Descriptors of a tile in both planes."""
    second = builder.add(address, place.plane_bytes)
    return [tile_descriptor(builder, address), tile_descriptor(builder, second)]


def _without_tf32(builder: ThreadBuilder, value: Register) -> Register:
    """What TF32 drops of a float32, exactly; 0 for infinity."""
    kept = builder.binary("and", builder.bitcast(value, INT32), ~0x1FFF)
    upper = builder.bitcast(kept, FLOAT32)
    rest = builder.sub(value, upper)
    return builder.select(builder.compare("oeq", value, upper), literal(0.0, FLOAT32), rest)


@dataclass(frozen=True)
class Float8Products:
    """`wgmma` of float8, whose sums are those of one step, and added up in float32: Hopper adds with about 14 bits."""

    stages_in_use: int = 1
    planes: int = 1
    most_sums: int = 64
    pace: Pace = Pace(1.8e-5, 0.39, 0.85)

    def publish(self, builder: ThreadBuilder, stage: Stage) -> None:
        publish_to_tensor_cores(builder)

    def multiply(self, builder: ThreadBuilder, place: Place, sums: Sums) -> Sums:
        return _step(builder, FLOAT8, place, sums, from_zero=True)

    def settle(self, builder: ThreadBuilder, sums: Sums, begun: Sums) -> Sums:
        parts = _waited(builder, 0, begun)
        return [[builder.add(a, b) for a, b in zip(*pair, strict=True)] for pair in zip(sums, parts, strict=True)]

    def finish(self, builder: ThreadBuilder, sums: Sums) -> Sums:
        return sums


@dataclass(frozen=True)
class WarpProducts(_AtOnce):
    """`mma` of each warp, from fragments that `ldmatrix` reads. float32 is rounded to TF32 there."""

    dtype: DType
    target: CudaTarget
    most_sums: int = 96
    pace: Pace = Pace(4.5e-5, 0.3, 1.0)

    def multiply(self, builder: ThreadBuilder, place: Place, sums: Sums) -> Sums:
        found = list(sums)
        for part in range(PARTS):
            lefts = [self._left(builder, place, tile, part) for tile in range(len(sums))]
            for pair in range(len(sums[0]) // 8):
                rights = self._right(builder, place, pair, part)
                for tile, left in enumerate(lefts):
                    for half in range(2):
                        at = slice(8 * pair + 4 * half, 8 * pair + 4 * half + 4)
                        right = rights[2 * half : 2 * half + 2]
                        own = multiply_16x8(builder, self.target, self.dtype, left, right, found[tile][at])
                        found[tile] = [*found[tile][: at.start], *own, *found[tile][at.stop :]]
        return found

    def _left(self, builder: ThreadBuilder, place: Place, tile: int, part: int) -> list[Register]:
        """Rows 0 to 7 and 8 to 15 of the warp, the lower piece of each, then the upper one."""
        warp_rows = builder.add(builder.mul(place.warp, 16), 64 * tile)
        inside = builder.binary("and", place.lane, 15)
        upper = builder.binary("lshr", place.lane, 4)
        piece = builder.add(upper, 2 * part)
        return self._loaded(builder, _place_of(builder, place.left, builder.add(warp_rows, inside), piece))

    def _right(self, builder: ThreadBuilder, place: Place, pair: int, part: int) -> list[Register]:
        """Two tiles of 8 columns, the lower and the upper piece of each."""
        row = builder.binary("and", place.lane, 7)
        second = builder.binary("and", builder.binary("lshr", place.lane, 1), 8)
        row = builder.add(builder.add(row, second), 16 * pair)
        upper = builder.binary("and", builder.binary("lshr", place.lane, 3), 1)
        piece = builder.add(upper, 2 * part)
        return self._loaded(builder, _place_of(builder, place.right, row, piece))

    def _loaded(self, builder: ThreadBuilder, place: Register) -> list[Register]:
        words = load_matrices(builder, place)
        if self.dtype != FLOAT32:
            return words
        return [word_rounded_to_tf32(builder, word) for word in words]


@dataclass(frozen=True)
class MultiplyAdds(_AtOnce):
    """Multiply-adds in float32."""

    most_sums: int = 64
    pace: Pace = Pace(2.5e-4, 0.42, 2.7)

    def multiply(self, builder: ThreadBuilder, place: Place, sums: Sums) -> Sums:
        flat = [register for tile in sums for register in tile]
        with builder.loop(0, ROW_BYTES // _PIECE_BYTES, 1, flat, at_least_once=True) as loop:
            carried = iter(loop.carried)
            found = [[next(carried) for _ in tile] for tile in sums]
            self._add_piece(builder, place, builder.convert("trunc", loop.index, INT32), found)
            loop.following = [register for tile in found for register in tile]
        final = iter(loop.final)
        return [[next(final) for _ in tile] for tile in sums]

    def _add_piece(self, builder: ThreadBuilder, place: Place, piece: Register, sums: Sums) -> None:
        """Add the products of four neighbouring elements of the depth, in place."""
        g = builder.binary("lshr", place.lane, 2)
        own_row = builder.add(builder.mul(place.warp, 16), g)
        pair = builder.mul(builder.binary("and", place.lane, 3), 2)
        row = _place_of(builder, place.left, own_row, piece)
        columns = [_place_of(builder, place.right, builder.add(pair, e), piece) for e in range(2)]
        lefts = [
            [_four(builder, row, tile * TILE_BYTES + half * 8 * ROW_BYTES) for half in range(2)]
            for tile in range(len(sums))
        ]
        for eight in range(len(sums[0]) // 4):
            for e, column in enumerate(columns):
                right = _four(builder, column, eight * 8 * ROW_BYTES)
                for own, halves in zip(sums, lefts, strict=True):
                    for half, left in enumerate(halves):
                        at = 4 * eight + 2 * half + e
                        for a, b in zip(left, right, strict=True):
                            own[at] = builder.fma(a, b, own[at])


def _place_of(builder: ThreadBuilder, base: Register, row: Register, piece: Register) -> Register:
    """The address (i32) of a piece of a row."""
    swapped = builder.binary("xor", piece, builder.binary("and", row, 7))
    offset = builder.mul(row, ROW_BYTES)
    return builder.add(base, builder.add(offset, builder.mul(swapped, _PIECE_BYTES)))


def _at(builder: ThreadBuilder, place: Register, offset: int) -> str:
    """The pointer so many bytes behind a place in shared memory."""
    base, pointer = builder.in_shared(place), builder.fresh("p")
    builder.emit(f"{pointer} = getelementptr i8, ptr addrspace(3) {base}, i32 {offset}")
    return pointer


def _four(builder: ThreadBuilder, place: Register, offset: int) -> list[Register]:
    """Four float32 so many bytes behind a place."""
    return _read(builder, place, offset, 4)


def _write(builder: ThreadBuilder, place: Register, offset: int, values: list[Register]) -> None:
    """Write 1 or 4 float32 so many bytes behind a place."""
    stored = builder.vector_of(values) if len(values) > 1 else values[0]
    builder.emit(f"store {stored.typed}, ptr addrspace(3) {_at(builder, place, offset)}, align {4 * len(values)}")


def _read(builder: ThreadBuilder, place: Register, offset: int, elements: int) -> list[Register]:
    """1 or 4 float32 so many bytes behind a place."""
    pointer = _at(builder, place, offset)
    if elements == 1:
        return [builder.value(f"load float, ptr addrspace(3) {pointer}, align 4", FLOAT32)]
    vector = builder.value(f"load <4 x float>, ptr addrspace(3) {pointer}, align 16", FLOAT32, 4)
    return [builder.extract(vector, part) for part in range(4)]


def _step(builder: ThreadBuilder, dtype: DType, place: Place, sums: Sums, *, from_zero: bool = False) -> Sums:
    """Begin the products of one step, added to the sums, or to nothing."""
    begin_products(builder)
    found = list(sums)
    left, right = tile_descriptor(builder, place.left), tile_descriptor(builder, place.right)
    for part in range(PARTS):
        columns = advanced(builder, right, part * STEP_BYTES)
        for tile, own in enumerate(found):
            rows = advanced(builder, left, tile * TILE_BYTES + part * STEP_BYTES)
            found[tile] = multiply_rows(builder, dtype, rows, columns, own, from_zero=from_zero and part == 0)
    end_products(builder)
    return found
