"""Recognises dilated convolutions that are written as convolutions of blocks."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.arrays import Pairs, pairs_of
from tensorwright.importers.images import Ints, convolution, depthwise_convolution
from tensorwright.importers.tensorflow.node import Made, Node

CONVOLUTIONS = {"Conv2D": convolution, "DepthwiseConv2dNative": depthwise_convolution}


def dilated_convolution(node: Node, blocks: Ints, crops: Pairs) -> Value | None:
    """The dilated convolution that a BatchToSpaceND with these blocks and crops ends; None where it ends none.

    ``BatchToSpaceND(Conv(SpaceToBatchND(x, block, paddings)), block, crops)`` with a convolution that neither pads nor
    strides has dilation ``block`` and padding ``paddings - crops``.
    """
    middle = node.producers[0]
    if middle is None or middle.operator not in CONVOLUTIONS or not _is_plain(middle):
        return None
    first = middle.producers[0]
    if first is None or first.operator != "SpaceToBatchND" or len(blocks) != 2:
        return None
    image, block_shape, paddings = first.inputs
    kernels = middle.inputs[1]
    if image is None or block_shape is None or paddings is None or kernels is None:
        return None
    if node.integers(block_shape, "block_shape") != blocks:
        return None
    given = pairs_of(node, paddings, "paddings")
    margins = tuple((b - low, a - high) for (b, a), (low, high) in zip(given, crops, strict=True))
    if image.type.rank != 4 or any(number < 0 for pair in margins for number in pair):
        return None
    return CONVOLUTIONS[middle.operator](node, image, kernels, (1, 1), margins, blocks, True)


def _is_plain(made: Made) -> bool:
    ones = (1, 1, 1, 1)
    given = made.attributes
    return (
        given.get("padding") == "VALID"
        and given.get("strides") == given.get("dilations", ones) == ones
        and given.get("data_format", "NHWC") == "NHWC"
    )
