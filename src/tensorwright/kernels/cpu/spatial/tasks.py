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
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.spatial.plan import OutputRun, Plan
from tensorwright.kernels.cpu.spatial.tile import Memory, Sums, Tile
from tensorwright.kernels.cpu.spatial.tiling import Run, tile_start
from tensorwright.kernels.slabs import MOST_TASKS, Range, Slabs, slabs_along
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import INT64

WORKSPACE = Pointer("%workspace")


def written(plan: Plan) -> Slabs | None:
    """What each task of `TaskEmitter` writes of an output in blocked layout."""
    cut, outer, batch = plan.cut, [axis.output for axis in plan.outer], plan.problem.batch
    if not isinstance(batch, int) or not isinstance(plan.tasks, int) or plan.tasks > MOST_TASKS:
        return None
    runs = plan.rows if plan.rows_are_units else plan.columns
    units = [tile_start(runs, min(number * cut.pixels, plan.units)) for number in range(plan.pixel_tasks + 1)]
    groups = [
        _first_block(plan, min(number * cut.outputs, plan.group_count)) for number in range(plan.output_tasks + 1)
    ]
    pixels = len(outer) + 2 if plan.rows_are_units else len(outer) + 3
    inner: list[tuple[int | None, tuple[Range, ...] | int]] = [
        (1, tuple(pairwise(groups))),
        (pixels, tuple(pairwise(units))),
    ]
    if cut.pixels_first:
        inner.reverse()
    shape = [batch, plan.output_blocks, *(axis.output for axis in plan.problem.axes), plan.lanes]
    return slabs_along(shape, [(0, batch), *((2 + number, extent) for number, extent in enumerate(outer)), *inner])


def _first_block(plan: Plan, group: int) -> int:
    """The first block of outputs of a group; of the number behind the last, how many blocks there are."""
    if group == plan.group_count:
        return plan.output_blocks
    run = next(run for run in plan.output_runs if group < run.first + run.count)
    return run.block + (group - run.first) * len(run.lanes)


@dataclass(frozen=True)
class Span:
    """A range of numbers, known at build time or not."""

    low: Register
    high: Register


@dataclass(frozen=True)
class TaskEmitter:
    """Writes the loop over tasks; how a tile is summed is up to subclasses.

    Loops inside a task: groups of output blocks, tiles of rows, tiles of columns. Tiles that share code lie in runs;
    a task takes the part of every run that belongs to it.

    stored: how the results lie behind `output`, in the type of the sum, if not as the region's output in its layout:
    `output` is then where the element at position 0 along all axes would be. workspace: what tiles may use.
    """

    plan: Plan
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
        plan, cut = self.plan, self.plan.cut
        inner, outer = plan.pixel_tasks, plan.output_tasks
        if cut.pixels_first:
            inner, outer = outer, inner
        task, low = self.builder.divided(task, inner)
        task, high = self.builder.divided(task, outer)
        pixel, group = (high, low) if cut.pixels_first else (low, high)
        position: list[Register] = []
        for axis in reversed(plan.outer):
            task, index = self.builder.divided(task, axis.output)
            position.insert(0, index)
        image = self.builder.offset(
            self.x, self.builder.scaled(task, self.memory.image), self.plan.problem.numerics.left
        )
        units = self._span(pixel, cut.pixels, plan.units)
        groups = self._span(group, cut.outputs, plan.group_count)
        self.part(task, image, groups, position, units)

    def part(self, batch: Register, image: Pointer, groups: Span, position: Sequence[Register], units: Span) -> None:
        """Some groups of output blocks for some units of pixels of one image."""
        for run in self.plan.output_runs:
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
        plan = self.plan
        within = self._term(group) - run.first
        block = (within * len(run.lanes) + run.block).register
        start = run.block * plan.lanes * plan.weights_per_output
        dtype = plan.problem.numerics.right
        weights = self.builder.offset(self.weights, start, dtype)
        size = sum(run.lanes) * plan.weights_per_output
        weights = self.builder.offset(weights, (within * size).register, dtype)
        for rows in plan.rows:
            with self._each(self._part(units, rows, plan.rows_are_units)) as row:
                for columns in plan.columns:
                    with self._each(self._part(units, columns, not plan.rows_are_units)) as column:
                        tile = Tile(rows, columns, run.lanes)
                        places = [*position, self._start(rows, row), self._start(columns, column)]
                        sums = self._sum(tile, block, image, weights, places)
                        self._finish(sums, batch, block, places)

    def _sum(self, tile: Tile, block: Register, image: Pointer, weights: Pointer, places: Sequence[Register]) -> Sums:
        """The sums of a tile, whose first block of outputs is `block`, before the epilogue."""
        raise NotImplementedError

    # ---- one tile

    def _initial(self, tile: Tile, block: Register) -> Sums:
        start = [literal(0.0, self.plan.problem.numerics.total, lanes) for lanes in tile.lanes]
        if self.bias is not None:
            dtype = self.plan.problem.numerics.right
            place = self.builder.offset(self.bias, self.builder.scaled(block, self.plan.lanes), dtype)
            places = [self.builder.offset(place, number * self.plan.lanes, dtype) for number in range(tile.blocks)]
            start = [self.builder.load(*each) for each in zip(places, [dtype] * tile.blocks, tile.lanes, strict=True)]
        return {(row, column, number): start[number] for row, column in tile.pixels for number in range(tile.blocks)}

    def _finish(self, sums: Sums, batch: Register, block: Register, places: Sequence[Register]) -> None:
        """Apply the epilogue to all accumulators, then store them."""
        emitter, problem = self.emitter, self.plan.problem
        lane = Variable("lane", self.plan.lanes)
        n, first = Variable("n", problem.batch), Variable("block", self.plan.output_blocks)
        axes = [Variable(f"s{number}", axis.output) for number, axis in enumerate(problem.axes)]
        registers = [batch, block, *places, literal(0, INT64)]
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
            return Span(literal(0, INT64), literal(total, INT64))
        low = self._term(number) * size
        high = low + size
        return Span(low.register, (high if total % size == 0 else least(high, total)).register)

    def _shared(self, span: Span, first: int, count: int) -> Span:
        return Span(self._extremum("smax", span.low, first), self._extremum("smin", span.high, first + count))

    def _part(self, units: Span, run: Run, is_unit: bool) -> Span:
        if is_unit:
            return self._shared(units, run.first, run.count)
        return Span(literal(run.first, INT64), literal(run.first + run.count, INT64))

    def _extremum(self, name: str, value: Register, bound: int) -> Register:
        if value.is_literal:
            number = int(value.text)
            return literal(min(number, bound) if name == "smin" else max(number, bound), INT64)
        return self.builder.intrinsic(name, (value, literal(bound, INT64)))

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
