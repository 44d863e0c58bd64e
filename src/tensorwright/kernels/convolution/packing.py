"""Weights in the order in which tiles read them."""

from __future__ import annotations

import numpy as np

from tensorwright.kernels.convolution.plan import Plan
from tensorwright.kernels.tactic import Array, Packing


def pack_outputs(plan: Plan) -> Packing:
    """``[O, C, *K]`` as ``[O / (blocks lanes), outer K, C, inner K, blocks, lanes]``, outputs padded with zeros.

    What remains of the blocks of outputs follows as one narrower group.
    """
    taps, lanes, blocks = plan.weight_taps, plan.lanes, plan.cut.blocks

    def pack(array: Array) -> Array:
        outputs, channels = array.shape[:2]
        count = -(-outputs // lanes)
        padded = np.zeros((count * lanes, channels, *taps), array.dtype)
        padded[:outputs] = array.reshape(outputs, channels, *taps)
        whole = count // blocks * blocks * lanes
        parts = ((padded[:whole], blocks), (padded[whole:], count % blocks))
        return np.concatenate([_grouped(part, width, lanes) for part, width in parts if len(part)])

    return Packing(f"outputs taps={taps} lanes={lanes} blocks={blocks}", pack)


def _grouped(part: Array, blocks: int, lanes: int) -> Array:
    split = part.reshape(-1, blocks, lanes, *part.shape[1:])
    return np.ascontiguousarray(split.transpose(0, 4, 3, 5, 1, 2)).reshape(-1)


def pack_spanning(plan: Plan) -> Packing:
    """Weights of a grouped convolution as ``[O / lanes, outer K, channels, inner K, lanes]``.

    Channels are those of all groups that a block of outputs touches; zero where channel and output differ in group.
    """
    problem, taps, lanes = plan.problem, plan.weight_taps, plan.lanes

    def pack(array: Array) -> Array:
        flat = array.reshape(problem.all_outputs, problem.channels, *taps)
        packed = np.zeros((plan.output_blocks, taps[0], plan.weight_channels, taps[1], lanes), array.dtype)
        for output, weights in enumerate(flat):
            block, lane = divmod(output, lanes)
            start = output // problem.outputs * problem.channels - plan.channel_ranges[block][0]
            packed[block, :, start : start + problem.channels, :, lane] = np.moveaxis(weights, 0, 1)
        return packed.reshape(-1)

    return Packing(f"spanning groups={problem.groups} taps={taps} lanes={lanes}", pack)


def pack_bias(lanes: int) -> Packing:
    """``[O]`` padded with zeros to whole blocks of outputs."""

    def pack(array: Array) -> Array:
        return np.pad(array, (0, -len(array) % lanes))

    return Packing(f"bias lanes={lanes}", pack)
