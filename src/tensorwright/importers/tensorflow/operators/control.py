"""Operators that pass values on, and conditions that are decided while the graph is read."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.tensorflow.node import Node, Term


def Identity(node: Node, x: Value) -> Value:
    return x


def IdentityN(node: Node, first: Value, *others: Value) -> list[Term]:
    return [first, *others]


def Snapshot(node: Node, x: Value) -> Value:
    return x


def StopGradient(node: Node, x: Value) -> Value:
    return x


def PreventGradient(node: Node, x: Value, *, message: str = "") -> Value:
    return x


def CheckNumerics(node: Node, x: Value, *, message: str = "") -> Value:
    return x


def EnsureShape(node: Node, x: Value) -> Value:
    return x


def Print(node: Node, x: Value, *data: Value) -> Value:
    return x


def PlaceholderWithDefault(node: Node, default: Value) -> Value:
    """The default, where it is no input."""
    return default


def Switch(node: Node, x: Value, condition: Value) -> list[Term]:
    """The tensor at the output that the condition names: 0 for false, 1 for true."""
    taken = bool(node.number(condition, "the condition of Switch"))
    return [None, x] if taken else [x, None]


def RefSwitch(node: Node, x: Value, condition: Value) -> list[Term]:
    return Switch(node, x, condition)


def Merge(node: Node, *alive: Value) -> list[Term]:
    """The input that is not in a branch that is not taken."""
    if len(alive) != 1:
        node.unsupported(f"{len(alive)} branches of a condition arrive, one is expected")
    return [alive[0]]
