"""The native entry of a network: all threads run through all steps together, with barriers in between.

See `tensorwright.devices.cpu.abi` for the contract with the runtime. A waiting thread first spins for a bounded number
of rounds, giving its core away now and then in case the thread that it waits for has none, then sleeps on a futex until
the awaited counter changes; whoever changes a counter wakes sleepers only if there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tensorwright.codegen.ir import FunctionBuilder, Pointer, Register, literal
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.devices.cpu import abi
from tensorwright.tensor.dim import Dim, Symbol
from tensorwright.tensor.dtype import INT64, UINT8

IntegerArray = npt.NDArray[np.int64]

SPIN_ROUNDS = 64
"""Rounds of the spinning wait before the core is given away, a power of two: about a microsecond."""
YIELDS = 96
"""How often the core is given away, for nothing if nobody wants it, before the thread sleeps: about 0.1 ms."""

MOST_THREADS = 61
"""More threads wait before every step."""

_FUTEX = {"x86_64": 202, "aarch64": 98}
_YIELD = {"x86_64": 24, "aarch64": 124}
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}


@dataclass(frozen=True)
class Address:
    """Where an operand starts: in the arena, in the weights, or at a binding, whose number is then the `offset`."""

    base: Literal["arena", "weights", "binding"]
    offset: int


@dataclass(frozen=True)
class EntryStep:
    """One call: the kernel's function, its operands (output first), symbols and number of tasks.

    free: the numbers of threads with which no thread has to wait for others before this step, as the bits of a number;
    with every other number of threads all wait for each other.
    """

    function: str
    operands: tuple[Address, ...]
    symbols: tuple[Symbol, ...]
    tasks: Dim
    free: int = 0

    def waits(self, threads: int) -> bool:
        """Whether so many threads wait for each other before this step."""
        return threads > MOST_THREADS or not self.free >> threads & 1


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
    bodies = [_body(steps, symbols, workspace, target, team) for team in (False, True)]
    return "\n".join([*declarations, _runtime_functions(target), *bodies])


def _body(steps: Sequence[EntryStep], symbols: Sequence[Symbol], workspace: int, target: Target, team: bool) -> str:
    builder = FunctionBuilder(target=target)
    fields = {name: _field(builder, name) for name in ("bindings", "arena", "workspace", "weights", "symbols")}
    values = {s.name: _table_entry(builder, fields["symbols"], i) for i, s in enumerate(symbols)}
    emitter = ScalarEmitter(builder, target, (), values)
    thread, threads = Register("%thread", INT64), Register("%threads", INT64)
    scratch = builder.offset(fields["workspace"], builder.mul(thread, literal(workspace, INT64)), UINT8)
    builder.emit("call void @profile(ptr %context, i64 %thread, i64 0)")
    for number, step in enumerate(steps):
        if team and number:
            _wait(builder, step, threads)
        tasks = emitter.integer(step.tasks)
        begin, end = _share(builder, tasks, thread, threads) if team else (literal(0, INT64), tasks)
        pointers = [_operand(builder, fields, operand) for operand in step.operands]
        arguments = [f"ptr {p.text}" for p in (*pointers, scratch)]
        arguments += [values[s.name].typed for s in step.symbols] + [begin.typed, end.typed]
        builder.emit(f"call void @{step.function}({', '.join(arguments)})")
        builder.emit(f"call void @profile(ptr %context, i64 %thread, i64 {number + 1})")
    if team:
        builder.emit("call void @barrier(ptr %context)")
    name = "team_body" if team else "single_body"
    return builder.function(f"internal void @{name}(ptr %context, i64 %thread, i64 %threads)", "nounwind noinline")


def _wait(builder: FunctionBuilder, step: EntryStep, threads: Register) -> None:
    """Wait for all other threads, unless the step is free of that."""
    if not step.free:
        builder.emit("call void @barrier(ptr %context)")
        return
    many = literal(MOST_THREADS + 1, INT64)
    known = builder.select(builder.compare("ult", threads, many), threads, many)
    bit = builder.binary("and", builder.binary("lshr", literal(step.free, INT64), known), literal(1, INT64))
    label = builder.begin_if(builder.compare("eq", bit, literal(0, INT64)))
    builder.emit("call void @barrier(ptr %context)")
    builder.end_if(label)


def owners(tasks: IntegerArray, count: int, threads: int | IntegerArray) -> IntegerArray:
    """The threads that run tasks out of `count`: what `_share` writes, the other way round."""
    return ((tasks + 1) * threads - 1) // count


def _share(builder: FunctionBuilder, tasks: Register, thread: Register, threads: Register) -> tuple[Register, Register]:
    """The tasks of one thread: equal shares, in order."""
    following = builder.add(thread, literal(1, INT64))
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


def _runtime_functions(target: Target) -> str:
    architecture = target.triple.split("-")[0]
    declare_pause, pause = _PAUSE[architecture]
    futex, context = _FUTEX[architecture], {name: abi.field_offset(name) for name in abi.CONTEXT_FIELDS}
    arguments = "i64 %number, ptr %counter, i64 %operation, i64 %value, ptr null, ptr null, i64 0"
    return f"""
{declare_pause}
declare i64 @llvm.readcyclecounter()

define internal void @profile(ptr %context, i64 %thread, i64 %step) alwaysinline nounwind {{
entry:
  %place = getelementptr i8, ptr %context, i64 {context["profile"]}
  %table = load ptr, ptr %place, align 8
  %none = icmp eq ptr %table, null
  br i1 %none, label %done, label %first
first:
  %mine = icmp eq i64 %thread, 0
  br i1 %mine, label %record, label %done
record:
  %now = call i64 @llvm.readcyclecounter()
  %slot = getelementptr i64, ptr %table, i64 %step
  store i64 %now, ptr %slot, align 8
  br label %done
done:
  ret void
}}

define internal i64 @system(ptr %context, i64 %number, ptr %counter, i64 %operation, i64 %value) nounwind noinline {{
entry:
  %place = getelementptr i8, ptr %context, i64 {context["syscall"]}
  %function = load ptr, ptr %place, align 8
  %missing = icmp eq ptr %function, null
  br i1 %missing, label %done, label %ask
ask:
  %answer = call i64 (i64, ...) %function({arguments})
  br label %done
done:
  %result = phi i64 [ 0, %entry ], [ %answer, %ask ]
  ret i64 %result
}}

define internal void @await_change(ptr %context, ptr %counter, i32 %old) nounwind noinline {{
entry:
  br label %spin
spin:
  %round = phi i32 [ 0, %entry ], [ %next, %again ], [ %next, %give ]
  %seen = load atomic i32, ptr %counter acquire, align 4
  %changed = icmp ne i32 %seen, %old
  br i1 %changed, label %done, label %again
again:
  {pause}
  %next = add i32 %round, 1
  %part = and i32 %next, {SPIN_ROUNDS - 1}
  %patient = icmp ne i32 %part, 0
  br i1 %patient, label %spin, label %give
give:
  %ignored.yield = call i64 @system(ptr %context, i64 {_YIELD[architecture]}, ptr null, i64 0, i64 0)
  %few = icmp ult i32 %next, {SPIN_ROUNDS * YIELDS}
  br i1 %few, label %spin, label %sleep
sleep:
  %team.place = getelementptr i8, ptr %context, i64 {context["team"]}
  %team = load ptr, ptr %team.place, align 8
  %sleepers = getelementptr i8, ptr %team, i64 {abi.TEAM_SLEEPERS}
  %before = atomicrmw add ptr %sleepers, i32 1 seq_cst, align 4
  %value = zext i32 %old to i64
  %ignored = call i64 @system(ptr %context, i64 {futex}, ptr %counter, i64 128, i64 %value)
  %after = atomicrmw sub ptr %sleepers, i32 1 seq_cst, align 4
  %now = load atomic i32, ptr %counter acquire, align 4
  %woken = icmp ne i32 %now, %old
  br i1 %woken, label %done, label %sleep
done:
  ret void
}}

define internal void @change(ptr %context, ptr %counter) nounwind noinline {{
entry:
  %old = atomicrmw add ptr %counter, i32 1 seq_cst, align 4
  %team.place = getelementptr i8, ptr %context, i64 {context["team"]}
  %team = load ptr, ptr %team.place, align 8
  %sleepers.place = getelementptr i8, ptr %team, i64 {abi.TEAM_SLEEPERS}
  %sleepers = load atomic i32, ptr %sleepers.place seq_cst, align 4
  %awake = icmp eq i32 %sleepers, 0
  br i1 %awake, label %done, label %wake
wake:
  %ignored = call i64 @system(ptr %context, i64 {futex}, ptr %counter, i64 129, i64 2147483647)
  br label %done
done:
  ret void
}}

define internal void @barrier(ptr %context) nounwind noinline {{
entry:
  %team.place = getelementptr i8, ptr %context, i64 {context["team"]}
  %team = load ptr, ptr %team.place, align 8
  %threads.place = getelementptr i8, ptr %context, i64 {context["threads"]}
  %threads = load i64, ptr %threads.place, align 8
  %generation = getelementptr i8, ptr %team, i64 {abi.TEAM_GENERATION}
  %old = load atomic i32, ptr %generation monotonic, align 4
  %arrived = getelementptr i8, ptr %team, i64 {abi.TEAM_ARRIVED}
  %before = atomicrmw add ptr %arrived, i32 1 acq_rel, align 4
  %mine = add i32 %before, 1
  %all = trunc i64 %threads to i32
  %last = icmp eq i32 %mine, %all
  br i1 %last, label %open, label %wait
open:
  store atomic i32 0, ptr %arrived monotonic, align 4
  call void @change(ptr %context, ptr %generation)
  ret void
wait:
  call void @await_change(ptr %context, ptr %generation, i32 %old)
  ret void
}}

define void @run(ptr %context) nounwind {{
entry:
  %threads.place = getelementptr i8, ptr %context, i64 {context["threads"]}
  %threads = load i64, ptr %threads.place, align 8
  %single = icmp eq i64 %threads, 1
  br i1 %single, label %alone, label %together
alone:
  call void @single_body(ptr %context, i64 0, i64 1)
  ret void
together:
  %team.place = getelementptr i8, ptr %context, i64 {context["team"]}
  %team = load ptr, ptr %team.place, align 8
  %wake = getelementptr i8, ptr %team, i64 {abi.TEAM_WAKE}
  call void @change(ptr %context, ptr %wake)
  call void @team_body(ptr %context, i64 0, i64 %threads)
  ret void
}}

define void @worker(ptr %context, i64 %thread) nounwind {{
entry:
  %threads.place = getelementptr i8, ptr %context, i64 {context["threads"]}
  %threads = load i64, ptr %threads.place, align 8
  %team.place = getelementptr i8, ptr %context, i64 {context["team"]}
  %team = load ptr, ptr %team.place, align 8
  %wake = getelementptr i8, ptr %team, i64 {abi.TEAM_WAKE}
  %stop = getelementptr i8, ptr %team, i64 {abi.TEAM_STOP}
  %ready = getelementptr i8, ptr %team, i64 {abi.TEAM_READY}
  %first = load atomic i32, ptr %wake acquire, align 4
  %count = atomicrmw add ptr %ready, i32 1 seq_cst, align 4
  br label %wait
wait:
  %seen = phi i32 [ %first, %entry ], [ %current, %work ]
  call void @await_change(ptr %context, ptr %wake, i32 %seen)
  %current = add i32 %seen, 1
  %flag = load atomic i32, ptr %stop acquire, align 4
  %stopped = icmp ne i32 %flag, 0
  br i1 %stopped, label %leave, label %work
work:
  call void @team_body(ptr %context, i64 %thread, i64 %threads)
  br label %wait
leave:
  ret void
}}

define void @stop(ptr %context) nounwind {{
entry:
  %team.place = getelementptr i8, ptr %context, i64 {context["team"]}
  %team = load ptr, ptr %team.place, align 8
  %stop = getelementptr i8, ptr %team, i64 {abi.TEAM_STOP}
  store atomic i32 1, ptr %stop seq_cst, align 4
  %wake = getelementptr i8, ptr %team, i64 {abi.TEAM_WAKE}
  call void @change(ptr %context, ptr %wake)
  ret void
}}
"""
