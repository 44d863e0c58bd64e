"""Values and graphs: an immutable directed acyclic graph of operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from tensorwright.base.errors import ShapeError
from tensorwright.graph.expression import Computation
from tensorwright.graph.op import Array, Kind, Op
from tensorwright.tensor.dim import Symbol, bounds, symbols_of
from tensorwright.tensor.equations import Unequal
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import Weights


@dataclass(frozen=True, eq=False)
class Input(Op):
    """A network input."""

    type: TensorType
    kind: ClassVar[Kind] = "source"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        return self.type


@dataclass(frozen=True, eq=False)
class ConstantTensor(Op):
    """A tensor known at build time."""

    weights: Weights
    kind: ClassVar[Kind] = "source"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        return self.weights.type

    def reference(self, *inputs: Array) -> Array:
        return self.weights.array

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Value:
    """The result of an operator applied to values. Two values are the same only if they are the same object.

    `name` says where the value comes from (a layer or node of the user's network); it has no meaning.
    """

    op: Op
    inputs: tuple[Value, ...]
    type: TensorType
    name: str

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type} = {self.op}({', '.join('%' + v.name for v in self.inputs)})"


def apply(op: Op, *inputs: Value, name: str = "") -> Value:
    """The value of an operator applied to values, with its type inferred.

    Raises:
        ShapeError: the inputs do not fit; the message starts with `name`.
    """
    try:
        inferred = op.infer([value.type for value in inputs])
    except Unequal as error:
        raise (error.within(f"'{name}'") if name else error) from None
    except ShapeError as error:
        raise ShapeError(f"'{name}': {error}" if name else str(error)) from None
    if any(bounds(extent)[1] < 0 for extent in inferred.shape):
        where = f"'{name}': {op.name}" if name else op.name
        raise ShapeError(f"{where}: expected no negative extents, found {inferred}")
    return Value(op, inputs, inferred, name or op.name.lower())


def input_value(name: str, type: TensorType) -> Value:
    """A network input."""
    return Value(Input(type), (), type, name)


def constant_value(weights: Weights, name: str = "constant") -> Value:
    """A constant."""
    return Value(ConstantTensor(weights), (), weights.type, name)


@dataclass(frozen=True)
class Graph:
    """Named inputs and named outputs; everything between is reached from the outputs."""

    inputs: tuple[tuple[str, Value], ...]
    outputs: tuple[tuple[str, Value], ...]
    name: str = "network"

    def order(self) -> tuple[Value, ...]:
        """All values that the outputs need, and all inputs, each after its own inputs."""
        return topological_order([value for _, value in self.inputs] + [value for _, value in self.outputs])

    def uses(self) -> Counter[Value]:
        """How often each value is used, as an operand or as an output."""
        counts: Counter[Value] = Counter(value for _, value in self.outputs)
        for value in self.order():
            counts.update(value.inputs)
        return counts

    def symbols(self) -> tuple[Symbol, ...]:
        """All symbolic dimensions, sorted by name."""
        found = {s for value in self.order() for dim in value.type.shape for s in symbols_of(dim)}
        return tuple(sorted(found, key=lambda s: s.name))

    def rebuild(self, visit: Callable[[Value], Value | None]) -> Graph:
        """The graph with every value passed, operands first, through `visit`; None keeps the value.

        A value whose operands changed is made anew, its type inferred again, before it is visited. A replacement has
        to have the same type.
        """
        replaced: dict[Value, Value] = {}
        for value in self.order():
            inputs = tuple(replaced[operand] for operand in value.inputs)
            current = value if inputs == value.inputs else apply(value.op, *inputs, name=value.name)
            result = visit(current)
            replaced[value] = current if result is None else result
            if replaced[value].type != value.type:
                raise AssertionError(f"a rewrite changed the type of {value} to {replaced[value]}")
        return self.with_values(replaced)

    def with_values(self, replaced: Mapping[Value, Value]) -> Graph:
        """The graph with outputs (and inputs) looked up in `replaced`."""
        return replace(
            self,
            inputs=tuple((name, replaced.get(value, value)) for name, value in self.inputs),
            outputs=tuple((name, replaced.get(value, value)) for name, value in self.outputs),
        )


def topological_order(roots: Iterable[Value]) -> tuple[Value, ...]:
    """All values below `roots`, each after its inputs; deterministic, without recursion."""
    order: list[Value] = []
    done: set[Value] = set()
    for root in roots:
        stack: list[tuple[Value, int]] = [(root, 0)]
        while stack:
            value, position = stack.pop()
            if value in done:
                continue
            if position < len(value.inputs):
                stack.append((value, position + 1))
                stack.append((value.inputs[position], 0))
            else:
                done.add(value)
                order.append(value)
    return tuple(order)


def is_constant(value: Value) -> bool:
    return isinstance(value.op, ConstantTensor)


def weights_in(value: Value) -> Weights:
    """The weights of a constant value."""
    if not isinstance(value.op, ConstantTensor):
        raise TypeError(f"{value} is not a constant")
    return value.op.weights


def storage_root(value: Value) -> Value:
    """The value whose memory a value is: views are other names for the memory of their operand."""
    while value.op.kind == "view":
        value = value.inputs[0]
    return value
