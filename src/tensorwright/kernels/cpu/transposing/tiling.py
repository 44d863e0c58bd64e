"""How an elementwise computation is split into square blocks that are transposed in registers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from tensorwright.codegen.flatten import FlatComputation
from tensorwright.codegen.values import register_dtype
from tensorwright.graph.expression import (
    Apply,
    IndexValue,
    Load,
    Reduce,
    Scalar,
    Variable,
    free_atoms,
    rename,
    stride_along,
    walk,
)
from tensorwright.kernels.numerics import BYTES
from tensorwright.kernels.slabs import MOST_TASKS, Range, Slabs, slabs_along
from tensorwright.tensor.dim import (
    Atom,
    Dim,
    ceil_divide,
    coefficient_of,
    expression,
    is_static,
    substitute,
    tuning_value,
    upper_bound,
)
from tensorwright.tensor.dtype import DType

ENOUGH_TASKS = 64
MOST_WOVEN = 4
"""Rows of at most so many elements are woven from vectors of columns, or taken apart into them."""


@dataclass(frozen=True)
class Axis:
    """An axis split into pieces of `size`, the last of which may be shorter: ``index = size · piece + inner``."""

    extent: int
    size: int
    piece: Variable
    inner: Variable

    @property
    def rest(self) -> int:
        """Elements of a last, shorter piece; 0 if there is none."""
        return self.extent % self.size

    @property
    def whole(self) -> int:
        return self.extent // self.size

    @property
    def count(self) -> int:
        """The number of pieces."""
        return -(-self.extent // self.size)

    @property
    def pieces(self) -> tuple[Range, ...]:
        return tuple((start, min(start + self.size, self.extent)) for start in range(0, self.extent, self.size))


@dataclass(frozen=True)
class Turned:
    """An operand that is read along the turned axis. `channels`: rows from there on are padding and not in memory."""

    operand: int
    address: Dim
    load: Load
    channel: Dim = 0
    channels: int | None = None


@dataclass(frozen=True)
class TransposingTiling:
    """Loops over `variables`, pieces of both axes among them, around blocks of `turned` × `lane` elements."""

    variables: tuple[Variable, ...]
    tasks: int
    lane: Axis
    turned: Axis
    loads: tuple[Turned, ...]
    address: Dim
    body: Scalar

    @property
    def weaves(self) -> bool:
        """Whether short rows of the output follow each other in memory: pixels with few channels, say."""
        short = self.lane.extent <= MOST_WOVEN and stride_along(self.address, self.turned.inner) == self.lane.extent
        return short and bool(self.loads) and all(turned.channels is None for turned in self.loads)

    def parts(self, turned: Turned) -> bool:
        """Whether short rows of an operand follow each other in memory."""
        step = stride_along(turned.address, self.lane.inner)
        return self.turned.extent <= MOST_WOVEN and step == self.turned.extent and turned.channels is None

    @property
    def writes(self) -> Slabs | None:
        """What each task writes: pieces of both axes, single indices of the others."""
        split = {axis.piece: axis for axis in (self.lane, self.turned)}
        steps = {v: coefficient_of(self.address, split[v].inner if v in split else v) for v in self.variables}
        known = {v: step for v, step in steps.items() if isinstance(step, int)}
        if len(known) < len(steps) or not all(is_static(v.extent) for v in self.variables):
            return None
        order = sorted(known, key=lambda v: -known[v])
        shape = [split[v].extent if v in split else v.extent for v in order]
        loops = self.variables[: self.tasks]
        if prod(split[v].count if v in split else upper_bound(v.extent) for v in loops) > MOST_TASKS:
            return None
        return slabs_along(
            shape, [(order.index(v), split[v].pieces if v in split else upper_bound(v.extent)) for v in loops]
        )


def transposing_tiling(flat: FlatComputation, lanes: int, padded_from: int | None) -> TransposingTiling | None:
    """The tiling for a computation whose loads run along two axes, one of which the stores run along.

    padded_from: the number of channels if the output's last block of channels has lanes beyond them.
    """
    if any(isinstance(node, Reduce) for node in walk(flat.body)) or not flat.variables:
        return None
    if any(variable.extent == 0 for variable in flat.variables):
        return None
    *others, last = flat.variables
    lane = _axis(last, lanes, "lane")
    if lane is None:
        return None
    loads = [node for node in walk(flat.body) if isinstance(node, Load)]
    for candidate in reversed(others):
        axis = _axis(candidate, lanes, "turned")
        if axis is None:
            continue
        moved: dict[Atom, Dim] = {last: _index(lane), candidate: _index(axis)}
        turned = _turned(loads, moved, lane, axis, padded_from)
        if turned or (turned is not None and _scattered(loads, last)):
            variables = tuple(v for v in others if v != candidate and v.extent != 1)
            variables = (*variables, axis.piece, lane.piece)
            address = substitute(flat.address, moved)
            return TransposingTiling(
                variables, _tasks(variables), lane, axis, turned, address, rename(flat.body, moved)
            )
    return None


def _axis(variable: Variable, size: int, name: str) -> Axis | None:
    if not isinstance(variable.extent, int) or variable.extent < 2:
        return None
    pieces = Variable(f"{name}_piece", ceil_divide(variable.extent, size))
    return Axis(variable.extent, size, pieces, Variable(f"{name}_inner", size))


def _index(axis: Axis) -> Dim:
    return expression(axis.piece) * axis.size + expression(axis.inner)


def _turned(
    loads: Sequence[Load], moved: dict[Atom, Dim], lane: Axis, axis: Axis, padded_from: int | None
) -> tuple[Turned, ...] | None:
    """The loads that have to be turned; None if one can be read along neither axis."""
    found: list[Turned] = []
    for load in loads:
        address = substitute(load.index[0], moved)
        if stride_along(address, lane.inner) in (0, 1):
            continue
        padding = None if load.guard is None else _padding(load.guard, padded_from)
        once = sum(other.operand == load.operand for other in loads) == 1
        if stride_along(address, axis.inner) != 1 or not once or (load.guard is not None and padding is None):
            return None
        if free_atoms(address) & moved.keys():  # They are left inside indices that are data.
            return None
        if stride_along(address, lane.inner) is None or not is_turned(load.dtype):
            return None
        channel = 0 if padding is None else substitute(padding, moved)
        if padded_from is not None and upper_bound(substitute(channel, {lane.inner: 0})) >= padded_from:
            return None  # A whole block of padding has no row that could be read in its place.
        found.append(Turned(load.operand, address, load, channel, None if padding is None else padded_from))
    return tuple(found)


def is_turned(dtype: DType) -> bool:
    """Whether squares of such elements are turned: those that have 32 bits in registers, and bytes."""
    return register_dtype(dtype).size == 4 or dtype in BYTES


def _scattered(loads: Sequence[Load], lane: Variable) -> bool:
    """Whether a load is only contiguous within pieces of the axis that the stores run along."""
    return any(stride_along(load.index[0], lane) not in (0, 1) for load in loads)


def _padding(guard: Scalar, channels: int | None) -> Dim | None:
    """The channel in the condition that a channel is none of the padding, if that is all that the guard says."""
    match guard:
        case Apply(function="less", operands=(IndexValue(index=channel), IndexValue(index=limit))) if limit == channels:
            return channel
    return None


def _tasks(variables: Sequence[Variable]) -> int:
    """How many of the outermost loops are dealt out as tasks."""
    tasks = 1
    for count, tasks_here in enumerate(_running_products(variables), 1):
        tasks = count
        if tasks_here >= ENOUGH_TASKS:
            break
    return tasks


def _running_products(variables: Sequence[Variable]) -> Iterator[int]:
    total = 1
    for variable in variables:
        total *= tuning_value(variable.extent)
        yield total
