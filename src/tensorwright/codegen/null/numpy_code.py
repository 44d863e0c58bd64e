"""Scalar expressions as Python text that computes all elements at once with NumPy.

Index variables are arrays with one axis for each variable in scope, so that everything broadcasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from tensorwright.graph.expression import (
    Apply,
    Computation,
    Constant,
    DataIndex,
    IndexValue,
    Load,
    Reduce,
    Scalar,
    Variable,
)
from tensorwright.graph.functions import FUNCTIONS, REDUCTIONS, reduction_identity
from tensorwright.tensor.dim import Atom, Dim, Extremum, IntegerExpression, Quotient, Remainder, Symbol
from tensorwright.tensor.dtype import DType

PRELUDE = """import numpy as np
from tensorwright.devices.null.functions import divide, dtype, erf, floor_mod, load, mod, power, reduced
"""
"""What the text takes for granted."""

_OWN = {"div": "divide", "floor_mod": "floor_mod", "mod": "mod", "erf": "erf", "pow": "power", "sign": "np.sign"}


def shape_text(shape: tuple[Dim, ...], symbols: Mapping[str, str]) -> str:
    """A shape as a Python tuple. symbols: the names of the variables that hold them."""
    code = NumpyCode(symbols)
    return f"({''.join(code.integer(dim, ()) + ', ' for dim in shape)})"


def dtype_text(dtype: DType) -> str:
    return f'dtype("{dtype.name}")'


@dataclass(frozen=True)
class NumpyCode:
    """Lines of a function's body. Operand n is an array called ``x<n>``.

    symbols: names of the variables that hold symbolic dimensions. loops: whether reductions are loops over their
    variables; otherwise they are additional axes. known: what has a name already, by object and scope.
    """

    symbols: Mapping[str, str]
    loops: bool = False
    lines: list[str] = field(default_factory=list)
    known: dict[tuple[int, tuple[Variable, ...]], str] = field(default_factory=dict)
    inside: Mapping[Variable, str] = field(default_factory=dict)
    indent: int = 1
    numbers: count[int] = field(default_factory=count)

    def computation(self, computation: Computation) -> str:
        """The name of an array of all elements; it may have to be broadcast to the output's shape."""
        return self.scalar(computation.body, computation.variables)

    def scalar(self, node: Scalar, scope: tuple[Variable, ...]) -> str:
        key = (id(node), scope)
        if key not in self.known:
            self.known[key] = self._scalar(node, scope)
        return self.known[key]

    def integer(self, value: Dim, scope: tuple[Variable, ...]) -> str:
        if not isinstance(value, IntegerExpression):
            return str(value)
        terms = [
            " * ".join([str(coefficient), *(self._atom(atom, scope) for atom in monomial)])
            for monomial, coefficient in value.terms
        ]
        return f"({' + '.join(terms) or '0'})"

    def _scalar(self, node: Scalar, scope: tuple[Variable, ...]) -> str:
        match node:
            case Constant(value=value, dtype=dtype):
                return self._named(_constant(value, dtype))
            case IndexValue(index=index):
                return self._named(f"np.asarray({self.integer(index, scope)}, np.int64)")
            case Load():
                return self._load(node, scope)
            case Apply(function="cast", operands=(operand,), dtype=dtype):
                return self._named(f"{self.scalar(operand, scope)}.astype({dtype_text(dtype)})")
            case Apply(function="bits", operands=(operand,), dtype=dtype):
                source = f"{self.scalar(operand, scope)}.astype({dtype_text(operand.dtype)})"
                return self._named(f"{source}.view({dtype_text(dtype)})")
            case Apply(function=function, operands=operands, dtype=dtype):
                arguments = ", ".join(self.scalar(operand, scope) for operand in operands)
                return self._named(f"np.asarray({_function(function)}({arguments})).astype({dtype_text(dtype)})")
            case Reduce():
                return self._looped(node, scope) if self.loops else self._reduced(node, scope)

    def _load(self, node: Load, scope: tuple[Variable, ...]) -> str:
        index = "".join(f"{self.integer(position, scope)}, " for position in node.index)
        if node.guard is None:
            return self._named(f"np.asarray(x{node.operand}[({index})])")
        guard = self.scalar(node.guard, scope)
        return self._named(f"load(x{node.operand}, ({index}), {guard}, {_constant(node.otherwise, node.dtype)})")

    def _reduced(self, node: Reduce, scope: tuple[Variable, ...]) -> str:
        inner = (*scope, *node.variables)
        body = self.scalar(node.body, inner)
        extents = "".join(f"{self.integer(v.extent, scope)}, " for v in node.variables)
        initial = _constant(reduction_identity(node.combine, node.dtype), node.dtype)
        return self._named(f"reduced({_combine(node)}, {body}, {len(inner)}, ({extents}), {initial})")

    def _looped(self, node: Reduce, scope: tuple[Variable, ...]) -> str:
        total = self._named(_constant(reduction_identity(node.combine, node.dtype), node.dtype))
        inner = replace(self, known=dict(self.known), inside=dict(self.inside))
        for variable in node.variables:
            name = f"r{next(self.numbers)}"
            inner._line(f"for {name} in range({inner.integer(variable.extent, scope)}):")
            inner = replace(inner, inside={**inner.inside, variable: name}, indent=inner.indent + 1)
        body = inner.scalar(node.body, scope)
        inner._line(f"{total} = np.asarray({_combine(node)}({total}, {body})).astype({dtype_text(node.dtype)})")
        return total

    def _atom(self, atom: Atom, scope: tuple[Variable, ...]) -> str:
        match atom:
            case Symbol():
                return self.symbols[atom.name]
            case Variable():
                return self.inside[atom] if atom in self.inside else self._axis(atom, scope)
            case Quotient():
                return f"({self.integer(atom.numerator, scope)} // {self.integer(atom.denominator, scope)})"
            case Remainder():
                return f"({self.integer(atom.numerator, scope)} % {self.integer(atom.denominator, scope)})"
            case Extremum():
                pick = "np.minimum" if atom.function == "min" else "np.maximum"
                return f"{pick}({self.integer(atom.left, scope)}, {self.integer(atom.right, scope)})"
            case DataIndex():
                found = self.scalar(atom.scalar, scope)
                return f"np.clip({found}.astype(np.int64), {atom.low}, {atom.high})"
            case _:
                raise TypeError(f"no NumPy code for {atom}")

    def _axis(self, variable: Variable, scope: tuple[Variable, ...]) -> str:
        behind = len(scope) - 1 - scope.index(variable)
        extent = self.integer(variable.extent, ())
        return f"np.arange({extent}).reshape({(-1, *[1] * behind)})"

    def _named(self, text: str) -> str:
        name = f"v{next(self.numbers)}"
        self._line(f"{name} = {text}")
        return name

    def _line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)


def _constant(value: float | bool, dtype: DType) -> str:
    literal = repr(value) if isinstance(value, bool | int) else f"float({str(float(value))!r})"
    return f"np.asarray({literal}, {dtype_text(dtype)})"


def _function(name: str) -> str:
    function: Callable[..., object] = FUNCTIONS[name]
    if name in _OWN:
        return _OWN[name]
    text: str = function.__name__
    assert getattr(np, text) is function, name
    return f"np.{text}"


def _combine(node: Reduce) -> str:
    return f"np.{REDUCTIONS[node.combine].__name__}"
