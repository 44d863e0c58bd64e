"""Nodes that run on the host: evaluated one by one, by the reference implementations of the onnx package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator

from tensorwright.base.errors import ExecutionError, TensorwrightError
from tensorwright.importers.onnx.host_operators import OPERATORS
from tensorwright.importers.onnx.read import STANDARD_DOMAINS
from tensorwright.importers.onnx.scope import node_names
from tensorwright.importers.onnx.scope import used_names as graph_names
from tensorwright.importers.onnx.trees import require_trees

Known = npt.NDArray[Any] | list["Known"] | dict[Any, Any] | None
"""A tensor (also of strings), a sequence, a map, or an absent optional, as Python has them while a network runs."""


class HostNode:
    """A node of a model's main graph that NumPy evaluates.

    label: how messages name it. reason: why it is no part of a native program. inputs: the names of all tensors that
    it, or a subgraph of it, takes from the graph. arguments, results: the names of its own inputs and outputs. version:
    the opset of its domain.
    """

    def __init__(self, proto: NodeProto, model: ModelProto, inputs: frozenset[str], reason: str) -> None:
        self.operator = proto.op_type
        self.label = f"node '{proto.name or proto.output[0]}' ({proto.domain or 'ai.onnx'}.{proto.op_type})"
        self.reason = reason
        self.inputs = inputs
        self.arguments, self.results = tuple(proto.input), tuple(proto.output)
        self.version = {entry.domain: entry.version for entry in model.opset_import}.get(proto.domain, 1)
        self._proto, self._model = proto, model

    def integers(self, attribute: str, count: int = 1) -> tuple[int, ...]:
        """An attribute of integers; as many zeros where it is absent."""
        found = next((found for found in self._proto.attribute if found.name == attribute), None)
        if found is None:
            return (0,) * count
        return tuple(found.ints) if found.type == found.INTS else (found.i,)

    def subgraph(self, attribute: str) -> ModelProto:
        """A branch or body as a model of its own; what it takes from around it are constants or its last inputs.

        Raises:
            ExecutionError: the node has none of this name.
        """
        found = next((one for one in self._proto.attribute if one.name == attribute and one.HasField("g")), None)
        if found is None:
            raise ExecutionError(f"{self.label}: expected a graph as attribute '{attribute}', found none")
        body = GraphProto()
        body.CopyFrom(found.g)
        taken = self.inputs & graph_names(body)
        stored = [t for t in self._model.graph.initializer if t.name in taken and t.data_location != t.EXTERNAL]
        body.initializer.extend(stored)
        body.input.extend(ValueInfoProto(name=name) for name in sorted(taken - {tensor.name for tensor in stored}))
        return self._around(body)

    @property
    def is_standard(self) -> bool:
        """Whether ONNX itself defines the operator."""
        return self._proto.domain in STANDARD_DOMAINS

    @property
    def ends_by_count(self) -> bool:
        """Whether nothing in the body of a Loop can end it: its condition is what it was."""
        (body,) = (found.g for found in self._proto.attribute if found.name == "body")
        names = {
            output: name
            for one in body.node
            if one.op_type == "Identity"
            for name in one.input
            for output in one.output
        }
        condition = body.output[0].name
        while condition in names:
            condition = names.pop(condition)
        return len(body.input) > 1 and condition == body.input[1].name

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Where what runs on the host fails, say which node it was, and why it runs there.

        Raises:
            ExecutionError: something else than an error of the project was raised.
        """
        try:
            yield
        except TensorwrightError:
            raise
        except Exception as error:
            raise ExecutionError(
                f"{self.label} is no part of a native program ({self.reason}), and on the host it fails: "
                f"{type(error).__name__}: {error}"
            ) from error

    def run(self, known: Mapping[str, Known]) -> dict[str, Known]:
        """The node's outputs by name.

        Raises:
            ExecutionError: the reference implementation does not know the operator, or fails.
        """
        given = known[self.arguments[0]] if self.operator == "NonZero" and self.is_standard else None
        if isinstance(given, np.ndarray) and given.ndim:
            # Detectors have hundreds, on a few thousand elements each: the evaluator would take longer than NumPy.
            return {self.results[0]: np.array(np.nonzero(given), np.int64)}
        with self.failing():
            results = self._evaluator.run(None, {name: known[name] for name in sorted(self.inputs)})
        return {name: _plain(result) for name, result in zip(self._evaluator.output_names, results, strict=True)}

    @cached_property
    def _evaluator(self) -> ReferenceEvaluator:
        require_trees(self._proto)
        inputs = [ValueInfoProto(name=name) for name in sorted(self.inputs)]
        outputs = [ValueInfoProto(name=name) for name in self._proto.output if name]
        graph = helper.make_graph([self._proto], "host", inputs, outputs)
        return ReferenceEvaluator(self._around(graph), new_ops=OPERATORS)

    def _around(self, graph: GraphProto) -> ModelProto:
        model = helper.make_model(graph, opset_imports=self._model.opset_import, functions=self._model.functions)
        model.ir_version = self._model.ir_version
        return model


def host_node(proto: NodeProto, model: ModelProto, names: frozenset[str], reason: str) -> HostNode:
    """The node; `names` are those of the main graph."""
    return HostNode(proto, model, node_names(proto) & names, reason)


def _plain(result: Any) -> Known:  # noqa: ANN401 - whatever the reference gives
    return np.asarray(result) if isinstance(result, np.generic | int | float | str) else result
