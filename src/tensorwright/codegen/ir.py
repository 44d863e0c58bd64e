"""Writes LLVM IR as text, memory included.

`FunctionBuilder` appends instructions to one function and hands out `Register`s, typed names of their results.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.halves import narrowed_bits, widened_float16
from tensorwright.codegen.instructions import InstructionBuilder
from tensorwright.codegen.values import Pointer, Register, memory_name, register_dtype, register_name
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, INT16, INT32, DType

_FLUSHED_LANES = 16

FUNCTION_ATTRIBUTES = 'nounwind "no-builtins" "no-trapping-math"="true"'


@dataclass
class FunctionBuilder(InstructionBuilder):
    """Appends instructions to the text of one function.

    flushes: whether vectors that become bfloat16 may lose what is below the normal numbers, as the instruction for it
    does where the target has it.
    """

    flushes: bool = False

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
            return self.bitcast(self.binary("shl", high, 16), FLOAT32)
        if register_dtype(dtype) != dtype:
            target = register_name(dtype, lanes)
            if dtype == FLOAT16 and self.target is not None and not self.target.has_half:
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
        if dtype == BFLOAT16 and self.flushes and value.lanes == _FLUSHED_LANES:
            return f"{stored} {self._flushed(value, stored)}"
        if dtype == BFLOAT16 or (dtype == FLOAT16 and self.target is not None and not self.target.has_half):
            bits = narrowed_bits(self, value, dtype)
            return f"{stored} {self.value(f'bitcast {bits.typed} to {stored}', dtype, value.lanes).text}"
        if register_dtype(dtype) != dtype:
            return f"{stored} {self.value(f'fptrunc {value.typed} to {stored}', dtype, value.lanes).text}"
        return value.typed

    def _flushed(self, value: Register, stored: str) -> str:
        """VCVTNEPS2BF16."""
        name, vector = "@llvm.x86.avx512bf16.cvtneps2bf16.512", f"<{value.lanes} x bfloat>"
        self.declare(f"declare {vector} {name}({value.type})")
        narrow = self.value(f"call {vector} {name}({value.typed})", BFLOAT16, value.lanes)
        return self.value(f"bitcast {vector} {narrow.text} to {stored}", BFLOAT16, value.lanes).text


def _memory_suffix(dtype: DType) -> str:
    return {FLOAT32: "f32", FLOAT64: "f64", FLOAT16: "f16"}.get(dtype, f"i{8 * dtype.size}")
