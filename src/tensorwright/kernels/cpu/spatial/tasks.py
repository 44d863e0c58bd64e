"""Code around the tiles of a convolution: tasks, loops, first values, epilogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from tensorwright.codegen.epilogue import Epilogue
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.codegen.term import Term, least
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.spatial.runs import Run, tile_start
from tensorwright.kernels.cpu.spatial.tile import Memory, Sums, Tile
from tensorwright.kernels.cpu.spatial.tiling import OutputRun, Tiling
from tensorwright.kernels.slabs import MOST_TASKS, Range, Slabs, slabs_along
from tensorwright.tensor.dim import Dim, expression

WORKSPACE = Pointer("%workspace")


def written(tiling: Tiling) -> Slabs | None:
    """What each task of `TaskEmitter` writes of an output in blocked layout."""
    options, outer, batch = tiling.options, [axis.output for axis in tiling.outer], tiling.problem.batch
    if not isinstance(batch, int) or not isinstance(tiling.tasks, int) or tiling.tasks > MOST_TASKS:
        return None
    runs = tiling.rows if tiling.rows_are_units else tiling.columns
    units = [tile_start(runs, min(number * options.pixels, tiling.units)) for number in range(tiling.pixel_tasks + 1)]
    groups = [
        _first_block(tiling, min(number * options.outputs, tiling.group_count))
        for number in range(tiling.output_tasks + 1)
    ]
    pixels = len(outer) + 2 if tiling.rows_are_units else len(outer) + 3
    inner: list[tuple[int | None, tuple[Range, ...] | int]] = [
        (1, tuple(pairwise(groups))),
        (pixels, tuple(pairwise(units))),
    ]
    if options.pixels_first:
        inner.reverse()
    shape = [batch, tiling.output_blocks, *(axis.output for axis in tiling.problem.axes), tiling.lanes]
    return slabs_along(shape, [(0, batch), *((2 + number, extent) for number, extent in enumerate(outer)), *inner])


def _first_block(tiling: Tiling, group: int) -> int:
    """The first block of outputs of a group; of the number behind the last, how many blocks there are."""
    if group == tiling.group_count:
        return tiling.output_blocks
    run = next(run for run in tiling.output_runs if group < run.first + run.count)
    return run.block + (group - run.first) * len(run.lanes)


@dataclass(frozen=True)
class Span:
    """A range of numbers, known at build time or not."""

    low: Register
    high: Register

    @classmethod
    def of(cls, low: Register | int, high: Register | int) -> Span:
        """From `low` up to, not including, `high`."""
        return cls(i64(low), i64(high))


@dataclass(frozen=True)
class TaskEmitter:
    """Writes the loop over tasks; how a tile is summed is up to subclasses.

    Loops inside a task: groups of output blocks, tiles of rows, tiles of columns. Tiles that share code lie in runs;
    a task takes the part of every run that belongs to it.

    stored: how the results lie behind `output`, in the type of the sum, if not as the region's output in its layout:
    `output` is then where the element at position 0 along all axes would be. workspace: what tiles may use.
    """

    tiling: Tiling
    memory: Memory
    emitter: ScalarEmitter
    epilogue: Epilogue
    output: Pointer
    x: Pointer
    weights: Pointer
    bias: Pointer | None
    stored: Memory | None = None
    workspace: Pointer = WORKSPACE

    @property
    def builder(self) -> FunctionBuilder:
        return self.emitter.builder

    def run(self, begin: Register, end: Register) -> None:
        with self.builder.loop(begin, end) as loop:
            self._task(loop.index)

    # ---- loops

    def _task(self, task: Register) -> None:
        tiling, options = self.tiling, self.tiling.options
        inner, outer = tiling.pixel_tasks, tiling.output_tasks
        if options.pixels_first:
            inner, outer = outer, inner
        task, low = self.builder.divided(task, inner)
        task, high = self.builder.divided(task, outer)
        pixel, group = (high, low) if options.pixels_first else (low, high)
        position: list[Register] = []
        for axis in reversed(tiling.outer):
            task, index = self.builder.divided(task, axis.output)
            position.insert(0, index)
        image = self.builder.offset(
            self.x, self.builder.scaled(task, self.memory.image), self.tiling.problem.numerics.left
        )
        units = self._span(pixel, options.pixels, tiling.units)
        groups = self._span(group, options.outputs, tiling.group_count)
        self.part(task, image, groups, position, units)

    def part(self, batch: Register, image: Pointer, groups: Span, position: Sequence[Register], units: Span) -> None:
        """Some groups of output blocks for some units of pixels of one image."""
        for run in self.tiling.output_runs:
            with self._each(self._shared(groups, run.first, run.count)) as number:
                self.tiles(batch, image, number, run, position, units)

    def tiles(
        self,
        batch: Register,
        image: Pointer,
        group: Register,
        run: OutputRun,
        position: Sequence[Register],
        units: Span,
    ) -> None:
        """One group of output blocks, a member of `run`, for some units of pixels of one image."""
        block, weights = self._group(group, run)
        for tile, places, _ in self._tiles(run, position, units):
            sums = self._sum(tile, block, image, weights, places)
            self._finish(sums, batch, block, places)

    def _group(self, group: Register, run: OutputRun) -> tuple[Register, Pointer]:
        """The first block of outputs of a group, and its weights."""
        tiling = self.tiling
        within = self._term(group) - run.first
        block = (within * len(run.lanes) + run.block).register
        start = run.block * tiling.lanes * tiling.weights_per_output
        dtype = tiling.problem.numerics.right
        weights = self.builder.offset(self.weights, start, dtype)
        size = sum(run.lanes) * tiling.weights_per_output
        return block, self.builder.offset(weights, (within * size).register, dtype)

    def _tiles(
        self, run: OutputRun, position: Sequence[Register], units: Span
    ) -> Iterator[tuple[Tile, Sequence[Register], Register]]:
        """Inside of the loops over some units of pixels: a tile, its place, and the number of its unit."""
        tiling = self.tiling
        for rows in tiling.rows:
            with self._each(self._part(units, rows, tiling.rows_are_units)) as row:
                for columns in tiling.columns:
                    with self._each(self._part(units, columns, not tiling.rows_are_units)) as column:
                        places = [*position, self._start(rows, row), self._start(columns, column)]
                        yield Tile(rows, columns, run.lanes), places, row if tiling.rows_are_units else column

    def _sum(self, tile: Tile, block: Register, image: Pointer, weights: Pointer, places: Sequence[Register]) -> Sums:
        """The sums of a tile, whose first block of outputs is `block`, before the epilogue."""
        raise NotImplementedError

    # ---- one tile

    def _initial(self, tile: Tile, block: Register) -> Sums:
        start = [literal(0.0, self.tiling.problem.numerics.total, lanes) for lanes in tile.lanes]
        if self.bias is not None:
            dtype = self.tiling.problem.numerics.right
            place = self.builder.offset(self.bias, self.builder.scaled(block, self.tiling.lanes), dtype)
            places = [self.builder.offset(place, number * self.tiling.lanes, dtype) for number in range(tile.blocks)]
            start = [self.builder.load(*each) for each in zip(places, [dtype] * tile.blocks, tile.lanes, strict=True)]
        return {(row, column, number): start[number] for row, column in tile.pixels for number in range(tile.blocks)}

    def _finish(self, sums: Sums, batch: Register, block: Register, places: Sequence[Register]) -> None:
        """Apply the epilogue to all accumulators, then store them."""
        emitter, problem = self.emitter, self.tiling.problem
        lane = Variable("lane", self.tiling.lanes)
        n, first = Variable("n", problem.batch), Variable("block", self.tiling.output_blocks)
        axes = [Variable(f"s{number}", axis.output) for number, axis in enumerate(problem.axes)]
        registers = [batch, block, *places, i64(0)]
        emitter.values.update(zip([n, first, *axes, lane], registers, strict=True))
        with emitter.scope():
            finished = []
            for (row, column, number), value in sums.items():
                shifts = [0] * (len(axes) - 2) + [row, column]
                spatial: list[Dim] = [expression(axis) + shift for axis, shift in zip(axes, shifts, strict=True)]
                index = problem.position(expression(n), expression(first) + number, spatial, expression(lane))
                result, address = self.epilogue.apply(emitter, value, index, Lane(lane, value.lanes))
                finished.append((result, address if self.stored is None else self.stored.address(index)))
            dtype = self.epilogue.dtype if self.stored is None else problem.numerics.total
            for value, address in finished:
                with emitter.in_lanes(Lane(lane, value.lanes)):
                    emitter.store(value, self.output, address, dtype)

    # ---- numbers

    def _span(self, number: Register, size: int, total: int) -> Span:
        """The part of `total` things that belongs to a task: `size` of them, fewer in the last."""
        if size >= total:
            return Span.of(0, total)
        low = self._term(number) * size
        high = low + size
        return Span(low.register, (high if total % size == 0 else least(high, total)).register)

    def _shared(self, span: Span, first: int, count: int) -> Span:
        return Span(self._extremum("smax", span.low, first), self._extremum("smin", span.high, first + count))

    def _part(self, units: Span, run: Run, is_unit: bool) -> Span:
        if is_unit:
            return self._shared(units, run.first, run.count)
        return Span.of(run.first, run.first + run.count)

    def _extremum(self, name: str, value: Register, bound: int) -> Register:
        if value.is_literal:
            number = int(value.text)
            return i64(min(number, bound) if name == "smin" else max(number, bound))
        return self.builder.intrinsic(name, (value, bound))

    def _start(self, run: Run, tile: Register) -> Register:
        """The first position of a tile."""
        return (self._term(tile) * run.size + (run.start - run.first * run.size)).register

    def _term(self, index: Register) -> Term:
        return Term(self.builder, index)

    @contextmanager
    def _each(self, span: Span) -> Iterator[Register]:
        """A loop over a range; none where it is known to be a single number."""
        if span.low.is_literal and span.high.is_literal and int(span.high.text) - int(span.low.text) == 1:
            yield span.low
            return
        with self.emitter.loop(span.low, span.high) as loop:
            yield loop.index
