"""The native entry of a network: all its steps, by one thread or by a team.

A team goes through the steps in groups. Within a group no thread waits for another; between two groups all wait for
each other. `tensorwright.codegen.cpu.team` says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tensorwright.codegen.cpu.team import entries, team_functions
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.devices.cpu import abi
from tensorwright.plan.plan import Address
from tensorwright.tensor.dim import Dim, Symbol
from tensorwright.tensor.dtype import INT64, UINT8

IntegerArray = npt.NDArray[np.int64]

MOST_THREADS = 61
"""More threads wait before every step."""
MOST_OPTIMISED = 512
"""The calls of more steps are not optimised, which takes longer than compiling all of their kernels."""


@dataclass(frozen=True)
class EntryStep:
    """One call: the kernel's function, its operands (output first), symbols and the number of tasks of a wave.

    free: the numbers of threads with which no thread has to wait for others before this step, as the bits of a number;
    with every other number of threads all wait for each other. waves: how many follow each other; if there may be
    several, the step has to be a group of its own.
    """

    function: str
    operands: tuple[Address, ...]
    symbols: tuple[Symbol | int, ...]
    tasks: Dim
    free: int = 0
    waves: Dim = 1


def entry_module(steps: Sequence[EntryStep], symbols: Sequence[Symbol], workspace: int, target: Target) -> str:
    """The module with `run`, `worker` and `stop`; it calls the kernels by name.

    symbols: in the order of the native symbol table. workspace: scratch bytes per thread.
    """
    arguments = {step.function: 2 + len(step.operands) - 1 for step in steps}
    counts = {step.function: len(step.symbols) for step in steps}
    declarations = [
        f"declare void @{name}({', '.join(['ptr'] * pointers + ['i64'] * (counts[name] + 2))})"
        for name, pointers in sorted(arguments.items())
    ]
    code = _Code(symbols, workspace, target, "nounwind noinline" + (" optnone" if len(steps) > MOST_OPTIMISED else ""))
    team = [code.step(number, step) for number, step in enumerate(steps)]
    parts = [code.alone(steps), *team, _choice(len(steps)), _following(steps), code.waves(steps)]
    return "\n".join([*declarations, team_functions(target, len(steps)), *parts, entries()])


@dataclass(frozen=True)
class _Code:
    """Writes the functions that call kernels. attributes: of these functions."""

    symbols: Sequence[Symbol]
    workspace: int
    target: Target
    attributes: str

    def alone(self, steps: Sequence[EntryStep]) -> str:
        """The function of a thread that does everything."""
        builder = FunctionBuilder(target=self.target)
        calls = _Calls(builder, self, i64(0))
        builder.emit("call void @profile(ptr %context, i64 0)")
        for number, step in enumerate(steps):
            calls.call_alone(step)
            builder.emit(f"call void @profile(ptr %context, i64 {number + 1})")
        return builder.function("internal void @single_body(ptr %context)", self.attributes)

    def step(self, number: int, step: EntryStep) -> str:
        """The function that does a team member's share of a step."""
        builder = FunctionBuilder(target=self.target)
        share = Register("%share", INT64)
        _Calls(builder, self, share).call_share(step, Register("%threads", INT64), Register("%wave", INT64))
        is_first = builder.compare("eq", share, 0)
        with builder.when(is_first):
            builder.emit(f"call void @profile(ptr %context, i64 {number + 1})")
        signature = f"internal void @step_{number}(ptr %context, i64 %share, i64 %threads, i64 %wave)"
        return builder.function(signature, self.attributes)

    def waves(self, steps: Sequence[EntryStep]) -> str:
        """The function that says how many waves the group has that begins with a step."""
        builder = FunctionBuilder(target=self.target)
        count, number = i64(1), Register("%number", INT64)
        repeated = [(position, step) for position, step in enumerate(steps) if step.waves != 1]
        calls = _Calls(builder, self, i64(0)) if repeated else None
        for position, step in repeated:
            assert calls is not None
            is_it = builder.compare("eq", number, position)
            count = builder.select(is_it, calls.integer(step.waves), count)
        body = "\n".join(builder.lines)
        head = "define internal i64 @waves(ptr %context, i64 %number) nounwind"
        return f"{head} {{\nentry:\n{body}\n  ret {count.typed}\n}}\n"


class _Calls:
    """Writes calls of kernels into one function. share: the number of the share, whose scratch memory is used."""

    def __init__(self, builder: FunctionBuilder, code: _Code, share: Register) -> None:
        self._builder = builder
        self._share = share
        fields = ("bindings", "arena", "workspace", "weights", "symbols")
        self._fields = {name: _field(builder, name) for name in fields}
        self._values = {s.name: _table_entry(builder, self._fields["symbols"], i) for i, s in enumerate(code.symbols)}
        self._emitter = ScalarEmitter(builder, code.target, (), self._values)
        scratch = builder.mul(share, code.workspace)
        self._scratch = builder.offset(self._fields["workspace"], scratch, UINT8)

    def integer(self, value: Dim) -> Register:
        """An integer made of symbols."""
        return self._emitter.integer(value)

    def call_alone(self, step: EntryStep) -> None:
        """Call a kernel for all of its tasks."""
        self._call(step, i64(0), self.integer(step.tasks * step.waves))

    def call_share(self, step: EntryStep, threads: Register, number: Register) -> None:
        """Call a kernel for one share, out of so many threads', of the tasks of the wave with a number."""
        builder, tasks = self._builder, self.integer(step.tasks)
        begin, end = _share(builder, tasks, self._share, threads)
        if step.waves != 1:
            first, every = builder.mul(number, tasks), self.integer(step.tasks * step.waves)
            begin, end = builder.add(first, begin), builder.add(first, end)
            end = builder.select(builder.compare("ult", end, every), end, every)
        self._call(step, begin, end)

    def _call(self, step: EntryStep, begin: Register, end: Register) -> None:
        pointers = [_operand(self._builder, self._fields, operand) for operand in step.operands]
        arguments = [f"ptr {p.text}" for p in (*pointers, self._scratch)]
        arguments += [self._argument(one).typed for one in step.symbols] + [begin.typed, end.typed]
        self._builder.emit(f"call void @{step.function}({', '.join(arguments)})")

    def _argument(self, one: Symbol | int) -> Register:
        return i64(one) if isinstance(one, int) else self._values[one.name]


def _choice(count: int) -> str:
    """The function that does a share of the step with a number. A table of jumps would need relocation."""
    targets = " ".join(f"i64 {number}, label %step{number}" for number in range(count))
    cases = [
        f"step{number}:\n  call void @step_{number}(ptr %context, i64 %share, i64 %threads, i64 %wave)\n  ret void"
        for number in range(count)
    ]
    arguments = "ptr %context, i64 %share, i64 %threads, i64 %number, i64 %wave"
    head = f"define internal void @step({arguments}) nounwind noinline"
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
    place = builder.offset(Pointer("%context"), abi.field_offset(name), UINT8)
    pointer = builder.fresh("p")
    builder.emit(f"{pointer} = load ptr, ptr {place.text}, align 8")
    return Pointer(pointer)


def _table_entry(builder: FunctionBuilder, table: Pointer, number: int) -> Register:
    return builder.load(builder.offset(table, number, INT64), INT64)


def _operand(builder: FunctionBuilder, fields: dict[str, Pointer], operand: Address) -> Pointer:
    if operand.base != "binding":
        return builder.offset(fields[operand.base], operand.offset, UINT8)
    place = builder.offset(fields["bindings"], operand.offset, INT64)
    pointer = builder.fresh("p")
    builder.emit(f"{pointer} = load ptr, ptr {place.text}, align 8")
    return Pointer(pointer)
