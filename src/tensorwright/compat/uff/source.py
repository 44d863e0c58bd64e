"""What the functions that convert an operator see of the TensorFlow graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.compat.uff.model import FieldValue, UffWriter
from tensorwright.graph.graph import Value, is_constant, weights_in
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.tensorflow.attributes import Attribute
from tensorwright.importers.tensorflow.messages import NodeDef
from tensorwright.importers.tensorflow.read import FrozenGraph, Reference, data_inputs, order_of
from tensorwright.importers.tensorflow.translate import is_input, known_values, read_network
from tensorwright.tensor.type import TensorType

Array = npt.NDArray[np.generic]

PASSED_ON = frozenset(
    {"Identity", "IdentityN", "CheckNumerics", "StopGradient", "PreventGradient", "Snapshot", "EnsureShape"}
)


class Constants:
    """The parts of a graph that depend on no input, computed when they are needed."""

    def __init__(self, graph: FrozenGraph) -> None:
        self._graph = graph
        self._is_fixed: dict[str, bool] = {}
        self._arrays: dict[Reference, Array | None] = {}

    def array(self, source: Reference) -> Array | None:
        """The value of a tensor; None where it depends on an input."""
        if source not in self._arrays:
            self._arrays[source] = self._computed(source) if self._depends_on_nothing(source.node) else None
        return self._arrays[source]

    def _depends_on_nothing(self, name: str) -> bool:
        if name not in self._is_fixed:
            for node in order_of(self._graph, [name]):
                fixed = not is_input(node) and all(self._is_fixed[below.node] for below in data_inputs(node))
                self._is_fixed.setdefault(node.name, fixed)
        return self._is_fixed[name]

    def _computed(self, source: Reference) -> Array | None:
        try:
            network = read_network(self._graph, outputs=[f"{source.node}:{source.output}"]).graph
        except (ImportFailure, NetworkError):
            return None
        (_, value), *_ = network.outputs
        return weights_in(value).array if is_constant(value) else None


class Types:
    """The types of tensors as the importer of frozen graphs infers them.

    Args:
        graph: the graph.
        outputs: the tensors that are converted; with all that they need they are imported at once.
    """

    def __init__(self, graph: FrozenGraph, outputs: Sequence[str]) -> None:
        self._graph = graph
        self._outputs = outputs

    @cached_property
    def _values(self) -> Mapping[str, Value]:
        return known_values(self._graph, self._outputs)

    def of(self, source: Reference) -> TensorType | None:
        """The type of a tensor; None where it cannot be inferred."""
        found = self._values.get(uff_name(source))
        return None if found is None else found.type


@dataclass(frozen=True, eq=False)
class TensorFlowNode:
    """A node that is being converted: its inputs, its attributes, and the model that it is written to.

    A function that converts an operator writes nodes, the last one under the name of this node, and gives back the
    tensors of the TensorFlow graph that these need.
    """

    name: str
    operator: str
    inputs: tuple[Reference, ...]
    attributes: Mapping[str, Attribute]
    graph: FrozenGraph
    constants: Constants
    types: Types
    uff: UffWriter

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(passed_on(self.graph, source) for source in self.inputs))

    def fail(self, message: str) -> ImportFailure:
        """An error about this node, to be raised."""
        return ImportFailure(f"{self.graph.label}: node '{self.name}' ({self.operator}): {message}")

    def source(self, number: int) -> Reference:
        """Where an input comes from."""
        if not 0 <= number < len(self.inputs):
            raise self.fail(f"expected at least {abs(number) + 1} inputs, found {len(self.inputs)}")
        return self.inputs[number]

    def producer(self, number: int) -> NodeDef:
        """The node that makes an input."""
        return self.graph.require(self.source(number).node)

    def array(self, number: int) -> Array | None:
        """The value of an input that depends on no network input, None for another one."""
        return self.constants.array(self.source(number))

    def known(self, number: int, what: str) -> Array:
        """The value of an input that has to be constant.

        Raises:
            Unsupported: it depends on a network input.
        """
        array = self.array(number)
        if array is None:
            raise Unsupported(f"{what} has to be a constant, it depends on an input of the network")
        return array

    def integers(self, number: int, what: str) -> list[int]:
        """The elements of a constant input, flat."""
        return [int(element) for element in self.known(number, what).reshape(-1)]

    def text(self, name: str, default: str = "") -> str:
        value = self.attributes.get(name, default)
        return value if isinstance(value, str) else default

    def number(self, name: str, default: float) -> float:
        value = self.attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.attributes.get(name, default))

    def ints(self, name: str) -> list[int]:
        """An attribute that is a list of integers; empty if it is absent."""
        value = self.attributes.get(name, ())
        return [int(item) for item in value if isinstance(item, int)] if isinstance(value, tuple) else []

    def write(self, operation: str, /, *numbers: int, **fields: FieldValue) -> list[Reference]:
        """Write a node, called like this one, that takes the inputs of these numbers; gives these."""
        sources = [self.source(number) for number in numbers]
        self.uff.add(operation, self.name, [uff_name(source) for source in sources], fields)
        return sources

    def name_of(self, number: int) -> str:
        """What an input is called in the model."""
        return uff_name(self.source(number))


def uff_name(source: Reference) -> str:
    """What a tensor of the graph is called in the model, where every node has one output."""
    return source.node if source.output == 0 else f"{source.node}:{source.output}"


def passed_on(graph: FrozenGraph, source: Reference) -> Reference:
    """The tensor that nodes which change nothing hand on."""
    seen = {source.node}
    while True:
        node = graph.require(source.node)
        if node.op not in PASSED_ON or (source.output and node.op != "IdentityN"):
            return source
        inputs = data_inputs(node)
        if source.output >= len(inputs) or inputs[source.output].node in seen:
            return source
        source = inputs[source.output]
        seen.add(source.node)
