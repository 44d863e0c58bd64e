"""The part of an image that a task reads, as tile registers read it: what a tap multiplies lies side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

from tensorwright.codegen.scalar import ScalarEmitter, lane_mask
from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.convolution.problem import Axis
from tensorwright.kernels.cpu.amx.arithmetic import TileArithmetic
from tensorwright.kernels.cpu.amx.registers import ROW_BYTES
from tensorwright.kernels.cpu.spatial.tile import Memory
from tensorwright.tensor.dtype import INT8


@dataclass(frozen=True)
class Line:
    """One axis of an image, for `count` neighbouring positions of the output, dealt out by the stride: a tap reads
    neighbours of one *phase*, the elements whose index leaves one remainder.
    """

    axis: Axis
    count: int

    def phase(self, tap: int) -> int:
        """Where the phase that a tap reads is kept."""
        return self.phases.index(tap * self.axis.dilation % self.axis.stride)

    def shift(self, tap: int) -> int:
        """How far into its phase a tap begins."""
        return tap * self.axis.dilation // self.axis.stride

    @cached_property
    def phases(self) -> tuple[int, ...]:
        """The remainders that some tap reads."""
        return tuple(sorted({tap * self.axis.dilation % self.axis.stride for tap in range(self.axis.kernel)}))

    @property
    def extent(self) -> int:
        """Elements of each phase."""
        return self.count + self.shift(self.axis.kernel - 1)


@dataclass(frozen=True)
class TileImage:
    """Some positions of the last two axes: ``[steps of channels, phases, phases, rows, columns, 64 bytes]``.

    What a register holds of the channels is one step. Padding and missing channels are zero.
    """

    rows: Line
    columns: Line
    channels: int
    arithmetic: TileArithmetic

    @property
    def steps(self) -> int:
        return self.arithmetic.steps(self.channels)

    @property
    def plane_bytes(self) -> int:
        """Of one step and one phase of either axis."""
        return self.rows.extent * self.columns.extent * ROW_BYTES

    @property
    def step_bytes(self) -> int:
        """From one step of channels to the next."""
        return len(self.rows.phases) * len(self.columns.phases) * self.plane_bytes

    @property
    def bytes(self) -> int:
        """All of it; registers may read further, what nobody uses."""
        return self.steps * self.step_bytes

    def distance(self, row_tap: int, column_tap: int) -> int:
        """Bytes from the start to what the first position reads for a tap."""
        plane = self.rows.phase(row_tap) * len(self.columns.phases) + self.columns.phase(column_tap)
        shift = self.rows.shift(row_tap) * self.columns.extent + self.columns.shift(column_tap)
        return plane * self.plane_bytes + shift * ROW_BYTES


@dataclass(frozen=True)
class ImagePacker:
    """Brings an image in blocks of channels, which start at `source`, into workspace at `destination`."""

    emitter: ScalarEmitter
    image: TileImage
    memory: Memory
    source: Pointer
    destination: Pointer

    def pack(self, first_row: Register, first_column: Register) -> None:
        """Bring what the positions from these on read."""
        image, per_step = self.image, self.image.arithmetic.depth // self.memory.block
        whole = image.channels // image.arithmetic.depth
        end = image.channels - whole * image.arithmetic.depth
        if whole:
            with self.emitter.loop(0, whole) as loop:
                self._step(loop.index, first_row, first_column, (self.memory.block,) * per_step)
        if end:
            counts = [min(self.memory.block, max(0, end - number * self.memory.block)) for number in range(per_step)]
            self._step(i64(whole), first_row, first_column, tuple(counts))

    def _step(self, step: Register, first_row: Register, first_column: Register, counts: tuple[int, ...]) -> None:
        """One step of channels, of which there are so many in each block."""
        image, builder = self.image, self.emitter.builder
        blocks = self.image.arithmetic.depth // self.memory.block
        source = self._moved(self.source, builder.scaled(step, blocks * self.memory.channel))
        destination = builder.offset(self.destination, builder.scaled(step, image.step_bytes), INT8)
        for number, (row, column) in enumerate(product(image.rows.phases, image.columns.phases)):
            plane = builder.offset(destination, number * image.plane_bytes, INT8)
            with self.emitter.loop(0, image.rows.extent) as loop:
                self._row(source, plane, (loop.index, row, first_row), (column, first_column), counts)

    def _row(
        self,
        source: Pointer,
        plane: Pointer,
        row: tuple[Register, int, Register],
        column: tuple[int, Register],
        counts: tuple[int, ...],
    ) -> None:
        """One row of a plane: zeros, elements, zeros."""
        builder, image = self.emitter.builder, self.image
        across, along = self.memory.spatial[-2:]
        number, row_phase, first_row = row
        phase, first_column = column
        axis = image.rows.axis
        y = self._term(number) * axis.stride + (self._term(first_row) * axis.stride + (row_phase - axis.before))
        inside = builder.binary("and", y.greater(-1).register, y.less(axis.input).register)
        low, high = self._range(image.columns, phase, first_column)
        zero = i64(0)
        low, high = builder.select(inside, low, zero), builder.select(inside, high, zero)
        to = builder.offset(plane, builder.scaled(number, image.columns.extent * ROW_BYTES), INT8)
        axis = image.columns.axis
        x = self._term(first_column) * axis.stride + (phase - axis.before)
        start = self._moved(self._moved(source, (y * across).register), (x * along).register)
        self._clear(to, zero, low)
        with builder.loop(low, high) as loop:
            at = self._moved(start, builder.scaled(loop.index, axis.stride * along))
            self._copy(at, builder.offset(to, builder.scaled(loop.index, ROW_BYTES), INT8), counts)
        self._clear(to, high, i64(image.columns.extent))

    def _range(self, line: Line, phase: int, first: Register) -> tuple[Register, Register]:
        """From and up to which number elements of a phase lie inside the image."""
        axis, before = line.axis, self._term(first)
        low = -((phase - axis.before) // axis.stride) - before
        high = -((phase - axis.before - axis.input) // axis.stride) - before
        return self._clamped(low, line.extent), self._clamped(high, line.extent)

    def _clamped(self, value: Term, most: int) -> Register:
        return greatest(least(value, most), 0).register

    def _clear(self, to: Pointer, low: Register, high: Register) -> None:
        builder, bits = self.emitter.builder, self.image.arithmetic.bits
        with builder.loop(low, high) as loop:
            place = builder.offset(to, builder.scaled(loop.index, ROW_BYTES), INT8)
            builder.store(literal(0, bits, self.image.arithmetic.depth), place, bits)

    def _copy(self, source: Pointer, to: Pointer, counts: tuple[int, ...]) -> None:
        """The channels of one element, block by block."""
        builder, bits, block = self.emitter.builder, self.image.arithmetic.bits, self.memory.block
        for number, count in enumerate(counts):
            zero = literal(0, bits, block)
            place = self._moved(source, number * self.memory.channel) if count else source
            if count == block:
                value = builder.load(place, bits, block)
            else:
                value = builder.masked_load(place, lane_mask(count, block), zero, bits) if count else zero
            builder.store(value, builder.offset(to, number * block, bits), bits)

    def _moved(self, base: Pointer, elements: Register | int) -> Pointer:
        return self.emitter.builder.offset(base, elements, self.image.arithmetic.bits)

    def _term(self, value: Register) -> Term:
        return Term(self.emitter.builder, value)


@dataclass(frozen=True)
class FoldedPacker:
    """Brings a row-major image of few channels, which starts at `source`, into workspace: what the taps of the last
    axis read for one position lies side by side, channel by channel, and is one step of channels.

    columns: the last axis of the convolution; the image's own has one tap and every position.
    """

    emitter: ScalarEmitter
    image: TileImage
    columns: Axis
    memory: Memory
    source: Pointer
    destination: Pointer

    def pack(self, first_row: Register, first_column: Register) -> None:
        """Bring what the positions from these on read."""
        image, builder = self.image, self.emitter.builder
        for number, phase in enumerate(image.rows.phases):
            plane = builder.offset(self.destination, number * image.plane_bytes, INT8)
            with self.emitter.loop(0, image.rows.extent) as loop:
                axis = image.rows.axis
                y = (self._term(loop.index) + self._term(first_row)) * axis.stride + (phase - axis.before)
                row = builder.offset(plane, builder.scaled(loop.index, image.columns.extent * ROW_BYTES), INT8)
                inside = builder.binary("and", y.greater(-1).register, y.less(axis.input).register)
                with self.emitter.loop(0, image.columns.extent) as inner:
                    to = builder.offset(row, builder.scaled(inner.index, ROW_BYTES), INT8)
                    self._position(y, self._term(inner.index) + self._term(first_column), inside, to)

    def _position(self, y: Term, position: Term, inside: Register, to: Pointer) -> None:
        """What all taps of one position read of a row, zeros where that is not in the image."""
        builder, bits, axis = self.emitter.builder, self.image.arithmetic.bits, self.columns
        lanes = 1 << (axis.kernel - 1).bit_length()
        across, along = self.memory.spatial[-2:]
        x = position * axis.stride - axis.before
        numbers = Term(builder, builder.add(builder.splat(x.register, lanes), builder.lane_numbers(lanes)))
        mask = builder.binary("and", numbers.greater(-1).register, numbers.less(axis.input).register)
        mask = builder.binary("and", mask, lane_mask(axis.kernel, lanes))
        mask = builder.binary("and", mask, builder.splat(inside, lanes))
        builder.store(literal(0, bits, self.image.arithmetic.depth), to, bits)
        start = builder.offset(self.source, (y * across + x * along).register, bits)
        for channel in range(self.image.channels // axis.kernel):
            place = builder.offset(start, channel * self.memory.channel, bits)
            value = builder.masked_load(place, mask, literal(0, bits, lanes), bits)
            builder.store(value, builder.offset(to, channel * axis.kernel, bits), bits)

    def _term(self, value: Register) -> Term:
        return Term(self.emitter.builder, value)
