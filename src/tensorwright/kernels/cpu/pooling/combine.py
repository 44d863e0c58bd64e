"""Maxima and sums of several vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, nan

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Register, literal
from tensorwright.tensor.conversion import limits
from tensorwright.tensor.dtype import DType

Step = Callable[[Register, Register], Register]


@dataclass(frozen=True)
class Combiner:
    """Takes maxima, NaN where an element is NaN, or sums, lane by lane."""

    builder: FunctionBuilder
    target: Target
    dtype: DType
    is_max: bool

    def nothing(self, lanes: int) -> Register:
        """What padding gives."""
        if self.dtype.is_integer:
            return literal(limits(self.dtype)[0], self.dtype, lanes)
        return literal(-inf if self.is_max else 0.0, self.dtype, lanes)

    def all(self, values: Sequence[Register]) -> Register:
        """One or more vectors combined."""
        if not self.is_max:
            return self._chain(values, self.builder.add)
        if self.dtype.is_integer:
            name = "smax" if self.dtype.kind == "signed" else "umax"
            return self._chain(values, lambda a, b: self.builder.intrinsic(name, (a, b)))
        if self.target.name == "aarch64":
            return self._chain(values, lambda a, b: self.builder.intrinsic("maximum", (a, b), flags="nsz"))
        return self._maximum(values)

    def _chain(self, values: Sequence[Register], step: Step) -> Register:
        result, *others = values
        for value in others:
            result = step(result, value)
        return result

    def _maximum(self, values: Sequence[Register]) -> Register:
        """The instruction of x86 gives its second operand if one is NaN: so the last value stays NaN if it is.

        For the others, one comparison tells whether one of two is NaN.
        """
        result = values[-1]
        others = values[:-1]
        if not others:
            return result
        builder, unordered = self.builder, None
        for first, second in zip(others[::2], [*others[1::2], *others[-1:]], strict=False):
            found = builder.compare("uno", first, second)
            unordered = found if unordered is None else builder.binary("or", unordered, found)
        for value in others:
            result = builder.select(builder.compare("ogt", value, result), value, result)
        assert unordered is not None
        return builder.select(unordered, literal(nan, self.dtype, result.lanes), result)
