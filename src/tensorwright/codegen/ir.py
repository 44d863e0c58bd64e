"""Writes LLVM IR as text.

`FunctionBuilder` appends instructions to one function and hands out `Register`s, typed names of their results. It does
no optimisation: what is written is what LLVM gets. Booleans are i1 in registers and bytes in memory; float16 and
bfloat16 exist in memory only and are float32 in registers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from tensorwright.codegen.target import Target
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, INT16, INT32, INT64, DType

# bfloat16 is an i16: on the type bfloat LLVM computes where it sees a chance, and then calls functions nobody has.
_MEMORY_NAMES = {"float64": "double", "float32": "float", "float16": "half", "bool": "i8"}


def register_dtype(dtype: DType) -> DType:
    """The type in which values of a memory type are computed."""
    return FLOAT32 if dtype in (FLOAT16, BFLOAT16) else dtype


def memory_name(dtype: DType, lanes: int = 1) -> str:
    """The LLVM type of elements in memory."""
    scalar = _MEMORY_NAMES.get(dtype.name, f"i{8 * dtype.size}")
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def register_name(dtype: DType, lanes: int = 1) -> str:
    """The LLVM type of values in registers."""
    scalar = "i1" if dtype == BOOL else memory_name(register_dtype(dtype))
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


@dataclass(frozen=True)
class Register:
    """A value in generated code: its text, element type and number of lanes (1 for a scalar)."""

    text: str
    dtype: DType
    lanes: int = 1

    @property
    def type(self) -> str:
        return register_name(self.dtype, self.lanes)

    @property
    def typed(self) -> str:
        return f"{self.type} {self.text}"

    @property
    def is_literal(self) -> bool:
        """Whether the value is written out rather than the result of an instruction."""
        return not self.text.startswith("%")


@dataclass(frozen=True)
class Pointer:
    """An address in generated code."""

    text: str


def literal(value: float | bool, dtype: DType, lanes: int = 1) -> Register:
    """A constant, the same in every lane."""
    scalar = _literal_text(value, dtype)
    text = scalar if lanes == 1 else f"splat ({register_name(dtype)} {scalar})"
    return Register(text, register_dtype(dtype), lanes)


def literals(values: Sequence[float], dtype: DType) -> Register:
    """A constant with a number for every lane."""
    name = register_name(dtype)
    text = f"<{', '.join(f'{name} {_literal_text(value, dtype)}' for value in values)}>"
    return Register(text, register_dtype(dtype), len(values))


def _literal_text(value: float | bool, dtype: DType) -> str:
    if dtype == BOOL:
        return "true" if value else "false"
    if dtype.is_float:
        exact = float(value)
        if register_dtype(dtype) == FLOAT32:
            exact = struct.unpack("f", struct.pack("f", _clamped(exact)))[0]
        return f"0x{struct.unpack('Q', struct.pack('d', exact))[0]:016X}"
    bits = 8 * dtype.size
    wrapped = int(value) & ((1 << bits) - 1)
    return str(wrapped - (1 << bits) if dtype.kind == "signed" and wrapped >> (bits - 1) else wrapped)


def _clamped(value: float) -> float:
    largest = 3.4028234663852886e38
    if largest < abs(value) < float("inf"):
        return float("inf") if value > 0 else float("-inf")
    return value


@dataclass
class Loop:
    """An open loop: its index (i64) and the values carried from one round to the next."""

    index: Register
    carried: list[Register]
    label: str
    step: Register
    stop: Register
    first: Register
    initial: list[Register]
    at_least_once: bool
    header_position: int


@dataclass
class FunctionBuilder:
    """Appends instructions to the text of one function.

    Without a target, instructions that every vector extension but the x86-64 baseline has are taken for granted.
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

    def binary(self, opcode: str, left: Register, right: Register) -> Register:
        """A two-operand instruction on equal types."""
        return self.value(f"{opcode} {left.type} {left.text}, {right.text}", left.dtype, left.lanes)

    def add(self, left: Register, right: Register) -> Register:
        return self.binary("fadd contract" if left.dtype.is_float else "add", left, right)

    def sub(self, left: Register, right: Register) -> Register:
        return self.binary("fsub contract" if left.dtype.is_float else "sub", left, right)

    def mul(self, left: Register, right: Register) -> Register:
        return self.binary("fmul contract" if left.dtype.is_float else "mul", left, right)

    def scaled(self, value: Register, factor: int) -> Register:
        """An i64 multiplied by a number."""
        return self.mul(value, literal(factor, INT64))

    def divided(self, value: Register, extent: int) -> tuple[Register, Register]:
        """Quotient and remainder of an i64 that is not negative, by a positive number."""
        if extent == 1:
            return value, literal(0, INT64)
        divisor = literal(extent, INT64)
        return self.binary("udiv", value, divisor), self.binary("urem", value, divisor)

    def div(self, left: Register, right: Register) -> Register:
        opcode = {"float": "fdiv", "signed": "sdiv"}.get(left.dtype.kind, "udiv")
        return self.binary(opcode, left, right)

    def fma(self, a: Register, b: Register, c: Register) -> Register:
        """``a * b + c``, with one rounding where the target can; `b` may come straight from memory."""
        if self.target is not None and not self.target.has_fma:
            return self.add(self.mul(a, b), c)
        return self.intrinsic("fma", (a, b, c))

    def intrinsic(self, name: str, operands: Sequence[Register], flags: str = "") -> Register:
        """An overloaded LLVM intrinsic whose operands and result have one type; `flags` as for fast math."""
        first = operands[0]
        suffix = ("" if first.lanes == 1 else f"v{first.lanes}") + _suffix(first.dtype)
        return self.call(f"@llvm.{name}.{suffix}", first.dtype, first.lanes, operands, flags)

    def call(self, name: str, dtype: DType, lanes: int, operands: Sequence[Register], flags: str = "") -> Register:
        """Call a function, declaring it when it is an intrinsic."""
        result = register_name(dtype, lanes)
        if name.startswith("@llvm."):
            self.declare(f"declare {result} {name}({', '.join(o.type for o in operands)})")
        opcode = f"call {flags}" if flags else "call"
        return self.value(f"{opcode} {result} {name}({', '.join(o.typed for o in operands)})", dtype, lanes)

    def compare(self, predicate: str, left: Register, right: Register) -> Register:
        """A comparison: ``olt``, ``oeq``, … for floats; ``slt``, ``ult``, ``eq``, … for integers."""
        opcode = "fcmp" if left.dtype.is_float else "icmp"
        return self.value(f"{opcode} {predicate} {left.type} {left.text}, {right.text}", BOOL, left.lanes)

    def select(self, condition: Register, then: Register, otherwise: Register) -> Register:
        if condition.lanes != then.lanes:
            condition = self.splat(condition, then.lanes)
        return self.value(f"select {condition.typed}, {then.typed}, {otherwise.typed}", then.dtype, then.lanes)

    def convert(self, opcode: str, value: Register, dtype: DType) -> Register:
        """A conversion instruction such as ``sext`` or ``fptosi``."""
        target = register_name(dtype, value.lanes)
        return self.value(f"{opcode} {value.typed} to {target}", register_dtype(dtype), value.lanes)

    def bitcast(self, value: Register, dtype: DType) -> Register:
        return self.convert("bitcast", value, dtype)

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

    # ---- memory

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

    def load(self, address: Pointer, dtype: DType, lanes: int = 1, alignment: int | None = None) -> Register:
        """Elements from memory, in register type."""
        alignment = alignment or dtype.size
        stored = memory_name(dtype, lanes)
        raw = self.fresh()
        self.emit(f"{raw} = load {stored}, ptr {address.text}, align {alignment}")
        return self.widen(raw, dtype, lanes)

    def store(self, value: Register, address: Pointer, dtype: DType, alignment: int | None = None) -> None:
        """Elements to memory, converted to memory type."""
        alignment = alignment or dtype.size
        self.emit(f"store {self.narrow(value, dtype)}, ptr {address.text}, align {alignment}")

    def prefetch(self, address: Pointer, locality: int = 2) -> None:
        """Ask for a cache line that will be read: into all caches (3), from the second level on (2), the third (1)."""
        self.declare("declare void @llvm.prefetch.p0(ptr, i32 immarg, i32 immarg, i32 immarg)")
        self.emit(f"call void @llvm.prefetch.p0(ptr {address.text}, i32 0, i32 {locality}, i32 1)")

    def masked_load(self, address: Pointer, mask: Register, otherwise: Register, dtype: DType) -> Register:
        """Consecutive elements where the mask is set; `otherwise` elsewhere, without touching memory."""
        lanes = mask.lanes
        vector, suffix = memory_name(dtype, lanes), f"v{lanes}{_memory_suffix(dtype)}"
        self.declare(f"declare {vector} @llvm.masked.load.{suffix}.p0(ptr, i32 immarg, <{lanes} x i1>, {vector})")
        raw = self.fresh()
        passthrough = self.narrow(otherwise, dtype)
        arguments = f"ptr {address.text}, i32 {dtype.size}, {mask.typed}, {passthrough}"
        self.emit(f"{raw} = call {vector} @llvm.masked.load.{suffix}.p0({arguments})")
        return self.widen(raw, dtype, lanes)

    def masked_store(self, value: Register, address: Pointer, mask: Register, dtype: DType) -> None:
        """Consecutive elements, where the mask is set.

        A single element is stored as one: LLVM 22 stores all four bytes of one element that was narrowed to two.
        """
        lanes = mask.lanes
        if mask.text.startswith("<i1 true") and mask.text.count("true") == 1:
            self.store(self.extract(value, 0), address, dtype)
            return
        vector, suffix = memory_name(dtype, lanes), f"v{lanes}{_memory_suffix(dtype)}"
        self.declare(f"declare void @llvm.masked.store.{suffix}.p0({vector}, ptr, i32 immarg, <{lanes} x i1>)")
        arguments = f"{self.narrow(value, dtype)}, ptr {address.text}, i32 {dtype.size}, {mask.typed}"
        self.emit(f"call void @llvm.masked.store.{suffix}.p0({arguments})")

    def gather(self, base: Pointer, index: Register, mask: Register, otherwise: Register, dtype: DType) -> Register:
        """Elements at a vector of distances (in elements) from `base`, where the mask is set."""
        lanes = index.lanes
        addresses = self.fresh("p")
        self.emit(f"{addresses} = getelementptr {memory_name(dtype)}, ptr {base.text}, {index.typed}")
        vector, suffix = memory_name(dtype, lanes), f"v{lanes}{_memory_suffix(dtype)}"
        pointers = f"<{lanes} x ptr>"
        name = f"@llvm.masked.gather.{suffix}.v{lanes}p0"
        self.declare(f"declare {vector} {name}({pointers}, i32 immarg, <{lanes} x i1>, {vector})")
        raw = self.fresh()
        arguments = f"{pointers} {addresses}, i32 {dtype.size}, {mask.typed}, {self.narrow(otherwise, dtype)}"
        self.emit(f"{raw} = call {vector} {name}({arguments})")
        return self.widen(raw, dtype, lanes)

    def widen(self, raw: str, dtype: DType, lanes: int) -> Register:
        """A value of memory type as one of register type."""
        if dtype == BOOL:
            zero = "0" if lanes == 1 else "zeroinitializer"
            return self.value(f"icmp ne {memory_name(dtype, lanes)} {raw}, {zero}", BOOL, lanes)
        if dtype == BFLOAT16:
            high = self.convert("zext", Register(raw, INT16, lanes), INT32)
            return self.bitcast(self.binary("shl", high, literal(16, INT32, lanes)), FLOAT32)
        if register_dtype(dtype) != dtype:
            target = register_name(dtype, lanes)
            if dtype == FLOAT16 and self.target is not None and not self.target.has_half:
                from tensorwright.codegen.halves import widened_float16

                bits = register_name(INT16, lanes)
                return widened_float16(
                    self, self.value(f"bitcast {memory_name(dtype, lanes)} {raw} to {bits}", INT16, lanes)
                )
            return self.value(f"fpext {memory_name(dtype, lanes)} {raw} to {target}", FLOAT32, lanes)
        return Register(raw, dtype, lanes)

    def narrow(self, value: Register, dtype: DType) -> str:
        """A value of register type as one of memory type, with its type."""
        stored = memory_name(dtype, value.lanes)
        if dtype == BOOL:
            return f"{stored} {self.value(f'zext {value.typed} to {stored}', dtype, value.lanes).text}"
        if dtype == BFLOAT16 or (dtype == FLOAT16 and self.target is not None and not self.target.has_half):
            from tensorwright.codegen.halves import narrowed_bits

            bits = narrowed_bits(self, value, dtype)
            return f"{stored} {self.value(f'bitcast {bits.typed} to {stored}', dtype, value.lanes).text}"
        if register_dtype(dtype) != dtype:
            return f"{stored} {self.value(f'fptrunc {value.typed} to {stored}', dtype, value.lanes).text}"
        return value.typed

    # ---- control flow

    def begin_loop(
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
            step=literal(step, INT64),
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

    def end_loop(self, loop: Loop, results: Sequence[Register] = ()) -> list[Register]:
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

    def begin_if(self, condition: Register) -> str:
        """Open a block that runs only if the condition holds; close it with `end_if`."""
        label = self.new_label("if")
        self.emit(f"br i1 {condition.text}, label %{label}, label %{label}.end")
        self.start_block(label)
        return label

    def end_if(self, label: str) -> None:
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


def _suffix(dtype: DType) -> str:
    return {FLOAT32: "f32", FLOAT64: "f64", BOOL: "i1"}.get(dtype, f"i{8 * dtype.size}")


def _memory_suffix(dtype: DType) -> str:
    return {FLOAT32: "f32", FLOAT64: "f64", FLOAT16: "f16"}.get(dtype, f"i{8 * dtype.size}")


FUNCTION_ATTRIBUTES = 'nounwind "no-builtins" "no-trapping-math"="true"'
INDEX = INT64
SMALL_INDEX = INT32
