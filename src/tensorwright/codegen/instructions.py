"""Writes LLVM IR as text: arithmetic, vectors, addresses and control flow.

What is written is what LLVM gets: nothing is optimised here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register, i64, literal, memory_name, register_dtype, register_name
from tensorwright.tensor.dtype import BOOL, FLOAT32, FLOAT64, INT64, DType


@dataclass
class Loop:
    """A loop: its index (i64) and the values carried from one round to the next.

    following: their next values, which the body sets. final: what they are after the loop. step: to the next index
    (i64), which the body may set, too.
    """

    index: Register
    carried: list[Register]
    label: str
    step: Register
    stop: Register
    first: Register
    initial: list[Register]
    at_least_once: bool
    header_position: int
    following: Sequence[Register] = ()
    final: list[Register] = field(default_factory=list)


@dataclass
class InstructionBuilder:
    """Appends instructions to the text of one function.

    Where an instruction takes two operands of one type, the second one may be a number: a constant of that type, in
    every lane. Without a target, instructions that every vector extension but that of plain x86-64 has are taken for
    granted.
    """

    lines: list[str] = field(default_factory=list)
    declarations: set[str] = field(default_factory=set)
    definitions: dict[str, str] = field(default_factory=dict)
    target: Target | None = None
    _count: int = 0
    _block: str = "entry"

    # ---- names, text

    def fresh(self, prefix: str = "v") -> str:
        self._count += 1
        return f"%{prefix}{self._count}"

    def emit(self, text: str) -> None:
        self.lines.append("  " + text)

    def value(self, text: str, dtype: DType, lanes: int = 1) -> Register:
        """Append an instruction that gives a value."""
        name = self.fresh()
        self.emit(f"{name} = {text}")
        return Register(name, dtype, lanes)

    def declare(self, text: str) -> None:
        """Declare an outside function (an LLVM intrinsic) once."""
        self.declarations.add(text)

    def define(self, name: str, text: str) -> None:
        """Add another function of the module once."""
        self.definitions.setdefault(name, text)

    @property
    def block(self) -> str:
        """The label of the block that instructions are appended to."""
        return self._block

    def start_block(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self._block = label

    def new_label(self, prefix: str) -> str:
        return self.fresh(prefix)[1:]

    # ---- arithmetic

    def binary(self, opcode: str, left: Register, right: Register | float) -> Register:
        """A two-operand instruction on equal types."""
        return self.value(f"{opcode} {left.type} {left.text}, {_like(left, right).text}", left.dtype, left.lanes)

    def add(self, left: Register, right: Register | float) -> Register:
        return self.binary("fadd contract" if left.dtype.is_float else "add", left, right)

    def sub(self, left: Register, right: Register | float) -> Register:
        return self.binary("fsub contract" if left.dtype.is_float else "sub", left, right)

    def mul(self, left: Register, right: Register | float) -> Register:
        return self.binary("fmul contract" if left.dtype.is_float else "mul", left, right)

    def scaled(self, value: Register, factor: int) -> Register:
        """An i64 multiplied by a number."""
        return self.mul(value, factor)

    def divided(self, value: Register, extent: int) -> tuple[Register, Register]:
        """Quotient and remainder of an i64 that is not negative, by a positive number."""
        if extent == 1:
            return value, i64(0)
        divisor = i64(extent)
        return self.binary("udiv", value, divisor), self.binary("urem", value, divisor)

    def div(self, left: Register, right: Register | float) -> Register:
        opcode = {"float": "fdiv", "signed": "sdiv"}.get(left.dtype.kind, "udiv")
        return self.binary(opcode, left, right)

    def fma(self, a: Register, b: Register, c: Register) -> Register:
        """``a * b + c``, with one rounding where the target can; `b` may come straight from memory."""
        if self.target is not None and not self.target.has_fma:
            return self.add(self.mul(a, b), c)
        return self.intrinsic("fma", (a, b, c))

    def intrinsic(self, name: str, operands: Sequence[Register | float], flags: str = "") -> Register:
        """An overloaded LLVM intrinsic whose operands and result have one type; `flags` as for fast math."""
        first, *others = operands
        assert isinstance(first, Register)
        suffix = ("" if first.lanes == 1 else f"v{first.lanes}") + _suffix(first.dtype)
        alike = [first, *(_like(first, other) for other in others)]
        return self.call(f"@llvm.{name}.{suffix}", first.dtype, first.lanes, alike, flags)

    def call(self, name: str, dtype: DType, lanes: int, operands: Sequence[Register], flags: str = "") -> Register:
        """Call a function, declaring it when it is an intrinsic."""
        result = register_name(dtype, lanes)
        if name.startswith("@llvm."):
            self.declare(f"declare {result} {name}({', '.join(o.type for o in operands)})")
        opcode = f"call {flags}" if flags else "call"
        return self.value(f"{opcode} {result} {name}({', '.join(o.typed for o in operands)})", dtype, lanes)

    def compare(self, predicate: str, left: Register, right: Register | float) -> Register:
        """A comparison: ``olt``, ``oeq``, … for floats; ``slt``, ``ult``, ``eq``, … for integers."""
        opcode = "fcmp" if left.dtype.is_float else "icmp"
        return self.value(f"{opcode} {predicate} {left.type} {left.text}, {_like(left, right).text}", BOOL, left.lanes)

    def select(self, condition: Register, then: Register, otherwise: Register | float) -> Register:
        if condition.lanes != then.lanes:
            condition = self.splat(condition, then.lanes)
        otherwise = _like(then, otherwise)
        return self.value(f"select {condition.typed}, {then.typed}, {otherwise.typed}", then.dtype, then.lanes)

    def choose(self, condition: Register, then: Pointer, otherwise: Pointer) -> Pointer:
        """One of two addresses."""
        name = self.fresh("p")
        self.emit(f"{name} = select {condition.typed}, ptr {then.text}, ptr {otherwise.text}")
        return Pointer(name)

    def any(self, condition: Register) -> Register:
        """Whether a condition holds in any lane."""
        lanes = condition.lanes
        if lanes == 1:
            return condition
        bits = self.value(f"bitcast {condition.typed} to i{lanes}", INT64).text
        return self.value(f"icmp ne i{lanes} {bits}, 0", BOOL)

    def convert(self, opcode: str, value: Register, dtype: DType) -> Register:
        """A conversion instruction such as ``sext`` or ``fptosi``."""
        target = register_name(dtype, value.lanes)
        return self.value(f"{opcode} {value.typed} to {target}", register_dtype(dtype), value.lanes)

    def bitcast(self, value: Register, dtype: DType) -> Register:
        return self.convert("bitcast", value, dtype)

    def entry(self, numbers: Sequence[int], index: Register) -> Register:
        """``numbers[index]`` for up to 16 numbers below 16: they are the digits of one constant, not in memory."""
        digits = i64(sum(number << 4 * place for place, number in enumerate(numbers)))
        shifted = self.binary("lshr", digits, self.mul(index, 4))
        return self.binary("and", shifted, 15)

    # ---- vectors

    def splat(self, value: Register, lanes: int) -> Register:
        """A scalar in every lane, in the form that LLVM folds into a broadcasting memory operand."""
        if lanes == value.lanes:
            return value
        if value.is_literal:
            return Register(f"splat ({value.typed})", value.dtype, lanes)
        vector = register_name(value.dtype, lanes)
        inserted = self.value(f"insertelement {vector} poison, {value.typed}, i64 0", value.dtype, lanes)
        mask = f"<{lanes} x i32> zeroinitializer"
        return self.value(f"shufflevector {inserted.typed}, {vector} poison, {mask}", value.dtype, lanes)

    def lane_numbers(self, lanes: int, dtype: DType = INT64) -> Register:
        """The vector 0, 1, 2, …"""
        element = register_name(dtype)
        return Register("<" + ", ".join(f"{element} {i}" for i in range(lanes)) + ">", dtype, lanes)

    def extract(self, vector: Register, lane: int) -> Register:
        return self.value(f"extractelement {vector.typed}, i64 {lane}", vector.dtype)

    def shuffle(self, left: Register, right: Register, lanes: Sequence[int]) -> Register:
        """A vector of lanes picked from two others, numbered through."""
        mask = f"<{len(lanes)} x i32> <" + ", ".join(f"i32 {lane}" for lane in lanes) + ">"
        return self.value(f"shufflevector {left.typed}, {right.typed}, {mask}", left.dtype, len(lanes))

    # ---- addresses

    def offset(self, base: Pointer, elements: Register | int, dtype: DType) -> Pointer:
        """The address a number of elements further."""
        text = f"i64 {elements}" if isinstance(elements, int) else elements.typed
        name = self.fresh("p")
        self.emit(f"{name} = getelementptr {memory_name(dtype)}, ptr {base.text}, {text}")
        return Pointer(name)

    def opaque(self, address: Pointer) -> Pointer:
        """The same address, of whose origin the optimiser knows nothing.

        What is loaded at fixed distances from it is then addressed in just this way; without it, hundreds of such loads
        in a loop keep LLVM's loop strength reduction busy for seconds.
        """
        name = self.fresh("p")
        self.emit(f'{name} = call ptr asm "", "=r,0"(ptr {address.text}) memory(none) nounwind')
        return Pointer(name)

    # ---- control flow

    def _begin_loop(
        self,
        start: Register,
        stop: Register,
        step: int = 1,
        carried: Sequence[Register] = (),
        *,
        at_least_once: bool = False,
    ) -> Loop:
        """Open ``for index in range(start, stop, step)``; `carried` are the starting values of what it carries.

        A loop that runs at least once is written with its test at the end.
        """
        label, before = self.new_label("loop"), self._block
        loop = Loop(
            index=Register(self.fresh("i"), INT64),
            carried=[Register(self.fresh("c"), value.dtype, value.lanes) for value in carried],
            label=label,
            step=i64(step),
            stop=stop,
            first=start,
            initial=list(carried),
            at_least_once=at_least_once,
            header_position=0,
        )
        self.emit(f"br label %{label}")
        self.start_block(label)
        loop.header_position = len(self.lines)
        self.lines.append(f"before {before}")
        if not at_least_once:
            test = self.compare("slt", loop.index, stop)
            self.emit(f"br i1 {test.text}, label %{label}.body, label %{label}.end")
            self.start_block(f"{label}.body")
        return loop

    def _end_loop(self, loop: Loop, results: Sequence[Register] = ()) -> list[Register]:
        """Close a loop; `results` are the next values of what it carries. Returns the final values."""
        following = self.add(loop.index, loop.step)
        latch, before = self._block, self.lines[loop.header_position].removeprefix("before ")
        phis = [
            f"  {phi.text} = phi {phi.type} [ {first.text}, %{before} ], [ {after.text}, %{latch} ]"
            for phi, first, after in zip(
                [loop.index, *loop.carried], [loop.first, *loop.initial], [following, *results], strict=True
            )
        ]
        self.lines[loop.header_position] = "\n".join(phis)
        if loop.at_least_once:
            test = self.compare("slt", following, loop.stop)
            self.emit(f"br i1 {test.text}, label %{loop.label}, label %{loop.label}.end")
        else:
            self.emit(f"br label %{loop.label}")
        self.start_block(f"{loop.label}.end")
        return list(results) if loop.at_least_once else list(loop.carried)

    @contextmanager
    def loop(
        self,
        start: Register | int,
        stop: Register | int,
        step: int = 1,
        carried: Sequence[Register | int] = (),
        *,
        at_least_once: bool = False,
    ) -> Iterator[Loop]:
        """``with builder.loop(start, stop) as loop:`` writes ``for loop.index in range(start, stop, step)``.

        carried: starting values of what it carries from one round to the next, a number for an i64; the body reads
        `loop.carried`, sets `loop.following`, and afterwards the final values are `loop.final`.
        """
        loop = self._begin_loop(i64(start), i64(stop), step, list(map(i64, carried)), at_least_once=at_least_once)
        yield loop
        loop.final = self._end_loop(loop, loop.following)

    @contextmanager
    def when(self, condition: Register | None) -> Iterator[None]:
        """``with builder.when(condition):`` writes a block that runs only if the condition holds; None always does."""
        label = None if condition is None else self._begin_if(condition)
        yield
        if label is not None:
            self._end_if(label)

    def _begin_if(self, condition: Register) -> str:
        """Open a block that runs only if the condition holds; close it with `_end_if`."""
        label = self.new_label("if")
        self.emit(f"br i1 {condition.text}, label %{label}, label %{label}.end")
        self.start_block(label)
        return label

    def _end_if(self, label: str) -> None:
        self.emit(f"br label %{label}.end")
        self.start_block(f"{label}.end")

    # ---- the finished module

    def function(self, signature: str, attributes: str = "") -> str:
        """The text of the function with the given signature, e.g. ``void @f(ptr %a)``."""
        body = "\n".join(self.lines)
        return f"define {signature} {attributes} {{\nentry:\n{body}\n  ret void\n}}\n"

    def module(self, signature: str, attributes: str = "") -> str:
        """The text of a module: this function, those it defined beside it, and the intrinsics that they use."""
        parts = [*sorted(self.declarations), *self.definitions.values(), self.function(signature, attributes)]
        return "\n".join(parts)


@cache
def _suffix(dtype: DType) -> str:
    return {FLOAT32: "f32", FLOAT64: "f64", BOOL: "i1"}.get(dtype, f"i{8 * dtype.size}")


def _like(register: Register, operand: Register | float) -> Register:
    """An operand beside a register: a number is a constant of the register's type."""
    return operand if isinstance(operand, Register) else literal(operand, register.dtype, register.lanes)
