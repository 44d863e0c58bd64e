"""Weights in the order in which tiles read them."""

from __future__ import annotations

import numpy as np

from tensorwright.kernels.cpu.spatial.tiling import Tiling
from tensorwright.kernels.tactic import Array, Packing


def pack_outputs(tiling: Tiling) -> Packing:
    """``[O, C, *K]`` as ``[O / group, outer K, C, inner K, group]``, outputs padded with zeros.

    Channels that are consumed together lie side by side for every output, ``[…, C / 2, inner K, group, 2]``, the last
    of them padded with zeros.

    Groups of outputs are as the tiling has them; they may differ in size.
    """
    taps, lanes, runs, together = tiling.weight_taps, tiling.lanes, tiling.output_runs, tiling.options.group

    def pack(array: Array) -> Array:
        outputs, given = array.shape[:2]
        channels = tiling.weight_channels
        padded = np.zeros((tiling.output_blocks * lanes, channels, *taps), array.dtype)
        padded[:outputs, :given] = array.reshape(outputs, given, *taps)
        parts = []
        for run in runs:
            start, size = run.block * lanes, sum(run.lanes)
            group = padded[start : start + run.count * size].reshape(run.count, size, channels, *taps)
            ordered = group.transpose(0, 3, 2, 4, 1).reshape(run.count * taps[0], channels // together, together, -1)
            parts.append(np.moveaxis(ordered, 2, 3).reshape(-1))
        return np.concatenate(parts)

    groups = [(run.count, sum(run.lanes)) for run in runs]
    return Packing(f"outputs taps={taps} groups={groups}{f' {together} at once' if together > 1 else ''}", pack)


def pack_spanning(tiling: Tiling) -> Packing:
    """Weights of a grouped convolution as ``[O / lanes, outer K, channels, inner K, lanes]``.

    Channels are those of all groups that a block of outputs touches; zero where channel and output differ in group.
    """
    problem, taps, lanes = tiling.problem, tiling.weight_taps, tiling.lanes

    def pack(array: Array) -> Array:
        flat = array.reshape(problem.all_outputs, problem.channels, *taps)
        packed = np.zeros((tiling.output_blocks, taps[0], tiling.weight_channels, taps[1], lanes), array.dtype)
        for output, weights in enumerate(flat):
            block, lane = divmod(output, lanes)
            start = output // problem.outputs * problem.channels - tiling.channel_ranges[block][0]
            packed[block, :, start : start + problem.channels, :, lane] = np.moveaxis(weights, 0, 1)
        return packed.reshape(-1)

    return Packing(f"spanning groups={problem.groups} taps={taps} lanes={lanes}", pack)


def pack_bias(lanes: int) -> Packing:
    """``[O]`` padded with zeros to whole blocks of outputs."""

    def pack(array: Array) -> Array:
        return np.pad(array, (0, -len(array) % lanes))

    return Packing(f"bias lanes={lanes}", pack)
