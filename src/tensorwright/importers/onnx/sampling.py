"""Operators that read between the elements of images, at positions that are data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product as combinations

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import LONGEST, counting, element
from tensorwright.importers.onnx.convolution import Ints, padding, per_axis
from tensorwright.importers.onnx.node import Node
from tensorwright.ops.indexing import Gather, GatherElements
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim, floor_divide, product
from tensorwright.tensor.dtype import INT64

CUBIC_A = -0.75


@dataclass(frozen=True)
class Tap:
    """An index along one axis of an image, its weight, and whether it is inside (None: certainly)."""

    index: Value
    weight: Value | None
    inside: Value | None


@dataclass(frozen=True)
class Sampler:
    """Reads images ``[N, C, *S]`` at points; `padding` says what is outside: zeros, border or reflection."""

    node: Node
    mode: str
    padding: str
    align_corners: bool

    def sample(self, x: Value, coordinates: Sequence[Value]) -> Value:
        """``[N, C, P]``, the images at the points whose coordinates along each axis are ``[N, P]`` (or ``[1, P]``)."""
        node, spatial = self.node, x.type.shape[2:]
        flat = node.reshape(x, (*x.type.shape[:2], product(spatial)))
        taps = [self.taps(c, extent) for c, extent in zip(coordinates, spatial, strict=True)]
        return reduce(node.add, [self.read(flat, chosen, spatial) for chosen in combinations(*taps)])

    def read(self, flat: Value, taps: Sequence[Tap], spatial: Sequence[Dim]) -> Value:
        """One tap along each axis: elements times the product of the weights."""
        node, offset = self.node, taps[0].index
        for tap, extent in zip(taps[1:], spatial[1:], strict=True):
            offset = node.add(node.multiply(offset, node.shape_scalar(extent)), tap.index)
        points = offset.type.shape[-1]
        index = node.reshape(offset, (offset.type.shape[0], 1, points))
        found = node.apply(GatherElements(2), flat, node.expand(index, (*flat.type.shape[:2], points)))
        weights = [tap.weight for tap in taps if tap.weight is not None]
        if weights:
            weight = reduce(node.multiply, weights)
            found = node.multiply(found, node.cast(self._per_channel(weight), found.type.dtype))
        inside = [tap.inside for tap in taps if tap.inside is not None]
        if not inside:
            return found
        within = self._per_channel(reduce(lambda a, b: node.binary("and", a, b), inside))
        return node.select(within, found, node.scalar(0, found))

    def _per_channel(self, value: Value) -> Value:
        return self.node.reshape(value, (value.type.shape[0], 1, value.type.shape[1]))

    def taps(self, coordinate: Value, extent: Dim) -> list[Tap]:
        """The taps along an axis."""
        node = self.node
        if self.mode == "nearest":
            return [self.tap(node.unary("round", coordinate), None, extent)]
        if self.padding != "zeros":
            coordinate = self.brought_inside(coordinate, extent)
        first = node.unary("floor", coordinate)
        fraction = node.subtract(coordinate, first)
        rest = node.subtract(node.scalar(1, fraction), fraction)
        if self.mode == "linear":
            weighted = [(0, rest), (1, fraction)]
        else:
            weighted = list(enumerate(self._cubic(fraction, rest), start=-1))
        return [self.tap(node.add(first, node.scalar(offset, first)), weight, extent) for offset, weight in weighted]

    def _cubic(self, fraction: Value, rest: Value) -> list[Value]:
        """Weights of the cubic convolution kernel of Keys for the elements at -1, 0, 1 and 2."""
        node, a = self.node, CUBIC_A

        def polynomial(x: Value, *coefficients: float) -> Value:
            total = node.scalar(coefficients[0], x)
            for coefficient in coefficients[1:]:
                total = node.add(node.multiply(total, x), node.scalar(coefficient, x))
            return total

        near, far = (a + 2, -(a + 3), 0, 1), (a, -5 * a, 8 * a, -4 * a)
        one = node.scalar(1, fraction)
        return [
            polynomial(node.add(fraction, one), *far),
            polynomial(fraction, *near),
            polynomial(rest, *near),
            polynomial(node.add(rest, one), *far),
        ]

    def tap(self, position: Value, weight: Value | None, extent: Dim) -> Tap:
        """The tap at a whole number, brought inside the image."""
        node = self.node
        zero, last = node.scalar(0, position), self.float_of(extent - 1, position)
        inside = None
        if self.padding == "zeros":
            above = node.binary("less_equal", zero, position)
            inside = node.binary("and", above, node.binary("less_equal", position, last))
        elif self.padding == "reflection":
            position = self.brought_inside(position, extent)
        clamped = node.binary("min", node.binary("max", position, zero), last)
        return Tap(node.cast(clamped, INT64), weight, inside)

    def brought_inside(self, coordinate: Value, extent: Dim) -> Value:
        """A coordinate clamped to the image, or mirrored at its borders as often as needed."""
        node = self.node
        margin = 0.0 if self.align_corners else 0.5
        if self.padding == "border":
            last = self.float_of(extent - 1, coordinate)
            return node.binary("min", node.binary("max", coordinate, node.scalar(0, coordinate)), last)
        if self.align_corners and extent == 1:
            return node.multiply(coordinate, node.scalar(0, coordinate))
        shift = node.scalar(margin, coordinate)
        width = node.add(self.float_of(extent - 1, coordinate), node.scalar(2 * margin, coordinate))
        twice = node.add(width, width)
        phase = node.binary("floor_mod", node.add(coordinate, shift), twice)
        return node.subtract(node.binary("min", phase, node.subtract(twice, phase)), shift)

    def float_of(self, dim: Dim, like: Value) -> Value:
        return self.node.cast(self.node.shape_scalar(dim), like.type.dtype)


def GridSample(
    node: Node, x: Value, grid: Value, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Value:
    """Points are in [-1, 1] along each axis, the last axis of the image first."""
    own = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    if own not in ("nearest", "linear", "cubic") or padding_mode not in ("zeros", "border", "reflection"):
        node.fail(f"mode {mode} or padding_mode {padding_mode} is not known")
    spatial, count = x.type.shape[2:], x.type.rank - 2
    points = product(grid.type.shape[1:-1])
    flat = node.reshape(grid, (grid.type.shape[0], points, count))
    sampler = Sampler(node, own, padding_mode, bool(align_corners))
    coordinates = [_unnormalised(sampler, element(node, flat, 2, count - 1 - a), spatial[a]) for a in range(count)]
    return node.reshape(sampler.sample(x, coordinates), (*x.type.shape[:2], *grid.type.shape[1:-1]))


def _unnormalised(sampler: Sampler, coordinate: Value, extent: Dim) -> Value:
    node = sampler.node
    half, moved = node.scalar(0.5, coordinate), node.add(coordinate, node.scalar(1, coordinate))
    if sampler.align_corners:
        return node.multiply(node.multiply(moved, half), sampler.float_of(extent - 1, coordinate))
    scaled = node.multiply(moved, sampler.float_of(extent, coordinate))
    return node.multiply(node.subtract(scaled, node.scalar(1, coordinate)), half)


def DeformConv(
    node: Node,
    x: Value,
    w: Value,
    offset: Value,
    b: Value | None = None,
    mask: Value | None = None,
    *,
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    offset_group: int = 1,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """A convolution each of whose taps reads at an offset of its own: sampled images times the weights."""
    if x.type.rank != 4:
        node.unsupported(f"2 spatial axes are supported, the input is {x.type}")
    window = node.static(w.type.shape[2:], "the weights' shape")
    strides, dilations = per_axis(node, "strides", strides, 2), per_axis(node, "dilations", dilations, 2)
    before, _ = padding(node, "NOTSET", pads, x.type.shape[2:], window, strides, dilations)
    size = node.static(offset.type.shape[2:], "the output of DeformConv")
    (batch, channels), taps = x.type.shape[:2], window[0] * window[1]
    points = taps * size[0] * size[1]
    if points > LONGEST:
        node.fail(f"{size[0]}×{size[1]} outputs of {taps} taps each; expected {LONGEST} taps of an image at most")
    images = node.reshape(x, (batch * offset_group, floor_divide(channels, offset_group), *x.type.shape[2:]))
    moves = node.reshape(offset, (batch * offset_group, taps, 2, size[0] * size[1]))
    coordinates = []
    for axis in range(2):
        taken = np.arange(window[axis]) * dilations[axis] - before[axis]
        grid = np.arange(size[axis]) * strides[axis]
        place = np.add.outer(taken, grid)
        whole = place[:, None, :, None] if axis == 0 else place[None, :, None, :]
        base = np.broadcast_to(whole, (window[0], window[1], size[0], size[1])).reshape(1, points)
        move = node.reshape(element(node, moves, 2, axis), (batch * offset_group, points))
        coordinates.append(node.add(node.constant(base, x.type.dtype), move))
    columns = Sampler(node, "linear", "zeros", False).sample(images, coordinates)
    if mask is not None:
        columns = node.multiply(columns, node.reshape(mask, (batch * offset_group, 1, points)))
    return _weighted(node, columns, w, b, (batch, channels), group, size)


def _weighted(
    node: Node, columns: Value, w: Value, b: Value | None, x: tuple[Dim, Dim], group: int, size: Ints
) -> Value:
    (batch, channels), taps = x, product(w.type.shape[2:])
    per_group, outputs = floor_divide(channels, group), floor_divide(w.type.shape[0], group)
    right = node.reshape(columns, (batch, group, per_group * taps, size[0] * size[1]))
    left = node.reshape(w, (group, outputs, per_group * taps))
    result = node.reshape(node.apply(MatMul(False, False), left, right), (batch, w.type.shape[0], *size))
    return result if b is None else node.add(result, node.reshape(b, (w.type.shape[0], 1, 1)))


def RoiAlign(
    node: Node,
    x: Value,
    rois: Value,
    batch_indices: Value,
    *,
    coordinate_transformation_mode: str | None = None,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Value:
    """The mean or maximum of `sampling_ratio`² points in each cell of each region; not centred before opset 16."""
    if sampling_ratio < 1:
        node.unsupported("sampling_ratio 0 takes a number of points that depends on data")
    if max(output_height, output_width) * sampling_ratio > LONGEST:
        node.fail(
            f"{output_height}×{output_width} cells of {sampling_ratio}² points; expected {LONGEST} a side at most"
        )
    default = "half_pixel" if node.version >= 16 else "output_half_pixel"
    centred = (coordinate_transformation_mode or default) == "half_pixel"
    cells = output_height, output_width
    scaled = node.multiply(rois, node.scalar(spatial_scale, rois))
    down, right = (_lines(node, scaled, axis, cells[axis], sampling_ratio, centred) for axis in range(2))
    sampled = _sampled(node, x, batch_indices, (down, right), mode)
    split = (rois.type.shape[0], cells[0], sampling_ratio, cells[1], sampling_ratio, x.type.shape[1])
    result = node.reduce("mean" if mode == "avg" else "max", node.reshape(sampled, split), (2, 4), False)
    return node.transpose(result, (0, 3, 1, 2))


def _lines(node: Node, rois: Value, axis: int, cells: int, points: int, centred: bool) -> Value:
    """Coordinates [R, cells · points] along an axis; regions are x1, y1, x2, y2."""
    start, end = element(node, rois, 1, 1 - axis), element(node, rois, 1, 3 - axis)
    size = node.subtract(end, start)
    if centred:
        start = node.subtract(start, node.scalar(0.5, start))
    else:
        size = node.binary("max", size, node.scalar(1, size))
    steps = (np.arange(cells)[:, None] + (np.arange(points) + 0.5) / points).reshape(1, -1) / cells
    column = (rois.type.shape[0], 1)
    spread = node.multiply(node.reshape(size, column), node.constant(steps, size.type.dtype))
    return node.add(node.reshape(start, column), spread)


def _sampled(node: Node, x: Value, images: Value, lines: tuple[Value, Value], mode: str) -> Value:
    """[R, rows, columns, C]: linear interpolation at the crossings of lines [R, rows] and [R, columns], clamped to the
    image of each region; 0 more than one element outside. *max* keeps the largest term.

    The channels of an element are read side by side, where they lie: no region has an image of its own.
    """
    sampler, (batch, channels, *spatial) = Sampler(node, "linear", "border", False), x.type.shape
    count, size = images.type.shape[0], product(spatial)
    elements = node.reshape(node.transpose(x, (0, 2, 3, 1)), (batch * size, channels))
    starts = node.multiply(counting(node, batch), node.shape_scalar(size))
    first = node.reshape(node.apply(Gather(0), starts, images), (count, 1, 1))
    crossing = [(count, lines[0].type.shape[1], 1), (count, 1, lines[1].type.shape[1])]
    coordinates = [node.reshape(line, shape) for line, shape in zip(lines, crossing, strict=True)]
    taps = [sampler.taps(coordinate, extent) for coordinate, extent in zip(coordinates, spatial, strict=True)]
    terms = [_weighted_rows(node, elements, first, chosen, spatial[1]) for chosen in combinations(*taps)]
    found = reduce(node.add if mode == "avg" else lambda a, b: node.binary("max", a, b), terms)
    shown = _per_channel(node, _is_near(sampler, coordinates, spatial))
    return node.select(shown, found, node.scalar(0, found))


def _weighted_rows(node: Node, elements: Value, first: Value, taps: Sequence[Tap], width: Dim) -> Value:
    """Elements [N·H·W, C] at a tap along each axis of images that begin at `first`, times the weights of the taps."""
    down, right = (tap.index for tap in taps)
    place = node.add(node.add(first, node.multiply(down, node.shape_scalar(width))), right)
    weight = reduce(node.multiply, [tap.weight for tap in taps if tap.weight is not None])
    return node.multiply(
        node.apply(Gather(0), elements, place), _per_channel(node, node.cast(weight, elements.type.dtype))
    )


def _is_near(sampler: Sampler, coordinates: Sequence[Value], spatial: Sequence[Dim]) -> Value:
    """Whether a point is at most one element outside of the image."""
    node, conditions = sampler.node, list[Value]()
    for coordinate, extent in zip(coordinates, spatial, strict=True):
        conditions.append(node.binary("less_equal", node.scalar(-1, coordinate), coordinate))
        conditions.append(node.binary("less_equal", coordinate, sampler.float_of(extent, coordinate)))
    return reduce(lambda a, b: node.binary("and", a, b), conditions)


def _per_channel(node: Node, value: Value) -> Value:
    return node.reshape(value, (*value.type.shape, 1))
