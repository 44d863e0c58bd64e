"""Operators that read or write elements at positions given by data.

Indices are of any integer type; negative ones count from the end. Indices outside the axis are an error of the caller:
nothing outside the tensor is touched, but the values are undefined. Builds can have them refused (`check_indices`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tensorwright.graph.expression import (
    Combine,
    Computation,
    IndexValue,
    Load,
    Reduce,
    Scalar,
    Variable,
    all_of,
    compare,
    data_index,
    variables_for,
)
from tensorwright.graph.functions import REDUCTIONS
from tensorwright.graph.op import Array, Kind, Op, expect, expect_inputs
from tensorwright.ops.checks import expect_axis, expect_index, expect_rank, expect_same_dtype, expect_shape, show
from tensorwright.ops.mathematics import call, constant, convert, positions, unflattened
from tensorwright.tensor.dim import Dim, bounds, expression, minimum, product, tuning_value, upper_bound
from tensorwright.tensor.dtype import BOOL, INT64
from tensorwright.tensor.type import TensorType

Integers = npt.NDArray[np.int64]
ScatterReduction = Literal["none", "add", "mul", "max", "min"]


@dataclass(frozen=True, eq=False)
class Gather(Op):
    """``y[a..., i..., b...] = x[a..., indices[i...], b...]``, the index along `axis`. Inputs: x, indices."""

    axis: int

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        x, indices = inputs
        expect_index(self, indices)
        expect_axis(self, self.axis, x.rank)
        _expect_some(self, x, indices, [self.axis])
        return TensorType(x.dtype, (*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :]))

    def valid_range(self, operand: int, inputs: Sequence[TensorType]) -> tuple[Dim, Dim] | None:
        return _along(inputs[0].shape[self.axis]) if operand == 1 else None

    def reference(self, *inputs: Array) -> Array:
        x, indices = inputs
        return np.take(x, indices.astype(np.int64), axis=self.axis)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        x, indices = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        after = self.axis + indices.rank
        at = wrapped(Load(1, index[self.axis : after], indices.dtype), x.shape[self.axis])
        return Computation(variables, Load(0, (*index[: self.axis], at, *index[after:]), x.dtype))


@dataclass(frozen=True, eq=False)
class GatherElements(Op):
    """``y[i] = x[i with indices[i] in place of its position along axis]``. Inputs: x, indices, of equal rank."""

    axis: int

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        x, indices = inputs
        expect_index(self, indices)
        expect_axis(self, self.axis, x.rank)
        _expect_covered(self, x, indices, self.axis, "indices")
        _expect_some(self, x, indices, [self.axis])
        return TensorType(x.dtype, indices.shape)

    def valid_range(self, operand: int, inputs: Sequence[TensorType]) -> tuple[Dim, Dim] | None:
        return _along(inputs[0].shape[self.axis]) if operand == 1 else None

    def reference(self, *inputs: Array) -> Array:
        x, indices = inputs
        own = x[tuple(slice(None) if a == self.axis else slice(n) for a, n in enumerate(indices.shape))]
        return np.take_along_axis(own, _counted(indices.astype(np.int64), x.shape[self.axis]), axis=self.axis)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        x, indices = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        at = wrapped(Load(1, index, indices.dtype), x.shape[self.axis])
        return Computation(variables, Load(0, (*index[: self.axis], at, *index[self.axis + 1 :]), x.dtype))


@dataclass(frozen=True, eq=False)
class GatherNd(Op):
    """``y[b..., i..., rest...] = x[b..., indices[b..., i..., :]..., rest...]`` with `batch_dims` leading axes b.

    Inputs: x, indices, whose last axis holds the positions along as many axes of x.
    """

    batch_dims: int = 0

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        x, indices = inputs
        expect(self.batch_dims >= 0, self, f"batch_dims: expected at least 0, found {self.batch_dims}")
        depth = _index_depth(self, x, indices, self.batch_dims)
        expect(
            x.shape[: self.batch_dims] == indices.shape[: self.batch_dims],
            self,
            f"expected {self.batch_dims} equal leading axes, found x {show(x.shape)}, indices {show(indices.shape)}",
        )
        _expect_some(self, x, indices, range(self.batch_dims, self.batch_dims + depth))
        return TensorType(x.dtype, (*indices.shape[:-1], *x.shape[self.batch_dims + depth :]))

    def valid_range(self, operand: int, inputs: Sequence[TensorType]) -> tuple[Dim, Dim] | None:
        depth = _index_depth(self, inputs[0], inputs[1], self.batch_dims)
        return _along(*inputs[0].shape[self.batch_dims : self.batch_dims + depth]) if operand == 1 else None

    def reference(self, *inputs: Array) -> Array:
        x, indices = inputs[0], inputs[1].astype(np.int64)
        batch = self.batch_dims
        lead = indices.shape[:-1]
        own = np.meshgrid(*(np.arange(n) for n in lead), indexing="ij", sparse=True)[:batch]
        if not indices.shape[-1]:
            single = x.reshape(*x.shape[:batch], *(1,) * (len(lead) - batch), *x.shape[batch:])
            return np.broadcast_to(single, (*lead, *x.shape[batch:]))
        return np.asarray(x[(*own, *np.moveaxis(indices, -1, 0))])

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        x, indices = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        lead = index[: indices.rank - 1]
        depth = _index_depth(self, x, indices, self.batch_dims)
        picked = [
            wrapped(Load(1, (*lead, number), indices.dtype), x.shape[self.batch_dims + number])
            for number in range(depth)
        ]
        source = (*index[: self.batch_dims], *picked, *index[indices.rank - 1 :])
        return Computation(variables, Load(0, source, x.dtype))


@dataclass(frozen=True, eq=False)
class IndexRange(Op):
    """How far indices reach: the complement ``-1 - i`` of the smallest one, then the largest one; int64 ``[2, axes]``.

    Both are the least int64 where there are no indices. `axes` is 1, or the extent of the last axis if each of its
    positions is for an axis of its own. A build adds it to networks, whose engines then refuse indices out of range:
    `watched` says that the result is for the engine alone.
    """

    along_axes: bool
    watched: bool = False
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (indices,) = inputs
        expect_index(self, indices)
        return TensorType(INT64, (2, indices.shape[-1] if self.along_axes else 1))

    def reference(self, *inputs: Array) -> Array:
        wide = inputs[0].astype(np.int64)
        rows = wide.reshape(-1, wide.shape[-1] if self.along_axes else 1)
        return np.asarray(np.stack([-1 - rows, rows]).max(axis=1, initial=np.iinfo(np.int64).min))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (indices,) = inputs
        variables = variables_for(output.shape)
        which, axis = positions(variables)
        lead = indices.shape[:-1] if self.along_axes else indices.shape
        running = Variable("r0", product(lead))
        place = (*unflattened(expression(running), lead), *((axis,) if self.along_axes else ()))
        index = convert(Load(0, place, indices.dtype), INT64)
        complement = call("sub", constant(-1, INT64), index)
        chosen = call("select", compare("less", which, 1), complement, index)
        return Computation(variables, Reduce("max", (running,), chosen, INT64))


@dataclass(frozen=True, eq=False)
class OneHot(Op):
    """A new axis of extent `depth`: ``values[1]`` at the index, ``values[0]`` elsewhere.

    Inputs: indices, values ``[2]``. An index outside ``-depth`` to ``depth - 1`` gives ``values[0]`` throughout.
    Indices may be floats.
    """

    depth: Dim
    axis: int

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        indices, values = inputs
        expect(indices.dtype != BOOL, self, "input indices: expected numbers, found bool; cast it")
        expect_shape(self, values, (2,), "values")
        expect_axis(self, self.axis, indices.rank + 1)
        return TensorType(values.dtype, (*indices.shape[: self.axis], self.depth, *indices.shape[self.axis :]))

    def reference(self, *inputs: Array) -> Array:
        indices, values = inputs
        depth = tuning_value(self.depth)
        at = np.expand_dims(indices.astype(np.int64), self.axis)
        line = np.arange(depth).reshape([-1] + [1] * (indices.ndim - self.axis))
        hot = np.where(at < 0, at + depth, at) == line
        return np.asarray(np.where(hot, values[1], values[0]), dtype=values.dtype)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        indices, values = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        own = (*index[: self.axis], *index[self.axis + 1 :])
        at = _from_the_start(Load(0, own, indices.dtype), self.depth)
        hot = call("equal", at, IndexValue(index[self.axis]))
        on, off = (Load(1, (number,), values.dtype) for number in (1, 0))
        return Computation(variables, call("select", hot, on, off))


@dataclass(frozen=True, eq=False)
class TopKIndices(Op):
    """The positions, int64, of the k largest (or smallest) elements along an axis, best first.

    Of equal elements the one with the lower index comes first. NaN counts as larger than every number.
    """

    k: Dim
    axis: int
    largest: bool = True
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        expect_axis(self, self.axis, x.rank)
        enough = bounds(x.shape[self.axis] - self.k)[1] >= 0 and bounds(self.k)[1] >= 0
        expect(enough, self, f"k: expected 0 to {x.shape[self.axis]}, the extent of axis {self.axis}, found {self.k}")
        return TensorType(INT64, (*x.shape[: self.axis], self.k, *x.shape[self.axis + 1 :]))

    def nonnegative(self, inputs: Sequence[TensorType]) -> tuple[Dim, ...]:
        return (inputs[0].shape[self.axis] - self.k,)

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        ranked = np.argsort(np.flip(x, self.axis) if self.largest else x, axis=self.axis, kind="stable")
        if self.largest:
            ranked = np.asarray(x.shape[self.axis] - 1 - np.flip(ranked, self.axis), dtype=np.int64)
        return np.take(ranked, np.arange(tuning_value(self.k)), axis=self.axis)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        extent = x.shape[self.axis]
        candidate, rival = Variable("r0", extent), Variable("r1", extent)

        def element(at: Dim) -> Scalar:
            return Load(0, (*index[: self.axis], at, *index[self.axis + 1 :]), x.dtype)

        own, other = element(expression(candidate)), element(expression(rival))
        ahead = _below(own, other) if self.largest else _below(other, own)
        first = compare("less", expression(rival), expression(candidate))
        better = call("or", ahead, call("and", _alike(own, other), first))
        one, zero = constant(1, INT64), constant(0, INT64)
        rank = Reduce("add", (rival,), call("select", better, one, zero), INT64)
        here = call("equal", rank, IndexValue(index[self.axis]))
        chosen = call("select", here, IndexValue(expression(candidate)), zero)
        return Computation(variables, Reduce("add", (candidate,), chosen, INT64))


def _below(a: Scalar, b: Scalar) -> Scalar:
    """Whether a comes before b in an order in which NaN is last."""
    if not a.dtype.is_float:
        return call("less", a, b)
    return call("and", call("not", call("is_nan", a)), call("not", call("less_equal", b, a)))


def _alike(a: Scalar, b: Scalar) -> Scalar:
    equal = call("equal", a, b)
    return call("or", equal, call("and", call("is_nan", a), call("is_nan", b))) if a.dtype.is_float else equal


@dataclass(frozen=True, eq=False)
class Trilu(Op):
    """The elements of the last two axes on and above (`upper`) or below the k-th diagonal, 0 elsewhere."""

    upper: bool
    k: int = 0

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect_rank(self, inputs[0], 2, 64)
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        return np.triu(inputs[0], self.k) if self.upper else np.tril(inputs[0], self.k)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        index = positions(variables)
        row, column = index[-2] + self.k, index[-1]
        low, high = (row, column) if self.upper else (column, row)
        kept = compare("less_equal", low, high)
        element = Load(0, index, output.dtype, kept, constant(0, output.dtype).value)
        return Computation(variables, element)


@dataclass(frozen=True, eq=False)
class ScatterElements(Op):
    """A copy of data with ``updates[i]`` written at i, but at ``indices[i]`` along `axis`.

    Inputs: data, indices, updates, the last two of one shape. Of several updates of one element the last one wins;
    with a `reduction` all of them are combined with the element.
    """

    axis: int
    reduction: ScatterReduction = "none"
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 3)
        data, indices, updates = inputs
        expect_index(self, indices)
        expect_axis(self, self.axis, data.rank)
        _expect_covered(self, data, indices, self.axis, "indices")
        expect_shape(self, updates, indices.shape, "updates")
        expect_same_dtype(self, (data, updates), ("data", "updates"))
        return data

    def valid_range(self, operand: int, inputs: Sequence[TensorType]) -> tuple[Dim, Dim] | None:
        return _along(inputs[0].shape[self.axis]) if operand == 1 else None

    def reference(self, *inputs: Array) -> Array:
        data, updates = inputs[0].copy(), inputs[2]
        at = inputs[1].astype(np.int64)
        own = _counted(at, data.shape[self.axis])
        grid = np.indices(at.shape)
        places = [(own if axis == self.axis else part).reshape(-1) for axis, part in enumerate(grid)]
        return _scattered(data, places, updates.reshape(-1), self.reduction)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        data, indices, updates = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        running = Variable("r0", indices.shape[self.axis])
        covered = [
            compare("less", index[axis], indices.shape[axis])
            for axis in range(data.rank)
            if axis != self.axis and indices.shape[axis] != data.shape[axis]
        ]
        guard = all_of(covered)

        def along(at: Dim) -> tuple[Dim, ...]:
            return (*index[: self.axis], at, *index[self.axis + 1 :])

        picked = Load(1, along(expression(running)), indices.dtype, guard)
        target = _from_the_start(picked, data.shape[self.axis])
        hit: Scalar = call("equal", target, IndexValue(index[self.axis]))
        hit = hit if guard is None else call("and", guard, hit)
        element = Load(0, index, data.dtype)
        if self.reduction == "none":
            last = _last_hit(hit, running)
            at = data_index(last, indices.shape[self.axis])
            found = call("less_equal", constant(0, INT64), last)
            update = Load(2, along(at), updates.dtype, found)
            return Computation(variables, call("select", found, update, element))
        update = Load(2, along(expression(running)), updates.dtype, guard)
        return Computation(variables, _combined(self.reduction, element, hit, update, running))


@dataclass(frozen=True, eq=False)
class ScatterNd(Op):
    """A copy of data with ``updates[i...]`` written at ``data[indices[i..., :]...]``.

    Inputs: data, indices, whose last axis holds the positions along as many leading axes of data, updates. Of several
    updates of one element the last one wins; with a `reduction` all of them are combined with the element.
    """

    reduction: ScatterReduction = "none"
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 3)
        data, indices, updates = inputs
        depth = _index_depth(self, data, indices, 0)
        expect_shape(self, updates, (*indices.shape[:-1], *data.shape[depth:]), "updates")
        expect_same_dtype(self, (data, updates), ("data", "updates"))
        return data

    def valid_range(self, operand: int, inputs: Sequence[TensorType]) -> tuple[Dim, Dim] | None:
        depth = _index_depth(self, inputs[0], inputs[1], 0)
        return _along(*inputs[0].shape[:depth]) if operand == 1 else None

    def reference(self, *inputs: Array) -> Array:
        data, updates = inputs[0].copy(), inputs[2]
        depth = inputs[1].shape[-1]
        at = inputs[1].astype(np.int64).reshape(prod(inputs[1].shape[:-1]), depth)
        places = [_counted(c, n) for c, n in zip(at.T, data.shape[:depth], strict=True)]
        return _scattered(data, places, updates.reshape(len(at), *data.shape[depth:]), self.reduction)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        data, indices, updates = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        depth = _index_depth(self, data, indices, 0)
        lead = indices.shape[:-1]
        running = Variable("r0", product(lead))
        place = unflattened(expression(running), lead)
        hits: list[Scalar] = [
            call(
                "equal",
                _from_the_start(Load(1, (*place, axis), indices.dtype), data.shape[axis]),
                IndexValue(index[axis]),
            )
            for axis in range(depth)
        ]
        hit = all_of(hits) or constant(True, BOOL)
        element = Load(0, index, data.dtype)
        if self.reduction == "none":
            last = _last_hit(hit, running)
            found = call("less_equal", constant(0, INT64), last)
            at = unflattened(data_index(last, running.extent), lead)
            update = Load(2, (*at, *index[depth:]), updates.dtype, found)
            return Computation(variables, call("select", found, update, element))
        update = Load(2, (*place, *index[depth:]), updates.dtype)
        return Computation(variables, _combined(self.reduction, element, hit, update, running))


def _along(*extents: Dim) -> tuple[Dim, Dim]:
    """The positions that lie inside axes of all these extents, those counted from the end included."""
    least: Dim = min(extents, key=upper_bound, default=1)
    for extent in extents:
        least = minimum(least, extent)
    return 0 - least, least


def wrapped(scalar: Scalar, extent: Dim) -> Dim:
    """A number read from data as an index into an axis; negative ones count from the end."""
    return data_index(_from_the_start(scalar, extent), extent)


def _from_the_start(scalar: Scalar, extent: Dim) -> Scalar:
    if scalar.dtype.kind == "unsigned":
        return convert(scalar, INT64)
    wide = convert(scalar, INT64)
    negative = call("less", wide, constant(0, INT64))
    return call("select", negative, call("add", wide, IndexValue(extent)), wide)


def _counted(indices: Integers, extent: int) -> Integers:
    """Indices counted from the start of an axis. Raises IndexError where that is before it."""
    counted = np.where(indices < 0, indices + extent, indices)
    if (counted < 0).any():
        raise IndexError(f"index {indices.min()} is out of bounds for an axis with {extent} elements")
    return counted


def _expect_some(op: Op, x: TensorType, indices: TensorType, axes: Iterable[int]) -> None:
    """No index lies inside an axis without elements."""
    for axis in axes:
        message = f"input indices: axis {axis} of x {show(x.shape)} has no elements that {show(indices.shape)} could be"
        expect(x.shape[axis] != 0 or 0 in indices.shape, op, message)


def _expect_covered(op: Op, data: TensorType, indices: TensorType, axis: int, input: str) -> None:
    expect_rank(op, indices, data.rank, input=input)
    for other, (own, whole) in enumerate(zip(indices.shape, data.shape, strict=True)):
        message = f"input {input}: expected at most {whole} along axis {other}, found {show(indices.shape)}"
        expect(other == axis or own == whole or bounds(own - whole)[1] <= 0, op, message)


def _index_depth(op: Op, data: TensorType, indices: TensorType, batch: int) -> int:
    expect_index(op, indices)
    expect_rank(op, indices, max(1, batch + 1), 64, "indices")
    depth = indices.shape[-1]
    message = f"input indices: expected a last axis of 0 to {data.rank - batch} positions, found {show(indices.shape)}"
    if not isinstance(depth, int) or depth > data.rank - batch:
        expect(False, op, message)
        raise AssertionError
    return depth


def _last_hit(hit: Scalar, running: Variable) -> Scalar:
    """The last position at which a condition holds, -1 for none."""
    number = call("select", hit, IndexValue(expression(running)), constant(-1, INT64))
    return Reduce("max", (running,), number, INT64)


def _combined(reduction: Combine, element: Scalar, hit: Scalar, update: Scalar, running: Variable) -> Scalar:
    """The element combined with the updates that hit it: others count as what changes nothing."""
    dtype = element.dtype
    neutral: Scalar = element if reduction in ("max", "min") else constant(int(reduction == "mul"), dtype)
    total = Reduce(reduction, (running,), call("select", hit, update, neutral), dtype)
    return call(reduction, element, total)


def _scattered(data: Array, places: Sequence[Integers], updates: Array, reduction: ScatterReduction) -> Array:
    if reduction != "none":
        REDUCTIONS[reduction].at(data, tuple(places), updates)
        return data
    for number in range(len(updates)):
        data[tuple(int(place[number]) for place in places)] = updates[number]
    return data
