"""Functions in place of instructions on vectors, for processors that lack them; see `emulation`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tensorwright.codegen.target import Target

_DECLARATION = re.compile(r"^declare (<(\d+) x \w+>) @llvm\.x86\.(avx512[\w.]+)\.(\d+)\((.*)\)\n", re.MULTILINE)


@dataclass(frozen=True)
class Instruction:
    """Which targets have it, and for a number of lanes the lines of a function that computes %result of %0, %1, …"""

    is_in: Callable[[Target], bool]
    lines: Callable[[int], str]


def with_functions(code: str, processor: Target) -> str:
    """A module with functions in place of what a processor has no instructions for."""
    for declaration, result, lanes, name, bits, operands in _found(code):
        known = INSTRUCTIONS[name]
        if known.is_in(processor):
            continue
        own, lines = f"@.Lemulated.{name}.{bits}", known.lines(int(lanes))
        given = ", ".join(f"{operand.removesuffix(' immarg')} %{n}" for n, operand in enumerate(operands.split(", ")))
        code = code.replace(declaration, "").replace(f"@llvm.x86.{name}.{bits}(", f"{own}(")
        function = f'define internal {result} {own}({given}) nounwind alwaysinline "no-builtins" {{'
        code = f"{declared(lines, code)}{function}\n{lines}\n  ret {result} %result\n}}\n{code}"
    return code


def _found(code: str) -> list[tuple[str, ...]]:
    return [(match[0], *match.groups()) for match in _DECLARATION.finditer(code)]


def declared(lines: str, code: str) -> str:
    """The declarations of the multiply-adds that lines call, as far as a module lacks them."""
    found = ""
    for lanes in sorted(set(re.findall(r"@llvm\.fma\.v(\d+)f32\(", lines))):
        vector = f"<{lanes} x float>"
        line = f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})\n"
        found += "" if line in code else line
    return found


def dot_of_pairs(lanes: int) -> str:
    """%sum of %before and the products of two pairs of bfloat16 in each lane of the integers %a and %b."""
    integers, floats = f"<{lanes} x i32>", f"<{lanes} x float>"
    return f"""
  %a.low.bits = shl {integers} %a, splat (i32 16)
  %b.low.bits = shl {integers} %b, splat (i32 16)
  %a.high.bits = and {integers} %a, splat (i32 -65536)
  %b.high.bits = and {integers} %b, splat (i32 -65536)
  %a.low = bitcast {integers} %a.low.bits to {floats}
  %b.low = bitcast {integers} %b.low.bits to {floats}
  %a.high = bitcast {integers} %a.high.bits to {floats}
  %b.high = bitcast {integers} %b.high.bits to {floats}
  %half = call {floats} @llvm.fma.v{lanes}f32({floats} %a.low, {floats} %b.low, {floats} %before)
  %sum = call {floats} @llvm.fma.v{lanes}f32({floats} %a.high, {floats} %b.high, {floats} %half)"""


def dot_of_bytes(lanes: int) -> str:
    """%sum of %before and the products of four unsigned bytes of %a and four signed ones of %b in each lane."""
    lines, before, integers = [], "%before", f"<{lanes} x i32>"
    for number in range(4):
        after = "%sum" if number == 3 else f"%sum{number}"
        lines += [
            f"  %a.up{number} = shl {integers} %a, splat (i32 {24 - 8 * number})",
            f"  %b.up{number} = shl {integers} %b, splat (i32 {24 - 8 * number})",
            f"  %a{number} = lshr {integers} %a.up{number}, splat (i32 24)",
            f"  %b{number} = ashr {integers} %b.up{number}, splat (i32 24)",
            f"  %p{number} = mul {integers} %a{number}, %b{number}",
            f"  {after} = add {integers} {before}, %p{number}",
        ]
        before = after
    return "\n".join(lines)


def _dot(step: Callable[[int], str], factors: str) -> Callable[[int], str]:
    """The lines of a dot product. factors: what is multiplied in one lane, such as four bytes."""
    count, element = factors.split(" x ")

    def lines(lanes: int) -> str:
        packed, integers = f"<{int(count) * lanes} x {element}>", f"<{lanes} x i32>"
        return f"""
  %a = bitcast {packed} %1 to {integers}
  %b = bitcast {packed} %2 to {integers}
{step(lanes).replace("%before", "%0").replace("%sum", "%result")}"""

    return lines


def _to_bfloat16(lanes: int) -> str:
    """Rounded to the nearest, the even one of two; numbers below the normal ones become zeros."""
    integers, flags = f"<{lanes} x i32>", f"<{lanes} x i1>"
    return f"""
  %bits = bitcast <{lanes} x float> %0 to {integers}
  %high = lshr {integers} %bits, splat (i32 16)
  %odd = and {integers} %high, splat (i32 1)
  %more = add {integers} %odd, splat (i32 32767)
  %up = add {integers} %bits, %more
  %rounded = lshr {integers} %up, splat (i32 16)
  %is.nan = fcmp uno <{lanes} x float> %0, %0
  %nan = or {integers} %high, splat (i32 64)
  %usual = select {flags} %is.nan, {integers} %nan, {integers} %rounded
  %exponent = and {integers} %bits, splat (i32 2139095040)
  %is.tiny = icmp eq {integers} %exponent, zeroinitializer
  %sign = and {integers} %high, splat (i32 32768)
  %all = select {flags} %is.tiny, {integers} %sign, {integers} %usual
  %narrow = trunc {integers} %all to <{lanes} x i16>
  %result = bitcast <{lanes} x i16> %narrow to <{lanes} x bfloat>"""


def _scaled(kind: str, bits: int, digits: int) -> Callable[[int], str]:
    """%0 times a whole power of two, in two steps: alone, the power may be no normal number. Masks and the operands of
    masked lanes are not looked at.
    """
    bias = (1 << (bits - digits - 2)) - 1
    most = f"{2 * bias - 2}.0"

    def lines(lanes: int) -> str:
        integers, floats, flags = f"<{lanes} x i{bits}>", f"<{lanes} x {kind}>", f"<{lanes} x i1>"
        factors = "".join(
            f"""
  %{name}.biased = add {integers} %{name}, splat (i{bits} {bias})
  %{name}.bits = shl {integers} %{name}.biased, splat (i{bits} {digits})
  %{name}.power = bitcast {integers} %{name}.bits to {floats}"""
            for name in ("half", "rest")
        )
        return f"""
  %is.more = fcmp ogt {floats} %1, splat ({kind} {most})
  %is.less = fcmp ult {floats} %1, splat ({kind} -{most})
  %low = select {flags} %is.less, {floats} splat ({kind} -{most}), {floats} %1
  %within = select {flags} %is.more, {floats} splat ({kind} {most}), {floats} %low
  %exponent = fptosi {floats} %within to {integers}
  %half = ashr {integers} %exponent, splat (i{bits} 1)
  %rest = sub {integers} %exponent, %half
{factors}
  %once = fmul {floats} %0, %half.power
  %result = fmul {floats} %once, %rest.power"""

    return lines


def _looked_up(lanes: int) -> str:
    """The entries of the table %0 that %1 says, one after the other."""
    lines, before = [f"  %places = and <{lanes} x i32> %1, splat (i32 {lanes - 1})"], "poison"
    for lane in range(lanes):
        after = "%result" if lane == lanes - 1 else f"%entries{lane}"
        lines += [
            f"  %place{lane} = extractelement <{lanes} x i32> %places, i32 {lane}",
            f"  %entry{lane} = extractelement <{lanes} x float> %0, i32 %place{lane}",
            f"  {after} = insertelement <{lanes} x float> {before}, float %entry{lane}, i32 {lane}",
        ]
        before = after
    return "\n".join(lines)


INSTRUCTIONS = {
    "avx512bf16.dpbf16ps": Instruction(lambda target: target.has_bfloat16_dot, _dot(dot_of_pairs, "2 x bfloat")),
    "avx512bf16.cvtneps2bf16": Instruction(lambda target: target.has_bfloat16_dot, _to_bfloat16),
    "avx512.vpdpbusd": Instruction(lambda target: target.has_integer_dot, _dot(dot_of_bytes, "4 x i8")),
    "avx512.mask.scalef.ps": Instruction(lambda target: target.has_scale, _scaled("float", 32, 23)),
    "avx512.mask.scalef.pd": Instruction(lambda target: target.has_scale, _scaled("double", 64, 52)),
    "avx512.permvar.sf": Instruction(lambda target: target.has_lookup, _looked_up),
}
"""By what LLVM calls them, without the width of the vectors."""
