"""Pooling, and its inverse."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import Unsigned
from tensorwright.importers.compose import joined, stacked
from tensorwright.ops.indexing import ScatterElements
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import ArgReduction
from tensorwright.ops.resize import Resize
from tensorwright.ops.shape import Pad, Slice
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import FLOAT32, INT64

LOWEST = float(np.finfo(np.float32).min)
LARGEST_WINDOW = 256
TALLEST_PYRAMID = 10
Pair = tuple[int, int]


@reads("pooling_param", ("engine",))
def Pooling(
    layer: Layer,
    x: Value,
    *,
    pool: Literal["MAX", "AVE", "STOCHASTIC"] = "MAX",
    pad: Unsigned | None = None,
    pad_h: Unsigned | None = None,
    pad_w: Unsigned | None = None,
    kernel_size: Unsigned | None = None,
    kernel_h: Unsigned | None = None,
    kernel_w: Unsigned | None = None,
    stride: Unsigned | None = None,
    stride_h: Unsigned | None = None,
    stride_w: Unsigned | None = None,
    global_pooling: bool = False,
    round_mode: Literal["CEIL", "FLOOR"] | None = None,
    ceil_mode: bool | None = None,
    torch_pooling: bool = False,
) -> list[Value]:
    """The number of windows is rounded up, unless the definition says otherwise.

    Descendants of Caffe say so in fields of their own: round_mode, ceil_mode, torch_pooling.

    Means are over the window inside input and padding; STOCHASTIC is what Caffe computes of it when not training, the
    mean weighed by the elements, ``Σx² / Σx``. A second top tells the positions of the largest elements in their image.
    """
    if x.type.rank != 4:
        layer.fail(f"expected a bottom of 4 axes, found {x.type}")
    strides = _sides(layer, "stride", stride, stride_h, stride_w, 1, 1)
    pads = _sides(layer, "pad", pad, pad_h, pad_w, 0, 0)
    if global_pooling:
        if (kernel_size, kernel_h, kernel_w) != (None, None, None):
            layer.fail("global_pooling and kernel_size exclude each other; keep one")
        if pads != (0, 0) or strides != (1, 1):
            layer.fail(f"with global_pooling pad has to be 0 and stride 1, found {list(pads)} and {list(strides)}")
        if len(layer.tops) == 1 and pool != "STOCHASTIC":
            return [layer.reduce("max" if pool == "MAX" else "mean", x, (2, 3))]
        kernel_h, kernel_w = layer.static(x.type.shape[2:], "the extent of an image")
    kernel = _sides(layer, "kernel_size", kernel_size, kernel_h, kernel_w, None, 1)
    if any(p >= k for p, k in zip(pads, kernel, strict=True)):
        layer.fail(f"pad has to be smaller than the kernel, found {list(pads)} and {list(kernel)}")
    windows = _Windows(kernel, strides, pads, _rounds_up(layer, round_mode, ceil_mode, torch_pooling))
    if len(layer.tops) > 1 and pool != "MAX":
        layer.fail(f"a second top, the positions of the largest elements, is only for pool: MAX, found {pool}")
    match pool:
        case "MAX":
            results = [windows.apply(layer, x, "max")]
            return results if len(layer.tops) == 1 else [*results, windows.positions(layer, x)]
        case "AVE":
            return [windows.apply(layer, x, "average")]
        case "STOCHASTIC":
            if pads != (0, 0):
                layer.fail(f"pool: STOCHASTIC allows no padding, found pad {list(pads)}")
            total = windows.apply(layer, x, "average")
            squares = windows.apply(layer, layer.multiply(x, x), "average")
            some = layer.binary("less", layer.scalar(0.0, x), total)
            zero, one = layer.scalar(0.0, x), layer.scalar(1.0, x)
            return [layer.select(some, layer.divide(squares, layer.select(some, total, one)), zero)]


@reads("spp_param", ("engine",))
def SPP(
    layer: Layer, x: Value, *, pyramid_height: Unsigned, pool: Literal["MAX", "AVE", "STOCHASTIC"] = "MAX"
) -> Value:
    """Pooling into 1×1, 2×2, 4×4, ... windows for every channel, all in a row: the same length for any image."""
    if x.type.rank != 4:
        layer.fail(f"expected a bottom of 4 axes, found {x.type}")
    if not 1 <= pyramid_height <= TALLEST_PYRAMID:
        layer.fail(f"pyramid_height: expected 1 to {TALLEST_PYRAMID}, found {pyramid_height}")
    n, *_ = x.type.shape
    extents, found = layer.static(x.type.shape[2:], "the extent of an image"), []
    for level in range(pyramid_height):
        count = 1 << level
        kernel = [-(-extent // count) for extent in extents]
        pads = [(k * count - extent + 1) // 2 for k, extent in zip(kernel, extents, strict=True)]
        (pooled,) = Pooling(
            layer, x, pool=pool, kernel_h=kernel[0], kernel_w=kernel[1], stride_h=kernel[0], stride_w=kernel[1],
            pad_h=pads[0], pad_w=pads[1],
        )  # fmt: skip
        found.append(layer.reshape(pooled, (n, product(pooled.type.shape[1:]))))
    return joined(layer, found, 1)


@reads("upsample_param")
def Upsample(
    layer: Layer,
    x: Value,
    mask: Value | None = None,
    *,
    scale: Unsigned = 2,
    scale_h: Unsigned | None = None,
    scale_w: Unsigned | None = None,
    pad_out_h: bool = False,
    pad_out_w: bool = False,
    upsample_h: Unsigned | None = None,
    upsample_w: Unsigned | None = None,
) -> Value:
    """Larger images: every element repeated, or, with positions as Pooling gives them, at its position among zeros."""
    if x.type.rank != 4:
        layer.fail(f"expected a bottom of 4 axes, found {x.type}")
    factors = (scale_h or scale, scale_w or scale)
    if min(factors) < 1:
        layer.fail(f"scale: expected at least 1, found {list(factors)}")
    n, c, *extents = x.type.shape
    fixed, less = (upsample_h, upsample_w), (pad_out_h, pad_out_w)
    height, width = (
        known or extent * factor - (1 if odd else 0)
        for known, extent, factor, odd in zip(fixed, extents, factors, less, strict=True)
    )
    if mask is None:
        ratios = (1.0, 1.0, *map(float, factors))
        return layer.apply(Resize("nearest", ratios, (n, c, height, width), "asymmetric", nearest_mode="floor"), x)
    if mask.type.shape != x.type.shape:
        layer.fail(f"expected positions of the shape of the bottom, {x.type}, found {mask.type}")
    flat = (n, c, product(extents))
    empty = layer.expand(layer.scalar(0.0, x), (n, c, height * width))
    places = layer.cast(layer.reshape(mask, flat), INT64)
    return layer.reshape(layer.apply(ScatterElements(2), empty, places, layer.reshape(x, flat)), (n, c, height, width))


def _rounds_up(layer: Layer, round_mode: str | None, ceil_mode: bool | None, torch_pooling: bool) -> bool:
    """Whether the number of windows is rounded up; what is said in several ways has to agree."""
    said = {
        "round_mode": None if round_mode is None else round_mode == "CEIL",
        "ceil_mode": ceil_mode,
        "torch_pooling": False if torch_pooling else None,
    }
    found = {name: up for name, up in said.items() if up is not None}
    if len(set(found.values())) > 1:
        layer.fail(f"{' and '.join(found)} contradict each other: some round up, some down; keep one")
    return all(found.values())


class _Windows:
    """Windows over the last two axes, as Caffe counts them."""

    def __init__(self, kernel: Pair, strides: Pair, pads: Pair, ceil_mode: bool) -> None:
        self.kernel, self.strides, self.pads, self.ceil_mode = kernel, strides, pads, ceil_mode

    def apply(self, layer: Layer, x: Value, mode: Literal["max", "average"]) -> Value:
        beyond = self._beyond(x)
        if any(beyond):
            fill = LOWEST if mode == "max" else 0.0
            x = layer.apply(Pad((0, 0, 0, 0), (0, 0, *beyond), "constant", fill), x)
        ceil_mode = self.ceil_mode and not any(beyond)
        return layer.apply(Pool(mode, self.kernel, self.strides, self.pads, self.pads, (1, 1), ceil_mode, True), x)

    def positions(self, layer: Layer, x: Value) -> Value:
        """The index in its image, as a float, of the first largest element of every window."""
        extents = layer.static(x.type.shape[2:], "the extent of an image")
        counts = tuple(int(n) for n in self.apply(layer, x, "max").type.shape[2:] if isinstance(n, int))
        ends = [(n - 1) * s + k - p for n, s, k, p in zip(counts, self.strides, self.kernel, self.pads, strict=True)]
        after = tuple(max(0, end - extent) for end, extent in zip(ends, extents, strict=True))
        if self.kernel[0] * self.kernel[1] > LARGEST_WINDOW:
            layer.unsupported(f"positions are for windows of at most {LARGEST_WINDOW} elements, found {self.kernel}")
        padded = layer.apply(Pad((0, 0, *self.pads), (0, 0, *after), "constant", -float("inf")), x)
        taps = [
            layer.apply(Slice((0, 0, i, j), (*x.type.shape[:2], *counts), (1, 1, *self.strides)), padded)
            for i in range(self.kernel[0])
            for j in range(self.kernel[1])
        ]
        best = layer.apply(ArgReduction("max", 2, False), stacked(layer, taps, 2))
        index = layer.cast(best, INT64)
        across = layer.constant(np.asarray(self.kernel[1]), INT64)
        row, column = layer.divide(index, across), layer.binary("mod", index, across)
        layer.check_constant((sum(counts),), "the places of the windows")
        starts = [np.arange(n) * s - p for n, s, p in zip(counts, self.strides, self.pads, strict=True)]
        rows = layer.add(row, layer.constant(starts[0].reshape(-1, 1), INT64))
        columns = layer.add(column, layer.constant(starts[1], INT64))
        flat = layer.add(layer.multiply(rows, layer.constant(np.asarray(extents[1]), INT64)), columns)
        return layer.cast(flat, FLOAT32)

    def _beyond(self, x: Value) -> tuple[int, ...]:
        """How much to add after each axis so that a last window which starts beyond the input exists.

        Without padding Caffe counts such windows, which hold nothing; it happens where strides exceed the kernel.
        """
        if not self.ceil_mode or any(self.pads):
            return (0, 0)
        more = []
        for extent, k, s in zip(x.type.shape[2:], self.kernel, self.strides, strict=True):
            if not isinstance(extent, int) or extent < k:
                return (0, 0)
            start = -(-(extent - k) // s) * s
            more.append(start + k - extent if start >= extent else 0)
        return tuple(more)


def _sides(
    layer: Layer, name: str, both: int | None, height: int | None, width: int | None, default: int | None, low: int
) -> Pair:
    prefix = name.removesuffix("_size")
    if both is not None and (height is not None or width is not None):
        layer.fail(f"{name} and {prefix}_h, {prefix}_w exclude each other; keep one")
    found = [both if side is None else side for side in (height, width)]
    if default is None and None in found:
        layer.fail(f"{name}, or both {prefix}_h and {prefix}_w, is required, but absent; say it")
    first, second = (default or 0 if side is None else side for side in found)
    if min(first, second) < low:
        layer.fail(f"{name}: expected at least {low}, found {[first, second]}")
    return first, second
