"""Weights of a Winograd convolution, transformed, in the order in which products read them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from tensorwright.kernels.cpu.winograd.plan import WinogradPlan
from tensorwright.kernels.cpu.winograd.tiles import TileAxis
from tensorwright.kernels.cpu.winograd.transform import weight_transform
from tensorwright.kernels.tactic import Array, Packing


def transformed_weights(weights: Array, height: TileAxis, width: TileAxis) -> list[Array]:
    """``[O, C, height, width]`` as ``[O, phases of the point · C]`` for every point, in float32 by way of float64."""
    found: dict[tuple[int, int], list[Array]] = {}
    wide = weights.astype(np.float64)
    for across, along in product(range(height.stride), range(width.stride)):
        taps = wide[:, :, across :: height.stride, along :: width.stride]
        rows, columns = (
            weight_transform(axis.points, count, axis.taps)
            for axis, count in zip((height, width), taps.shape[2:], strict=True)
        )
        points = np.einsum("ai,ocij,bj->aboc", rows, taps, columns, optimize=True).astype(np.float32)
        for i, j in np.ndindex(points.shape[:2]):
            found.setdefault((i, j), []).append(points[i, j])
    return [np.concatenate(found[point], axis=1) for point in sorted(found)]


def pack_winograd(plan: WinogradPlan, prepare: Callable[[Array], Array]) -> Packing:
    """``[O, C, *K]`` as ``[splits, points, groups, phases · C, outputs of a group]``, transformed, padded with zeros.

    `prepare` gives the weights of the plan's problem.
    """
    cut, size = plan.cut, plan.cut.blocks * plan.lanes

    def pack(array: Array) -> Array:
        parts = []
        for point in transformed_weights(prepare(array), plan.height, plan.width):
            padded = np.pad(point, ((0, plan.split_blocks * cut.splits * plan.lanes - len(point)), (0, 0)))
            split = padded.reshape(cut.splits, plan.groups, size, -1)
            parts.append(split.transpose(0, 1, 3, 2).reshape(cut.splits, -1))
        return np.concatenate(parts, axis=1).reshape(-1)

    strides = f"{plan.height.stride}x{plan.width.stride}"
    name = f"winograd {cut.rows}x{cut.columns} strides={strides} apart={plan.apart} splits={cut.splits} group={size}"
    return Packing(name, pack)
