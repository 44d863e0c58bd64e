"""Plans whose code is written by hand: what the runtime is tested with, without the compiler tower.

The network of `plan` maps x: float32[N, 4] to y = reversed(x * scale), elementwise over the flat array, in two steps
with a barrier between them: every element of the second step was written by another thread in the first.
"""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from functools import cache

import llvmlite.binding as llvm
import numpy as np

from tensorwright.devices.cpu.abi import (
    TEAM_ARRIVED,
    TEAM_GENERATION,
    TEAM_READY,
    TEAM_STOP,
    TEAM_WAKE,
    field_offset,
)
from tensorwright.devices.cpu.host import host_stamp, runnable_instruction_sets
from tensorwright.plan.plan import Binding, Executable, Json, Plan, PlanStep, Slice
from tensorwright.plan.seal import sealed
from tensorwright.tensor.dim import Dim, Symbol, expression
from tensorwright.tensor.dtype import FLOAT32, DType
from tensorwright.tensor.type import TensorType

SCALE = np.array([2.0, -3.0, 0.5, 7.0], np.float32)
WIDTH = SCALE.size
BATCH = Symbol("N", 1, 4, 64)
IS_ARM = os.uname().machine == "aarch64"
FUTEX = 98 if IS_ARM else 202
PAUSE = "@llvm.aarch64.hint(i32 1)" if IS_ARM else "@llvm.x86.sse2.pause()"

THREADING = f"""
declare void {PAUSE.replace(" 1", "")}
declare i64 @llvm.readcyclecounter()

define internal ptr @field(ptr %context, i64 %offset) alwaysinline {{
  %at = getelementptr i8, ptr %context, i64 %offset
  %value = load ptr, ptr %at, align 8
  ret ptr %value
}}

define internal ptr @counter(ptr %context, i64 %offset) alwaysinline {{
  %team = call ptr @field(ptr %context, i64 {field_offset("team")})
  %counter = getelementptr i8, ptr %team, i64 %offset
  ret ptr %counter
}}

define internal void @futex(ptr %context, ptr %word, i64 %operation, i64 %value) noinline {{
entry:
  %syscall = call ptr @field(ptr %context, i64 {field_offset("syscall")})
  %missing = icmp eq ptr %syscall, null
  br i1 %missing, label %done, label %call
call:
  call i64 (i64, ...) %syscall(i64 {FUTEX}, ptr %word, i64 %operation, i64 %value, ptr null, ptr null, i64 0)
  br label %done
done:
  ret void
}}

define internal void @tick(ptr %context, i64 %thread, i64 %step) alwaysinline {{
entry:
  %profile = call ptr @field(ptr %context, i64 {field_offset("profile")})
  %off = icmp eq ptr %profile, null
  %other = icmp ne i64 %thread, 0
  %skip = or i1 %off, %other
  br i1 %skip, label %done, label %write
write:
  %now = call i64 @llvm.readcyclecounter()
  %slot = getelementptr i64, ptr %profile, i64 %step
  store i64 %now, ptr %slot, align 8
  br label %done
done:
  ret void
}}

define internal void @barrier(ptr %context) alwaysinline {{
entry:
  %count = call ptr @field(ptr %context, i64 {field_offset("threads")})
  %count.wide = ptrtoint ptr %count to i64
  %threads = trunc i64 %count.wide to i32
  %arrived = call ptr @counter(ptr %context, i64 {TEAM_ARRIVED})
  %generation = call ptr @counter(ptr %context, i64 {TEAM_GENERATION})
  %before = load atomic i32, ptr %generation monotonic, align 4
  %old = atomicrmw add ptr %arrived, i32 1 acq_rel
  %new = add i32 %old, 1
  %last = icmp eq i32 %new, %threads
  br i1 %last, label %open, label %spin
open:
  store atomic i32 0, ptr %arrived monotonic, align 4
  %next = add i32 %before, 1
  store atomic i32 %next, ptr %generation release, align 4
  ret void
spin:
  call void {PAUSE}
  %seen = load atomic i32, ptr %generation acquire, align 4
  %same = icmp eq i32 %seen, %before
  br i1 %same, label %spin, label %done
done:
  ret void
}}

define void @run(ptr %context) {{
entry:
  %count = call ptr @field(ptr %context, i64 {field_offset("threads")})
  %threads = ptrtoint ptr %count to i64
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %go, label %wake
wake:
  %word = call ptr @counter(ptr %context, i64 {TEAM_WAKE})
  %old = atomicrmw add ptr %word, i32 1 release
  call void @futex(ptr %context, ptr %word, i64 129, i64 2147483647)
  br label %go
go:
  call void @body(ptr %context, i64 0)
  ret void
}}

define void @stop(ptr %context) {{
  %flag = call ptr @counter(ptr %context, i64 {TEAM_STOP})
  store atomic i32 1, ptr %flag release, align 4
  %word = call ptr @counter(ptr %context, i64 {TEAM_WAKE})
  %old = atomicrmw add ptr %word, i32 1 release
  call void @futex(ptr %context, ptr %word, i64 129, i64 2147483647)
  ret void
}}

define void @worker(ptr %context, i64 %thread) {{
entry:
  %word = call ptr @counter(ptr %context, i64 {TEAM_WAKE})
  %flag = call ptr @counter(ptr %context, i64 {TEAM_STOP})
  %ready = call ptr @counter(ptr %context, i64 {TEAM_READY})
  %first = load atomic i32, ptr %word acquire, align 4
  %counted = atomicrmw add ptr %ready, i32 1 acq_rel
  br label %wait
wait:
  %seen = phi i32 [%first, %entry], [%now, %work]
  br label %spin
spin:
  %turn = phi i32 [0, %wait], [%turn.next, %pause], [0, %sleep]
  %now = load atomic i32, ptr %word acquire, align 4
  %same = icmp eq i32 %now, %seen
  br i1 %same, label %idle, label %awake
idle:
  %patient = icmp ult i32 %turn, 2000
  br i1 %patient, label %pause, label %sleep
pause:
  call void {PAUSE}
  %turn.next = add i32 %turn, 1
  br label %spin
sleep:
  %seen.wide = zext i32 %seen to i64
  call void @futex(ptr %context, ptr %word, i64 128, i64 %seen.wide)
  br label %spin
awake:
  %stopped = load atomic i32, ptr %flag acquire, align 4
  %stop = icmp ne i32 %stopped, 0
  br i1 %stop, label %leave, label %work
work:
  call void @body(ptr %context, i64 %thread)
  br label %wait
leave:
  ret void
}}
"""

REVERSED_SCALING = f"""
define internal void @body(ptr %context, i64 %thread) noinline {{
entry:
  %bindings = call ptr @field(ptr %context, i64 {field_offset("bindings")})
  %x = load ptr, ptr %bindings, align 8
  %y.at = getelementptr ptr, ptr %bindings, i64 1
  %y = load ptr, ptr %y.at, align 8
  %weights = call ptr @field(ptr %context, i64 {field_offset("weights")})
  %arena = call ptr @field(ptr %context, i64 {field_offset("arena")})
  %workspaces = call ptr @field(ptr %context, i64 {field_offset("workspace")})
  %offset = mul i64 %thread, 64
  %workspace = getelementptr i8, ptr %workspaces, i64 %offset
  %symbols = call ptr @field(ptr %context, i64 {field_offset("symbols")})
  %rows = load i64, ptr %symbols, align 8
  %count = mul i64 %rows, {WIDTH}
  %count.pointer = call ptr @field(ptr %context, i64 {field_offset("threads")})
  %threads = ptrtoint ptr %count.pointer to i64
  call void @tick(ptr %context, i64 %thread, i64 0)
  br label %scale
scale:
  %i = phi i64 [%thread, %entry], [%i.next, %scale.body]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %scale.body, label %middle
scale.body:
  %column = urem i64 %i, {WIDTH}
  %w.at = getelementptr float, ptr %weights, i64 %column
  %w = load float, ptr %w.at, align 4
  %x.at = getelementptr float, ptr %x, i64 %i
  %v = load float, ptr %x.at, align 4
  %p = fmul float %v, %w
  store float %p, ptr %workspace, align 4
  %q = load float, ptr %workspace, align 4
  %t.at = getelementptr float, ptr %arena, i64 %i
  store float %q, ptr %t.at, align 4
  %i.next = add i64 %i, %threads
  br label %scale
middle:
  call void @barrier(ptr %context)
  call void @tick(ptr %context, i64 %thread, i64 1)
  br label %reverse
reverse:
  %j = phi i64 [%thread, %middle], [%j.next, %reverse.body]
  %left = icmp ult i64 %j, %count
  br i1 %left, label %reverse.body, label %end
reverse.body:
  %last = sub i64 %count, 1
  %k = sub i64 %last, %j
  %u.at = getelementptr float, ptr %arena, i64 %k
  %u = load float, ptr %u.at, align 4
  %o.at = getelementptr float, ptr %y, i64 %j
  store float %u, ptr %o.at, align 4
  %j.next = add i64 %j, %threads
  br label %reverse
end:
  call void @barrier(ptr %context)
  call void @tick(ptr %context, i64 %thread, i64 2)
  ret void
}}
"""


def plan(threads: int = 1, batch: Symbol = BATCH, batch_symbol: str | None = "N", name: str = "scaling") -> Plan:
    """See the module. `batch` may be any symbol."""
    shape = (expression(batch), WIDTH)
    return _plan(
        name,
        REVERSED_SCALING,
        (
            Binding("x", "input", TensorType(FLOAT32, shape)),
            Binding("y", "output", TensorType(FLOAT32, shape)),
        ),
        symbols=(batch,),
        batch_symbol=batch_symbol,
        arena_bytes=batch.max * WIDTH * 4,
        workspace_bytes=64,
        threads=threads,
        weights=SCALE.tobytes(),
        report={"steps": [{"name": "scale"}, {"name": "reverse"}]},
        steps=_scaling_steps(4 * WIDTH * expression(batch)),
    )


def _scaling_steps(size: Dim) -> tuple[PlanStep, ...]:
    x, y, between = Slice("binding", 0, size), Slice("binding", 1, size), Slice("arena", 0, size)
    return (
        PlanStep((between,), (x, Slice("weights", 0, SCALE.nbytes)), 4),
        PlanStep((y,), (between,), 0),
    )


def expected(x: np.ndarray) -> np.ndarray:
    """What `plan` computes."""
    return (x * SCALE).reshape(-1)[::-1].reshape(x.shape)


def copy_plan(dtype: DType, shape: tuple[int, ...], inputs: int = 1, name: str = "copy", **changes: object) -> Plan:
    """Inputs x0 … of a static shape and outputs y0 … with the same bytes."""
    type = TensorType(dtype, shape)
    body = _COPY_START + "".join(_copy(number, number + inputs, type.max_bytes) for number in range(inputs)) + _COPY_END
    bindings = [Binding(f"x{number}", "input", type) for number in range(inputs)]
    bindings += [Binding(f"y{number}", "output", type) for number in range(inputs)]
    slices = [Slice("binding", number, type.max_bytes) for number in range(2 * inputs)]
    steps = (PlanStep(tuple(slices[inputs:]), tuple(slices[:inputs]), 0),)
    return sealed(replace(_plan(name, body, tuple(bindings), steps=steps), **changes))


_COPY_START = f"""
define internal void @body(ptr %context, i64 %thread) noinline {{
entry:
  %bindings = call ptr @field(ptr %context, i64 {field_offset("bindings")})
  br label %loop0
"""

_COPY_END = """
  call void @barrier(ptr %context)
  ret void
}
"""


def _copy(source: int, target: int, count: int) -> str:
    s, start = source, "entry" if source == 0 else f"done{source - 1}"
    return f"""
loop{s}:
  %i{s} = phi i64 [%thread, %{start}], [%i{s}.next, %copy{s}]
  %more{s} = icmp ult i64 %i{s}, {count}
  br i1 %more{s}, label %copy{s}, label %done{s}
copy{s}:
  %x{s}.slot = getelementptr ptr, ptr %bindings, i64 {source}
  %y{s}.slot = getelementptr ptr, ptr %bindings, i64 {target}
  %x{s} = load ptr, ptr %x{s}.slot, align 8
  %y{s} = load ptr, ptr %y{s}.slot, align 8
  %x{s}.at = getelementptr i8, ptr %x{s}, i64 %i{s}
  %y{s}.at = getelementptr i8, ptr %y{s}, i64 %i{s}
  %value{s} = load i8, ptr %x{s}.at, align 1
  store i8 %value{s}, ptr %y{s}.at, align 1
  %threads{s}.pointer = call ptr @field(ptr %context, i64 {field_offset("threads")})
  %threads{s} = ptrtoint ptr %threads{s}.pointer to i64
  %i{s}.next = add i64 %i{s}, %threads{s}
  br label %loop{s}
done{s}:""" + (f"\n  br label %loop{s + 1}" if target + 1 < 2 * (target - source) else "")


def _plan(
    name: str,
    body: str,
    bindings: tuple[Binding, ...],
    symbols: tuple[Symbol, ...] = (),
    batch_symbol: str | None = None,
    arena_bytes: int = 0,
    workspace_bytes: int = 0,
    threads: int = 1,
    weights: bytes = b"",
    report: dict[str, Json] | None = None,
    steps: tuple[PlanStep, ...] = (),
) -> Plan:
    code, entries = compile_image(THREADING + body)
    plan = Plan(
        name=name,
        stamp=host_stamp(runnable_instruction_sets()[-1]),
        bindings=bindings,
        symbols=symbols,
        batch_symbol=batch_symbol,
        executable=Executable(code, entries),
        arena_bytes=arena_bytes,
        workspace_bytes=workspace_bytes,
        threads=threads,
        weights=memoryview(weights),
        report=report or {},
        steps=steps,
    )
    return sealed(plan)


@cache
def compile_image(ir: str) -> tuple[bytes, dict[str, int]]:
    """The code of a module without relocations, and the offsets of run, worker and stop."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu="generic" if IS_ARM else "x86-64", opt=2, reloc="pic", codemodel="small"
    )
    module = llvm.parse_assembly(ir)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return _text_section(machine.emit_object(module))


def _text_section(elf: bytes) -> tuple[bytes, dict[str, int]]:
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names_index = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", elf, table + size * n) for n in range(count)]

    def text_at(section: int, offset: int) -> str:
        start = headers[section][4] + offset
        return elf[start : elf.index(b"\0", start)].decode()

    names = [text_at(names_index, header[0]) for header in headers]
    assert ".rela.text" not in names, "the code refers to something outside itself"
    text, symbols = names.index(".text"), headers[names.index(".symtab")]
    entries = {}
    for at in range(symbols[4], symbols[4] + symbols[5], 24):
        name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", elf, at)
        if section == text and text_at(symbols[6], name) in ("run", "worker", "stop"):
            entries[text_at(symbols[6], name)] = value
    return elf[headers[text][4] : headers[text][4] + headers[text][5]], entries
