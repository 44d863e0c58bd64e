"""The native entry of a network: all its steps, by one thread or by a team.

A team goes through the steps in groups. Within a group no thread waits for another; between two groups all wait for
each other. `tensorwright.codegen.cpu.team` says how. Many steps that call the same kernel in the same way are one
piece of code with a table of where their operands lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tensorwright.codegen.cpu.steps import EntryStep, Piece, pieces_of, rows_of
from tensorwright.codegen.cpu.team import entries, team_functions
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.devices.cpu import abi
from tensorwright.plan.plan import Base
from tensorwright.tensor.dim import Dim, Symbol
from tensorwright.tensor.dtype import INT64, UINT8

IntegerArray = npt.NDArray[np.int64]

MOST_THREADS = 61
"""More threads wait before every step."""
MOST_OPTIMISED = 512
"""More calls are not optimised, which takes longer than compiling all of their kernels."""
STEP_ARGUMENTS = "ptr %context, i64 %share, i64 %threads, i64 %number, i64 %wave"


def entry_module(steps: Sequence[EntryStep], symbols: Sequence[Symbol], workspace: int, target: Target) -> str:
    """The module with `run`, `worker` and `stop`; it calls the kernels by name.

    symbols: in the order of the native symbol table. workspace: scratch bytes per thread.
    """
    arguments = {step.function: 1 + len(step.operands) for step in steps}
    counts = {step.function: len(step.symbols) for step in steps}
    declarations = [
        f"declare void @{name}({', '.join(['ptr'] * pointers + ['i64'] * (counts[name] + 2))})"
        for name, pointers in sorted(arguments.items())
    ]
    pieces = pieces_of(steps)
    code = _Code(symbols, workspace, target, "nounwind noinline" + (" optnone" if len(pieces) > MOST_OPTIMISED else ""))
    tables = [piece.table for piece in pieces if piece.is_table]
    tables += [rows_of(pieces)] if tables else []
    parts = [code.alone(pieces), *map(code.share, pieces), _choice(pieces), _following(steps), code.waves(steps)]
    return "\n".join([*declarations, *tables, team_functions(target, len(steps)), *parts, entries()])


@dataclass(frozen=True)
class _Code:
    """Writes the functions that call kernels. attributes: of these functions."""

    symbols: Sequence[Symbol]
    workspace: int
    target: Target
    attributes: str

    def alone(self, pieces: Sequence[Piece]) -> str:
        """The function of a thread that does everything."""
        builder = FunctionBuilder(target=self.target)
        calls = _Calls(builder, self, i64(0), [piece.steps[0] for piece in pieces])
        builder.emit("call void @profile(ptr %context, i64 0)")
        last = 0
        for piece in (piece for piece in pieces if not piece.is_table):
            self._between(builder, last, piece.first)
            calls.call_alone(piece)
            last = piece.first + 1
        self._between(builder, last, sum(len(piece.steps) for piece in pieces))
        return builder.function("internal void @single_body(ptr %context)", self.attributes)

    def _between(self, builder: FunctionBuilder, start: int, stop: int) -> None:
        """Do steps that are in tables."""
        if start < stop:
            with builder.loop(start, stop, at_least_once=True) as loop:
                builder.emit(f"call void @step(ptr %context, i64 0, i64 1, {loop.index.typed}, i64 0)")

    def share(self, piece: Piece) -> str:
        """The function that does a team member's share of a step of a piece."""
        builder = FunctionBuilder(target=self.target)
        share, threads, number, wave = (Register(f"%{name}", INT64) for name in ("share", "threads", "number", "wave"))
        calls = _Calls(builder, self, share, piece.steps[:1])
        calls.call_share(piece, number, threads, wave)
        calls.profile(number)
        signature = f"internal void @step_{piece.first}({STEP_ARGUMENTS})"
        return builder.function(signature, self.attributes)

    def waves(self, steps: Sequence[EntryStep]) -> str:
        """The function that says how many waves the group has that begins with a step."""
        builder = FunctionBuilder(target=self.target)
        count, number = i64(1), Register("%number", INT64)
        repeated = [(position, step) for position, step in enumerate(steps) if step.waves != 1]
        calls = _Calls(builder, self, i64(0), [step for _, step in repeated]) if repeated else None
        for position, step in repeated:
            assert calls is not None
            is_it = builder.compare("eq", number, position)
            count = builder.select(is_it, calls.integer(step.waves), count)
        body = "\n".join(builder.lines)
        head = "define internal i64 @waves(ptr %context, i64 %number) nounwind"
        return f"{head} {{\nentry:\n{body}\n  ret {count.typed}\n}}\n"


class _Calls:
    """Writes calls of kernels into one function: those of some steps, or of others that are like these.

    share: the number of the share, whose scratch memory is used.
    """

    def __init__(self, builder: FunctionBuilder, code: _Code, share: Register, steps: Sequence[EntryStep]) -> None:
        self._builder = builder
        self._share = share
        fields = ("bindings", "arena", "workspace", "weights", "symbols")
        self._fields = {name: _field(builder, name) for name in fields}
        table, used = self._fields["symbols"], frozenset[str]().union(*(step.used for step in steps))
        self._values = {s.name: _table_entry(builder, table, i) for i, s in enumerate(code.symbols) if s.name in used}
        self._emitter = ScalarEmitter(builder, code.target, (), self._values)
        scratch = builder.mul(share, code.workspace)
        self._scratch = builder.offset(self._fields["workspace"], scratch, UINT8)

    def integer(self, value: Dim) -> Register:
        """An integer made of symbols."""
        return self._emitter.integer(value)

    def profile(self, number: Register) -> None:
        """Say that a share of the step with a number is done."""
        self._builder.emit(f"call void @profile(ptr %context, {self._builder.add(number, 1).typed})")

    def call_alone(self, piece: Piece) -> None:
        """Call the kernel of a piece of one step for all of its tasks."""
        (step,) = piece.steps
        self._call(piece, i64(piece.first), i64(0), self.integer(step.tasks * step.waves))
        self.profile(i64(piece.first))

    def call_share(self, piece: Piece, number: Register, threads: Register, wave: Register) -> None:
        """Call the kernel of a step of a piece for one share, out of so many threads', of the tasks of a wave."""
        builder, step = self._builder, piece.steps[0]
        tasks = self.integer(step.tasks)
        begin, end = _share(builder, tasks, self._share, threads)
        if step.waves != 1:
            first, every = builder.mul(wave, tasks), self.integer(step.tasks * step.waves)
            begin, end = builder.add(first, begin), builder.add(first, end)
            end = builder.select(builder.compare("ult", end, every), end, every)
        self._call(piece, number, begin, end)

    def _call(self, piece: Piece, number: Register, begin: Register, end: Register) -> None:
        step, numbers = piece.steps[0], iter(self._numbers(piece, number))
        pointers = [self._operand(operand.base, next(numbers)) for operand in step.operands]
        arguments = [f"ptr {p.text}" for p in (*pointers, self._scratch)]
        symbols = [next(numbers) if isinstance(one, int) else self._values[one.name] for one in step.symbols]
        arguments += [one.typed for one in (*symbols, begin, end)]
        self._builder.emit(f"call void @{step.function}({', '.join(arguments)})")

    def _numbers(self, piece: Piece, number: Register) -> list[Register]:
        if not piece.is_table:
            return [i64(one) for one in piece.steps[0].numbers]
        row = self._builder.load(self._builder.offset(Pointer("@rows"), number, INT64), INT64)
        place = self._builder.offset(Pointer(f"@numbers_{piece.first}"), self._builder.mul(row, piece.width), INT64)
        return [_table_entry(self._builder, place, column) for column in range(piece.width)]

    def _operand(self, base: Base, number: Register) -> Pointer:
        if base != "binding":
            return self._builder.offset(self._fields[base], number, UINT8)
        return _loaded(self._builder, self._builder.offset(self._fields["bindings"], number, INT64))


def _choice(pieces: Sequence[Piece]) -> str:
    """The function that does a share of the step with a number. A table of jumps would need relocation."""
    targets = " ".join(f"i64 {number}, label %step{piece.first}" for piece in pieces for number in piece.numbers)
    cases = [f"step{p.first}:\n  call void @step_{p.first}({STEP_ARGUMENTS})\n  ret void" for p in pieces]
    head = f"define internal void @step({STEP_ARGUMENTS}) nounwind noinline"
    switch = f"  switch i64 %number, label %none [ {targets} ]\nnone:\n  ret void"
    return "\n".join([f'{head} "no-jump-tables"="true" {{\nentry:', switch, *cases, "}"])


def _following(steps: Sequence[EntryStep]) -> str:
    """The function that says at which step the next group starts."""
    free = ", ".join(f"i64 {step.free}" for step in steps)
    return f"""
@free = internal constant [{len(steps)} x i64] [ {free} ], align 8

define internal i64 @following(i64 %step, i64 %threads) nounwind noinline {{
entry:
  %many = icmp ugt i64 %threads, {MOST_THREADS}
  %first = add i64 %step, 1
  br i1 %many, label %done, label %next
next:
  %number = phi i64 [ %first, %entry ], [ %after, %check ]
  %some = icmp ult i64 %number, {len(steps)}
  br i1 %some, label %check, label %done
check:
  %place = getelementptr [{len(steps)} x i64], ptr @free, i64 0, i64 %number
  %bits = load i64, ptr %place, align 8
  %shifted = lshr i64 %bits, %threads
  %isfree = trunc i64 %shifted to i1
  %after = add i64 %number, 1
  br i1 %isfree, label %next, label %done
done:
  %result = phi i64 [ %first, %entry ], [ %number, %next ], [ %number, %check ]
  ret i64 %result
}}
"""


def owners(tasks: IntegerArray, count: int, threads: int | IntegerArray) -> IntegerArray:
    """The threads that run tasks out of `count`: what `_share` writes, the other way round."""
    return ((tasks + 1) * threads - 1) // count


def _share(builder: FunctionBuilder, tasks: Register, thread: Register, threads: Register) -> tuple[Register, Register]:
    """The tasks of one thread: equal shares, in order."""
    following = builder.add(thread, 1)
    begin = builder.binary("udiv", builder.mul(tasks, thread), threads)
    return begin, builder.binary("udiv", builder.mul(tasks, following), threads)


def _field(builder: FunctionBuilder, name: str) -> Pointer:
    return _loaded(builder, builder.offset(Pointer("%context"), abi.field_offset(name), UINT8))


def _loaded(builder: FunctionBuilder, place: Pointer) -> Pointer:
    pointer = builder.fresh("p")
    builder.emit(f"{pointer} = load ptr, ptr {place.text}, align 8")
    return Pointer(pointer)


def _table_entry(builder: FunctionBuilder, table: Pointer, number: int) -> Register:
    return builder.load(builder.offset(table, number, INT64), INT64)
