"""Weights of a Winograd convolution, transformed, in the order in which products read them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from tensorwright.codegen.winograd import transformed_taps, weight_transform
from tensorwright.kernels.cpu.winograd.tiles import TileAxis
from tensorwright.kernels.cpu.winograd.tiling import WinogradTiling
from tensorwright.kernels.tactic import Array, Packing


def transformed_weights(weights: Array, height: TileAxis, width: TileAxis) -> list[Array]:
    """``[O, C, height, width]`` as ``[O, phases of the point · C]`` for every point, in float32 by way of float64."""
    found: dict[tuple[int, int], list[Array]] = {}
    for across, along in product(range(height.stride), range(width.stride)):
        taps = weights[:, :, across :: height.stride, along :: width.stride]
        rows, columns = (
            weight_transform(axis.points, count, axis.taps)
            for axis, count in zip((height, width), taps.shape[2:], strict=True)
        )
        points = transformed_taps(taps, rows, columns)
        for place, point in zip(np.ndindex(len(rows), len(columns)), points, strict=True):
            found.setdefault(place, []).append(point)
    parts = [found[point] for point in sorted(found)]
    return [some[0] if len(some) == 1 else np.concatenate(some, axis=1) for some in parts]


def pack_winograd(tiling: WinogradTiling, prepare: Callable[[Array], Array]) -> Packing:
    """``[O, C, *K]`` as ``[splits, points, groups, phases · C, outputs of a group]``, transformed, padded with zeros.

    `prepare` gives the weights of the tiling's problem.
    """
    options, size = tiling.options, tiling.options.blocks * tiling.lanes

    def pack(array: Array) -> Array:
        points = transformed_weights(prepare(array), tiling.height, tiling.width)
        outputs = options.splits * tiling.groups * size
        packed = np.empty((options.splits, tiling.groups * size * sum(point.shape[1] for point in points)), np.float32)
        start = 0
        for point in points:
            padded = np.pad(point, ((0, outputs - len(point)), (0, 0))) if len(point) < outputs else point
            split = padded.reshape(options.splits, tiling.groups, size, -1).transpose(0, 1, 3, 2)
            stop = start + split[0].size
            for number, part in enumerate(split):
                packed[number, start:stop].reshape(part.shape)[...] = part
            start = stop
        return packed.reshape(-1)

    sizes, strides = f"{options.rows}x{options.columns}", f"{tiling.height.stride}x{tiling.width.stride}"
    name = f"winograd {sizes} strides={strides} apart={tiling.apart} splits={options.splits} group={size}"
    return Packing(name, pack)
