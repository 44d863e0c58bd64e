"""The whole kernel: pixels of a thread, sums over the taps, epilogue."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter, split_index
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.convolution.problem import Axis
from tensorwright.kernels.cuda.depthwise.problem import Depthwise, Pixels
from tensorwright.kernels.cuda.fragments.rows import ZEROS
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.tensor.dim import Dim, expression, product
from tensorwright.tensor.dtype import INT32, DType


@dataclass(frozen=True)
class _Place:
    """Where a thread computes: image, block of channels, row, first of its pixels, first channel in its block (i64)."""

    image: Register
    block: Register
    row: Register
    column: Register
    channel: Register


@dataclass(frozen=True)
class DepthwiseKernel(ThreadWriter):
    """Emits the body of a kernel."""

    depthwise: Depthwise
    options: Pixels
    emitter: GroupEmitter

    def write(self) -> None:
        builder, emitter, extents = self.builder, self.emitter, self.depthwise.extents(self.options.pixels)
        first = builder.scaled(wide(builder, builder.block_index()), 32 * self.options.warps)
        number = builder.add(first, wide(builder, builder.thread()))
        builder.launch_next()
        with emitter.when(builder.compare("ult", number, emitter.integer(product(extents)))):
            image, block, row, group, part = split_index(emitter, extents, number)
            column, channel = builder.scaled(group, self.options.pixels), builder.scaled(part, self.depthwise.lanes)
            place = _Place(image, block, row, column, channel)
            with emitter.when(self._exists(place)):
                self._finish(place, self._sums(place))

    def _exists(self, place: _Place) -> Register | None:
        """Whether the thread has channels, and no padding of the last block."""
        builder, channels, block = self.builder, self.depthwise.problem.groups, self.depthwise.layout.block
        if channels % block == 0:
            return None
        channel = builder.add(builder.scaled(place.block, block), place.channel)
        return builder.compare("slt", channel, channels)

    # ---- sums

    def _sums(self, place: _Place) -> list[Register]:
        """For every pixel the sums of a vector of channels."""
        builder, kernel = self.builder, self.depthwise.rows.kernel
        weights, bias = self._weights(place), self._bias(place)
        first, inside = self._first_column(place), self._columns_inside(place)
        if self.depthwise.is_unrolled:
            taps = [self._row_of_weights(weights, i64(tap)) for tap in range(kernel)]
            builder.wait_for_previous()
            sums = bias
            for tap, row in enumerate(taps):
                sums = self._added(sums, place, i64(tap), first, inside, row)
            return sums
        builder.wait_for_previous()
        with builder.loop(0, kernel, carried=bias) as loop:
            row = self._row_of_weights(weights, loop.index)
            loop.following = self._added(loop.carried, place, loop.index, first, inside, row)
        return list(loop.final)

    def _weights(self, place: _Place) -> Pointer:
        """The first weight of the thread's channels."""
        builder, found = self.builder, self.depthwise
        offset = builder.add(builder.scaled(place.block, found.problem.taps * found.layout.block), place.channel)
        return builder.offset(self.emitter.operands[found.problem.weights], offset, found.dtype)

    def _row_of_weights(self, weights: Pointer, tap: Register) -> list[Register]:
        """The weights of one row of the kernel (i64)."""
        builder, found = self.builder, self.depthwise
        taps, block = found.columns.kernel, found.layout.block
        dtype = found.problem.numerics.right
        start = builder.offset(weights, builder.scaled(tap, taps * block), dtype)
        places = [builder.offset(start, number * block, dtype) for number in range(taps)]
        return [self._factor(place, dtype) for place in places]

    def _factor(self, place: Pointer, dtype: DType) -> Register:
        """A vector of factors, in the type of the sums."""
        loaded = self.builder.load(place, dtype, self.depthwise.lanes)
        if not self.depthwise.problem.numerics.is_integer:
            return loaded
        return self.builder.convert("sext" if dtype.kind == "signed" else "zext", loaded, INT32)

    def _bias(self, place: _Place) -> list[Register]:
        builder, found = self.builder, self.depthwise
        bias = literal(0, found.problem.numerics.total, found.lanes)
        if found.problem.bias is not None:
            offset = builder.add(builder.scaled(place.block, found.layout.block), place.channel)
            dtype = found.problem.numerics.result
            start = builder.offset(self.emitter.operands[found.problem.bias], offset, dtype)
            bias = builder.load(start, dtype, found.lanes)
        return [bias] * self.options.pixels

    def _first_column(self, place: _Place) -> Register:
        """The column (i64) of the input that the first tap reads for the first pixel."""
        return _source(self.builder, self.depthwise.columns, place.column, i64(0))

    def _columns_inside(self, place: _Place) -> dict[int, Register | None]:
        """For every column that the thread reads, by its distance, whether it is inside of the input."""
        builder, axis, pixels = self.builder, self.depthwise.columns, self.options.pixels
        first, found = self._first_column(place), dict[int, Register | None]()
        all_inside = not axis.clips and axis.output % pixels == 0
        for offset in self.depthwise.offsets(pixels):
            column = builder.add(first, offset)
            found[offset] = None if all_inside else builder.compare("ult", column, axis.input)
        return found

    def _added(
        self,
        sums: list[Register],
        place: _Place,
        tap: Register,
        first: Register,
        inside: dict[int, Register | None],
        weights: list[Register],
    ) -> list[Register]:
        """Sums with one row of the kernel added. first: column of the first element, inside: of those read."""
        builder, columns = self.builder, self.depthwise.columns
        row = _source(builder, self.depthwise.rows, place.row, tap)
        clips = self.depthwise.rows.clips
        row_inside = builder.compare("ult", row, self.depthwise.rows.input) if clips else None
        start = self._element(place, row, first)
        values = {
            offset: self._loaded(start, offset, _both(builder, row_inside, column_inside))
            for offset, column_inside in inside.items()
        }
        found = list(sums)
        for pixel in range(self.options.pixels):
            for number, weight in enumerate(weights):
                value = values[pixel * columns.stride + number * columns.dilation]
                found[pixel] = builder.add(found[pixel], builder.mul(value, weight))
        return found

    def _element(self, place: _Place, row: Register, column: Register) -> Pointer:
        """The thread's first channel at a pixel of the input, which need not be inside."""
        builder, found = self.builder, self.depthwise
        offset = place.image
        for index, extent in (
            (place.block, found.blocks),
            (row, found.rows.input),
            (column, found.columns.input),
            (place.channel, found.layout.block),
        ):
            offset = builder.add(builder.scaled(offset, extent), index)
        return builder.offset(self.emitter.operands[found.problem.x], offset, found.dtype)

    def _loaded(self, start: Pointer, offset: int, inside: Register | None) -> Register:
        builder, found = self.builder, self.depthwise
        place = builder.offset(start, offset * found.layout.block, found.dtype)
        if inside is not None:
            place = builder.choose(inside, place, Pointer(f"addrspacecast (ptr addrspace(1) {ZEROS} to ptr)"))
        return self._factor(place, found.dtype)

    # ---- results

    def _finish(self, place: _Place, sums: list[Register]) -> None:
        builder, axis = self.builder, self.depthwise.columns
        for pixel, values in enumerate(sums):
            column = builder.add(place.column, pixel)
            whole = axis.output % self.options.pixels == 0
            exists = None if whole else builder.compare("slt", column, axis.output)
            with self.emitter.when(exists):
                self._store(place, column, values)

    def _store(self, place: _Place, column: Register, values: Register) -> None:
        emitter, found = self.emitter, self.depthwise
        lane = Variable("channel", found.layout.block)
        emitter.values[lane] = place.channel
        image, block, row, pixel = (
            self._named(name, extent, index)
            for name, extent, index in (
                ("image", found.problem.batch, place.image),
                ("block", found.blocks, place.block),
                ("row", found.rows.output, place.row),
                ("column", found.columns.output, column),
            )
        )
        position = found.problem.position(image, block, (row, pixel), expression(lane))
        epilogue = epilogue_of(found.stage, found.inputs, found.layout)
        epilogue.store(emitter, Pointer("%out"), values, position, Lane(lane, found.lanes))

    def _named(self, name: str, extent: Dim, index: Register) -> Dim:
        variable = Variable(name, extent)
        self.emitter.values[variable] = index
        return 0 if extent == 1 else expression(variable)


def _source(builder: ThreadBuilder, axis: Axis, position: Register, tap: Register) -> Register:
    """The index into the input that a tap reads for a position of the output (i64)."""
    moved = builder.add(builder.scaled(position, axis.stride), builder.scaled(tap, axis.dilation))
    return builder.sub(moved, axis.before)


def _both(builder: ThreadBuilder, a: Register | None, b: Register | None) -> Register | None:
    if a is None or b is None:
        return b if a is None else a
    return builder.binary("and", a, b)
