"""A convolution in plain numbers, as its kernels see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from tensorwright.graph.expression import IndexValue, Load, Variable, stride_along, walk
from tensorwright.graph.graph import Value, is_constant
from tensorwright.graph.region import Region, used_operands
from tensorwright.kernels.numerics import IN_BLOCKS, SINGLE, Numerics, numerics_of
from tensorwright.kernels.tactic import AnyConfig, Packing, pack_channels, plain_inputs
from tensorwright.ops.convolution import Convolution
from tensorwright.tensor.dim import Dim, tuning_value
from tensorwright.tensor.layout import PLAIN, Layout

NO_WEIGHTS = -1
"""The number of an input that is not there."""


@dataclass(frozen=True)
class Axis:
    """One spatial axis: extents of input, output and kernel, and how the kernel moves."""

    input: int
    output: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    def source(self, position: int, tap: int) -> int:
        """The index into the input that a tap of the kernel reads for an output position."""
        return position * self.stride + tap * self.dilation - self.before

    def reads(self, position: int, tap: int) -> bool:
        """Whether that index lies inside the input."""
        return 0 <= self.source(position, tap) < self.input

    def taps_in(self, low: int, high: int, position: int) -> int:
        """How many taps read an index from `low` up to, not including, `high` for an output position."""
        first = self.source(position, 0)
        begin, end = (min(self.kernel, max(0, -((first - edge) // self.dilation))) for edge in (low, high))
        return max(0, end - begin)

    def changes(self, low: int, high: int) -> set[int]:
        """The output positions of which other taps read such indices than of the position before."""
        firsts = (self.source(0, tap) for tap in range(self.kernel))
        found = {-((first - edge) // self.stride) for first in firsts for edge in (low, high)}
        return {position for position in found if 0 < position < self.output}

    @property
    def clips(self) -> bool:
        """Whether some tap reads padding at some position."""
        return self.source(0, 0) < 0 or self.source(self.output - 1, self.kernel - 1) >= self.input

    @property
    def is_pointwise(self) -> bool:
        """Whether every position reads the one element at the same index."""
        return self == Axis(self.output, self.output, 1)


@dataclass(frozen=True)
class Problem:
    """A convolution: channels and outputs are counted per group; `axes` are the spatial ones, at least two.

    x, weights, bias: which inputs of the region they are. merged: if all spatial axes are treated as one (the last of
    `axes`), which a pointwise convolution allows, the spatial axis of the output whose index stands for the pixel;
    None if they are not.
    """

    batch: Dim
    groups: int
    channels: int
    outputs: int
    axes: tuple[Axis, ...]
    x: int
    weights: int
    bias: int | None
    rank: int
    merged: int | None = None
    numerics: Numerics = SINGLE

    @property
    def all_channels(self) -> int:
        return self.groups * self.channels

    @property
    def all_outputs(self) -> int:
        return self.groups * self.outputs

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and self.channels == self.outputs == 1

    @property
    def taps(self) -> int:
        return prod(axis.kernel for axis in self.axes)

    @property
    def input_pixels(self) -> int:
        return prod(axis.input for axis in self.axes)

    def position(self, batch: Dim, block: Dim, spatial: Sequence[Dim], lane: Dim | None) -> tuple[Dim, ...]:
        """The index of an output element along the physical axes of the region's output; no lane in plain layout."""
        axes: Sequence[Dim] = spatial
        if self.rank == 1:
            axes = spatial[-1:]
        elif self.merged is not None:
            axes = [spatial[-1] if number == self.merged else 0 for number in range(self.rank)]
        return (batch, block, *axes) if lane is None else (batch, block, *axes, lane)


@dataclass(frozen=True)
class OpenAxis:
    """One spatial axis whose extents may be known only at run time; otherwise as `Axis`."""

    input: Dim
    output: Dim
    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    @property
    def usual(self) -> Axis:
        """The axis at the extents that are tuned for, with elements where it is open."""
        return Axis(_usual(self.input), _usual(self.output), self.kernel, *self._steps)

    @property
    def is_pointwise(self) -> bool:
        """Whether every position reads the one element at the same index."""
        return self == OpenAxis(self.output, self.output, 1)

    @property
    def is_open(self) -> bool:
        return not (isinstance(self.input, int) and isinstance(self.output, int))

    @property
    def _steps(self) -> tuple[int, int, int]:
        return self.stride, self.dilation, self.before


@dataclass(frozen=True)
class OpenProblem:
    """A convolution with a spatial extent that is known only at run time: how it usually is, and its two last axes."""

    usual: Problem
    axes: tuple[OpenAxis, OpenAxis]


def problem_of(region: Region) -> Problem | None:
    """The convolution that a region is built around; None if it is none, or not one for hand-written kernels.

    Those have element types that `numerics_of` knows, constant weights and bias, and no symbolic dimension but the
    batch.
    """
    anchor = _convolution(region)
    if anchor is None or any(axis.is_open for axis in _axes(anchor)):
        return None
    return _problem(region, anchor)


def open_problem_of(region: Region) -> OpenProblem | None:
    """Likewise of a convolution along one or two axes of which one at least is symbolic; spatial axes are treated as
    one if it is pointwise and its epilogue allows that.
    """
    anchor = _convolution(region)
    if anchor is None or len(_axes(anchor)) > 2 or not any(axis.is_open for axis in _axes(anchor)):
        return None
    axes, usual = _axes(anchor), _problem(region, anchor)
    if len(axes) == 2 and all(axis.is_pointwise for axis in axes) and _epilogue_merges(region):
        pixels = axes[0].input * axes[1].input
        carrier = max(number for number, axis in enumerate(axes) if axis.output != 1)
        merged_axes = (OpenAxis(1, 1, 1), OpenAxis(pixels, pixels, 1))
        usual = replace(usual, axes=tuple(axis.usual for axis in merged_axes), merged=carrier)
        return OpenProblem(usual, merged_axes)
    return OpenProblem(usual, (axes[0], axes[1]) if len(axes) == 2 else (OpenAxis(1, 1, 1), axes[0]))


def _usual(extent: Dim) -> int:
    return extent if isinstance(extent, int) else max(1, tuning_value(extent))


def _axes(anchor: Value) -> tuple[OpenAxis, ...]:
    op, x, weights = anchor.op, anchor.inputs[0].type, anchor.inputs[1].type
    assert isinstance(op, Convolution)
    kernel = (extent for extent in weights.shape[2:] if isinstance(extent, int))
    spatial = zip(x.shape[2:], anchor.type.shape[2:], kernel, op.strides, op.dilations, op.pads_begin, strict=True)
    return tuple(OpenAxis(*axis) for axis in spatial)


def _problem(region: Region, anchor: Value) -> Problem:
    """The problem at the extents that are tuned for."""
    op, x, weights = anchor.op, anchor.inputs[0].type, anchor.inputs[1].type
    assert isinstance(op, Convolution)
    axes = tuple(axis.usual for axis in _axes(anchor))
    outputs, channels = weights.shape[:2]
    assert isinstance(outputs, int)
    assert isinstance(channels, int)
    numerics = numerics_of(x.dtype, weights.dtype, anchor.type.dtype)
    assert numerics is not None
    return Problem(
        numerics=numerics,
        batch=x.shape[0],
        groups=op.groups,
        channels=channels,
        outputs=outputs // op.groups,
        axes=axes if len(axes) > 1 else (Axis(1, 1, 1), *axes),
        x=region.input_number(anchor.inputs[0]),
        weights=region.input_number(anchor.inputs[1]),
        bias=region.input_number(anchor.inputs[2]) if len(anchor.inputs) == 3 else None,
        rank=len(axes),
    )


def _convolution(region: Region) -> Value | None:
    """The convolution that a region is built around, if it is one for hand-written kernels."""
    anchor = region.anchor
    suits = anchor is not None and isinstance(anchor.op, Convolution) and _suitable(region, anchor)
    return anchor if suits else None


def _suitable(region: Region, anchor: Value) -> bool:
    operands = anchor.inputs
    if any(operand not in region.inputs for operand in operands) or len(set(operands)) < len(operands):
        return False
    types = [region.output.type, anchor.type, *(operand.type for operand in operands)]
    constants = {region.input_number(operand) for operand in operands[1:]}
    numerics = numerics_of(types[2].dtype, types[3].dtype, anchor.type.dtype)
    return (
        numerics is not None
        and all(type.dtype == types[3].dtype for type in types[4:])
        and region.output.type.dtype in IN_BLOCKS
        and all(is_constant(operand) for operand in operands[1:])
        and all(isinstance(type.shape[1], int) for type in types[:3])
        and all(isinstance(dim, int) for type in types[3:] for dim in type.shape)
        and all(dim != 0 for type in types for dim in type.shape)
        and region.output.type.shape == anchor.type.shape
        and not constants & used_operands(region.epilogue)
        and region.is_elementwise_around_anchor
    )


def merged(problem: Problem, region: Region) -> Problem:
    """The problem with all spatial axes as one, if the convolution is pointwise and its epilogue allows it."""
    if not all(axis.is_pointwise for axis in problem.axes) or not _epilogue_merges(region):
        return problem
    pixels = problem.input_pixels
    return replace(problem, axes=(Axis(1, 1, 1), Axis(pixels, pixels, 1)), merged=_carrier(problem))


def _carrier(problem: Problem) -> int:
    """The spatial axis along which neighbouring pixels are neighbours in memory: the last one with more than one."""
    axes = problem.axes[-problem.rank :]
    return max((number for number, axis in enumerate(axes) if axis.output > 1), default=problem.rank - 1)


def _epilogue_merges(region: Region) -> bool:
    """Whether every load of the epilogue walks through the spatial axes as evenly as the output does."""
    spatial = [variable for variable in region.epilogue_variables[2:] if variable.extent != 1]
    for node in walk(region.epilogue):
        if isinstance(node, IndexValue):
            return False
        if isinstance(node, Load) and node.operand != len(region.inputs):
            address = PLAIN.address(region.input_types[node.operand].shape, node.index)
            if not _even([stride_along(address, variable) for variable in spatial], spatial):
                return False
    return True


def _even(steps: Sequence[Dim | None], variables: Sequence[Variable]) -> bool:
    pairs = zip(steps, steps[1:], variables[1:], strict=False)
    return all(a is not None and b is not None and a == b * variable.extent for a, b, variable in pairs)


def layouts(region: Region, problem: Problem, x: Layout, output: Layout) -> tuple[Layout, ...]:
    """The layouts of a region's inputs: x as given, what the epilogue reads like the output where it can."""
    found = list(plain_inputs(region))
    shape = region.output.type.shape
    for number, type in enumerate(region.input_types):
        if type.dtype in IN_BLOCKS and type.rank == len(shape) and type.shape[1] == shape[1] != 1:
            found[number] = output
    found[problem.x] = x
    found[problem.weights] = PLAIN
    return tuple(found)


def packings(
    region: Region, problem: Problem, config: AnyConfig, weights: Packing, bias: Packing
) -> tuple[Packing | None, ...]:
    """How every constant input is packed: weights and bias as given, others into the layout of the config."""
    found: list[Packing | None] = [
        None if layout.is_plain or not is_constant(value) else pack_channels(layout.block, 1)
        for value, layout in zip(region.inputs, config.inputs, strict=True)
    ]
    found[problem.weights] = weights
    if problem.bias is not None:
        found[problem.bias] = bias
    return tuple(found)
