"""Layers that move elements and leave their values alone."""

from __future__ import annotations

from itertools import pairwise

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import BlobShape, Unsigned
from tensorwright.importers.compose import joined, part
from tensorwright.ops.resize import Resize
from tensorwright.ops.shape import Tile as TileOp
from tensorwright.tensor.dim import Dim, floor_divide, product

SAME = BlobShape()


@reads("dropout_param", ("dropout_ratio", "scale_train"))
def Dropout(layer: Layer, x: Value) -> Value:
    """The bottom: nothing is dropped but in training."""
    return x


def Split(layer: Layer, x: Value) -> list[Value]:
    """The bottom, as many times as there are tops."""
    return [x] * len(layer.tops)


def Silence(layer: Layer, *inputs: Value) -> list[Value]:
    """Nothing: it keeps blobs from being outputs."""
    return []


@reads("parameter_param")
def Parameter(layer: Layer, *, shape: BlobShape) -> Value:
    """Trained weights as a blob."""
    if any(extent < 1 for extent in shape.dim):
        layer.fail(f"shape: expected extents of at least 1, found {list(shape.dim)}")
    return layer.weights(0, shape.dim)


@reads("concat_param")
def Concat(layer: Layer, *inputs: Value, axis: int | None = None, concat_dim: Unsigned | None = None) -> Value:
    """All bottoms one after the other along an axis (1); `concat_dim` is its older name."""
    if not inputs:
        layer.fail("expected at least 1 bottom, found none")
    if axis is not None and concat_dim is not None:
        layer.fail("axis and concat_dim exclude each other; keep axis")
    along = _either(axis, concat_dim)
    return joined(layer, inputs, layer.axis(along, inputs[0].type.rank))


@reads("slice_param")
def Slice(
    layer: Layer,
    x: Value,
    *,
    axis: int | None = None,
    slice_point: tuple[Unsigned, ...] = (),
    slice_dim: Unsigned | None = None,
) -> list[Value]:
    """The bottom cut along an axis (1) at the given points, or into equal parts; `slice_dim` is its older name."""
    if axis is not None and slice_dim is not None:
        layer.fail("axis and slice_dim exclude each other; keep axis")
    along = layer.axis(_either(axis, slice_dim), x.type.rank)
    (extent,) = layer.static(x.type.shape[along : along + 1], "the extent of the axis")
    count = len(layer.tops)
    if not slice_point and (not count or extent % count):
        layer.fail(f"axis {along} of {x.type} cannot be cut into {count} equal parts; say slice_point")
    points = slice_point or tuple(extent // count * number for number in range(1, count))
    bounds = (0, *points, extent)
    if len(points) != count - 1 or any(b <= a for a, b in pairwise(bounds)):
        layer.fail(
            f"slice_point: expected {count - 1} ascending values between 0 and {extent} for {count} tops, "
            f"found {list(points)}"
        )
    return [part(layer, x, {along: (a, b - a)}) for a, b in pairwise(bounds)]


@reads("crop_param")
def Crop(layer: Layer, x: Value, reference: Value, *, axis: int = 2, offset: tuple[Unsigned, ...] = ()) -> Value:
    """The part of the bottom that has the extents of the second bottom from `axis` on, and starts at the offsets."""
    start = layer.axis(axis, x.type.rank)
    axes = range(start, x.type.rank)
    if len(offset) not in (0, 1, len(axes)):
        layer.fail(f"offset: expected 1 value, or one for each of the {len(axes)} axes cropped, found {len(offset)}")
    if reference.type.rank < x.type.rank:
        layer.fail(f"expected a second bottom with as many axes as {x.type}, found {reference.type}")
    offsets = offset if len(offset) == len(axes) else (offset or (0,)) * len(axes)
    return part(layer, x, {a: (at, reference.type.shape[a]) for a, at in zip(axes, offsets, strict=True)})


@reads("flatten_param")
def Flatten(layer: Layer, x: Value, *, axis: int = 1, end_axis: int = -1) -> Value:
    """The axes from `axis` to `end_axis` as one."""
    first, last = (layer.axis(one, x.type.rank) for one in (axis, end_axis))
    shape = x.type.shape
    if first > last:
        layer.fail(f"axis {axis} comes after end_axis {end_axis} in {x.type}")
    return layer.reshape(x, (*shape[:first], product(shape[first : last + 1]), *shape[last + 1 :]))


@reads("reshape_param")
def Reshape(layer: Layer, x: Value, *, shape: BlobShape = SAME, axis: int = 0, num_axes: int = -1) -> Value:
    """`num_axes` axes from `axis` on under another shape: 0 keeps an extent, one -1 takes what is left.

    A first extent that equals the batch of the definition stands for the batch that has taken its place.
    """
    rank = x.type.rank
    start = axis if axis >= 0 else rank + axis + 1
    stop = rank if num_axes == -1 else start + num_axes
    if not 0 <= start <= stop <= rank or num_axes < -1:
        layer.fail(f"axis {axis} and num_axes {num_axes} reach beyond the axes of the bottom {x.type}")
    lead, replaced, tail = x.type.shape[:start], x.type.shape[start:stop], x.type.shape[stop:]
    wanted: list[Dim] = [_extent(layer, dim, number, start, replaced) for number, dim in enumerate(shape.dim)]
    open_places = [number for number, dim in enumerate(wanted) if dim == -1]
    if len(open_places) > 1:
        layer.fail(f"shape: expected at most one -1, found {list(shape.dim)}")
    if open_places:
        known = product(dim for dim in wanted if dim != -1)
        wanted[open_places[0]] = floor_divide(product(replaced), known)
    if product(wanted) != product(replaced):
        layer.fail(f"shape {list(shape.dim)} does not hold the elements of axes {start} to {stop - 1} of {x.type}")
    return layer.reshape(x, (*lead, *wanted, *tail))


@reads("permute_param")
def Permute(layer: Layer, x: Value, *, order: tuple[Unsigned, ...] = ()) -> Value:
    """Axis ``order[i]`` of the bottom becomes axis i; axes that are not named follow in their order."""
    rank = x.type.rank
    if len(set(order)) < len(order) or any(axis >= rank for axis in order):
        layer.fail(f"order: expected axes of {x.type}, each at most once, found {list(order)}")
    return layer.transpose(x, (*order, *(axis for axis in range(rank) if axis not in order)))


@reads("tile_param")
def Tile(layer: Layer, x: Value, *, tiles: int, axis: int = 1) -> Value:
    """The bottom repeated along an axis."""
    along = layer.axis(axis, x.type.rank)
    if tiles < 1:
        layer.fail(f"tiles: expected at least 1, found {tiles}")
    return layer.apply(TileOp(tuple(tiles if a == along else 1 for a in range(x.type.rank))), x)


@reads("shuffle_channel_param")
def ShuffleChannel(layer: Layer, x: Value, *, group: Unsigned = 1) -> Value:
    """The channels, in `group` groups, in the order: first of each group, second of each group, and so on."""
    if x.type.rank < 2:
        layer.fail(f"expected a bottom of at least 2 axes, found {x.type}")
    batch, channels, *rest = x.type.shape
    (count,) = layer.static((channels,), "the number of channels")
    if group < 1 or count % group:
        layer.fail(f"group: expected a divisor of the {count} channels of the bottom, found {group}")
    split = layer.reshape(x, (batch, group, count // group, product(rest)))
    return layer.reshape(layer.transpose(split, (0, 2, 1, 3)), x.type.shape)


@reads("interp_param")
def Interp(
    layer: Layer,
    x: Value,
    reference: Value | None = None,
    *,
    height: int | None = None,
    width: int | None = None,
    zoom_factor: int | None = None,
    shrink_factor: int | None = None,
    pad_beg: int = 0,
    pad_end: int = 0,
) -> Value:
    """Images resampled linearly with their corners aligned, to given extents, by a factor, or like the second bottom.

    Pads, which are not positive, crop first. Shrinking takes every ``shrink_factor``-th element, zooming puts
    ``zoom_factor - 1`` elements between neighbours.
    """
    if x.type.rank != 4:
        layer.fail(f"expected a bottom of 4 axes, found {x.type}")
    if pad_beg > 0 or pad_end > 0:
        layer.fail(f"expected pad_beg and pad_end of at most 0, which crop, found {pad_beg} and {pad_end}")
    cropped = part(layer, x, {a: (-pad_beg, x.type.shape[a] + pad_beg + pad_end) for a in (2, 3)})
    extents: list[Dim] = list(cropped.type.shape[2:])
    if reference is not None:
        if reference.type.rank != 4:
            layer.fail(f"expected a second bottom of 4 axes, found {reference.type}")
        extents = list(reference.type.shape[2:])
    elif shrink_factor is not None or zoom_factor is not None:
        if min(shrink_factor or 1, zoom_factor or 1) < 1 or 0 in (shrink_factor, zoom_factor):
            layer.fail(f"expected factors of at least 1, found shrink {shrink_factor}, zoom {zoom_factor}")
        extents = [floor_divide(extent - 1, shrink_factor or 1) + 1 for extent in extents]
        extents = [extent + (extent - 1) * ((zoom_factor or 1) - 1) for extent in extents]
    elif height is not None and width is not None:
        extents = [height, width]
    else:
        layer.fail("expected height and width, zoom_factor, shrink_factor or a second bottom, found none of them")
    if any(isinstance(extent, int) and extent < 1 for extent in extents):
        layer.fail(f"expected extents of at least 1, found {extents}")
    shape = (*x.type.shape[:2], *extents)
    return layer.apply(Resize("linear", (1.0,) * 4, shape, "align_corners"), cropped)


def _either(axis: int | None, older: int | None) -> int:
    return axis if axis is not None else older if older is not None else 1


def _extent(layer: Layer, dim: int, number: int, start: int, replaced: tuple[Dim, ...]) -> Dim:
    """An extent of the new shape; -1 stays."""
    first = number == 0 and start == 0 and dim == layer.network.declared_batch
    if dim == 0 or (first and replaced):
        if number >= len(replaced):
            layer.fail(f"shape: extent {number} is 0, to be kept, but there are only {len(replaced)} axes to keep")
        return replaced[number]
    if dim < -1:
        layer.fail(f"shape: expected extents of at least -1, found {dim}")
    return dim
