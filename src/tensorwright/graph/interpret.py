"""Evaluates computations with NumPy: slow, obvious, and independent of code generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

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
    scalar_atoms,
    walk,
)
from tensorwright.graph.functions import FUNCTIONS, REDUCTIONS, reduction_identity
from tensorwright.tensor.conversion import converted
from tensorwright.tensor.dim import Atom, Dim, Extremum, IntegerExpression, Quotient, Remainder, Symbol, evaluate
from tensorwright.tensor.dtype import FLOAT64, DType

Array = npt.NDArray[np.generic]
Integers = npt.NDArray[np.int64]


def interpret(computation: Computation, inputs: Sequence[Array], symbols: Mapping[str, int] | None = None) -> Array:
    """The whole output of a computation.

    Args:
        computation: what to evaluate.
        inputs: one array per operand, of the operand's logical shape.
        symbols: the value of every symbolic dimension.
    """
    environment = dict(symbols or {})
    extents = [evaluate(v.extent, environment) for v in computation.variables]
    grids: dict[Variable, Array] = {}
    for axis, variable in enumerate(computation.variables):
        grids[variable] = np.arange(extents[axis]).reshape([-1] + [1] * (len(extents) - axis - 1))
    result = _Interpreter(inputs, environment, grids).scalar(computation.body)
    return np.array(np.broadcast_to(result, extents), dtype=computation.body.dtype.numpy)


def interpret_at(
    computation: Computation,
    inputs: Sequence[Array],
    places: Sequence[Integers],
    symbols: Mapping[str, int] | None = None,
    *,
    wide: bool = False,
) -> Array:
    """Some elements of the output of a computation.

    Args:
        computation: what to evaluate.
        inputs: one array per operand, of the operand's logical shape.
        places: for every axis of the output the indices of the elements, as many for each.
        symbols: the value of every symbolic dimension.
        wide: whether all floating types are float64, so that nothing is rounded to them.
    """
    grids = dict(zip(computation.variables, map(np.asarray, places), strict=True))
    result = _Interpreter(inputs, dict(symbols or {}), grids, wide).scalar(computation.body)
    count = max((len(some) for some in places), default=1)
    return np.array(np.broadcast_to(result, (count,)))


def steps_of(computation: Computation, symbols: Mapping[str, int]) -> int:
    """How many terms the largest reduction of one element has, those of reductions around it counted too."""
    nodes = [node for node in walk(computation.body) if isinstance(node, Reduce)]
    bound = {variable for node in nodes for variable in node.variables}
    most = 1
    for node in nodes:
        used = bound & {*node.variables, *scalar_atoms(node.body)}
        most = max(most, prod(max(1, evaluate(variable.extent, symbols)) for variable in used))
    return most


@dataclass(frozen=True)
class _Interpreter:
    inputs: Sequence[Array]
    symbols: Mapping[str, int]
    grids: Mapping[Variable, Array]
    wide: bool = False
    known: dict[int, Array] = field(default_factory=dict)

    def scalar(self, node: Scalar) -> Array:
        """The values of a node, once for all who use it."""
        if id(node) not in self.known:
            self.known[id(node)] = self.computed(node)
        return self.known[id(node)]

    def numpy(self, dtype: DType) -> np.dtype[np.generic]:
        return FLOAT64.numpy if self.wide and dtype.is_float else dtype.numpy

    def computed(self, node: Scalar) -> Array:
        match node:
            case Constant(value=value, dtype=dtype):
                return np.asarray(value, dtype=self.numpy(dtype))
            case IndexValue(index=index):
                return self.integer(index)
            case Load():
                return self.load(node)
            case Apply(function="cast", operands=(operand,), dtype=dtype):
                x = self.scalar(operand)
                return converted(x, dtype) if dtype.is_integer else x.astype(self.numpy(dtype))
            case Apply(function="bits", operands=(operand,), dtype=dtype):
                return self.scalar(operand).astype(operand.dtype.numpy).view(dtype.numpy)
            case Apply(function=function, operands=operands, dtype=dtype):
                with np.errstate(all="ignore"):
                    result = FUNCTIONS[function](*(self.scalar(operand) for operand in operands))
                return np.asarray(result).astype(self.numpy(dtype))
            case Reduce():
                return self.reduce(node)

    def load(self, node: Load) -> Array:
        index = [self.integer(position) for position in node.index]
        source = self.inputs[node.operand]
        if node.guard is None and 0 in source.shape:  # Of nothing but a sum of nothing reads it.
            return np.zeros(np.broadcast_shapes(*(i.shape for i in index)), self.numpy(node.dtype))
        if node.guard is None:
            return np.asarray(source[tuple(index)], dtype=self.numpy(node.dtype))
        guard = self.scalar(node.guard)
        clamped = [np.clip(i, 0, max(0, n - 1)) for i, n in zip(index, source.shape, strict=True)]
        otherwise = np.asarray(node.otherwise, dtype=self.numpy(node.dtype))
        if 0 in source.shape:
            return np.broadcast_to(otherwise, np.broadcast_shapes(guard.shape, *(i.shape for i in index)))
        return np.asarray(np.where(guard, source[tuple(clamped)].astype(otherwise.dtype, copy=False), otherwise))

    def reduce(self, node: Reduce) -> Array:
        extents = [evaluate(v.extent, self.symbols) for v in node.variables]
        count = len(extents)
        grids = {v: np.expand_dims(g, tuple(range(-count, 0))) for v, g in self.grids.items()}
        for axis, variable in enumerate(node.variables):
            grids[variable] = np.arange(extents[axis]).reshape([-1] + [1] * (count - axis - 1))
        body = _Interpreter(self.inputs, self.symbols, grids, self.wide).scalar(node.body)
        rank = max(max((g.ndim for g in grids.values()), default=count), body.ndim)
        body = body.reshape([1] * (rank - body.ndim) + list(body.shape))
        full = np.broadcast_to(body, [*body.shape[: rank - count], *extents])
        initial = reduction_identity(node.combine, node.dtype)
        axes = tuple(range(rank - count, rank))
        exact = FLOAT64.numpy if node.dtype.is_float else node.dtype.numpy
        with np.errstate(all="ignore"):
            total = REDUCTIONS[node.combine].reduce(full, axis=axes, initial=initial, dtype=exact)
            return np.asarray(total).astype(self.numpy(node.dtype))

    def integer(self, value: Dim) -> Integers:
        if not isinstance(value, IntegerExpression):
            return np.asarray(value, dtype=np.int64)
        total = np.asarray(0, dtype=np.int64)
        for monomial, coefficient in value.terms:
            term = np.asarray(coefficient, dtype=np.int64)
            for atom in monomial:
                term = term * self.atom(atom)
            total = total + term
        return np.asarray(total)

    def atom(self, atom: Atom) -> Integers:
        match atom:
            case Symbol():
                return np.asarray(self.symbols[atom.name], dtype=np.int64)
            case Variable():
                return np.asarray(self.grids[atom], dtype=np.int64)
            case Quotient():
                return self.integer(atom.numerator) // self.integer(atom.denominator)
            case Remainder():
                return self.integer(atom.numerator) % self.integer(atom.denominator)
            case Extremum():
                pick = np.minimum if atom.function == "min" else np.maximum
                return np.asarray(pick(self.integer(atom.left), self.integer(atom.right)))
            case DataIndex():
                return np.clip(self.scalar(atom.scalar).astype(np.int64), atom.low, atom.high)
            case _:
                raise TypeError(f"cannot interpret {atom}")
