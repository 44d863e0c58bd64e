"""Operators on images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tensorwright.compat.uff.custom import custom
from tensorwright.compat.uff.model import FieldValue, Orders
from tensorwright.compat.uff.source import TensorFlowNode, passed_on, uff_name
from tensorwright.importers.tensorflow.messages import NodeDef
from tensorwright.importers.tensorflow.read import Reference, data_inputs

Sources = list[Reference]
Pairs = list[tuple[int, int]]


def Conv2D(node: TensorFlowNode) -> Sources:
    return _convolution(node, _groups(node))


def Conv3D(node: TensorFlowNode) -> Sources:
    return _convolution(node, _groups(node))


def DepthwiseConv2dNative(node: TensorFlowNode) -> Sources:
    """As many groups as the kernel has channels, its third axis."""
    return _convolution(node, {"number_groups": int(node.known(1, "the kernel").shape[2])})


def Conv2DBackpropInput(node: TensorFlowNode) -> Sources:
    """UFF takes the image first, then the kernel and the output's shape."""
    data = _data_order(node)
    fields: dict[str, FieldValue] = {"inputs_orders": Orders((data, "+KC")), "strides": _spatial(node, "strides")}
    fields |= _dilation(node)
    padding = _padding(node)
    if padding == "SAME":
        fields["implicit_padding"] = "same"
    elif not isinstance(padding, str) and padding:
        if any(before != after for before, after in padding):
            return custom(node)
        fields["padding"] = [before for before, _ in padding]
    return node.write("ConvTranspose", 2, 1, 0, **fields)


def MaxPool(node: TensorFlowNode) -> Sources:
    return _pool(node, "max")


def AvgPool(node: TensorFlowNode) -> Sources:
    return _pool(node, "avg")


def LRN(node: TensorFlowNode) -> Sources:
    return node.write(
        "LRN",
        0,
        window_size=node.integer("depth_radius", 5),
        alpha=node.number("alpha", 1.0),
        beta=node.number("beta", 0.5),
        k=node.number("bias", 1.0),
        inputs_orders=Orders(("N+C",)),
    )


def FusedBatchNorm(node: TensorFlowNode) -> Sources:
    if node.flag("is_training", True):
        return custom(node)
    epsilon = node.number("epsilon", 1e-4)
    return node.write("BatchNorm", 0, 1, 2, 3, 4, epsilon=epsilon, inputs_orders=Orders((_data_order(node),)))


def FusedBatchNormV2(node: TensorFlowNode) -> Sources:
    return FusedBatchNorm(node)


def FusedBatchNormV3(node: TensorFlowNode) -> Sources:
    return FusedBatchNorm(node)


def BatchToSpaceND(node: TensorFlowNode) -> Sources:
    """The end of a dilated convolution that is written as one of blocks, or an operator of its own."""
    middle = node.producer(0)
    if middle.op not in ("Conv2D", "DepthwiseConv2dNative"):
        return custom(node)
    image, kernel = (passed_on(node.graph, source) for source in data_inputs(middle))
    first = node.graph.require(image.node)
    if first.op != "SpaceToBatchND" or not _is_plain(middle):
        return custom(node)
    x, block_shape, paddings = (passed_on(node.graph, source) for source in data_inputs(first))
    given, margins, crops = (node.constants.array(s) for s in (block_shape, paddings, node.source(2)))
    blocks = node.integers(1, "block_shape")
    if given is None or margins is None or crops is None or given.reshape(-1).tolist() != blocks or len(blocks) != 2:
        return custom(node)
    pads = margins.astype(np.int64) - crops.astype(np.int64)
    if (pads < 0).any() or (pads[:, 0] != pads[:, 1]).any():
        return custom(node)
    fields: dict[str, FieldValue] = {
        "inputs_orders": Orders(("N+C", "+CK")),
        "strides": [1, 1],
        "dilation": blocks,
    }
    if pads.any():
        fields["padding"] = [int(pad) for pad in pads[:, 0]]
    if middle.op == "DepthwiseConv2dNative":
        kernels = node.constants.array(kernel)
        if kernels is None:
            return custom(node)
        fields["number_groups"] = int(kernels.shape[2])
    node.uff.add("Conv", node.name, [uff_name(x), uff_name(kernel)], fields)
    return [x, kernel]


def _convolution(node: TensorFlowNode, fields: dict[str, FieldValue]) -> Sources:
    fields |= {"inputs_orders": Orders((_data_order(node), "+CK")), "strides": _spatial(node, "strides")}
    fields |= _dilation(node)
    image, margins = _margins(node)
    fields |= margins
    node.uff.add("Conv", node.name, [uff_name(image), node.name_of(1)], fields)
    return [image, node.source(1)] if image.node in node.graph.nodes else [node.source(0), node.source(1)]


def _groups(node: TensorFlowNode) -> dict[str, FieldValue]:
    """As many groups as the kernel's channels go into those of the image; TensorFlow does not say so otherwise."""
    kernel, image = node.array(1), node.types.of(node.source(0))
    if kernel is None or kernel.ndim < 2 or image is None or image.rank < 3:
        return {}
    channels, own = image.shape[-1 if _data_order(node) == "N+C" else 1], int(kernel.shape[-2])
    several = isinstance(channels, int) and own and channels % own == 0 and channels != own
    return {"number_groups": channels // own} if several and isinstance(channels, int) else {}


def _pool(node: TensorFlowNode, func: str) -> Sources:
    if _padding(node) not in ("SAME", []):
        return custom(node)
    image, margins = _margins(node)
    fields: dict[str, FieldValue] = {
        "func": func,
        "kernel": _spatial(node, "ksize"),
        "strides": _spatial(node, "strides"),
        "inputs_orders": Orders((_data_order(node),)),
    }
    node.uff.add("Pool", node.name, [uff_name(image)], fields | margins)
    return [image]


def _margins(node: TensorFlowNode) -> tuple[Reference, dict[str, FieldValue]]:
    """The image and the fields that say its padding; a symmetric Pad before VALID is part of that.

    Padding that UFF cannot say, because it is not symmetric, gets a Pad of its own.
    """
    padding, image = _padding(node), node.source(0)
    if isinstance(padding, str):
        return image, {"implicit_padding": "same"}
    if not padding:
        before = node.producer(0)
        fused = _fused_pad(node, before) if before.op == "Pad" else None
        if fused is None:
            return image, {}
        return passed_on(node.graph, data_inputs(before)[0]), {"padding": fused}
    if all(first == last for first, last in padding):
        return image, {"padding": [first for first, _ in padding]}
    others = [(0, 0), *padding, (0, 0)] if _data_order(node) == "N+C" else [(0, 0), (0, 0), *padding]
    amounts = node.uff.constant(f"{node.name}/paddings", np.array(others, np.int32))
    return Reference(node.uff.add("Pad", f"{node.name}/padded", [uff_name(image), amounts])), {}


def _fused_pad(node: TensorFlowNode, pad: NodeDef) -> list[int] | None:
    """The padding of a Pad that is symmetric and leaves batch and channels alone."""
    paddings = node.constants.array(passed_on(node.graph, data_inputs(pad)[1]))
    if paddings is None or paddings.ndim != 2:
        return None
    pairs = [(int(first), int(last)) for first, last in paddings]
    last_axis = _data_order(node) == "N+C"
    others = (pairs[0], pairs[-1] if last_axis else pairs[1])
    spatial = pairs[1:-1] if last_axis else pairs[2:]
    if others != ((0, 0), (0, 0)) or any(first != last for first, last in spatial):
        return None
    return [first for first, _ in spatial]


def _padding(node: TensorFlowNode) -> str | Pairs:
    """SAME, or the elements before and after each spatial axis: none for VALID."""
    padding = node.text("padding")
    if padding == "SAME":
        return padding
    if padding == "VALID":
        return []
    explicit = node.ints("explicit_paddings")
    pairs = [(explicit[i], explicit[i + 1]) for i in range(0, len(explicit) - 1, 2)]
    return pairs[1:-1] if _data_order(node) == "N+C" else pairs[2:]


def _dilation(node: TensorFlowNode) -> dict[str, FieldValue]:
    dilation = _spatial(node, "dilations") if "dilations" in node.attributes else []
    return {"dilation": dilation} if any(gap != 1 for gap in dilation) else {}


def _spatial(node: TensorFlowNode, name: str) -> Sequence[int]:
    numbers = node.ints(name)
    return numbers[1:-1] if _data_order(node) == "N+C" else numbers[2:]


def _data_order(node: TensorFlowNode) -> str:
    return "NC+" if node.text("data_format", "NHWC").startswith("NC") else "N+C"


def _is_plain(convolution: NodeDef) -> bool:
    attr = convolution.attr
    ones = [1, 1, 1, 1]
    return (
        attr["padding"].s == b"VALID"
        and list(attr["strides"].list.i) == ones
        and ("dilations" not in attr or list(attr["dilations"].list.i) == ones)
        and ("data_format" not in attr or attr["data_format"].s == b"NHWC")
    )
