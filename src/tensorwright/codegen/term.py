"""Formulas over registers, written with Python's operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.instructions import InstructionBuilder
from tensorwright.codegen.values import Register, literal, literals
from tensorwright.tensor.dtype import FLOAT32, INT32, INT64, DType


@dataclass(frozen=True)
class Term:
    """A register that appends an instruction for every operator applied to it.

    Numbers become constants of the other operand's type. Products may be fused into sums (``contract``); `exact_*`
    methods give one rounding per operation. `>>` is arithmetic for signed and logical for unsigned integers.
    """

    builder: InstructionBuilder
    register: Register

    @property
    def dtype(self) -> DType:
        return self.register.dtype

    @property
    def lanes(self) -> int:
        return self.register.lanes

    def constant(self, value: float, dtype: DType | None = None) -> Term:
        """A number in every lane, of this term's type unless another is given."""
        return Term(self.builder, literal(value, dtype or self.dtype, self.lanes))

    def _with(self, register: Register) -> Term:
        return Term(self.builder, register)

    def _register(self, other: Term | float) -> Register:
        return other.register if isinstance(other, Term) else literal(other, self.dtype, self.lanes)

    def _binary(self, opcode: str, other: Term | float) -> Term:
        return self._with(self.builder.binary(opcode, self.register, self._register(other)))

    def __add__(self, other: Term | float) -> Term:
        return self._with(self.builder.add(self.register, self._register(other)))

    def __radd__(self, other: float) -> Term:
        return self + other

    def __sub__(self, other: Term | float) -> Term:
        return self._with(self.builder.sub(self.register, self._register(other)))

    def __rsub__(self, other: float) -> Term:
        return self.constant(other) - self

    def __mul__(self, other: Term | float) -> Term:
        return self._with(self.builder.mul(self.register, self._register(other)))

    def __rmul__(self, other: float) -> Term:
        return self * other

    def __truediv__(self, other: Term | float) -> Term:
        return self._binary("fdiv", other)

    def __floordiv__(self, other: Term | int) -> Term:
        """The quotient of integers that are not negative."""
        return self._binary("udiv", other)

    def __mod__(self, other: Term | int) -> Term:
        """The remainder of integers that are not negative."""
        return self._binary("urem", other)

    def roughly_over(self, other: Term) -> Term:
        """A quotient within a few units in the last place, where the target has a faster one."""
        return self._binary("fdiv afn", other)

    def __rtruediv__(self, other: float) -> Term:
        return self.constant(other) / self

    def __neg__(self) -> Term:
        if self.dtype.is_float:
            return self._with(self.builder.value(f"fneg {self.register.typed}", self.dtype, self.lanes))
        return 0 - self

    def __and__(self, other: Term | float) -> Term:
        return self._binary("and", other)

    def __or__(self, other: Term | float) -> Term:
        return self._binary("or", other)

    def __xor__(self, other: Term | float) -> Term:
        return self._binary("xor", other)

    def __invert__(self) -> Term:
        return self ^ (True if self.dtype.kind == "bool" else -1)

    def __lshift__(self, other: Term | float) -> Term:
        return self._binary("shl", other)

    def __rshift__(self, other: Term | float) -> Term:
        return self._binary("ashr" if self.dtype.kind == "signed" else "lshr", other)

    def logical_right(self, other: Term | float) -> Term:
        """Shifted right, zeros coming in."""
        return self._binary("lshr", other)

    def exact_mul(self, other: Term | float) -> Term:
        """A product that is never fused into a sum."""
        return self._binary("fmul", other)

    def remainder_of_product(self, other: Term, product: Term) -> Term:
        """``self * other - product`` without rounding, `product` being the rounded product."""
        target = self.builder.target
        if target is None or target.has_fma:
            operands = (self.register, other.register, (-product).register)
            return self._with(self.builder.intrinsic("fma", operands))
        high, low = self._halves()
        other_high, other_low = other._halves()
        cross = (high.exact_mul(other_high) - product) + high.exact_mul(other_low) + low.exact_mul(other_high)
        return cross + low.exact_mul(other_low)

    def _halves(self) -> tuple[Term, Term]:
        """Two numbers of half the digits each with this sum (Dekker 1971)."""
        scaled = self.exact_mul(4097.0 if self.dtype == FLOAT32 else 134217729.0)
        high = scaled - (scaled - self)
        return high, self - high

    # ---- comparisons: false when an operand is NaN, except `differs`

    def less(self, other: Term | float) -> Term:
        return self._compare("lt", other)

    def at_most(self, other: Term | float) -> Term:
        return self._compare("le", other)

    def greater(self, other: Term | float) -> Term:
        return self._compare("gt", other)

    def at_least(self, other: Term | float) -> Term:
        return self._compare("ge", other)

    def below(self, other: Term | float) -> Term:
        """Less as an unsigned integer: whether a number lies in ``range(other)``."""
        return self._with(self.builder.compare("ult", self.register, self._register(other)))

    def equals(self, other: Term | float) -> Term:
        predicate = "oeq" if self.dtype.is_float else "eq"
        return self._with(self.builder.compare(predicate, self.register, self._register(other)))

    def differs(self, other: Term | float) -> Term:
        predicate = "une" if self.dtype.is_float else "ne"
        return self._with(self.builder.compare(predicate, self.register, self._register(other)))

    def is_nan(self) -> Term:
        return self._with(self.builder.compare("uno", self.register, self.register))

    def _compare(self, relation: str, other: Term | float) -> Term:
        prefix = {"float": "o", "signed": "s"}.get(self.dtype.kind, "u")
        return self._with(self.builder.compare(prefix + relation, self.register, self._register(other)))

    def choose(self, then: Term, otherwise: Term | float) -> Term:
        """`then` where this bool holds, `otherwise` elsewhere."""
        return self._with(self.builder.select(self.register, then.register, then._register(otherwise)))

    # ---- parts of numbers

    def bits(self, dtype: DType | None = None) -> Term:
        """The representation of a float as a signed integer; that of an integer as the given float type."""
        if dtype is None:
            dtype = INT32 if self.dtype == FLOAT32 else INT64
        return self._with(self.builder.bitcast(self.register, dtype))

    def converted(self, opcode: str, dtype: DType) -> Term:
        """The result of a conversion instruction."""
        return self._with(self.builder.convert(opcode, self.register, dtype))

    def intrinsic(self, name: str, *others: Term | float) -> Term:
        """The result of an overloaded LLVM intrinsic on terms of one type."""
        operands = (self.register, *(self._register(other) for other in others))
        return self._with(self.builder.intrinsic(name, operands))

    def magnitude(self) -> Term:
        """The absolute value of a float."""
        return self.intrinsic("fabs")

    def with_sign_of(self, other: Term) -> Term:
        """This float with the sign bit of another."""
        return self.intrinsic("copysign", other)

    def bounded(self, low: float, high: float) -> Term:
        """A float kept within an interval; NaN stays NaN."""
        return maximum(minimum(self, self.constant(high)), self.constant(low))

    def looked_up(self, table: Sequence[float], dtype: DType) -> Term:
        """The entry of a table of 16 float32 that the last four bits of this integer say, with the instruction VPERMPS.

        Only for 16 lanes on a target with `has_lookup`.
        """
        name = "@llvm.x86.avx512.permvar.sf.512"
        self.builder.declare(f"declare <16 x float> {name}(<16 x float>, <16 x i32>)")
        operands = f"{literals(table, dtype).typed}, {self.register.typed}"
        return self._with(self.builder.value(f"call <16 x float> {name}({operands})", dtype, self.lanes))

    def polynomial(self, coefficients: Sequence[float]) -> Term:
        """The value at this term of a polynomial, lowest power first, by Horner's rule."""
        result = self.constant(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = result * self + coefficient
        return result


def least(left: Term, right: Term | int) -> Term:
    """The smaller of two signed integers."""
    return left.intrinsic("smin", right)


def greatest(left: Term, right: Term | int) -> Term:
    """The larger of two signed integers."""
    return left.intrinsic("smax", right)


def maximum(left: Term, right: Term) -> Term:
    """The larger of two floats, NaN if either is; which of two zeros is open. One instruction if one is a constant."""
    return _extreme("maximum", left, right)


def minimum(left: Term, right: Term) -> Term:
    """The smaller of two floats, NaN if either is; which of two zeros is open. One instruction if one is a constant."""
    return _extreme("minimum", left, right)


def _extreme(name: str, left: Term, right: Term) -> Term:
    register = left.builder.intrinsic(name, (left.register, right.register), flags="nsz")
    return Term(left.builder, register)
