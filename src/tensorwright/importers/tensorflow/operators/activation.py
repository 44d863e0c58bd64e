"""Activation functions."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.tensorflow.node import Node
from tensorwright.ops import activation, normalization


def Relu(node: Node, x: Value) -> Value:
    return node.apply(activation.Relu(), x) if x.type.dtype.is_float else node.binary("max", x, node.scalar(0, x))


def Relu6(node: Node, x: Value) -> Value:
    return node.apply(activation.Clip(0.0, 6.0), x)


def LeakyRelu(node: Node, x: Value, *, alpha: float = 0.2) -> Value:
    return node.apply(activation.LeakyRelu(alpha), x)


def Elu(node: Node, x: Value) -> Value:
    return node.apply(activation.Elu(), x)


def Selu(node: Node, x: Value) -> Value:
    return node.apply(activation.Selu(), x)


def Tanh(node: Node, x: Value) -> Value:
    return node.unary("tanh", x)


def Sigmoid(node: Node, x: Value) -> Value:
    return node.apply(activation.Sigmoid(), x)


def Softplus(node: Node, x: Value) -> Value:
    return node.apply(activation.Softplus(), x)


def Softsign(node: Node, x: Value) -> Value:
    return node.apply(activation.Softsign(), x)


def Softmax(node: Node, x: Value) -> Value:
    return node.apply(normalization.Softmax(node.axis(-1, x.type.rank)), x)


def LogSoftmax(node: Node, x: Value) -> Value:
    return node.apply(normalization.LogSoftmax(node.axis(-1, x.type.rank)), x)
