"""How a register tile reads its factors, multiplies and adds: what differs between element types is said here alone.

Vectors of the right factor run along columns, elements of the left one are the same in every lane. A step of the
reduction consumes `group` neighbouring elements of either factor: one for multiply-adds, two for dot products of
bfloat16 and products of float16, four for dot products of bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.numerics import SINGLE, Numerics
from tensorwright.kernels.tactic import Array
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, INT8, INT16, INT32, DType

MOST_REGISTERS = 32
"""No target has more vector registers."""


@dataclass(frozen=True)
class Arithmetic(ABC):
    """numerics: the types; lanes: sums in one vector register."""

    numerics: Numerics
    lanes: int

    @property
    @abstractmethod
    def group(self) -> int:
        """Elements of the reduction that one step consumes."""

    @property
    def tile_sums(self) -> Sequence[int]:
        """How many sums a register tile may have at most, the most promising number first."""
        return (MOST_REGISTERS,)

    @property
    def name(self) -> str:
        """What tells packed factors of one arithmetic from those of others; empty for the usual."""
        return "" if self.numerics == SINGLE else f"{self.numerics.right}, {self.group} at once"

    @property
    def left(self) -> DType:
        return self.numerics.left

    @property
    def right(self) -> DType:
        return self.numerics.right

    @property
    def converts_vectors(self) -> bool:
        """Whether elements of the left factor should be brought into the type of the sum by whole vectors beforehand:
        one element of float16 takes several instructions, and one of bfloat16 a shift beside the multiply-adds.
        """
        return self.group == 1 and self.left == FLOAT16

    def zero(self) -> Register:
        """Sums before anything is added."""
        return literal(0.0, self.numerics.total, self.lanes)

    @abstractmethod
    def element(self, builder: FunctionBuilder, place: Pointer) -> Register:
        """A group of elements of the left factor."""

    def load_left(self, builder: FunctionBuilder, place: Pointer) -> Register:
        """A group of elements, the same for all lanes."""
        return builder.splat(self.element(builder, place), self.lanes)

    @abstractmethod
    def load_right(self, builder: FunctionBuilder, place: Pointer, mask: Register | None) -> Register:
        """A group of elements for every lane; lanes outside the mask are not read."""

    @abstractmethod
    def step(self, builder: FunctionBuilder, right: Register, left: Register, total: Register) -> Register:
        """The sums with the products of both groups, in as many lanes as there are sums."""

    def grouped(self, matrix: Array) -> Array:
        """A right factor ``[depth, columns]`` as steps read it: the elements of a group side by side for every column,
        the last group filled up with zeros.
        """
        if self.group == 1:
            return matrix
        depth, columns = matrix.shape
        padded = np.pad(matrix, ((0, -depth % self.group), (0, 0)))
        groups = padded.reshape(-1, self.group, columns)
        return np.ascontiguousarray(groups.transpose(0, 2, 1)).reshape(len(groups), columns * self.group)


@dataclass(frozen=True)
class MultiplyAdd(Arithmetic):
    """Products and sums of single elements in the type of the sum; narrower factors are widened as they are loaded."""

    @property
    def group(self) -> int:
        return 1

    def element(self, builder: FunctionBuilder, place: Pointer) -> Register:
        return builder.load(place, self.left)

    def load_left(self, builder: FunctionBuilder, place: Pointer) -> Register:
        """Elements of float16 are spread first: vectors are converted by fewer instructions."""
        if self.left != FLOAT16 or (builder.target is not None and not builder.target.has_half):
            return super().load_left(builder, place)
        bits = builder.splat(builder.load(place, INT16), self.lanes)
        return builder.widen(_halves(builder, bits, 1), FLOAT16, self.lanes)

    def load_right(self, builder: FunctionBuilder, place: Pointer, mask: Register | None) -> Register:
        if mask is not None:
            return builder.masked_load(place, mask, literal(0.0, self.right, self.lanes), self.right)
        return builder.load(place, self.right, self.lanes)

    def step(self, builder: FunctionBuilder, right: Register, left: Register, total: Register) -> Register:
        return builder.fma(right, left, total)


class Pairs(Arithmetic):
    """Neighbours of two bytes each, which are read together."""

    @property
    def group(self) -> int:
        return 2

    def element(self, builder: FunctionBuilder, place: Pointer) -> Register:
        return self._pairs(builder, place, 1)

    def load_right(self, builder: FunctionBuilder, place: Pointer, mask: Register | None) -> Register:
        assert mask is None
        return self._pairs(builder, place, self.lanes)

    def _pairs(self, builder: FunctionBuilder, place: Pointer, lanes: int) -> Register:
        return builder.load(place, INT32, lanes, alignment=self.left.size)


@dataclass(frozen=True)
class BFloat16Dot(Pairs):
    """VDPBF16PS: the products of two pairs of bfloat16, added to a float32 without rounding in between; numbers below
    the normal ones count as zero (Intel, "BFLOAT16 - Hardware Numerics Definition", 2018).
    """

    def step(self, builder: FunctionBuilder, right: Register, left: Register, total: Register) -> Register:
        lanes = total.lanes
        name = f"@llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}"
        pairs, sums = f"<{2 * lanes} x bfloat>", f"<{lanes} x float>"
        builder.declare(f"declare {sums} {name}({sums}, {pairs}, {pairs})")
        a, b = (builder.value(f"bitcast {value.typed} to {pairs}", BFLOAT16, 2 * lanes).text for value in (right, left))
        return builder.value(f"call {sums} {name}({total.typed}, {pairs} {a}, {pairs} {b})", FLOAT32, lanes)


@dataclass(frozen=True)
class WidenedPairs(Pairs):
    """Pairs of float16 as float32, one product after the other."""

    def step(self, builder: FunctionBuilder, right: Register, left: Register, total: Register) -> Register:
        for shift in (0, 16):
            a, b = (self._widened(builder, value, shift) for value in (right, left))
            total = builder.fma(a, b, total)
        return total

    def _widened(self, builder: FunctionBuilder, pairs: Register, shift: int) -> Register:
        """The element of each pair that begins at a bit."""
        bits = builder.convert("trunc", builder.binary("lshr", pairs, shift), INT16)
        raw = builder.value(f"bitcast {bits.typed} to <{bits.lanes} x half>", FLOAT16, bits.lanes)
        return builder.widen(raw.text, FLOAT16, bits.lanes)


@dataclass(frozen=True)
class HalfPairs(Pairs):
    """VFMADDPH: products of pairs of float16, added to pairs of sums in float16: see `PartialSums`."""

    @property
    def tile_sums(self) -> Sequence[int]:
        """So few that partial sums and what they are added to have registers, or more, which read less for each
        product; what they are added to is then on the stack.
        """
        return 14, 24

    @property
    def careful(self) -> Arithmetic:
        """The same sums, of the same packed factors, without a rounding or an overflow in float16."""
        return WidenedPairs(self.numerics, self.lanes)

    def step(self, builder: FunctionBuilder, right: Register, left: Register, total: Register) -> Register:
        operands = [_halves(builder, value) for value in (right, left, total)]
        name = f"@llvm.fma.v{2 * total.lanes}f16"
        return self._call(builder, name, operands, total.lanes)

    def add(self, builder: FunctionBuilder, a: Register, b: Register) -> Register:
        """Pairs of sums, added up."""
        x, y = _halves(builder, a), _halves(builder, b)
        return _bits(builder, f"fadd <{2 * a.lanes} x half> {x}, {y}", a.lanes)

    def fold(self, builder: FunctionBuilder, pairs: Register, total: Register) -> Register:
        """Float32 sums with the elements of pairs added to them, which are added up in float16 first."""
        turned = builder.binary("lshr", pairs, 16)
        bits = builder.convert("trunc", self.add(builder, pairs, turned), INT16)
        return builder.add(total, builder.widen(_halves(builder, bits, 1), FLOAT16, total.lanes))

    def _call(self, builder: FunctionBuilder, name: str, operands: Sequence[str], lanes: int) -> Register:
        vector = f"<{2 * lanes} x half>"
        builder.declare(f"declare {vector} {name}({', '.join([vector] * len(operands))})")
        arguments = ", ".join(f"{vector} {operand}" for operand in operands)
        return _bits(builder, f"call {vector} {name}({arguments})", lanes)


@dataclass(frozen=True)
class IntegerDot(Arithmetic):
    """VPDPBUSD: the products of four unsigned bytes, of the left factor, and four signed ones, added to an int32."""

    @property
    def group(self) -> int:
        return 4

    def zero(self) -> Register:
        return literal(0, self.numerics.total, self.lanes)

    def element(self, builder: FunctionBuilder, place: Pointer) -> Register:
        return builder.load(place, INT32, alignment=1)

    def load_right(self, builder: FunctionBuilder, place: Pointer, mask: Register | None) -> Register:
        assert mask is None
        return builder.load(place, INT32, self.lanes, alignment=1)

    def step(self, builder: FunctionBuilder, right: Register, left: Register, total: Register) -> Register:
        lanes = total.lanes
        name, bytes = f"@llvm.x86.avx512.vpdpbusd.{32 * lanes}", f"<{4 * lanes} x i8>"
        builder.declare(f"declare {total.type} {name}({total.type}, {bytes}, {bytes})")
        a, b = (builder.value(f"bitcast {value.typed} to {bytes}", INT8, 4 * lanes).text for value in (left, right))
        return builder.value(f"call {total.type} {name}({total.typed}, {bytes} {a}, {bytes} {b})", INT32, lanes)


def _halves(builder: FunctionBuilder, value: Register, group: int = 2) -> str:
    """A register seen as numbers in float16, so many in each lane."""
    return builder.value(f"bitcast {value.typed} to <{group * value.lanes} x half>", FLOAT16, group * value.lanes).text


def _bits(builder: FunctionBuilder, instruction: str, lanes: int) -> Register:
    """What an instruction gives in float16, in pairs."""
    found = builder.value(instruction, FLOAT16, 2 * lanes)
    return builder.value(f"bitcast <{2 * lanes} x half> {found.text} to <{lanes} x i32>", INT32, lanes)


def arithmetics(numerics: Numerics, target: Target) -> Sequence[Arithmetic]:
    """The ways in which a target computes such sums, the fastest first; none for integers that it has no dot for."""
    if numerics.total == INT32:
        return [IntegerDot(numerics, target.lanes(INT32))] if target.has_integer_dot else []
    found: list[Arithmetic] = [MultiplyAdd(numerics, target.lanes(numerics.total))]
    if target.has_bfloat16_dot and numerics.left == numerics.right == BFLOAT16:
        found.insert(0, BFloat16Dot(numerics, target.lanes(numerics.total)))
    return found


def half_arithmetics(numerics: Numerics, target: Target) -> Sequence[Arithmetic]:
    """Ways to compute them that add up in float16 for a while, so that they round more."""
    fits = target.has_half_arithmetic and numerics.left == numerics.right == FLOAT16
    return [HalfPairs(numerics, target.lanes(numerics.total))] if fits else []


def arithmetic_of(numerics: Numerics, target: Target, group: int) -> Arithmetic:
    """The one, of all these, that consumes so many elements in a step."""
    known = (*arithmetics(numerics, target), *half_arithmetics(numerics, target))
    return next(each for each in known if each.group == group)
