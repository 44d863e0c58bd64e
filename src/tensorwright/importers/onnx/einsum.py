"""Sums of products written with labels."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.einsum import einsum
from tensorwright.importers.onnx.node import Node


def Einsum(node: Node, *operands: Value, equation: str) -> Value:
    return einsum(node, operands, equation)
