"""A depthwise convolution between its neighbours: strips of rows go from one to the next through workspace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.kernels.cpu.convolution.chain_tiling import ChainTiling
from tensorwright.kernels.cpu.spatial.tasks import Span, TaskEmitter
from tensorwright.kernels.cpu.spatial.tile import Memory


@dataclass(frozen=True)
class _Strip:
    """A strip of rows of the depthwise result: from `low` to `high`.

    image, part: which image, and which part of the channels. is_first: whether it is its task's first.
    """

    image: Register
    part: Register
    low: Register
    high: Register
    is_first: Register

    @property
    def rows(self) -> Span:
        return Span(self.low, self.high)


@dataclass(frozen=True)
class ChainEmitter:
    """Writes the loop over tasks. A task has some strips of rows of the depthwise result, or a part of their channels.

    For a few blocks of channels at a time, it computes the rows of the depthwise input that a strip reads, and from
    them the strip. When the strip is complete in all channels, the pointwise convolution behind reads it. Rows of input
    lie in a ring, so that the next strip finds those that it reads again; between tasks, they are computed twice.

    before, depthwise, after: the emitters of the members. workspace: holds input, then result.
    """

    tiling: ChainTiling
    before: TaskEmitter | None
    depthwise: TaskEmitter
    after: TaskEmitter | None
    workspace: Pointer

    @property
    def builder(self) -> FunctionBuilder:
        return self.depthwise.builder

    def run(self, begin: Register, end: Register) -> None:
        tiling = self.tiling
        with self._each(Span(begin, end)) as task:
            rest, part = self.builder.divided(task, tiling.strips.parts)
            image, number = self.builder.divided(rest, tiling.strip_tasks)
            first = self._term(number) * tiling.strips.count
            stop = least(first + tiling.strips.count, tiling.strip_count)
            with self._each(Span(first.register, stop.register)) as strip:
                low = self._term(strip) * tiling.strips.height
                high = least(low + tiling.strips.height, tiling.rows.output)
                is_first = self._term(strip).equals(first)
                self._strip(_Strip(image, part, low.register, high.register, is_first.register))

    def _strip(self, strip: _Strip) -> None:
        depthwise = self.depthwise
        if self.after is not None:
            depthwise = replace(depthwise, output=self._result(strip.low))
        if self.before is None:
            blocks = self._part(strip.part, self.tiling.depthwise.output_blocks)
            source = self._image(depthwise, strip.image)
            depthwise.part(strip.image, source, blocks, (), self._units(depthwise, strip.rows))
        else:
            self._with_input(self.before, depthwise, strip)
        if self.after is not None:
            groups = Span.of(0, self.after.tiling.group_count)
            source = self._result(strip.low)
            self.after.part(strip.image, source, groups, (), self._units(self.after, strip.rows))

    def _with_input(self, before: TaskEmitter, depthwise: TaskEmitter, strip: _Strip) -> None:
        """For every group of blocks: rows of input, then rows of the result."""
        builder = self.builder
        source = self._image(before, strip.image)
        groups = self._part(strip.part, before.tiling.group_count)
        low, high = self._first_input(strip.low), self._last_input(strip.high)
        done = low
        if self.tiling.has_ring:
            done = builder.intrinsic("smax", (low, self._last_input(strip.low)))
            done = builder.select(strip.is_first, low, done)
        for run in before.tiling.output_runs:
            stop = run.first + run.count
            shared = Span(
                greatest(self._term(groups.low), run.first).register, least(self._term(groups.high), stop).register
            )
            with self._each(shared) as group:
                block = (self._term(group) - run.first) * len(run.lanes) + run.block
                blocks = Span(block.register, (block + len(run.lanes)).register)
                held = self.workspace if self.tiling.has_ring else self._held(block.register, low)
                units = self._units(before, Span(done, high))
                replace(before, output=held).tiles(strip.image, source, group, run, (), units)
                depthwise.part(strip.image, held, blocks, (), self._units(depthwise, strip.rows))

    # ---- rows

    def _first_input(self, row: Register) -> Register:
        """The first row of input that the rows of the result from a given one on read."""
        axis = self.tiling.rows
        first = self._term(row) * axis.stride - axis.before
        return least(greatest(first, 0), axis.input).register

    def _last_input(self, row: Register) -> Register:
        """The row of input behind the last one that the rows of the result before a given one read."""
        axis = self.tiling.rows
        further = self.tiling.reach - axis.stride - axis.before
        last = self._term(row) * axis.stride + further
        return least(greatest(last, 0), axis.input).register

    def _units(self, member: TaskEmitter, rows: Span) -> Span:
        return Span.of(0, member.tiling.units) if self.tiling.is_whole else rows

    def _part(self, part: Register, total: int) -> Span:
        size = self.tiling.part_groups
        if size >= total:
            return Span.of(0, total)
        low = self._term(part) * size
        return Span(low.register, least(low + size, total).register)

    # ---- memory

    def _image(self, member: TaskEmitter, image: Register) -> Pointer:
        dtype = member.tiling.problem.numerics.left
        return self.builder.offset(member.x, self.builder.scaled(image, member.memory.image), dtype)

    def _held(self, block: Register, row: Register) -> Pointer:
        """Where the depthwise input would begin, of which the workspace holds what begins at this block and row."""
        return self._before(self.workspace, self.tiling.input_memory, block, row)

    def _result(self, row: Register) -> Pointer:
        """Where the depthwise result would begin, of which the workspace holds what begins at this row."""
        place = self.builder.offset(self.workspace, self.tiling.input_elements, self.tiling.total)
        return self._before(place, self.tiling.result_memory, i64(0), row)

    def _before(self, place: Pointer, memory: Memory, block: Register, row: Register) -> Pointer:
        distance = self._term(block) * memory.channel + self._term(row) * memory.spatial[0]
        return self.builder.offset(place, (-distance).register, self.tiling.total)

    # ---- numbers and control

    def _term(self, index: Register) -> Term:
        return Term(self.builder, index)

    @contextmanager
    def _each(self, span: Span, step: int = 1) -> Iterator[Register]:
        with self.builder.loop(span.low, span.high, step) as loop, self._scopes():
            yield loop.index

    @contextmanager
    def _scopes(self) -> Iterator[None]:
        """Nothing that the members' emitters compute inside is known outside."""
        with ExitStack() as stack:
            for member in (self.before, self.depthwise, self.after):
                if member is not None:
                    stack.enter_context(member.emitter.scope())
            yield
