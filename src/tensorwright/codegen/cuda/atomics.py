"""Counters in global memory by which blocks of a grid let each other know what they have written there.

What the threads of a block wrote before they met, and one of them counted (release), is seen by those that then meet a
thread of another block which has counted after it (acquire): "Memory Consistency Model" in the PTX manual.
"""

from __future__ import annotations

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Pointer, Register
from tensorwright.tensor.dtype import INT32, INT64


def counted(builder: FunctionBuilder, counter: Pointer) -> Register:
    """What a counter holds (i32), and no more: not what those that counted had written."""
    return _assembly(builder, "ld.relaxed.gpu.global.u32 $0, [$1];", "=r,l", _address(builder, counter))


def count_up(builder: FunctionBuilder, counter: Pointer, last: Register) -> Register:
    """Count one more, or from `last` (i32) on to 0 again; what the counter was (i32)."""
    text = "atom.acq_rel.gpu.global.inc.u32 $0, [$1], $2;"
    return _assembly(builder, text, "=r,l,r", f"{_address(builder, counter)}, {last.typed}")


def _address(builder: FunctionBuilder, counter: Pointer) -> str:
    return builder.value(f"ptrtoint ptr {counter.text} to i64", INT64).typed


def _assembly(builder: FunctionBuilder, text: str, constraints: str, operands: str) -> Register:
    return builder.value(f'call i32 asm sideeffect "{text}", "{constraints},~{{memory}}"({operands}) nounwind', INT32)
