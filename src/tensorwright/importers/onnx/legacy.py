"""Nodes of opsets 1 to 6, spelled as opset 7 does, from which on the handlers know every version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from onnx import TensorProto

from tensorwright.graph.graph import Value
from tensorwright.importers.onnx.attributes import Attribute
from tensorwright.importers.onnx.node import Node, Term
from tensorwright.tensor.dtype import FLOAT32, INT64

MODERN = 7
"""The first opset whose nodes are read as they are."""

Terms = Sequence[Term]
Attributes = dict[str, Attribute]
Rule = Callable[[Node, Terms, Attributes], Terms]
"""Gives the inputs of the modern node and changes the attributes."""

WITHOUT_MEANING = ("consumed_inputs", "is_test", "output_sequence")
"""Hints to memory planners and trainers, dropped: inference is all that there is."""


def modernised(node: Node, inputs: Terms, attributes: Mapping[str, Attribute]) -> tuple[Terms, Attributes]:
    """Inputs and attributes of a standard operator of opsets 1 to 6 as opset 7 would have them."""
    changed = {name: value for name, value in attributes.items() if name not in WITHOUT_MEANING}
    rule = RULES.get(node.operator)
    return (inputs if rule is None else rule(node, inputs, changed)), changed


def _broadcast(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    """With broadcast = 1 the axes of the second operand are those of the first from `axis` on; else the last ones."""
    allowed, axis = attributes.pop("broadcast", 0), attributes.pop("axis", None)
    left, right = (cast("Value", term) for term in inputs)
    if not allowed or axis is None or right.type.elements == 1:
        return inputs
    behind = left.type.rank - node.axis(cast("int", axis), left.type.rank) - right.type.rank
    if behind < 0:
        node.fail(f"{right.type} has too many axes to lie at axis {axis} of {left.type}")
    return left, node.reshape(right, (*right.type.shape, *[1] * behind))


def _per_channel(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    x, slope = (cast("Value", term) for term in inputs)
    if slope.type.rank != 1 or slope.type.elements == 1:
        return inputs
    return x, node.reshape(slope, (*slope.type.shape, *[1] * (x.type.rank - 2)))


def _product(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    attributes.pop("broadcast", None)
    return inputs


def _reshape(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    if "shape" not in attributes:
        return inputs
    return inputs[0], node.constant(cast("Sequence[int]", attributes.pop("shape")), INT64)


def _cast(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    to = attributes.get("to")
    if isinstance(to, str):
        if to not in dict(TensorProto.DataType.items()):
            node.fail(f"attribute to names no element type: {to!r}")
        attributes["to"] = TensorProto.DataType.Value(to)
    return inputs


def _pad(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    if "paddings" in attributes:
        attributes["pads"] = attributes.pop("paddings")
    return inputs


def _upsample(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    if "height_scale" in attributes and "width_scale" in attributes:
        height, width = (cast("float", attributes.pop(name)) for name in ("height_scale", "width_scale"))
        attributes["scales"] = (1.0, 1.0, height, width)
    return inputs


def _tile(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    """Opset 1 repeats along one axis; both are inputs."""
    if len(inputs) != 3:
        return inputs
    x, (count,), (axis,) = (
        cast("Value", inputs[0]),
        node.integers(node.cast(cast("Value", inputs[1]), INT64), "tiles"),
        node.integers(node.cast(cast("Value", inputs[2]), INT64), "axis"),
    )
    repeats = np.ones(x.type.rank, np.int64)
    repeats[node.axis(axis, x.type.rank)] = count
    return x, node.constant(repeats, INT64)


def _split(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    """The sizes may be floats in opset 1."""
    if len(inputs) == 2 and isinstance(inputs[1], Value) and inputs[1].type.dtype == FLOAT32:
        return inputs[0], node.cast(inputs[1], INT64)
    return inputs


def _whole_norm(node: Node, inputs: Terms, attributes: Attributes) -> Terms:
    if isinstance(attributes.get("p"), float):
        attributes["p"] = int(cast("float", attributes["p"]))
    return inputs


BROADCASTING = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")
RULES: Mapping[str, Rule] = dict.fromkeys(BROADCASTING, _broadcast) | {
    "Cast": _cast,
    "Gemm": _product,
    "GlobalLpPool": _whole_norm,
    "LpPool": _whole_norm,
    "PRelu": _per_channel,
    "Pad": _pad,
    "Reshape": _reshape,
    "Split": _split,
    "Tile": _tile,
    "Upsample": _upsample,
}
