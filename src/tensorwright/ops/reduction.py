"""Reductions over axes, arguments of extremes, and running sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from tensorwright.graph.expression import (
    Combine,
    Computation,
    IndexValue,
    Load,
    Reduce,
    Scalar,
    Variable,
    compare,
    variables_for,
)
from tensorwright.graph.functions import REDUCTIONS
from tensorwright.graph.op import Array, Kind, Op, expect, expect_inputs
from tensorwright.ops.checks import expect_axis, expect_float
from tensorwright.ops.mathematics import (
    accumulator,
    call,
    constant,
    convert,
    highest,
    lowest,
    number,
    position,
    positions,
    reciprocal,
    reduce_over,
    square,
)
from tensorwright.tensor.dim import Dim, expression, product
from tensorwright.tensor.dtype import BOOL, FLOAT64, INT64, DType, dtype_of
from tensorwright.tensor.type import Shape, TensorType

Source = Callable[[Sequence[Dim]], tuple[Dim, ...]]
Function = Literal["add", "mean", "max", "min", "mul", "l1", "l2", "sum_square", "log_sum", "log_sum_exp"]

_COMBINE: Mapping[str, Combine] = {"add": "add", "mean": "add", "max": "max", "min": "min", "mul": "mul"}
_LOG_ADD_EXP: np.ufunc = np.logaddexp
_FLOAT_ONLY = ("log_sum", "log_sum_exp", "l2")


@dataclass(frozen=True, eq=False)
class Reduction(Op):
    """One value for all elements along `axes`.

    Functions: *add*, *mean* (of integers truncated toward zero), *max*, *min*, *mul*, *l1* ``Σ|x|``, *l2* ``√Σx²``,
    *sum_square* ``Σx²``, *log_sum* ``log Σx``, *log_sum_exp* ``log Σ exp(x)``. Bool only for *max* and *min*.
    """

    function: Function
    axes: tuple[int, ...]
    keep_dims: bool = True
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        expect(self.function in _REFERENCES, self, f"expected one of {', '.join(_REFERENCES)}, found {self.function}")
        for axis in self.axes:
            expect_axis(self, axis, x.rank, "axes")
        expect(len(set(self.axes)) == len(self.axes), self, f"axes: expected each once, found {self.axes}")
        if self.function in _FLOAT_ONLY:
            expect_float(self, x)
        if self.function not in ("max", "min"):
            expect(x.dtype != BOOL, self, "input x: expected numbers, found bool; cast it")
        return TensorType(x.dtype, reduced_shape(x.shape, self.axes, self.keep_dims))

    def reference(self, *inputs: Array) -> Array:
        return _REFERENCES[self.function](inputs[0], tuple(self.axes), self.keep_dims)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        reduced = tuple(Variable(f"r{place}", x.shape[axis]) for place, axis in enumerate(sorted(self.axes)))
        body = self._body(x, _source(variables, reduced, self.axes, self.keep_dims), reduced)
        return Computation(variables, convert(body, x.dtype))

    def _body(self, x: TensorType, source: Source, axes: tuple[Variable, ...]) -> Scalar:
        narrow = x.dtype.is_integer and x.dtype.size < INT64.size
        wide = INT64 if narrow and self.function == "mean" else accumulator(x.dtype)
        element = convert(Load(0, source(positions(axes)), x.dtype), wide)
        match self.function:
            case "log_sum_exp":
                return _log_sum_exp(x, source, axes)
            case "l1":
                return reduce_over("add", axes, call("abs", element))
            case "l2":
                return call("sqrt", reduce_over("add", axes, square(element)))
            case "sum_square":
                return reduce_over("add", axes, square(element))
            case "log_sum":
                return call("log", reduce_over("add", axes, element))
            case "mean":
                return mean_of(reduce_over("add", axes, element), product(axis.extent for axis in axes))
            case _:
                return reduce_over(_COMBINE[self.function], axes, element)


@dataclass(frozen=True, eq=False)
class ArgReduction(Op):
    """The index, int64, of the largest or smallest element along an axis: the first, or with `select_last` the last.

    NaN is larger than every number, and smaller.
    """

    function: Literal["max", "min"]
    axis: int
    keep_dims: bool = True
    select_last: bool = False
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        expect_axis(self, self.axis, x.rank)
        expect(self.function in ("max", "min"), self, f"function: expected max or min, found {self.function}")
        expect(x.shape[self.axis] != 0, self, f"axis {self.axis}: expected at least one element, found none")
        return TensorType(INT64, reduced_shape(x.shape, (self.axis,), self.keep_dims))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        pick = np.argmax if self.function == "max" else np.argmin
        if not self.select_last:
            return np.asarray(pick(x, axis=self.axis, keepdims=self.keep_dims))
        flipped = np.flip(x, axis=self.axis)
        return np.asarray(x.shape[self.axis] - 1 - pick(flipped, axis=self.axis, keepdims=self.keep_dims))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        extent = x.shape[self.axis]
        first, second = Variable("r0", extent), Variable("r1", extent)
        source = _source(variables, (first,), (self.axis,), self.keep_dims)
        extreme = reduce_over(self.function, (first,), Load(0, source([position(first)]), x.dtype))
        here = Load(0, source([position(second)]), x.dtype)
        is_one = call("equal", here, extreme)
        if x.dtype.is_float:  # The extreme is NaN if an element is.
            is_one = call("or", is_one, call("is_nan", here))
        otherwise: Dim = 0 if self.select_last else extent - 1
        index = call("select", is_one, IndexValue(position(second)), IndexValue(otherwise))
        return Computation(variables, reduce_over("max" if self.select_last else "min", (second,), index))


@dataclass(frozen=True, eq=False)
class CumulativeSum(Op):
    """The sum of the elements up to and including (`exclusive`: before) each one along an axis, or from the end."""

    axis: int
    exclusive: bool = False
    reverse: bool = False
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect_axis(self, self.axis, inputs[0].rank)
        expect(inputs[0].dtype != BOOL, self, "input x: expected numbers, found bool; cast it")
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        x = np.flip(inputs[0], self.axis) if self.reverse else inputs[0]
        if self.exclusive and x.shape[self.axis]:
            before = np.zeros_like(np.take(x, [0], self.axis))
            x = np.concatenate([before, np.delete(x, -1, self.axis)], self.axis)
        sums = np.cumsum(x, axis=self.axis, dtype=x.dtype)
        return np.flip(sums, self.axis) if self.reverse else np.asarray(sums)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        running = Variable("r0", x.shape[self.axis])
        index = positions(variables)
        own, other = index[self.axis], expression(running)
        left, right = (own, other) if self.reverse else (other, own)
        guard = compare("less" if self.exclusive else "less_equal", left, right)
        wide = accumulator(x.dtype)
        source = (*index[: self.axis], other, *index[self.axis + 1 :])
        element = convert(Load(0, source, x.dtype, guard), wide)
        return Computation(variables, convert(Reduce("add", (running,), element, wide), x.dtype))


def reduced_shape(shape: Shape, axes: Sequence[int], keep_dims: bool) -> Shape:
    """The shape with some axes reduced to 1, or removed."""
    if keep_dims:
        return tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    return tuple(extent for axis, extent in enumerate(shape) if axis not in axes)


def mean_of(total: Scalar, count: Dim) -> Scalar:
    """A sum divided by the number of its terms."""
    if total.dtype.is_float:
        return call("mul", total, reciprocal(count, total.dtype))
    return call("div", total, number(count, total.dtype))


def _source(variables: Sequence[Variable], reduced: Sequence[Variable], axes: Sequence[int], keep_dims: bool) -> Source:
    """From indices along the reduced axes to the index in the input."""
    own = list(positions(variables))
    if keep_dims:
        own = [index for axis, index in enumerate(own) if axis not in axes]

    def source(inner: Sequence[Dim]) -> tuple[Dim, ...]:
        kept, taken = iter(own), iter(inner)
        return tuple(next(taken) if axis in axes else next(kept) for axis in range(len(own) + len(reduced)))

    return source


def _log_sum_exp(x: TensorType, source: Source, axes: tuple[Variable, ...]) -> Scalar:
    wide = accumulator(x.dtype)
    other = tuple(Variable(f"s{axis.name[1:]}", axis.extent) for axis in axes)
    largest = reduce_over("max", other, convert(Load(0, source(positions(other)), x.dtype), wide))
    limit = _largest_finite(wide)
    shift = call("min", call("max", largest, constant(-limit, wide)), constant(limit, wide))
    element = convert(Load(0, source(positions(axes)), x.dtype), wide)
    total = reduce_over("add", axes, call("exp", call("sub", element, shift)))
    return call("add", call("log", total), shift)


def _largest_finite(dtype: DType) -> float:
    return float(np.finfo(np.float64 if dtype == FLOAT64 else np.float32).max)


def _mean(x: Array, axis: tuple[int, ...], keep: bool) -> Array:
    if np.issubdtype(x.dtype, np.integer):
        total = np.asarray(np.sum(x, axis=axis, keepdims=keep, dtype=np.int64))
        count = max(1, x.size // max(1, total.size))
        return np.asarray(np.sign(total) * (np.abs(total) // count))
    return np.asarray(np.mean(x.astype(np.float64), axis=axis, keepdims=keep))


def _log_sum_exp_reference(x: Array, axis: tuple[int, ...], keep: bool) -> Array:
    result = np.asarray(x.astype(np.float64))
    for one in sorted(axis, reverse=True):
        result = np.asarray(_LOG_ADD_EXP.reduce(result, axis=one, keepdims=keep))
    return result


def _log(x: Array, axis: tuple[int, ...], keep: bool) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(np.sum(x.astype(np.float64), axis=axis, keepdims=keep)))


def _fold(combine: Combine, x: Array, axis: tuple[int, ...], keep: bool) -> Array:
    dtype = dtype_of(x.dtype)
    initial = {"add": 0, "mul": 1, "max": lowest(dtype), "min": highest(dtype)}[combine]
    start = np.asarray(initial, dtype=x.dtype)
    return np.asarray(REDUCTIONS[combine].reduce(x, axis=axis, keepdims=keep, dtype=x.dtype, initial=start[()]))


_REFERENCES: Mapping[str, Callable[[Array, tuple[int, ...], bool], Array]] = {
    "add": lambda x, axis, keep: _fold("add", x, axis, keep),
    "mean": _mean,
    "max": lambda x, axis, keep: _fold("max", x, axis, keep),
    "min": lambda x, axis, keep: _fold("min", x, axis, keep),
    "mul": lambda x, axis, keep: _fold("mul", x, axis, keep),
    "l1": lambda x, axis, keep: _fold("add", np.asarray(np.abs(x)), axis, keep),
    "l2": lambda x, axis, keep: np.asarray(
        np.sqrt(_fold("add", np.asarray(np.square(x)), axis, keep).astype(np.float64))
    ),
    "sum_square": lambda x, axis, keep: _fold("add", np.asarray(np.square(x)), axis, keep),
    "log_sum": _log,
    "log_sum_exp": _log_sum_exp_reference,
}
