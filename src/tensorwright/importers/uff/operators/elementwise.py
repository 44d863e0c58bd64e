"""Operators on single elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tensorwright.graph.graph import Value
from tensorwright.graph.op import Op
from tensorwright.importers.uff.fields import Order
from tensorwright.importers.uff.node import Node
from tensorwright.ops import activation, normalization

BINARY = frozenset({"min", "max", "mul", "sub", "div", "add", "pow"})
UNARY = frozenset(
    {
        "neg", "exp", "log", "abs", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "asin", "acos", "atan", "asinh",
        "acosh", "atanh", "ceil", "floor",
    }
)  # fmt: skip
COMPOSED: Mapping[str, Callable[[Node, Value], Value]] = {
    "square": lambda node, x: node.multiply(x, x),
    "rsqrt": lambda node, x: node.divide(node.scalar(1, x), node.unary("sqrt", x)),
}
ACTIVATIONS: Mapping[str, Op] = {
    "relu": activation.Relu(),
    "relu6": activation.Clip(0.0, 6.0),
    "sigmoid": activation.Sigmoid(),
    "elu": activation.Elu(),
    "selu": activation.Selu(),
    "softsign": activation.Softsign(),
    "softplus": activation.Softplus(),
}


def Binary(node: Node, a: Value, b: Value, *, func: str) -> Value:
    if func not in BINARY:
        node.unsupported(f"func must be one of {', '.join(sorted(BINARY))}, found {func}")
    return node.binary(func, a, b)


def Unary(node: Node, x: Value, exponent: Value | None = None, *, func: str) -> Value:
    if func == "pow" and exponent is not None:
        return node.binary("pow", x, exponent)
    if func == "pow":
        node.unsupported("the converter that wrote the file has lost the exponent; convert the model again")
    if func in COMPOSED:
        return COMPOSED[func](node, x)
    if func not in UNARY:
        node.unsupported(f"func must be one of {', '.join(sorted({*UNARY, *COMPOSED}))}, found {func}")
    return node.unary(func, x)


def Activation(node: Node, x: Value, *, func: str) -> Value:
    if func == "tanh":
        return node.unary("tanh", x)
    if func not in ACTIVATIONS:
        node.unsupported(f"func must be one of {', '.join(sorted({*ACTIVATIONS, 'tanh'}))}, found {func}")
    return node.apply(ACTIVATIONS[func], x)


def LeakyRelu(node: Node, x: Value, *, alpha: float) -> Value:
    return node.apply(activation.LeakyRelu(alpha), x)


def Softmax(node: Node, x: Value, *, axis: int = 0, inputs_orders: tuple[Order, ...] = ()) -> Value:
    """Converters write axis 0 for TensorFlow's softmax, which has no axis: it is over the last one."""
    return node.apply(normalization.Softmax(node.axis(axis or -1, x.type.rank)), x)


def Identity(node: Node, x: Value) -> Value:
    return x


def MarkOutput(node: Node, x: Value) -> Value:
    return x
