"""Layers that move elements: shuffle, slice, concatenation, padding, gather, resize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorwright.api.checks import (
    Ints,
    as_integer,
    dimensions,
    integer,
    integers,
    member,
    number,
    optional_dimensions,
    optional_integer,
    optional_numbers,
    truth,
)
from tensorwright.api.enums import (
    GatherMode,
    InterpolationMode,
    LayerType,
    ResizeCoordinateTransformation,
    ResizeRoundMode,
    SampleMode,
)
from tensorwright.api.layer import Layer, Network, Setting
from tensorwright.api.layers.axes import channel_axis, user_shape, value_axis
from tensorwright.api.tensor import UNKNOWN, Tensor
from tensorwright.base.errors import NetworkError, ShapeError
from tensorwright.graph.graph import Value
from tensorwright.ops.checks import show
from tensorwright.ops.elementwise import Identity
from tensorwright.ops.indexing import Gather, GatherElements, GatherNd
from tensorwright.ops.resize import Mode, Resize, Rounding, Transformation
from tensorwright.ops.shape import Concatenation, Expand, Pad, Reshape, Slice, Transpose
from tensorwright.tensor.dim import Atom, Dim, floor_divide, product, substitute
from tensorwright.tensor.type import Shape


def permutation(name: str, value: object) -> Ints | None:
    """Each axis once, or None for the order as it is."""
    if value is None:
        return None
    axes = integers(0)(name, value)
    if sorted(axes) != list(range(len(axes))):
        raise NetworkError(f"{name}: expected each axis from 0 to {len(axes) - 1} once, found {axes}")
    return axes


def reshape_target(name: str, value: object) -> tuple[Dim, ...] | None:
    """Dimensions; 0 and -1 have their meaning in `ShuffleLayer`."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise NetworkError(f"{name}: expected a sequence of dimensions, found {value!r}")
    known = dimensions(name, [0 if as_integer(dim) == UNKNOWN else dim for dim in value])
    result = tuple(UNKNOWN if as_integer(dim) == UNKNOWN else one for dim, one in zip(value, known, strict=True))
    if result.count(UNKNOWN) > 1:
        raise NetworkError(f"{name}: expected -1 at most once, found {tuple(value)}")
    return result


class ShuffleLayer(Layer):
    """Transpose, then reshape, then transpose again; each only if it is set.

    `reshape_dims`: 0 copies the dimension at the same place (unless `zero_is_placeholder` is False), -1 is whatever is
    left over. Transposes say for each axis of the result which axis it was before.
    """

    type = LayerType.SHUFFLE
    call = "add_shuffle"
    settled = False

    first_transpose = Setting(permutation)
    reshape_dims = Setting(reshape_target)
    second_transpose = Setting(permutation)
    zero_is_placeholder = Setting(truth)

    def __init__(self, network: Network, name: str | None, input: Tensor) -> None:
        super().__init__(network, name, [input])
        self.first_transpose = None
        self.reshape_dims = None
        self.second_transpose = None
        self.zero_is_placeholder = True

    def substitute(self, replacements: Mapping[Atom, Dim]) -> None:
        if self.reshape_dims is not None:
            self.reshape_dims = tuple(substitute(dim, replacements) for dim in self.reshape_dims)

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        x = self._transposed(x, "first_transpose", self.first_transpose)
        if self.reshape_dims is not None:
            x = self.node(Reshape((*x.type.shape[: self.batch_axes], *self._target(x, self.reshape_dims))), x)
        x = self._transposed(x, "second_transpose", self.second_transpose)
        return (x if x is not inputs[0] else self.node(Identity(), x),)

    def _transposed(self, x: Value, name: str, order: Ints | None) -> Value:
        if order is None:
            return x
        shape = user_shape(self, x)
        if len(order) != len(shape):
            raise NetworkError(f"{name}: expected {len(shape)} axes, as in {show(shape)}, found {order}")
        batch = tuple(range(self.batch_axes))
        return self.node(Transpose((*batch, *(axis + self.batch_axes for axis in order))), x)

    def _target(self, x: Value, wanted: tuple[Dim, ...]) -> Shape:
        shape = user_shape(self, x)
        dims = list(wanted)
        for place, dim in enumerate(dims):
            if dim == 0 and self.zero_is_placeholder:
                if place >= len(shape):
                    raise NetworkError(f"reshape_dims: 0 at place {place} copies from {show(shape)}, which is shorter")
                dims[place] = shape[place]
        if UNKNOWN in dims:
            rest, known = product(shape), product(dim for dim in dims if dim != UNKNOWN)
            left = floor_divide(rest, known) if known != 0 else 0
            dims[dims.index(UNKNOWN)] = left
        if product(dims) != product(shape):
            raise NetworkError(
                f"reshape_dims: {show(shape)} has {product(shape)} elements, {wanted} would have {product(dims)}"
            )
        return tuple(dims)


class SliceLayer(Layer):
    """``y[i] = x[start + i · stride]`` along every axis; everything read must be inside."""

    type = LayerType.SLICE
    call = "add_slice"

    start = Setting(dimensions)
    shape = Setting(dimensions)
    stride = Setting(integers())
    mode = Setting(member(SampleMode))

    def __init__(
        self,
        network: Network,
        name: str | None,
        input: Tensor,
        start: Sequence[Dim],
        shape: Sequence[Dim],
        stride: Sequence[int],
    ) -> None:
        super().__init__(network, name, [input])
        self.start = start
        self.shape = shape
        self.stride = stride
        self.mode = SampleMode.STRICT_BOUNDS

    def substitute(self, replacements: Mapping[Atom, Dim]) -> None:
        self.start = tuple(substitute(dim, replacements) for dim in self.start)
        self.shape = tuple(substitute(dim, replacements) for dim in self.shape)

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        if self.mode is not SampleMode.STRICT_BOUNDS:
            raise NetworkError(f"mode: {self.mode.name} is not available; use add_padding before the slice")
        shape = user_shape(self, x)
        for name, values in (("start", self.start), ("shape", self.shape), ("stride", self.stride)):
            if len(values) != len(shape):
                wanted = f"expected {len(shape)} values, one per axis of {show(shape)}"
                raise NetworkError(f"{name}: {wanted}, found {values}")
        batch = x.type.shape[: self.batch_axes]
        op = Slice((*(0 for _ in batch), *self.start), (*batch, *self.shape), (*(1 for _ in batch), *self.stride))
        return (self.node(op, x),)


class ConcatenationLayer(Layer):
    """All inputs one after the other along `axis`, that of the channels until it is set."""

    type = LayerType.CONCATENATION
    call = "add_concatenation"
    settled = False

    axis = Setting(optional_integer(-8))

    def __init__(self, network: Network, name: str | None, inputs: Sequence[Tensor]) -> None:
        super().__init__(network, name, inputs)
        if not inputs:
            raise self.error("expected at least one input, found none")
        self.axis = None

    def lower(self, *inputs: Value) -> Sequence[Value]:
        first = inputs[0]
        axis = value_axis(self, first, channel_axis(self, first) if self.axis is None else self.axis)
        return (self.node(Concatenation(axis), *(self._with_batch(x, inputs) for x in inputs)),)

    def _with_batch(self, x: Value, inputs: Sequence[Value]) -> Value:
        """Constants of a network with implicit batch have a batch of 1: repeat them."""
        if not self.batch_axes:
            return x
        batches = [other.type.shape[0] for other in inputs if other.type.shape[0] != 1]
        if x.type.shape[0] != 1 or not batches:
            return x
        return self.node(Expand((batches[0], *x.type.shape[1:])), x)


class PaddingLayer(Layer):
    """Zeros before and after the last axes, one pair for each; negative numbers crop."""

    type = LayerType.PADDING
    call = "add_padding"

    pre_padding = Setting(integers())
    post_padding = Setting(integers())
    pre_padding_nd = pre_padding
    post_padding_nd = post_padding

    def __init__(
        self, network: Network, name: str | None, input: Tensor, pre_padding: Sequence[int], post_padding: Sequence[int]
    ) -> None:
        super().__init__(network, name, [input])
        self.pre_padding = pre_padding
        self.post_padding = post_padding

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        before, after = self.pre_padding, self.post_padding
        rank = x.type.rank - self.batch_axes
        if len(before) != len(after) or not 1 <= len(before) <= rank:
            raise NetworkError(
                f"expected as many values in pre_padding as in post_padding, at most {rank}, found {before} and {after}"
            )
        rest = (0,) * (x.type.rank - len(before))
        return (self.node(Pad((*rest, *before), (*rest, *after)), x),)


class GatherLayer(Layer):
    """Elements at computed places.

    Modes: DEFAULT, ``y[a..., i..., b...] = x[a..., indices[i...], b...]``, the index along `axis`; ELEMENT, indices of
    the shape of the output; ND, the last axis of the indices holds the positions along the axes of x after the first
    `num_elementwise_dims`.
    """

    type = LayerType.GATHER
    call = "add_gather"
    settled = False

    axis = Setting(integer(-8))
    mode = Setting(member(GatherMode))
    num_elementwise_dims = Setting(integer(0))

    def __init__(
        self, network: Network, name: str | None, input: Tensor, indices: Tensor, axis: int, mode: GatherMode
    ) -> None:
        super().__init__(network, name, [input, indices])
        self.axis = axis
        self.mode = mode
        self.num_elementwise_dims = 0

    def lower(self, *inputs: Value) -> Sequence[Value]:
        x, indices = inputs
        axis = value_axis(self, x, self.axis)
        match self.mode:
            case GatherMode.ELEMENT:
                return (self.node(GatherElements(axis), x, indices),)
            case GatherMode.ND:
                return (self.node(GatherNd(self.num_elementwise_dims + self.batch_axes), x, indices),)
            case GatherMode.DEFAULT:
                return (self.node(Gather(axis), x, self._without_batch(indices)),)

    def _without_batch(self, indices: Value) -> Value:
        if not self.batch_axes:
            return indices
        if indices.type.shape[0] != 1:
            raise NetworkError(
                "indices: expected a constant in a network with implicit batch, found one set of indices per batch "
                "element; create the network with EXPLICIT_BATCH and use the mode ND"
            )
        return self.node(Reshape(indices.type.shape[1:]), indices)


RESIZE_MODES: Mapping[InterpolationMode, Mode] = {
    InterpolationMode.NEAREST: "nearest",
    InterpolationMode.LINEAR: "linear",
    InterpolationMode.CUBIC: "cubic",
}
TRANSFORMATIONS: Mapping[ResizeCoordinateTransformation, Transformation] = {
    ResizeCoordinateTransformation.ALIGN_CORNERS: "align_corners",
    ResizeCoordinateTransformation.ASYMMETRIC: "asymmetric",
    ResizeCoordinateTransformation.HALF_PIXEL: "half_pixel",
}
ROUNDINGS: Mapping[ResizeRoundMode, Rounding] = {
    ResizeRoundMode.HALF_UP: "round_prefer_ceil",
    ResizeRoundMode.HALF_DOWN: "round_prefer_floor",
    ResizeRoundMode.FLOOR: "floor",
    ResizeRoundMode.CEIL: "ceil",
}


class ResizeLayer(Layer):
    """The input sampled at other positions. Set `shape` or `scales`, output over input extents, rounded down."""

    type = LayerType.RESIZE
    call = "add_resize"
    settled = False

    shape = Setting(optional_dimensions)
    scales = Setting(optional_numbers)
    resize_mode = Setting(member(InterpolationMode))
    coordinate_transformation = Setting(member(ResizeCoordinateTransformation))
    nearest_rounding = Setting(member(ResizeRoundMode))
    cubic_coeff = Setting(number)
    exclude_outside = Setting(truth)

    def __init__(self, network: Network, name: str | None, input: Tensor) -> None:
        super().__init__(network, name, [input])
        self.shape = None
        self.scales = None
        self.resize_mode = InterpolationMode.NEAREST
        self.coordinate_transformation = ResizeCoordinateTransformation.ASYMMETRIC
        self.nearest_rounding = ResizeRoundMode.FLOOR
        self.cubic_coeff = -0.75
        self.exclude_outside = False

    def substitute(self, replacements: Mapping[Atom, Dim]) -> None:
        if self.shape is not None:
            self.shape = tuple(substitute(dim, replacements) for dim in self.shape)

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        shape, scales = self._target(x)
        op = Resize(
            RESIZE_MODES[self.resize_mode],
            scales,
            shape,
            TRANSFORMATIONS[self.coordinate_transformation],
            ROUNDINGS[self.nearest_rounding],
            self.cubic_coeff,
            self.exclude_outside,
        )
        return (self.node(op, x),)

    def _target(self, x: Value) -> tuple[Shape, tuple[float, ...]]:
        batch, old = x.type.shape[: self.batch_axes], user_shape(self, x)
        given = self.shape if self.scales is None else self.scales
        if given is None:
            raise NetworkError("neither shape nor scales is set; set layer.shape or layer.scales")
        if len(given) != len(old):
            raise NetworkError(f"expected {len(old)} values, one per axis of {show(old)}, found {given}")
        ones = (1.0,) * len(batch)
        if self.scales is not None:
            new = tuple(_scaled(dim, scale) for dim, scale in zip(old, self.scales, strict=True))
            return (*batch, *new), (*ones, *self.scales)
        assert self.shape is not None
        ratios = tuple(_ratio(a, b) for a, b in zip(self.shape, old, strict=True))
        return (*batch, *self.shape), (*ones, *ratios)


def _scaled(dim: Dim, scale: float) -> Dim:
    if scale == int(scale):
        return dim * int(scale)
    if not isinstance(dim, int):
        raise ShapeError(f"scales: expected an integer for the dimension {dim}, which is not known, found {scale}")
    return int(dim * scale)


def _ratio(new: Dim, old: Dim) -> float:
    if new == old:
        return 1.0
    if not isinstance(new, int) or not isinstance(old, int):
        raise ShapeError(f"shape: {old} becomes {new}, a ratio that is not known; set scales")
    return new / old
