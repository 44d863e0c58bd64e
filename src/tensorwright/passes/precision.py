"""Lets parts of a float32 network be computed in narrower element types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import ml_dtypes
import numpy as np

from tensorwright.base.errors import ShapeError
from tensorwright.graph.graph import Graph, Value, apply, constant_value, is_constant, weights_in
from tensorwright.graph.op import Array, Op
from tensorwright.ops.elementwise import Binary, Cast, Unary
from tensorwright.ops.normalization import LpNormalization
from tensorwright.ops.reduction import CumulativeSum, Reduction
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import Weights

_GROWING = ("exp", "pow")
"""Functions whose results soon leave the range of float16."""


@dataclass(frozen=True)
class Recast:
    """A network in other element types.

    origins: for every computed value of it the value of the original network that it stands for; a conversion stands
        for the first value that needed it.
    kept: original values that stayed in float32 because a constant does not fit the wanted type, with its name.
    """

    graph: Graph
    origins: Mapping[Value, Value]
    kept: Mapping[Value, str]


def recast(graph: Graph, wanted: Callable[[Value], DType]) -> Recast:
    """The network with float32 values computed, and kept in memory, in the types wanted.

    Inputs and outputs keep their types; integers and other floating types stay as they are. Sums over many elements
    give float32 in any case, and so do elementwise operators none of whose operands is narrow, and what gives an output
    of the network without being a convolution or product: converting their operands in registers costs nothing. An
    operator with a constant that the type cannot hold stays in float32.

    wanted: asked once for every computed value of the graph.
    """
    work = _Work(wanted, frozenset(value for _, value in graph.outputs))
    for value in graph.order():
        work.visit(value)
    outputs = tuple((name, work.in_type(work.done[value], value.type.dtype, value)) for name, value in graph.outputs)
    made = Graph(graph.inputs, outputs, graph.name)
    return Recast(made, {value: work.origins[value] for value in made.order() if value in work.origins}, work.kept)


class _OutOfRange(Exception):
    """A constant does not fit a type; the argument is its name."""


@dataclass
class _Work:
    wanted: Callable[[Value], DType]
    outputs: frozenset[Value]
    done: dict[Value, Value] = field(default_factory=dict)
    casts: dict[tuple[Value, DType], Value] = field(default_factory=dict)
    origins: dict[Value, Value] = field(default_factory=dict)
    kept: dict[Value, str] = field(default_factory=dict)

    def visit(self, value: Value) -> None:
        if value.op.kind == "source":
            self.done[value] = value
            return
        dtype = self.wanted(value)
        made = self._narrow(value, dtype) if dtype != FLOAT32 and self._carries(value, dtype) else None
        self.done[value] = made or self._applied(value, FLOAT32)

    def _carries(self, value: Value, dtype: DType) -> bool:
        """Whether an operator may give its result in a narrow type."""
        op = value.op
        if value in self.outputs and op.kind in ("elementwise", "reduction"):
            return False
        if op.is_sequential or isinstance(op, CumulativeSum | LpNormalization):
            return False
        if isinstance(op, Reduction) and op.function not in ("max", "min"):
            return False
        if op.kind != "elementwise":
            return True
        if dtype == FLOAT16 and isinstance(op, Unary | Binary) and op.function in _GROWING:
            return False
        computed = [self.done[operand] for operand in value.inputs if _is_float32(operand) and not is_constant(operand)]
        return any(operand.type.dtype == dtype or _is_widened(operand, dtype) for operand in computed)

    def _narrow(self, value: Value, dtype: DType) -> Value | None:
        try:
            made = self._applied(value, dtype)
        except _OutOfRange as reason:
            self.kept[value] = str(reason)
            return None
        except ShapeError:
            return None
        return made if made.type.dtype == (dtype if _is_float32(value) else value.type.dtype) else None

    def _applied(self, value: Value, dtype: DType) -> Value:
        """The operator applied to its operands, those in float32 converted to a type."""
        operands = [
            self.in_type(self.done[operand], dtype, value) if _is_float32(operand) else self.done[operand]
            for operand in value.inputs
        ]
        if all(new is old for new, old in zip(operands, value.inputs, strict=True)):
            made = value
        else:
            made = apply(_retyped(value.op, dtype), *operands, name=value.name)
        self.origins.setdefault(made, value)
        return made

    def in_type(self, value: Value, dtype: DType, user: Value) -> Value:
        """A value converted to a type; itself if it has the type."""
        if value.type.dtype == dtype:
            return value
        if _is_widened(value, dtype):
            return value.inputs[0]
        if (value, dtype) not in self.casts:
            made = _converted(value, dtype) if is_constant(value) else apply(Cast(dtype), value, name=value.name)
            self.casts[value, dtype] = made
            if not is_constant(made):
                self.origins[made] = user
        return self.casts[value, dtype]


def _is_float32(value: Value) -> bool:
    return value.type.dtype == FLOAT32


def _is_widened(value: Value, dtype: DType) -> bool:
    """Whether a float32 value is one of a narrow type, converted."""
    return isinstance(value.op, Cast) and value.inputs[0].type.dtype == dtype and _is_float32(value)


def _retyped(op: Op, dtype: DType) -> Op:
    return Cast(dtype) if isinstance(op, Cast) and op.dtype == FLOAT32 else op


def _converted(value: Value, dtype: DType) -> Value:
    """A constant in a type.

    Raises:
        _OutOfRange: it has a finite number that the type does not have.
    """
    weights = weights_in(value)
    if dtype == FLOAT16:
        largest = float(ml_dtypes.finfo(dtype.numpy).max)  # type: ignore[no-untyped-call]
        array = weights.array
        if bool(np.any(np.isfinite(array) & (np.abs(array) > largest))):
            raise _OutOfRange(value.name)
    made = Weights(TensorType(dtype, value.type.shape), partial(_rounded, weights, dtype))
    return constant_value(made, value.name)


def _rounded(weights: Weights, dtype: DType) -> Array:
    return weights.array.astype(dtype.numpy)
