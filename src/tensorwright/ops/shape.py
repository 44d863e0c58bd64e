"""Operators that move elements and leave their values alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from tensorwright.graph.expression import (
    Computation,
    Constant,
    IndexValue,
    Load,
    Scalar,
    all_of,
    compare,
    inside,
    variables_for,
)
from tensorwright.graph.op import Array, Kind, Op, expect, expect_equal, expect_inputs
from tensorwright.ops.broadcast import broadcast_shapes, load_broadcast
from tensorwright.ops.checks import expect_axis, expect_same_dtype, show
from tensorwright.ops.mathematics import call, constant, highest, lowest, position, positions, unflattened
from tensorwright.tensor.dim import (
    Dim,
    bounds,
    ceil_divide,
    is_static,
    maximum,
    minimum,
    product,
    remainder,
    tuning_value,
)
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.equations import Unequal
from tensorwright.tensor.type import Shape, TensorType

PadMode = Literal["constant", "reflect", "edge", "wrap"]


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """The same elements in the same row-major order under another shape; also flatten, squeeze and unsqueeze."""

    shape: Shape
    kind: ClassVar[Kind] = "view"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        expect_equal(
            product(self.shape),
            x.elements,
            self,
            f"shape: expected {x.elements} elements as in x {show(x.shape)}, found {show(self.shape)} with "
            f"{product(self.shape)}",
        )
        return TensorType(x.dtype, self.shape)

    def reference(self, *inputs: Array) -> Array:
        return inputs[0].reshape(_concrete(self.shape))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        if x.elements == 0:
            return Computation(variables, constant(0, x.dtype))
        index = reshaped_index(output.shape, positions(variables), x.shape)
        return Computation(variables, Load(0, index, x.dtype))


@dataclass(frozen=True, eq=False)
class Transpose(Op):
    """Axis ``permutation[i]`` of the input becomes axis i of the output."""

    permutation: tuple[int, ...]

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        wanted = f"permutation: expected each axis of x {show(x.shape)} once, found {self.permutation}"
        expect(sorted(self.permutation) == list(range(x.rank)), self, wanted)
        return TensorType(x.dtype, tuple(x.shape[axis] for axis in self.permutation))

    def reference(self, *inputs: Array) -> Array:
        return np.transpose(inputs[0], self.permutation)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        index = positions(variables)
        source = tuple(index[self.permutation.index(axis)] for axis in range(len(index)))
        return Computation(variables, Load(0, source, output.dtype))


@dataclass(frozen=True, eq=False)
class Slice(Op):
    """``y[i] = x[start + i · step]`` along every axis; steps may be negative."""

    starts: tuple[Dim, ...]
    extents: tuple[Dim, ...]
    steps: tuple[int, ...]

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        for name, values in (("starts", self.starts), ("extents", self.extents), ("steps", self.steps)):
            expect(
                len(values) == x.rank, self, f"{name}: expected one value per axis of {show(x.shape)}, found {values}"
            )
        expect(0 not in self.steps, self, f"steps: expected none of them 0, found {self.steps}")
        for axis, (start, extent, step) in enumerate(zip(self.starts, self.extents, self.steps, strict=True)):
            self._check_axis(axis, x.shape[axis], start, extent, step)
        return TensorType(x.dtype, self.extents)

    def nonnegative(self, inputs: Sequence[TensorType]) -> tuple[Dim, ...]:
        found = list[Dim]()
        for available, start, extent, step in zip(inputs[0].shape, self.starts, self.extents, self.steps, strict=True):
            last = start + (extent - 1) * step
            rooms = (start, last, available - 1 - start, available - 1 - last)
            found += (maximum(room, 0 - extent) for room in rooms)  # Of no elements none is outside.
        return tuple(found)

    def _check_axis(self, axis: int, available: Dim, start: Dim, extent: Dim, step: int) -> None:
        expect(bounds(extent)[1] >= 0, self, f"axis {axis}: expected an extent of at least 0, found {extent}")
        if extent == 0:
            return
        last = start + (extent - 1) * step
        message = f"axis {axis} of extent {available}: elements {start} to {last} are not all inside"
        for end in (start, last):
            room = available - 1 - end
            certain = is_static(end) and bounds(end)[0] < 0
            expect(not certain and not (is_static(room) and bounds(room)[0] < 0), self, message)

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        for axis, (start, extent, step) in enumerate(zip(self.starts, self.extents, self.steps, strict=True)):
            picked = tuning_value(start) + np.arange(tuning_value(extent)) * step
            x = np.take(x, picked, axis=axis)
        return x

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        source = tuple(
            start + index * step
            for start, index, step in zip(self.starts, positions(variables), self.steps, strict=True)
        )
        return Computation(variables, Load(0, source, output.dtype))


@dataclass(frozen=True, eq=False)
class Concatenation(Op):
    """All inputs one after the other along an axis."""

    axis: int

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect(len(inputs) >= 1, self, "expected at least one input, found none")
        first = inputs[0]
        expect_axis(self, self.axis, first.rank)
        expect_same_dtype(self, inputs, [f"{number}" for number in range(len(inputs))])
        for number, type in enumerate(inputs):
            wanted = f"input {number}: expected {show(first.shape)} but for axis {self.axis}, found {show(type.shape)}"
            expect(type.rank == first.rank, self, wanted)
            for axis, (wide, own) in enumerate(zip(first.shape, type.shape, strict=True)):
                if axis != self.axis:
                    expect_equal(wide, own, self, wanted)
        total: Dim = 0
        for type in inputs:
            total = total + type.shape[self.axis]
        return TensorType(first.dtype, (*first.shape[: self.axis], total, *first.shape[self.axis + 1 :]))

    def reference(self, *inputs: Array) -> Array:
        return np.concatenate(inputs, axis=self.axis)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        index = positions(variables)
        offsets: list[Dim] = [0]
        for type in inputs:
            offsets.append(offsets[-1] + type.shape[self.axis])
        present = [number for number, type in enumerate(inputs) if type.shape[self.axis] != 0]
        return Computation(variables, self._choose(present or [0], inputs, index, offsets))

    def _choose(
        self, numbers: list[int], inputs: Sequence[TensorType], index: tuple[Dim, ...], offsets: list[Dim]
    ) -> Scalar:
        """The element of that one among some neighbouring inputs in which the index lies: a binary search."""
        if len(numbers) > 1:
            half = len(numbers) // 2
            before = compare("less", index[self.axis], offsets[numbers[half]])
            left, right = (self._choose(part, inputs, index, offsets) for part in (numbers[:half], numbers[half:]))
            return call("select", before, left, right)
        (number,) = numbers
        at, extent = index[self.axis] - offsets[number], inputs[number].shape[self.axis]
        guard = None if len(inputs) == 1 else all_of(inside(at, extent))
        source = (*index[: self.axis], at, *index[self.axis + 1 :])
        return Load(number, source, inputs[number].dtype, guard)


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """Elements added (or with negative numbers removed) before and after every axis.

    Modes: *constant* adds `value`; *edge* repeats the first and last element; *reflect* mirrors at them without
    repeating them; *wrap* goes on at the other end. Removal comes first.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    mode: PadMode = "constant"
    value: float = 0

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        for name, pads in (("before", self.before), ("after", self.after)):
            expect(len(pads) == x.rank, self, f"{name}: expected one value per axis of {show(x.shape)}, found {pads}")
        modes = ("constant", "reflect", "edge", "wrap")
        expect(self.mode in modes, self, f"mode: expected one of {', '.join(modes)}, found {self.mode}")
        fits = not x.dtype.is_integer or lowest(x.dtype) <= self.value <= highest(x.dtype)
        expect(
            fits or not any((*self.before, *self.after)), self, f"value: expected one of {x.dtype}, found {self.value}"
        )
        for axis, extent in enumerate(x.shape):
            kept = self._kept(axis, extent)
            widest = max(self.before[axis], self.after[axis], 0)
            need = {"constant": 0, "reflect": widest + 1, "edge": 1, "wrap": 1}[self.mode] if widest else 0
            message = f"axis {axis} of extent {extent}: expected at least {need} elements for {self.mode}, found {kept}"
            expect(bounds(kept)[1] >= need, self, message)
        shape = (n + b + a for n, b, a in zip(x.shape, self.before, self.after, strict=True))
        return TensorType(x.dtype, tuple(shape))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        kept = tuple(
            slice(max(-b, 0), n - max(-a, 0)) for n, b, a in zip(x.shape, self.before, self.after, strict=True)
        )
        pads = [(max(b, 0), max(a, 0)) for b, a in zip(self.before, self.after, strict=True)]
        if self.mode == "constant":
            return np.pad(x[kept], pads, constant_values=np.asarray(self.value).astype(x.dtype))
        return np.pad(x[kept], pads, mode=self.mode)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        source: list[Dim] = []
        guards: list[Scalar] = []
        for axis, index in enumerate(positions(variables)):
            before, after = self.before[axis], self.after[axis]
            at = index - max(before, 0)
            if self.mode == "constant":
                source.append(at - min(before, 0))
                guards += inside(source[-1], x.shape[axis]) if before > 0 or after > 0 else []
            else:
                kept = self._kept(axis, x.shape[axis])
                source.append(self._folded(axis, at, kept) - min(before, 0))
                guards += inside(source[-1], x.shape[axis]) if bounds(kept)[0] < 1 else []
        otherwise = constant(self.value, x.dtype).value
        return Computation(variables, Load(0, tuple(source), x.dtype, all_of(guards), otherwise))

    def _kept(self, axis: int, extent: Dim) -> Dim:
        return extent + min(self.before[axis], 0) + min(self.after[axis], 0)

    def _folded(self, axis: int, index: Dim, extent: Dim) -> Dim:
        """An index that may lie outside, brought inside as the mode says."""
        before, after = max(self.before[axis], 0), max(self.after[axis], 0)
        if self.mode == "wrap":
            if not before and not after:
                return index
            laps = ceil_divide(before, extent) if isinstance(extent, int) else before
            period = maximum(extent, 1)
            return remainder(index + period * laps, period)
        last = extent - 1
        if self.mode == "edge":
            low = maximum(index, 0) if before else index
            return minimum(low, last) if after else low
        folded = maximum(index, index * -1) if before else index
        if bounds(last)[0] < max(before, after):  # Mirrored more than once where the axis is short.
            folded = remainder(folded, maximum(last * 2, 1))
            return minimum(folded, last * 2 - folded)
        return minimum(folded, last * 2 - folded) if after else folded


@dataclass(frozen=True, eq=False)
class Expand(Op):
    """The input broadcast, NumPy-style, against a shape."""

    shape: Shape

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        try:
            return TensorType(inputs[0].dtype, broadcast_shapes([inputs[0].shape, self.shape]))
        except Unequal as error:
            raise error.within(self.name) from None

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.array(np.broadcast_to(x, np.broadcast_shapes(x.shape, _concrete(self.shape))))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        return Computation(variables, load_broadcast(0, inputs[0], positions(variables)))


@dataclass(frozen=True, eq=False)
class Tile(Op):
    """The input repeated along every axis."""

    repeats: tuple[Dim, ...]

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        message = f"repeats: expected one value per axis of {show(x.shape)}, found {self.repeats}"
        expect(len(self.repeats) == x.rank and all(bounds(n)[1] >= 0 for n in self.repeats), self, message)
        return TensorType(x.dtype, tuple(n * times for n, times in zip(x.shape, self.repeats, strict=True)))

    def reference(self, *inputs: Array) -> Array:
        (x,), repeats = inputs, _concrete(self.repeats)
        shape = tuple(extent * times for extent, times in zip(x.shape, repeats, strict=True))
        return np.tile(x, repeats) if 0 not in shape else np.empty(shape, x.dtype)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        source = tuple(
            index if times == 1 else _modulo(index, extent)
            for index, extent, times in zip(positions(variables), x.shape, self.repeats, strict=True)
        )
        return Computation(variables, Load(0, source, x.dtype))


@dataclass(frozen=True, eq=False)
class DimensionTensor(Op):
    """The values of dimensions at run time: int64, of shape ``[len(dims)]``, or ``[]`` with `is_scalar`. No inputs."""

    dims: tuple[Dim, ...]
    is_scalar: bool = False

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 0)
        one = not self.is_scalar or len(self.dims) == 1
        expect(one, self, f"dims: expected one dimension for a scalar, found {len(self.dims)}")
        return TensorType(INT64, () if self.is_scalar else (len(self.dims),))

    def reference(self, *inputs: Array) -> Array:
        values = np.asarray(_concrete(self.dims), dtype=np.int64)
        return values.reshape(()) if self.is_scalar else values

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        if not self.dims:
            return Computation(variables, Constant(0, INT64))
        value: Scalar = IndexValue(self.dims[-1])
        for number in range(len(self.dims) - 2, -1, -1):
            here = compare("equal", position(variables[0]), number)
            value = call("select", here, IndexValue(self.dims[number]), value)
        return Computation(variables, value)


def reshaped_index(shape: Shape, index: Sequence[Dim], target: Shape) -> tuple[Dim, ...]:
    """The index in a tensor of shape `target` of the element that is at `index` under `shape`, in row-major order.

    Axes are treated in the smallest groups that hold equally many elements on both sides, so that axes which stay
    as they are, symbolic ones too, keep their index.
    """
    result: list[Dim] = []
    for own, other in _matching_groups(shape, target):
        flat: Dim = 0
        for axis in own:
            flat = flat * shape[axis] + index[axis]
        result += unflattened(flat, [target[axis] for axis in other])
    return tuple(result)


def _matching_groups(left: Shape, right: Shape) -> list[tuple[range, range]]:
    groups: list[tuple[range, range]] = []
    start = first = 0
    while start < len(left) or first < len(right):
        end, last = _smallest_group(left, right, start, first)
        groups.append((range(start, end), range(first, last)))
        start, first = end, last
    return groups


def _smallest_group(left: Shape, right: Shape, start: int, first: int) -> tuple[int, int]:
    ends = [(end, last) for end in range(start, len(left) + 1) for last in range(first, len(right) + 1)]
    for end, last in sorted(ends[1:], key=lambda pair: (pair[0] + pair[1], pair)):
        if product(left[start:end]) == product(right[first:last]):
            return end, last
    return len(left), len(right)


def _modulo(index: Dim, extent: Dim) -> Dim:
    return 0 if extent in (0, 1) else remainder(index, extent)


def _concrete(shape: Sequence[Dim]) -> tuple[int, ...]:
    return tuple(tuning_value(dim) for dim in shape)
