"""Convolutions over images whose extents are known only at run time: rows of tiles in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tensorwright.codegen.epilogue import Epilogue
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.convolution.problem import OpenProblem, Problem
from tensorwright.kernels.cpu.arithmetic import Arithmetic
from tensorwright.kernels.cpu.convolution.open_sums import Bounds, OpenSums, Sums
from tensorwright.kernels.cpu.spatial.tasks import WORKSPACE
from tensorwright.kernels.cpu.spatial.tiling import OutputRun, Tiling
from tensorwright.tensor.dim import Dim, ceil_divide, expression
from tensorwright.tensor.dtype import UINT8


@dataclass(frozen=True)
class OpenTasks:
    """Writes the loop over tasks: each has some rows, or tiles of the only row, for one group of output blocks of one
    image.

    Tiles are as wide as the options say. The last one of a row is moved back so that it ends where the row does; if
    there are fewer positions than a tile has, it computes what nobody needs, and what is needed is stored by itself.

    tiling: of the usual extents; it says how blocks of outputs are grouped. block: channels that lie side by side in x.
    lanewise: whether lanes stay apart.
    """

    problem: OpenProblem
    tiling: Tiling
    arithmetic: Arithmetic
    block: int
    lanewise: bool
    emitter: ScalarEmitter
    epilogue: Epilogue
    output: Pointer
    x: Pointer
    weights: Pointer
    bias: Pointer | None

    # ---- tasks

    @property
    def usual(self) -> Problem:
        return self.problem.usual

    @property
    def builder(self) -> FunctionBuilder:
        return self.emitter.builder

    @cached_property
    def rows(self) -> Dim:
        return self.problem.axes[0].output

    @cached_property
    def rows_are_units(self) -> bool:
        """Whether a task has so many rows, as the options say; else so many tiles of the only one."""
        return self.rows != 1

    @cached_property
    def piece(self) -> int:
        """Positions along the axis that is dealt out to tasks, in each."""
        options = self.tiling.options
        return options.pixels if self.rows_are_units else options.columns * options.pixels

    @cached_property
    def pieces(self) -> Dim:
        return ceil_divide(self.problem.axes[0 if self.rows_are_units else 1].output, self.piece)

    @property
    def tasks(self) -> Dim:
        return self.usual.batch * self.pieces * self.tiling.group_count

    @cached_property
    def read_bytes(self) -> int:
        """Workspace that tiles read; behind it are their sums."""
        return self._sums((self.tiling.lanes,)).workspace_bytes

    @property
    def workspace(self) -> int:
        """Bytes."""
        options, lanes = self.tiling.options, self.tiling.lanes
        return self.read_bytes + options.columns * options.blocks * lanes * self.usual.numerics.total.size

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Image, first block of outputs, positions along all axes, lane."""
        axes = (Variable(f"s{number}", axis.output) for number, axis in enumerate(self.problem.axes))
        blocks, lane = Variable("block", self.tiling.output_blocks), Variable("lane", self.tiling.lanes)
        return (Variable("n", self.usual.batch), blocks, *axes, lane)

    def run(self, begin: Register, end: Register) -> None:
        emitter, tiling = self.emitter, self.tiling
        group, piece = Variable("group", tiling.group_count), Variable("piece", self.pieces)
        self._sums((tiling.lanes,)).prepare()
        with self.builder.loop(begin, end) as loop, emitter.scope():
            task = Variable("task", self.tasks)
            emitter.values[task] = loop.index
            number = expression(task)
            if tiling.options.pixels_first:
                emitter.values[group] = emitter.integer(number % tiling.group_count)
                emitter.values[piece] = emitter.integer(number // tiling.group_count % self.pieces)
            else:
                emitter.values[group] = emitter.integer(number // self.pieces % tiling.group_count)
                emitter.values[piece] = emitter.integer(number % self.pieces)
            emitter.values[self.variables[0]] = emitter.integer(number // (self.pieces * tiling.group_count))
            for run in tiling.output_runs:
                alone = len(tiling.output_runs) == 1
                with emitter.when(None if alone else self._is_in(run, emitter.values[group])):
                    self._group(run, expression(group), expression(piece))

    def _is_in(self, run: OutputRun, group: Register) -> Register:
        above = self.builder.compare("sge", group, i64(run.first))
        return self.builder.binary("and", above, self.builder.compare("slt", group, i64(run.first + run.count)))

    def _group(self, run: OutputRun, group: Dim, piece: Dim) -> None:
        """The tiles of a task."""
        emitter, axes = self.emitter, self.problem.axes
        block = self.variables[1]
        emitter.values[block] = emitter.integer((group - run.first) * len(run.lanes) + run.block)
        weights, image = self._weights_of(run, group), self._image()
        begin, whole = self._term(piece * self.piece), self._term(axes[0 if self.rows_are_units else 1].output)
        self._tiles(run, weights, image, begin, least(begin + self.piece, whole))

    def _tiles(self, run: OutputRun, weights: Pointer, image: Pointer, begin: Term, end: Term) -> None:
        """Those of some rows, or of a piece of the only one."""
        emitter, row = self.emitter, self.variables[2]
        if not self.rows_are_units:
            emitter.values[row] = i64(0)
            self._row(run, weights, image, begin, end)
            return
        with emitter.loop(begin.register, end.register) as loop:
            emitter.values[row] = loop.index
            self._row(run, weights, image, self._term(0), self._term(self.problem.axes[1].output))

    def _row(self, run: OutputRun, weights: Pointer, image: Pointer, begin: Term, end: Term) -> None:
        """The tiles of a row, or of a piece of one."""
        size = self.tiling.options.columns
        with self.emitter.loop(i64(0), ((end - begin + (size - 1)) // size).register) as loop:
            first = greatest(least(begin + Term(self.builder, loop.index) * size, end - size), begin)
            self._tile(run, weights, image, first.register, (end - first).register)

    def _weights_of(self, run: OutputRun, group: Dim) -> Pointer:
        size = sum(run.lanes) * self.tiling.weights_per_output
        start = run.block * self.tiling.lanes * self.tiling.weights_per_output
        distance = self.emitter.integer((group - run.first) * size + start)
        return self.builder.offset(self.weights, distance, self.arithmetic.right)

    def _image(self) -> Pointer:
        """Where the first channel that is read begins."""
        image, block, *_ = self.variables
        pixels = self.problem.axes[0].input * self.problem.axes[1].input
        number = expression(image) * -(-self.usual.all_channels // self.block)
        number += expression(block) if self.lanewise else 0
        return self.builder.offset(self.x, self.emitter.integer(number * pixels * self.block), self.arithmetic.left)

    # ---- one tile

    def _sums(self, lanes: tuple[int, ...], part: Bounds | None = None) -> OpenSums:
        return OpenSums(
            self.problem,
            self.tiling,
            self.arithmetic,
            self.block,
            self.lanewise,
            self.emitter,
            WORKSPACE,
            lanes,
            part,
        )

    def _tile(self, run: OutputRun, weights: Pointer, image: Pointer, first: Register, left: Register) -> None:
        """The positions from `first` on, of which there are `left`."""
        _, block, row, *_ = self.variables
        start = self._initial(run, self.tiling.options.columns)
        sums = self._sums(run.lanes).added(start, image, weights, expression(block), expression(row), first)
        self._finish_tile(sums, run, first, left)

    def _finish_tile(self, sums: Sums, run: OutputRun, first: Register, left: Register) -> None:
        size = self.tiling.options.columns
        self.emitter.values[self.variables[3]] = first
        with self.emitter.when(self.builder.compare("sge", left, i64(size))):
            self._finish(sums)
        with self.emitter.when(self.builder.compare("slt", left, i64(size))):
            self._finish_some(sums, run, first, left)

    def _initial(self, run: OutputRun, columns: int) -> Sums:
        numerics, lanes = self.usual.numerics, self.tiling.lanes
        start = [literal(0.0, numerics.total, width) for width in run.lanes]
        if self.bias is not None:
            block = self.emitter.values[self.variables[1]]
            place = self.builder.offset(self.bias, self.builder.scaled(block, lanes), numerics.right)
            places = [self.builder.offset(place, number * lanes, numerics.right) for number in range(len(run.lanes))]
            start = [self.builder.load(at, numerics.right, width) for at, width in zip(places, run.lanes, strict=True)]
        return {(column, number): start[number] for column in range(columns) for number in range(len(run.lanes))}

    def _finish_some(self, sums: Sums, run: OutputRun, first: Register, count: Register) -> None:
        """The first so many columns, one after the other, by way of workspace."""
        builder, lanes, total = self.builder, self.tiling.lanes, self.usual.numerics.total
        stored, step = builder.offset(WORKSPACE, self.read_bytes, UINT8), len(run.lanes) * lanes
        for (column, number), value in sums.items():
            builder.store(value, builder.offset(stored, column * step + number * lanes, total), total)
        with self.emitter.loop(0, count) as loop:
            self.emitter.values[self.variables[3]] = builder.add(first, loop.index)
            place = builder.offset(stored, builder.scaled(loop.index, step), total)
            places = [builder.offset(place, number * lanes, total) for number in range(len(run.lanes))]
            self._finish(
                {(0, number): builder.load(places[number], total, width) for number, width in enumerate(run.lanes)}
            )

    def _finish(self, sums: Sums) -> None:
        """Apply the epilogue to all accumulators, then store them."""
        emitter = self.emitter
        image, block, row, column, lane = self.variables
        emitter.values[lane] = i64(0)
        with emitter.scope():
            finished = []
            for (shift, number), value in sums.items():
                spatial: Sequence[Dim] = (expression(row), expression(column) + shift)
                index = self.usual.position(expression(image), expression(block) + number, spatial, expression(lane))
                finished.append(self.epilogue.apply(emitter, value, index, Lane(lane, value.lanes)))
            for value, address in finished:
                with emitter.in_lanes(Lane(lane, value.lanes)):
                    emitter.store(value, self.output, address, self.epilogue.dtype)

    def _term(self, value: Dim) -> Term:
        return Term(self.builder, self.emitter.integer(value))
