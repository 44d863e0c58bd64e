"""Resampling of images, channels last."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.tensorflow.node import Node
from tensorwright.ops.resize import Mode, Resize, Rounding, Transformation
from tensorwright.tensor.dtype import FLOAT32


def ResizeBilinear(
    node: Node, x: Value, size: Value, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    x = x if x.type.dtype.is_float else node.cast(x, FLOAT32)
    return _resize(node, x, size, "linear", _positions(align_corners, half_pixel_centers))


def ResizeNearestNeighbor(
    node: Node, x: Value, size: Value, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    positions: Transformation = "tf_half_pixel_for_nn" if half_pixel_centers else _positions(align_corners, False)
    return _resize(node, x, size, "nearest", positions, "round_prefer_ceil" if align_corners else "floor")


def ResizeBicubic(
    node: Node, x: Value, size: Value, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    """With half pixel centres the kernel is that of Keys, and only elements inside the image count."""
    x = x if x.type.dtype.is_float else node.cast(x, FLOAT32)
    positions = _positions(align_corners, half_pixel_centers)
    return _resize(
        node, x, size, "cubic", positions, cubic_a=-0.5 if half_pixel_centers else -0.75, inside=half_pixel_centers
    )


def _positions(align_corners: bool, half_pixel_centers: bool) -> Transformation:
    return "align_corners" if align_corners else "half_pixel" if half_pixel_centers else "asymmetric"


def _resize(
    node: Node,
    x: Value,
    size: Value,
    mode: Mode,
    positions: Transformation,
    rounding: Rounding = "floor",
    cubic_a: float = -0.75,
    inside: bool = False,
) -> Value:
    wanted = node.dims(size, "size")
    if x.type.rank != 4 or len(wanted) != 2:
        node.fail(f"expected an image [N, H, W, C] and two extents, found {x.type} and {list(wanted)}")
    height, width = node.static(x.type.shape[1:3], "height and width of an image that is resized")
    rows, columns = node.static(wanted, "size")
    if (rows, columns) == (height, width):
        return x
    if min(height, width, rows, columns) < 1:
        node.fail(f"an image of {height}×{width} cannot become {rows}×{columns}")
    scales = (1.0, rows / height, columns / width, 1.0)
    shape = (x.type.shape[0], rows, columns, x.type.shape[3])
    return node.apply(Resize(mode, scales, shape, positions, rounding, cubic_a, inside), x)
