"""Operators on single elements."""

from __future__ import annotations

import numpy as np

from tensorwright.compat.uff.model import Orders
from tensorwright.compat.uff.source import TensorFlowNode, uff_name
from tensorwright.importers.tensorflow.read import Reference

Sources = list[Reference]


def Add(node: TensorFlowNode) -> Sources:
    return node.write("Binary", 0, 1, func="add")


def AddV2(node: TensorFlowNode) -> Sources:
    return Add(node)


def Sub(node: TensorFlowNode) -> Sources:
    return node.write("Binary", 0, 1, func="sub")


def Mul(node: TensorFlowNode) -> Sources:
    return node.write("Binary", 0, 1, func="mul")


def Div(node: TensorFlowNode) -> Sources:
    return node.write("Binary", 0, 1, func="div")


def RealDiv(node: TensorFlowNode) -> Sources:
    return Div(node)


def Minimum(node: TensorFlowNode) -> Sources:
    return node.write("Binary", 0, 1, func="min")


def Maximum(node: TensorFlowNode) -> Sources:
    return node.write("Binary", 0, 1, func="max")


def Pow(node: TensorFlowNode) -> Sources:
    return node.write("Binary", 0, 1, func="pow")


def BiasAdd(node: TensorFlowNode) -> Sources:
    """A bias for channels that are not the last axis gets axes of extent 1 behind it."""
    bias = node.array(1)
    first = node.text("data_format", "NHWC").startswith("NC")
    if bias is None and first:
        return node.write(f"_{node.operator}", 0, 1, data_format="NCHW")
    if bias is None:
        return node.write("Binary", 0, 1, func="add")
    name = node.name_of(1)
    if first:
        kind = node.types.of(node.source(0))
        bias = bias.reshape(-1, *[1] * ((4 if kind is None else kind.rank) - 2))
        name = f"{name}/channels"
    if name not in node.uff:
        node.uff.constant(name, bias)
    node.uff.add("Binary", node.name, [node.name_of(0), name], {"func": "add"})
    return [node.source(0)]


def Relu(node: TensorFlowNode) -> Sources:
    return node.write("Activation", 0, func="relu")


def Relu6(node: TensorFlowNode) -> Sources:
    return node.write("Activation", 0, func="relu6")


def Tanh(node: TensorFlowNode) -> Sources:
    return node.write("Activation", 0, func="tanh")


def Sigmoid(node: TensorFlowNode) -> Sources:
    return node.write("Activation", 0, func="sigmoid")


def Elu(node: TensorFlowNode) -> Sources:
    return node.write("Activation", 0, func="elu")


def Selu(node: TensorFlowNode) -> Sources:
    return node.write("Activation", 0, func="selu")


def Softsign(node: TensorFlowNode) -> Sources:
    return node.write("Activation", 0, func="softsign")


def Softplus(node: TensorFlowNode) -> Sources:
    return node.write("Activation", 0, func="softplus")


def LeakyRelu(node: TensorFlowNode) -> Sources:
    return node.write("LeakyRelu", 0, alpha=node.number("alpha", 0.2))


def Softmax(node: TensorFlowNode) -> Sources:
    return node.write("Softmax", 0, axis=0, inputs_orders=Orders(("N+C",)))


def Neg(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="neg")


def Abs(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="abs")


def Acos(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="acos")


def Acosh(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="acosh")


def Asin(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="asin")


def Asinh(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="asinh")


def Atan(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="atan")


def Atanh(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="atanh")


def Ceil(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="ceil")


def Cos(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="cos")


def Cosh(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="cosh")


def Sin(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="sin")


def Sinh(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="sinh")


def Tan(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="tan")


def Floor(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="floor")


def Sqrt(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="sqrt")


def Rsqrt(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="rsqrt")


def Square(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="square")


def Exp(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="exp")


def Log(node: TensorFlowNode) -> Sources:
    return node.write("Unary", 0, func="log")


def AddN(node: TensorFlowNode) -> Sources:
    """A chain of sums."""
    names = [uff_name(source) for source in node.inputs]
    if len(names) == 1:
        return node.write("Identity", 0)
    total = names[0]
    for number, name in enumerate(names[1:], 1):
        made = node.name if number == len(names) - 1 else f"{node.name}/sum_{number}"
        total = node.uff.add("Binary", made, [total, name], {"func": "add"})
    return list(node.inputs)


def SquaredDifference(node: TensorFlowNode) -> Sources:
    operands = [node.name_of(0), node.name_of(1)]
    difference = node.uff.add("Binary", f"{node.name}/difference", operands, {"func": "sub"})
    node.uff.add("Unary", node.name, [difference], {"func": "square"})
    return list(node.inputs)


def Reciprocal(node: TensorFlowNode) -> Sources:
    one = node.uff.constant(f"{node.name}/one", np.ones((), np.float32))
    node.uff.add("Binary", node.name, [one, node.name_of(0)], {"func": "div"})
    return [node.source(0)]


def ClipByValue(node: TensorFlowNode) -> Sources:
    bounded = node.uff.add("Binary", f"{node.name}/at_least", [node.name_of(0), node.name_of(1)], {"func": "max"})
    node.uff.add("Binary", node.name, [bounded, node.name_of(2)], {"func": "min"})
    return list(node.inputs)
