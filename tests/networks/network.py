"""A network of ONNX operators as immutable data that a generator makes and a shrinker takes apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[np.generic]
Extent = tuple[int, ...]
"""An extent under each assignment of the symbols: all equal for a fixed one. Equal tuples are taken to be equal."""

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]
OPSET = 21
ELEMENTS: Mapping[str, int] = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13, "bfloat16": 16,
}  # fmt: skip
"""ONNX's numbers of element types."""


def dtype_named(name: str) -> np.dtype[np.generic]:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


@dataclass(frozen=True)
class Tensor:
    """A tensor's type, the bounds of its elements, and whether everybody computes exactly the same elements, so that
    functions with jumps may be applied to them.
    """

    name: str
    dtype: str
    shape: tuple[Extent, ...]
    low: float = -1.0
    high: float = 1.0
    is_exact: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        return "float" in self.dtype

    @property
    def is_integer(self) -> bool:
        return "int" in self.dtype

    @property
    def largest(self) -> float:
        return max(abs(self.low), abs(self.high))

    def extents(self, assignment: int) -> tuple[int, ...]:
        return tuple(extent[assignment] for extent in self.shape)

    def draw(self, rng: np.random.Generator, assignment: int = 0) -> Array:
        """Random elements within the bounds."""
        shape, dtype = self.extents(assignment), dtype_named(self.dtype)
        if self.is_float:
            return rng.uniform(self.low, self.high, shape).astype(dtype)
        return np.asarray(rng.integers(int(self.low), int(self.high) + 1, shape)).astype(dtype)


@dataclass(frozen=True)
class Constant:
    """An initializer: given elements, or random ones of a seed."""

    tensor: Tensor
    seed: int = 0
    elements: tuple[float, ...] | None = None

    @property
    def array(self) -> Array:
        if self.elements is None:
            return self.tensor.draw(np.random.default_rng(self.seed))
        return np.array(self.elements, dtype_named(self.tensor.dtype)).reshape(self.tensor.extents(0))


@dataclass(frozen=True)
class Node:
    """An operator; an empty name is an operand left out."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[Tensor, ...]
    attributes: tuple[tuple[str, Attribute], ...] = ()


@dataclass(frozen=True)
class Network:
    """symbols: the values of named dimensions under each assignment. There is at least one assignment."""

    inputs: tuple[Tensor, ...]
    constants: tuple[Constant, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    symbols: tuple[tuple[str, Extent], ...] = ()

    @cached_property
    def assignments(self) -> int:
        """How many assignments of the symbols there are."""
        return len(self.symbols[0][1]) if self.symbols else 1

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, in the order in which they appear."""
        given = [*self.inputs, *(constant.tensor for constant in self.constants)]
        return {tensor.name: tensor for tensor in [*given, *(t for node in self.nodes for t in node.outputs)]}

    def draw(self, rng: np.random.Generator, assignment: int = 0) -> dict[str, Array]:
        """Fresh inputs."""
        return {tensor.name: tensor.draw(rng, assignment) for tensor in self.inputs}

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]] | None:
        """What a build has to know of the symbols: the smallest, the first and the largest value of each."""
        known = {}
        for extent in dict.fromkeys(e for tensor in self.inputs for e in tensor.shape if is_varying(e)):
            known[_dimension_name(extent, self.symbols)] = (min(1, *extent), extent[0], max(8, *extent))
        return known or None

    def model(self) -> onnx.ModelProto:
        """The network as an ONNX model."""
        graph = helper.make_graph(
            [
                helper.make_node(
                    n.operator, n.inputs, [t.name for t in n.outputs], **{k: _written(v) for k, v in n.attributes}
                )
                for n in self.nodes
            ],
            "network",
            [self._declared(tensor) for tensor in self.inputs],
            [self._declared(self.tensors[name]) for name in self.outputs],
            [numpy_helper.from_array(c.array, c.tensor.name) for c in self.constants],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def _declared(self, tensor: Tensor) -> onnx.ValueInfoProto:
        shape = [_dimension_name(e, self.symbols) if is_varying(e) else e[0] for e in tensor.shape]
        return helper.make_tensor_value_info(tensor.name, ELEMENTS[tensor.dtype], shape)


def is_varying(extent: Extent) -> bool:
    """Whether an extent depends on a symbol."""
    return len(set(extent)) > 1


def _dimension_name(extent: Extent, symbols: Iterable[tuple[str, Extent]]) -> str:
    known = {values: name for name, values in symbols}
    return known.get(extent, "extent_" + "_".join(map(str, extent)))


def _written(value: Attribute) -> object:
    return list(value) if isinstance(value, tuple) else value


def pruned(network: Network, outputs: Sequence[str] | None = None) -> Network:
    """The part of a network that some of its tensors need; inputs that nobody needs are left out."""
    wanted = tuple(network.outputs if outputs is None else outputs)
    needed, nodes = set(wanted), list[Node]()
    for node in reversed(network.nodes):
        if any(tensor.name in needed for tensor in node.outputs):
            nodes.append(node)
            needed.update(node.inputs)
    return replace(
        network,
        inputs=tuple(tensor for tensor in network.inputs if tensor.name in needed),
        constants=tuple(c for c in network.constants if c.tensor.name in needed),
        nodes=tuple(reversed(nodes)),
        outputs=wanted,
    )


def text(network: Network) -> str:
    """A network for people: one line a tensor."""
    lines = [f"{name} = {values}" for name, values in network.symbols]
    lines += [f"input {_typed(tensor)} in [{tensor.low:g}, {tensor.high:g}]" for tensor in network.inputs]
    for c in network.constants:
        elements = f"of seed {c.seed} in [{c.tensor.low:g}, {c.tensor.high:g}]" if c.elements is None else c.elements
        lines.append(f"constant {_typed(c.tensor)} {elements}")
    for node in network.nodes:
        attributes = ", ".join(f"{key}={value}" for key, value in node.attributes)
        results = ", ".join(_typed(tensor) for tensor in node.outputs)
        lines.append(f"{results} = {node.operator}({', '.join(node.inputs)}){' ' + attributes if attributes else ''}")
    return "\n".join([*lines, f"outputs {', '.join(network.outputs)}"])


def _typed(tensor: Tensor) -> str:
    shape = ",".join("/".join(map(str, e)) if is_varying(e) else str(e[0]) for e in tensor.shape)
    return f"{tensor.name}: {tensor.dtype}[{shape}]"
