"""Convolutions in tile registers, from and into the blocked layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np

from tensorwright.codegen.epilogue import Epilogue, epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.graph.expression import Variable
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Axis, Problem, layouts, merged, packings, problem_of
from tensorwright.kernels.cpu.amx.arithmetic import TileArithmetic, tile_arithmetic
from tensorwright.kernels.cpu.amx.block import SHAPES, Ahead, Rows, TileBlock
from tensorwright.kernels.cpu.amx.image import FoldedPacker, ImagePacker, Line, TileImage
from tensorwright.kernels.cpu.amx.matmul_tactic import RATE
from tensorwright.kernels.cpu.amx.registers import CONFIGURATION_BYTES, ROW_BYTES, ROWS, TILE_BYTES
from tensorwright.kernels.cpu.amx.unfinished import STATE_BYTES, Unfinished
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.convolution.kernel import in_place_inputs
from tensorwright.kernels.cpu.convolution.packing import pack_bias
from tensorwright.kernels.cpu.dealing import sharers
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.matmul.tiling import Panel, Panels
from tensorwright.kernels.cpu.spatial.tile import Memory, input_memory
from tensorwright.kernels.slabs import MOST_TASKS, Range, Slabs, slabs_along
from tensorwright.kernels.tactic import TUNED, Array, Config, Kernel, Packing, Tactic, TacticOptions
from tensorwright.tensor.dim import Dim, expression, upper_bound
from tensorwright.tensor.dtype import INT8, INT64
from tensorwright.tensor.layout import PLAIN

FEW_CHANNELS = 4
"""Up to so many channels leave most of a register empty: taps are folded into them."""

MOST_TAPS = 25
MOST_PIECES = 5
"""Behind so many taps at most there is code to finish a piece of another block."""


@dataclass(frozen=True)
class ConvolutionOptions(TacticOptions):
    """tall, wide: registers of rows and of columns in a block; units: rows of the output in one task, or 16 positions
    each where there is one row; outputs: panels of output channels in one task.
    """

    tall: int
    wide: int
    units: int
    outputs: int


@dataclass(frozen=True)
class ConvolutionTiling:
    """A convolution and its options, and what follows from both."""

    problem: Problem
    options: ConvolutionOptions
    arithmetic: TileArithmetic

    @property
    def splits_rows(self) -> bool:
        """Whether units are rows; else they are runs of 16 positions of the only row."""
        return self.problem.axes[-2].output > 1

    @property
    def units(self) -> int:
        return self.problem.axes[-2].output if self.splits_rows else -(-self.problem.axes[-1].output // ROWS)

    @property
    def taps(self) -> tuple[int, int]:
        """Taps along the rows, and along the columns as the image has them."""
        rows, columns = self.problem.axes
        return rows.kernel, 1 if _is_folded(self.problem) else columns.kernel

    @property
    def image(self) -> TileImage:
        """What a task reads."""
        rows, columns = self.problem.axes
        width = columns.output if self.splits_rows else min(columns.output, self.options.units * ROWS)
        height = min(rows.output, self.options.units) if self.splits_rows else 1
        channels = self.problem.channels
        if _is_folded(self.problem):
            channels, columns = channels * columns.kernel, Axis(columns.output, columns.output, 1)
        return TileImage(Line(rows, height), Line(columns, width), channels, self.arithmetic)

    @property
    def panels(self) -> Panels:
        return Panels(self.output_blocks * ROWS, ROWS, self.options.wide)

    @property
    def output_blocks(self) -> int:
        return -(-self.problem.outputs // ROWS)

    @property
    def panel_count(self) -> int:
        return upper_bound(self.panels.count)

    @property
    def unit_tasks(self) -> int:
        return -(-self.units // self.options.units)

    @property
    def output_tasks(self) -> int:
        return -(-self.panel_count // self.options.outputs)

    @property
    def tasks(self) -> Dim:
        return self.problem.batch * (self.unit_tasks * self.output_tasks)

    @property
    def steps(self) -> int:
        """Registers along the reduction over taps and channels."""
        return prod(self.taps) * self.image.steps

    @property
    def vector_bytes(self) -> int:
        """Packed weights of 16 outputs."""
        return self.steps * TILE_BYTES

    @property
    def most_positions(self) -> int:
        """Positions of a whole task, those between rows included."""
        rows, columns = self.image.rows, self.image.columns
        return (rows.count - 1) * columns.extent + columns.count

    @property
    def height(self) -> int:
        """Rows of each register of positions: as many in all as the blocks of a task need."""
        registers = -(-self.most_positions // (self.options.tall * ROWS)) * self.options.tall
        return -(-self.most_positions // registers)

    @property
    def written(self) -> Slabs | None:
        """What each task writes of an output in blocked layout."""
        batch, axes = self.problem.batch, self.problem.axes
        if not isinstance(batch, int) or batch * self.unit_tasks * self.output_tasks > MOST_TASKS:
            return None
        edges = [min(task * self.options.units, self.units) for task in range(self.unit_tasks + 1)]
        if not self.splits_rows:
            edges = [min(edge * ROWS, axes[-1].output) for edge in edges]
        blocks = [
            upper_bound(self.panels.first_vector(min(task * self.options.outputs, self.panel_count)))
            for task in range(self.output_tasks + 1)
        ]
        digits: list[tuple[int | None, tuple[Range, ...] | int]] = [
            (0, batch),
            (1, tuple(pairwise(blocks))),
            (2 if self.splits_rows else 3, tuple(pairwise(edges))),
        ]
        return slabs_along([batch, self.output_blocks, *(axis.output for axis in axes), ROWS], digits)


class TileConvolution(Tactic[Target, ConvolutionOptions]):
    """What a task reads of the image is brought into workspace, where a register reads 64 bytes of channels of 16
    neighbouring positions for every tap, padding included; packed weights go past it.

    Of few channels, one register holds all that the taps of the last axis read.

    Positions are counted through rows as they lie in workspace, so that registers are full; what they compute between
    the end of one row and the start of the next is thrown away.
    """

    name = "convolution_tiles"

    def configs(self, region: Region, target: Target) -> Sequence[Config[ConvolutionOptions]]:
        problem = problem_of(region)
        if problem is None or problem.groups > 1 or len(problem.axes) != 2:
            return ()
        arithmetic = tile_arithmetic(problem.numerics, target)
        if arithmetic is None or not _fits(problem, arithmetic):
            return ()
        blocked, problem = blocked_layout(target), _seen(problem, region)
        operands = layouts(region, problem, PLAIN if _is_folded(problem) else blocked, blocked)
        return [Config(operands, blocked, options) for options in _candidates(problem, arithmetic, target)]

    def efficiency(self, region: Region, config: Config[ConvolutionOptions]) -> float:
        return TUNED * RATE

    def emit(self, region: Region, config: Config[ConvolutionOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        arithmetic, problem = tile_arithmetic(problem.numerics, target), _seen(problem, region)
        assert arithmetic is not None
        tiling, symbols = ConvolutionTiling(problem, config.options, arithmetic), region.symbols
        emitter = argument_emitter(len(region.inputs), symbols, target)
        emitter.builder.flushes = True
        epilogue = epilogue_of(region, config.inputs, config.output)
        in_place = in_place_inputs(region, config, problem, epilogue)
        memory = input_memory(problem.axes, problem.channels, config.inputs[problem.x].block)
        block = TileBlock(emitter.builder, arithmetic, tiling.options.tall, tiling.options.wide)
        writer = _Writer(tiling, emitter, epilogue, memory, block)
        writer.write()
        return Kernel(
            text=emitter.builder.module(signature(len(region.inputs), len(symbols), in_place), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=tiling.tasks,
            packings=packings(region, problem, config, _packing(tiling), pack_bias(ROWS)),
            symbols=symbols,
            workspace=writer.workspace_bytes,
            in_place=in_place,
            writes=tiling.written,
        )


TACTICS = (TileConvolution(),)


def _is_folded(problem: Problem) -> bool:
    """Whether the taps of the last axis are taken for channels, since there are few of those."""
    return problem.channels <= FEW_CHANNELS


def _fits(problem: Problem, arithmetic: TileArithmetic) -> bool:
    """Whether registers are not mostly empty, and the code for all taps is short."""
    rows, columns = problem.axes
    if _is_folded(problem):
        return columns.dilation == 1 and problem.channels * columns.kernel <= arithmetic.depth and columns.kernel > 1
    return rows.kernel * columns.kernel <= MOST_TAPS


def _seen(problem: Problem, region: Region) -> Problem:
    """The problem with all spatial axes as one, if that is possible and its channels are not folded."""
    return problem if _is_folded(problem) else merged(problem, region)


def _candidates(problem: Problem, arithmetic: TileArithmetic, target: Target) -> Iterator[ConvolutionOptions]:
    """Few or many tasks, that share the image or the weights, as long as what they read of the image stays in the
    second-level cache. Every second one has the second shape of a block.
    """
    dealt = _parts(problem, arithmetic, target)
    first, second = ([_options(problem, arithmetic, *shape, *parts) for parts in dealt] for shape in SHAPES)
    rounds = [first[0], first[1], second[0], *first[2:4], second[1], first[4], *second[2:]]
    for options in dict.fromkeys(rounds):
        if options.units == 1 or ConvolutionTiling(problem, options, arithmetic).image.bytes <= target.l2_bytes:
            yield options


def _parts(problem: Problem, arithmetic: TileArithmetic, target: Target) -> Sequence[tuple[int, int]]:
    """Into how many parts to deal the positions of an image and its outputs, the most promising first.

    Positions are dealt out if there are many, and the weights, which all of them read, stay in the second-level cache;
    else outputs come first.
    """
    tiling, count = ConvolutionTiling(problem, ConvolutionOptions(1, 1, 1, 1), arithmetic), sharers(target)
    parts = ((count, 1), (1, 1), (count // 2, 4), (1, count), (4 * count, 1))
    if tiling.units >= count and tiling.output_blocks * tiling.vector_bytes <= target.l2_bytes:
        return parts
    return sorted(parts, key=lambda parts: parts[0] / parts[1])


def _options(
    problem: Problem, arithmetic: TileArithmetic, tall: int, wide: int, unit_parts: int, output_parts: int
) -> ConvolutionOptions:
    wide = min(wide, -(-problem.outputs // ROWS))
    tiling = ConvolutionTiling(problem, ConvolutionOptions(tall, wide, 1, 1), arithmetic)
    units = -(-tiling.units // unit_parts)
    whole = 1 if tiling.splits_rows else tall
    return ConvolutionOptions(
        tall, wide, min(tiling.units, -(-units // whole) * whole), -(-tiling.panel_count // output_parts)
    )


def _packing(tiling: ConvolutionTiling) -> Packing:
    """``[O, C, *K]`` panel by panel, each ``[taps, steps of channels, 16 outputs, 16, 64 bytes]``."""
    panels, (rows, columns) = tiling.panels, tiling.taps
    taps = rows * columns
    edges = [upper_bound(panels.first_vector(panel)) * ROWS for panel in range(tiling.panel_count + 1)]

    def pack(array: Array) -> Array:
        outputs, channels = array.shape[0], tiling.image.channels
        if _is_folded(tiling.problem):
            array = array.reshape(outputs, -1, rows, channels // tiling.problem.channels).swapaxes(2, 3)
        padded = np.zeros((tiling.output_blocks * ROWS, channels, taps), array.dtype)
        padded[:outputs] = array.reshape(outputs, channels, taps)
        by_tap = padded.transpose(2, 1, 0)
        return np.concatenate(
            [tiling.arithmetic.packed(by_tap[tap, :, a:b]) for a, b in pairwise(edges) for tap in range(taps)]
        )

    return Packing(f"tiles taps={rows}×{columns} in panels of {panels.most}", pack)


@dataclass(frozen=True)
class _Writer:
    """Writes the body of a kernel. Workspace: a table for the registers, what is unfinished, sums, the image.

    Blocks of the most frequent kind of panel are finished while the next block of the kind, of the same task, is
    multiplied.
    """

    tiling: ConvolutionTiling
    emitter: ScalarEmitter
    epilogue: Epilogue
    memory: Memory
    block: TileBlock

    @property
    def unfinished(self) -> Unfinished:
        return Unfinished(self.emitter.builder, self._workspace(CONFIGURATION_BYTES))

    @property
    def sums(self) -> Pointer:
        return self._workspace(CONFIGURATION_BYTES + STATE_BYTES)

    @property
    def packed(self) -> Pointer:
        return self._workspace(CONFIGURATION_BYTES + STATE_BYTES + self.block.bytes)

    def _workspace(self, distance: int) -> Pointer:
        return self.emitter.builder.offset(Pointer("%workspace"), distance, INT8)

    @property
    def workspace_bytes(self) -> int:
        """The last register of rows may read behind the image."""
        behind = self.block.tall * TILE_BYTES
        return CONFIGURATION_BYTES + STATE_BYTES + self.block.bytes + self.tiling.image.bytes + behind

    @property
    def most_positions(self) -> int:
        """Positions of a block."""
        return self.block.tall * self.tiling.height

    def write(self) -> None:
        self.block.configure(Pointer("%workspace"), [self.tiling.height] * self.block.tall)
        with self.emitter.loop(Register("%begin", INT64), Register("%end", INT64)) as loop:
            self._task(loop.index)
        self.block.registers.release()

    def _task(self, task: Register) -> None:
        builder, tiling, options = self.emitter.builder, self.tiling, self.tiling.options
        task, unit = builder.divided(task, tiling.unit_tasks)
        batch, output = builder.divided(task, tiling.output_tasks)
        first = self._term(unit) * options.units
        count = least(tiling.units - first, options.units)
        zero = Term(builder, i64(0))
        if tiling.splits_rows:
            row, column = first, zero
            positions = (count - 1) * tiling.image.columns.extent + tiling.problem.axes[-1].output
        else:
            row, column = zero, first * ROWS
            positions = least(tiling.problem.axes[-1].output - column, options.units * ROWS)
        operand = self.emitter.operands[tiling.problem.x]
        source = builder.offset(operand, builder.scaled(batch, self.memory.image), tiling.arithmetic.bits)
        self._packer(source).pack(row.register, column.register)
        self._start(batch, row.register, column.register)
        self.unfinished.clear()
        low = self._term(output) * options.outputs
        high = least(low + options.outputs, tiling.panel_count)
        for kind, start, stop in tiling.panels.kinds:
            begin, end = greatest(low, upper_bound(start)), least(high, upper_bound(stop))
            with self.emitter.loop(begin.register, end.register) as loop:
                self._panel(loop.index, kind, positions.register)
        self._finish_waiting(i64(0), self.unfinished.rows)

    def _packer(self, source: Pointer) -> ImagePacker | FoldedPacker:
        tiling = self.tiling
        if _is_folded(tiling.problem):
            columns = tiling.problem.axes[-1]
            return FoldedPacker(self.emitter, tiling.image, columns, self.memory, source, self.packed)
        return ImagePacker(self.emitter, tiling.image, self.memory, source, self.packed)

    # ---- variables of the epilogue

    @property
    def _batch(self) -> Variable:
        return Variable("n", self.tiling.problem.batch)

    @property
    def _first(self) -> Variable:
        return Variable("block", self.tiling.output_blocks)

    @property
    def _firsts(self) -> tuple[Variable, Variable]:
        """The first position of a task."""
        rows, columns = self.tiling.problem.axes
        return Variable("s0", rows.output), Variable("s1", columns.output)

    @property
    def _within(self) -> tuple[Variable, Variable]:
        """Row and column, counted from there."""
        rows, columns = self.tiling.problem.axes
        return Variable("t0", rows.output), Variable("t1", columns.output)

    def _start(self, batch: Register, row: Register, column: Register) -> None:
        self.emitter.values.update(zip((self._batch, *self._firsts), (batch, row, column), strict=True))

    # ---- a panel of outputs

    def _panel(self, panel: Register, kind: Panel, positions: Register) -> None:
        """All positions of a task for one panel of outputs."""
        emitter, builder, tiling = self.emitter, self.emitter.builder, self.tiling
        number, waits = Variable("panel", tiling.panel_count), kind == self._waiting
        emitter.values[number] = panel
        first = emitter.integer(tiling.panels.first_vector(expression(number)))
        weights = builder.offset(
            emitter.operands[tiling.problem.weights], builder.scaled(first, tiling.vector_bytes), INT8
        )
        most = self.most_positions
        following = builder.offset(weights, kind.vectors * tiling.vector_bytes, INT8)
        if not waits:
            self._finish_waiting(i64(0), self.unfinished.rows)
            self.unfinished.clear()
        with emitter.loop(0, positions, most) as loop:
            ahead = None
            if tiling.most_positions > most:
                piece, _ = builder.divided(loop.index, most)
                share = -(-tiling.most_positions // most)
                ahead = self.block.ahead(following, piece, tiling.steps, share, kind.vectors)
            self._sum(loop.index, weights, kind, ahead)
            count = least(self._term(positions) - self._term(loop.index), most).register
            if waits:
                self.unfinished.set(count, loop.index, first)
            else:
                self._finish(kind, loop.index, first, (i64(0), count))

    @property
    def _waiting(self) -> Panel:
        """The kind of panels whose blocks wait to be finished."""
        return self.tiling.panels.usual

    def _finish_waiting(self, begin: Register, end: Register) -> None:
        """Finish some positions of the block that waits."""
        position, first = self.unfinished.fact(0), self.unfinished.fact(1)
        self._finish(self._waiting, position, first, (begin, end))

    def _bias(self, first: Register, columns: int) -> list[Register] | None:
        problem, builder = self.tiling.problem, self.emitter.builder
        if problem.bias is None:
            return None
        dtype = problem.numerics.right
        place = builder.offset(self.emitter.operands[problem.bias], builder.scaled(first, ROWS), dtype)
        return [builder.load(builder.offset(place, number * ROWS, dtype), dtype, ROWS) for number in range(columns)]

    def _sum(self, position: Register, weights: Pointer, kind: Panel, ahead: Ahead | None) -> None:
        """The sums of a block of positions, written to workspace."""
        builder, block, image = self.emitter.builder, self.block, self.tiling.image
        start = builder.offset(self.packed, builder.scaled(position, ROW_BYTES), INT8)
        (rows, inner), height, columns = self.tiling.taps, self.tiling.height, kind.vectors
        between = -(-rows * inner // MOST_PIECES)
        block.clear()
        for tap in range(rows * inner):
            source = builder.offset(start, image.distance(*divmod(tap, inner)), INT8)
            place = builder.offset(weights, tap * image.steps * columns * TILE_BYTES, INT8)
            with builder.loop(0, image.steps, at_least_once=True) as loop:
                block.fetch(ahead, builder.add(loop.index, tap * image.steps))
                at = builder.offset(source, builder.scaled(loop.index, image.step_bytes), INT8)
                firsts = [builder.offset(at, number * height * ROW_BYTES, INT8) for number in range(block.tall)]
                right = builder.offset(place, builder.scaled(loop.index, columns * TILE_BYTES), INT8)
                block.step([Rows(first, ROW_BYTES) for first in firsts], right, columns)
                if kind == self._waiting and tap % between == 0:
                    number = builder.add(loop.index, tap // between * image.steps)
                    pieces = -(-rows * inner // between) * image.steps
                    self._finish_waiting(*self.unfinished.piece(number, -(-self.most_positions // pieces)))
        block.store(self.sums, [number * height for number in range(block.tall)], columns)

    def _finish(self, kind: Panel, position: Register, first: Register, piece: tuple[Register, Register]) -> None:
        """Run the epilogue over the outputs of some positions of a block, as far as they are some."""
        emitter, builder = self.emitter, self.emitter.builder
        width, output = self.tiling.image.columns.extent, self.tiling.problem.axes[-1].output
        emitter.values[self._first] = first
        with emitter.scope():
            bias = self._bias(first, kind.vectors)
            place = self._term(position) + self._term(piece[0])
            y, x = (place // width, place % width) if self.tiling.splits_rows else (place.constant(0), place)
            with builder.loop(*piece, carried=(y.register, x.register)) as loop, emitter.scope():
                emitter.values.update(zip(self._within, loop.carried, strict=True))
                y, x = map(self._term, loop.carried)
                gaps = self.tiling.splits_rows and width > output
                with emitter.when(x.less(output).register if gaps else None):
                    sums = self.block.row(self.sums, loop.index, kind.vectors)
                    if bias is not None:
                        sums = [builder.add(value, each) for value, each in zip(sums, bias, strict=True)]
                    self._store(sums)
                x = x + 1
                if self.tiling.splits_rows:
                    ends = x.equals(width)
                    y, x = ends.choose(y + 1, y), ends.choose(x.constant(0), x)
                loop.following = [y.register, x.register]

    def _store(self, sums: Sequence[Register]) -> None:
        emitter, lane = self.emitter, Variable("lane", ROWS)
        emitter.values[lane] = i64(0)
        spatial: list[Dim] = [
            expression(first) + expression(within) for first, within in zip(self._firsts, self._within, strict=True)
        ]
        finished = []
        for number, value in enumerate(sums):
            index = self.tiling.problem.position(
                expression(self._batch), expression(self._first) + number, spatial, expression(lane)
            )
            finished.append(self.epilogue.apply(emitter, value, index, Lane(lane, ROWS)))
        for value, address in finished:
            with emitter.in_lanes(Lane(lane, ROWS)):
                emitter.store(value, Pointer("%out"), address, self.epilogue.dtype)

    def _term(self, index: Register) -> Term:
        return Term(self.emitter.builder, index)
