"""A depthwise convolution between its neighbours: strips of rows go from one to the next through workspace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from tensorwright.codegen.ir import FunctionBuilder, Pointer, Register, literal
from tensorwright.kernels.convolution.chain_plan import ChainPlan
from tensorwright.kernels.convolution.plan import OutputRun
from tensorwright.kernels.convolution.tasks import Span, TaskEmitter
from tensorwright.kernels.convolution.tile import Memory
from tensorwright.tensor.dtype import FLOAT32, INT64


@dataclass(frozen=True)
class _Group:
    """A group of output blocks of the member before, the run that it belongs to, and its blocks."""

    number: Register
    run: OutputRun
    blocks: Span


@dataclass(frozen=True)
class ChainEmitter:
    """Writes the loop over tasks. A task has a strip of rows of the depthwise result (and a part of its channels).

    For a few blocks of channels at a time, it computes rows of the depthwise input, and from them rows of the result,
    `step` at once, so that what is handed on is still in the first cache. When the strip is complete in all channels,
    the pointwise convolution behind reads it. Rows of input that two strips share are computed for each.

    before, depthwise, after: the emitters of the members. workspace: holds the depthwise input, then the result.
    """

    plan: ChainPlan
    before: TaskEmitter | None
    depthwise: TaskEmitter
    after: TaskEmitter | None
    workspace: Pointer

    @property
    def builder(self) -> FunctionBuilder:
        return self.depthwise.builder

    def run(self, begin: Register, end: Register) -> None:
        builder, plan = self.builder, self.plan
        with self._each(Span(begin, end)) as task:
            rest, part = self._divided(task, plan.strips.parts)
            image, strip = self._divided(rest, plan.strip_count)
            low = self._scaled(strip, plan.strips.height)
            span = Span(low, self._least(builder.add(low, literal(plan.strips.height, INT64)), plan.rows.output))
            if plan.strip_count == 1:
                span = Span(literal(0, INT64), literal(plan.rows.output, INT64))
            self._strip(image, part, span)

    def _strip(self, image: Register, part: Register, rows: Span) -> None:
        depthwise = self.depthwise
        if self.after is not None:
            depthwise = replace(depthwise, output=self._result(rows.low))
        if self.before is None:
            blocks = self._part(part, self.plan.depthwise.output_blocks)
            depthwise.part(image, self._image(depthwise, image), blocks, (), self._units(depthwise, rows))
        else:
            self._with_input(self.before, depthwise, image, part, rows)
        if self.after is not None:
            blocks = Span(literal(0, INT64), literal(self.after.plan.group_count, INT64))
            self.after.part(image, self._result(rows.low), blocks, (), self._units(self.after, rows))

    def _with_input(
        self, before: TaskEmitter, depthwise: TaskEmitter, image: Register, part: Register, rows: Span
    ) -> None:
        """For every group of blocks: rows of input, rows of the result, in turn."""
        first = self._extremum("smax", self._first_input(rows.low), 0)
        groups = self._part(part, before.plan.group_count)
        for run in before.plan.output_runs:
            shared = Span(
                self._extremum("smax", groups.low, run.first),
                self._extremum("smin", groups.high, run.first + run.count),
            )
            with self._each(shared) as group:
                within = self.builder.sub(group, literal(run.first, INT64))
                block = self.builder.add(self._scaled(within, len(run.lanes)), literal(run.block, INT64))
                blocks = Span(block, self.builder.add(block, literal(len(run.lanes), INT64)))
                held = self._held(block, first)
                source, reader = replace(before, output=held), replace(depthwise, x=held)
                self._rows(source, reader, image, _Group(group, run, blocks), rows, first)

    def _rows(
        self, before: TaskEmitter, depthwise: TaskEmitter, image: Register, group: _Group, rows: Span, first: Register
    ) -> None:
        builder, plan = self.builder, self.plan
        source = self._image(before, image)
        if plan.is_whole:
            before.tiles(image, source, group.number, group.run, (), self._units(before, rows))
            depthwise.part(image, depthwise.x, group.blocks, (), self._units(depthwise, rows))
            return
        loop = builder.begin_loop(rows.low, rows.high, plan.strips.step, [first])
        with self._scopes():
            last = builder.intrinsic("smin", (builder.add(loop.index, literal(plan.strips.step, INT64)), rows.high))
            end = builder.add(self._first_input(builder.sub(last, literal(1, INT64))), literal(self._reach, INT64))
            end = self._least(end, plan.rows.input)
            before.tiles(image, source, group.number, group.run, (), Span(loop.carried[0], end))
            depthwise.part(image, depthwise.x, group.blocks, (), Span(loop.index, last))
            done = builder.intrinsic("smax", (end, loop.carried[0]))
        builder.end_loop(loop, [done])

    # ---- rows

    @property
    def _reach(self) -> int:
        """Rows of input from the first that one row of the result reads to the last."""
        return (self.plan.rows.kernel - 1) * self.plan.rows.dilation + 1

    def _first_input(self, row: Register) -> Register:
        """The first row of input that a row of the result reads, which may lie in the padding."""
        axis = self.plan.rows
        return self.builder.sub(self._scaled(row, axis.stride), literal(axis.before, INT64))

    def _units(self, member: TaskEmitter, rows: Span) -> Span:
        return Span(literal(0, INT64), literal(member.plan.units, INT64)) if self.plan.is_whole else rows

    def _part(self, part: Register, total: int) -> Span:
        size = self.plan.part_groups
        if size >= total:
            return Span(literal(0, INT64), literal(total, INT64))
        low = self._scaled(part, size)
        return Span(low, self._least(self.builder.add(low, literal(size, INT64)), total))

    # ---- memory

    def _image(self, member: TaskEmitter, image: Register) -> Pointer:
        return self.builder.offset(member.x, self._scaled(image, member.memory.image), FLOAT32)

    def _held(self, block: Register, row: Register) -> Pointer:
        """Where the depthwise input would begin, of which the workspace holds what begins at this block and row."""
        return self._before(self.workspace, self.plan.input_memory, block, row)

    def _result(self, row: Register) -> Pointer:
        """Where the depthwise result would begin, of which the workspace holds what begins at this row."""
        place = self.builder.offset(self.workspace, self.plan.input_elements, FLOAT32)
        return self._before(place, self.plan.result_memory, literal(0, INT64), row)

    def _before(self, place: Pointer, memory: Memory, block: Register, row: Register) -> Pointer:
        distance = self.builder.add(self._scaled(block, memory.channel), self._scaled(row, memory.spatial[0]))
        return self.builder.offset(place, self.builder.sub(literal(0, INT64), distance), FLOAT32)

    # ---- numbers and control

    def _scaled(self, value: Register, factor: int) -> Register:
        return self.builder.mul(value, literal(factor, INT64))

    def _least(self, value: Register, bound: int) -> Register:
        return self._extremum("smin", value, bound)

    def _extremum(self, name: str, value: Register, bound: int) -> Register:
        return self.builder.intrinsic(name, (value, literal(bound, INT64)))

    def _divided(self, value: Register, extent: int) -> tuple[Register, Register]:
        """Quotient and remainder."""
        if extent == 1:
            return value, literal(0, INT64)
        divisor = literal(extent, INT64)
        return self.builder.binary("udiv", value, divisor), self.builder.binary("urem", value, divisor)

    @contextmanager
    def _each(self, span: Span) -> Iterator[Register]:
        loop = self.builder.begin_loop(span.low, span.high)
        with self._scopes():
            yield loop.index
        self.builder.end_loop(loop)

    @contextmanager
    def _scopes(self) -> Iterator[None]:
        """Nothing that the members' emitters compute inside is known outside."""
        with ExitStack() as stack:
            for member in (self.before, self.depthwise, self.after):
                if member is not None:
                    stack.enter_context(member.emitter.scope())
            yield
