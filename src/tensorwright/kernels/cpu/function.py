"""The function of a kernel: its signature, and what writes its body."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.kernels.tactic import NAME
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.dtype import INT64


def signature(inputs: int, symbols: int, in_place: Sequence[int] = ()) -> str:
    """The signature of a kernel's function. An operand that may share the output's memory is not `noalias`."""
    arguments = ["ptr %out" if in_place else "ptr noalias %out"]
    arguments += [f"ptr {'' if i in in_place else 'noalias '}%in{i}" for i in range(inputs)]
    arguments += ["ptr noalias %workspace"]
    arguments += [f"i64 %s{i}" for i in range(symbols)]
    return f"void @{NAME}({', '.join([*arguments, 'i64 %begin', 'i64 %end'])})"


def argument_emitter(inputs: int, symbols: Sequence[Symbol], target: Target) -> ScalarEmitter:
    """What writes the body of a kernel's function: it knows the arguments of `signature`."""
    operands = [Pointer(f"%in{number}") for number in range(inputs)]
    values = {symbol.name: Register(f"%s{number}", INT64) for number, symbol in enumerate(symbols)}
    return ScalarEmitter(FunctionBuilder(target=target), target, operands, values)
