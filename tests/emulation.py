"""Kernels for AVX-512, with AMX's tile registers, and with arithmetic in float16, on processors that have AVX2.

The instructions become functions: what a kernel calls is replaced in its text, so that everything else is the code that
those processors get, but that LLVM takes two registers where this one's are shorter. The tile registers lie on the
stack of the kernel's function, and the functions have names that are local to their object. A register that was
configured for no rows, or for sizes that do not fit together, ends the process, as it does there. Multiply-adds of
float16 are rounded to float32 first, which makes a difference once in thousands of times; other arithmetic in float16
LLVM does in float32 by itself, with the same results.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from emulated_instructions import declared, dot_of_bytes, dot_of_pairs, with_functions
from targets import RUNNABLE
from tensorwright.codegen.cpu import pool
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.codegen.target import Target
from tensorwright.devices.cpu import host, permission
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS
from tensorwright.kernels.tactic import Kernel
from tensorwright.tune.cpu import kernel_runner, machine, peak
from tensorwright.tune.cpu.kernel_runner import LoadedKernel

PROCESSOR = TARGETS[RUNNABLE[0]]
"""What emulated code is made for: the best that this one has."""

_HALF_FMA = re.compile(r"^declare <(\d+) x half> @llvm\.fma\.v\d+f16\(.*\)\n", re.MULTILINE)
_CALL = re.compile(r"call void @llvm\.x86\.(ldtilecfg|tile\w+|tdp\w+)\(")
_DECLARATION = re.compile(r"^declare void @llvm\.x86\.(ldtilecfg|tile\w+|tdp\w+)\(.*\)\n", re.MULTILINE)
_CONFIGURATION, _TILE = 64, 1024
_STATE = _CONFIGURATION + 8 * _TILE

FUNCTIONS = f"""
attributes #0 = {{ noinline nounwind "no-builtins" }}
declare void @llvm.trap()

define internal ptr @.Lemulated.tile(ptr %state, i8 %number) #0 {{
  %wide = zext i8 %number to i64
  %bytes = mul i64 %wide, {_TILE}
  %distance = add i64 %bytes, {_CONFIGURATION}
  %tile = getelementptr i8, ptr %state, i64 %distance
  ret ptr %tile
}}

define internal i64 @.Lemulated.rows(ptr %state, i8 %number) #0 {{
  %wide = zext i8 %number to i64
  %distance = add i64 %wide, 48
  %at = getelementptr i8, ptr %state, i64 %distance
  %rows = load i8, ptr %at, align 1
  %found = zext i8 %rows to i64
  ret i64 %found
}}

define internal i64 @.Lemulated.width(ptr %state, i8 %number) #0 {{
  %wide = zext i8 %number to i64
  %double = mul i64 %wide, 2
  %distance = add i64 %double, 16
  %at = getelementptr i8, ptr %state, i64 %distance
  %bytes = load i16, ptr %at, align 1
  %found = zext i16 %bytes to i64
  ret i64 %found
}}

define internal void @.Lemulated.require(i1 %holds) #0 {{
entry:
  br i1 %holds, label %fine, label %broken
broken:
  call void @llvm.trap()
  unreachable
fine:
  ret void
}}

define internal void @.Lemulated.clear(ptr %place, i64 %bytes) #0 {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %at = getelementptr i8, ptr %place, i64 %i
  store <64 x i8> zeroinitializer, ptr %at, align 1
  %next = add i64 %i, 64
  %more = icmp ult i64 %next, %bytes
  br i1 %more, label %loop, label %done
done:
  ret void
}}

define internal void @.Lemulated.ldtilecfg(ptr %state, ptr %table) #0 {{
  %all = load <64 x i8>, ptr %table, align 1
  store <64 x i8> %all, ptr %state, align 1
  %palette = load i8, ptr %state, align 1
  %known = icmp eq i8 %palette, 1
  call void @.Lemulated.require(i1 %known)
  %tiles = call ptr @.Lemulated.tile(ptr %state, i8 0)
  call void @.Lemulated.clear(ptr %tiles, i64 {8 * _TILE})
  ret void
}}

define internal void @.Lemulated.tilerelease(ptr %state) #0 {{
  call void @.Lemulated.clear(ptr %state, i64 {_STATE})
  ret void
}}

define internal void @.Lemulated.tilezero(ptr %state, i8 %number) #0 {{
  call void @.Lemulated.require_valid(ptr %state, i8 %number)
  %tile = call ptr @.Lemulated.tile(ptr %state, i8 %number)
  call void @.Lemulated.clear(ptr %tile, i64 {_TILE})
  ret void
}}

define internal void @.Lemulated.require_valid(ptr %state, i8 %number) #0 {{
  %rows = call i64 @.Lemulated.rows(ptr %state, i8 %number)
  %width = call i64 @.Lemulated.width(ptr %state, i8 %number)
  %less = sub i64 %rows, 1
  %few = icmp ult i64 %less, 16
  %narrow = icmp eq i64 %width, 64
  %valid = and i1 %few, %narrow
  call void @.Lemulated.require(i1 %valid)
  ret void
}}

define internal void @.Lemulated.move(ptr %to, i64 %to.step, ptr %from, i64 %from.step, i64 %rows) #0 {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %source.distance = mul i64 %i, %from.step
  %source = getelementptr i8, ptr %from, i64 %source.distance
  %row = load <64 x i8>, ptr %source, align 1
  %place.distance = mul i64 %i, %to.step
  %place = getelementptr i8, ptr %to, i64 %place.distance
  store <64 x i8> %row, ptr %place, align 1
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %rows
  br i1 %more, label %loop, label %done
done:
  ret void
}}

define internal void @.Lemulated.tileloadd64(ptr %state, i8 %number, ptr %from, i64 %step) #0 {{
  call void @.Lemulated.tilezero(ptr %state, i8 %number)
  %tile = call ptr @.Lemulated.tile(ptr %state, i8 %number)
  %rows = call i64 @.Lemulated.rows(ptr %state, i8 %number)
  call void @.Lemulated.move(ptr %tile, i64 64, ptr %from, i64 %step, i64 %rows)
  ret void
}}

define internal void @.Lemulated.tilestored64(ptr %state, i8 %number, ptr %to, i64 %step) #0 {{
  call void @.Lemulated.require_valid(ptr %state, i8 %number)
  %tile = call ptr @.Lemulated.tile(ptr %state, i8 %number)
  %rows = call i64 @.Lemulated.rows(ptr %state, i8 %number)
  call void @.Lemulated.move(ptr %to, i64 %step, ptr %tile, i64 64, i64 %rows)
  ret void
}}
"""


def _product(name: str, total: str, step: str) -> str:
    """A function that multiplies two registers: `step` makes %sum of %before, the group %a, and the groups %b."""
    return f"""
define internal void @.Lemulated.{name}(ptr %state, i8 %c, i8 %left, i8 %right) #0 {{
entry:
  call void @.Lemulated.require_valid(ptr %state, i8 %c)
  call void @.Lemulated.require_valid(ptr %state, i8 %left)
  call void @.Lemulated.require_valid(ptr %state, i8 %right)
  %rows = call i64 @.Lemulated.rows(ptr %state, i8 %c)
  %rows.left = call i64 @.Lemulated.rows(ptr %state, i8 %left)
  %rows.right = call i64 @.Lemulated.rows(ptr %state, i8 %right)
  %same = icmp eq i64 %rows, %rows.left
  %whole = icmp eq i64 %rows.right, 16
  %fit = and i1 %same, %whole
  call void @.Lemulated.require(i1 %fit)
  %to = call ptr @.Lemulated.tile(ptr %state, i8 %c)
  %from.a = call ptr @.Lemulated.tile(ptr %state, i8 %left)
  %from.b = call ptr @.Lemulated.tile(ptr %state, i8 %right)
  br label %row
row:
  %m = phi i64 [ 0, %entry ], [ %m.next, %row.end ]
  %place = getelementptr <16 x {total}>, ptr %to, i64 %m
  %old = load <16 x {total}>, ptr %place, align 1
  br label %group
group:
  %k = phi i64 [ 0, %row ], [ %k.next, %group ]
  %before = phi <16 x {total}> [ %old, %row ], [ %sum, %group ]
  %a.row = getelementptr <16 x i32>, ptr %from.a, i64 %m
  %a.at = getelementptr i32, ptr %a.row, i64 %k
  %a.one = load i32, ptr %a.at, align 1
  %a.first = insertelement <16 x i32> poison, i32 %a.one, i64 0
  %a = shufflevector <16 x i32> %a.first, <16 x i32> poison, <16 x i32> zeroinitializer
  %b.at = getelementptr <16 x i32>, ptr %from.b, i64 %k
  %b = load <16 x i32>, ptr %b.at, align 1
{step}
  %k.next = add i64 %k, 1
  %k.more = icmp ult i64 %k.next, 16
  br i1 %k.more, label %group, label %row.end
row.end:
  store <16 x {total}> %sum, ptr %place, align 1
  %m.next = add i64 %m, 1
  %m.more = icmp ult i64 %m.next, %rows
  br i1 %m.more, label %row, label %done
done:
  ret void
}}
"""


PRODUCTS = {
    "tdpbf16ps": _product("tdpbf16ps", "float", dot_of_pairs(16)),
    "tdpbusd": _product("tdpbusd", "i32", dot_of_bytes(16)),
}


def load(kernel: Kernel, target: Target) -> LoadedKernel:
    """A kernel for a target, emulated if this processor lacks its instructions."""
    code, own = compiled(kernel.code, target)
    return LoadedKernel(kernel, own, code)


def compiled(code: str, target: Target) -> tuple[bytes, Target]:
    """A relocatable object of a module for a target that this processor can run, and what it was made for."""
    if target.name in RUNNABLE:
        return compile_object(code, target), target
    return compile_emulated(code, target), PROCESSOR


def pretend(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """This processor has an instruction set, whatever it lacks of it: in this process code for it is emulated."""
    if target in RUNNABLE:
        return
    present = host.host_features().union(INSTRUCTION_SETS[target].features)
    monkeypatch.setattr(host, "processor_features", lambda: present)
    monkeypatch.setattr(host, "host_features", lambda: present)
    monkeypatch.setattr(permission, "tiles_are_permitted", lambda: True)
    for module in (pool, kernel_runner, machine, peak):
        monkeypatch.setattr(module, "compile_object", compile_emulated)
    monkeypatch.setattr(pool.CompilerPool, "_start", lambda self: None)


def compile_emulated(code: str, target: Target) -> bytes:
    """A relocatable object, for this processor, of a module for a target some of whose instructions it lacks."""
    return compile_object(emulated(code), replace(target, cpu=PROCESSOR.cpu, features=PROCESSOR.features))


def emulated(code: str) -> str:
    """A module with functions in place of instructions; its last function is a kernel."""
    code = with_functions(code, PROCESSOR)
    code = code if PROCESSOR.has_half_arithmetic else _with_half_fma(code)
    return code if PROCESSOR.has_tiles else _with_tiles(code)


def _with_half_fma(code: str) -> str:
    """A module with functions that multiply and add in float16."""
    for lanes in _HALF_FMA.findall(code):
        halves, floats = f"<{lanes} x half>", f"<{lanes} x float>"
        widened = "\n".join(f"  %{each}.wide = fpext {halves} %{each} to {floats}" for each in "abc")
        lines = f"""{widened}
  %sum = call {floats} @llvm.fma.v{lanes}f32({floats} %a.wide, {floats} %b.wide, {floats} %c.wide)
  %result = fptrunc {floats} %sum to {halves}"""
        name = f"@.Lemulated.fma.{lanes}"
        function = f'define internal {halves} {name}({halves} %a, {halves} %b, {halves} %c) nounwind "no-builtins" {{'
        code = f"{declared(lines, code)}{function}\n{lines}\n  ret {halves} %result\n}}\n{code}"
    return re.sub(r"@llvm\.fma\.v(\d+)f16", r"@.Lemulated.fma.\1", _HALF_FMA.sub("", code))


def _with_tiles(code: str) -> str:
    """A module with functions in place of what AMX has instructions for."""
    used = {match[1] for match in _DECLARATION.finditer(code)}
    if not used:
        return code
    code = _CALL.sub(r"call void @.Lemulated.\1(ptr %emulated.state, ", _DECLARATION.sub("", code))
    code = code.replace("(ptr %emulated.state, )", "(ptr %emulated.state)")
    before, name, after = code.rpartition("define void @")
    after = after.replace("entry:\n", f"entry:\n  %emulated.state = alloca [{_STATE} x i8], align 64\n", 1)
    products = "\n".join(PRODUCTS[each] for each in sorted(used & set(PRODUCTS)))
    return "\n".join((declared(products, code), FUNCTIONS, products, before + name + after))
