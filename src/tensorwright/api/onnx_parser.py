"""The parser of ONNX models: fills a network definition, which stays editable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorwright.api.definition import Definition
from tensorwright.api.dimensions import OPEN_MAX, open_symbol
from tensorwright.api.enums import ErrorCode
from tensorwright.api.layers.matmul import ConstantLayer, OperatorLayer
from tensorwright.api.logger import SHARED_LOGGER, ILogger, Severity
from tensorwright.api.network import NetworkDefinition
from tensorwright.api.tensor import Tensor
from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.graph.graph import Graph, Input, Value, is_constant, weights_in
from tensorwright.tensor.dim import symbols_of

if TYPE_CHECKING:
    from tensorwright.importers.onnx.translate import Import

Source = bytes | str | os.PathLike[str]

LARGEST_TRIED = (OPEN_MAX, 4096, 2048, 1024, 512)
"""Upper bounds of unknown dimensions that are tried, one after the other, until the model can be read."""


@dataclass(frozen=True)
class ParserError:
    """Why a model could not be parsed: the whole model, or one node of it."""

    error_code: ErrorCode
    description: str
    name: str = ""
    operator: str = ""

    def code(self) -> ErrorCode:
        return self.error_code

    def desc(self) -> str:
        return self.description

    def node_name(self) -> str:
        """The name of the node, empty if it is not about one node."""
        return self.name

    def node_operator(self) -> str:
        """The operator of the node, empty if it is not about one node."""
        return self.operator

    def __str__(self) -> str:
        return self.description


class OnnxParser:
    """Reads ONNX models into a network with explicit batch.

    Every operator of the model becomes a layer that can be edited: `layer.set_input`, `layer.set_attribute`, weights of
    constant layers, further layers, other outputs. Dimensions that the model does not fix get their ranges from an
    optimization profile or, the first ones, from `max_batch_size`.
    """

    def __init__(self, network: NetworkDefinition, logger: ILogger | None = None) -> None:
        if not isinstance(network, Definition):
            raise NetworkError(f"OnnxParser: expected a network, found {type(network).__name__}")
        self.network = network
        self.logger = SHARED_LOGGER.adopt(logger, "OnnxParser")
        self._errors: list[ParserError] = []

    def parse(self, model: bytes, path: str | os.PathLike[str] | None = None) -> bool:
        """Read a model from bytes; those with external data need the `path` of their file. False if it fails."""
        return self._parse(model if path is None else path)

    def parse_from_file(self, path: str | os.PathLike[str]) -> bool:
        """Read a model from a file. False if it fails: see `num_errors` and `get_error`."""
        return self._parse(path)

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def supports_operator(self, name: str) -> bool:
        """Whether there is a translation of an operator of the standard domain."""
        from tensorwright.importers.onnx.registry import handler_of

        return handler_of("", name) is not None

    def _parse(self, source: Source) -> bool:
        try:
            _require_explicit_batch(self.network)
            imported = _read(source)
            _fill(self.network, imported.graph, imported.names)
        except (ImportFailure, NetworkError) as error:
            self._errors += _errors_of(error)
            self.logger.log(Severity.ERROR, str(error))
            return False
        return True


def _require_explicit_batch(network: NetworkDefinition) -> None:
    if not network.has_implicit_batch_dimension:
        return
    if network.num_inputs or network.num_layers:
        raise NetworkError(
            "the network has implicit batch and is not empty, ONNX models have explicit batch; parse into a network "
            "made with create_network(1 << int(NetworkDefinitionCreationFlag.EXPLICIT_BATCH))"
        )
    network.has_implicit_batch_dimension = False


def _read(source: Source) -> Import:
    """The model with the widest ranges of its unknown dimensions with which it can be read.

    Where a table is cut to a dimension (position embeddings, say), the dimension must not exceed the table.
    """
    from tensorwright.importers.onnx.failures import UnsupportedNodes
    from tensorwright.importers.onnx.translate import read_network

    leading, others = _unknown_dimensions(source)
    for largest in LARGEST_TRIED:
        symbols = {name: open_symbol(name) for name in leading} | {name: open_symbol(name, largest) for name in others}
        try:
            return read_network(source, shapes=symbols)
        except UnsupportedNodes:
            raise
        except (ImportFailure, NetworkError):
            if not others or largest == LARGEST_TRIED[-1]:
                raise
    raise AssertionError(LARGEST_TRIED)


def _unknown_dimensions(source: Source) -> tuple[set[str], set[str]]:
    """The names of unknown dimensions of the model's inputs: first ones, and those that occur on other axes."""
    from tensorwright.importers.onnx.ranges import input_types

    shapes = [type.shape for _, type in input_types(source)]
    others = {s.name for shape in shapes for dim in shape[1:] for s in symbols_of(dim)}
    return {s.name for shape in shapes for dim in shape[:1] for s in symbols_of(dim)} - others, others


def _fill(network: NetworkDefinition, graph: Graph, names: Mapping[str, Value]) -> None:
    tensors: dict[Value, Tensor] = {}
    for name, value in graph.inputs:
        tensors[value] = network.add_input(name, value.type.dtype, value.type.shape)
    for value in graph.order():
        if not isinstance(value.op, Input):
            tensors[value] = _added(network, value, [tensors[operand] for operand in value.inputs])
    for name, value in names.items():
        if value in tensors and not tensors[value].is_network_input:
            tensors[value].name = name
    for name, value in graph.outputs:
        tensor = tensors[value]
        if tensor.is_network_input or tensor.is_network_output:
            tensor = network.add_identity(tensor, name=name).get_output()
        tensor.name = name
        network.mark_output(tensor)
    if network.name == "network":
        network.name = graph.name


def _added(network: NetworkDefinition, value: Value, inputs: Sequence[Tensor]) -> Tensor:
    if is_constant(value):
        weights = weights_in(value)
        return network.add(ConstantLayer(network, value.name, weights.type.tuning_shape, weights)).get_output()
    return network.add(OperatorLayer(network, value.name, value.op, inputs)).get_output()


def _errors_of(error: ImportFailure | NetworkError) -> list[ParserError]:
    findings = getattr(error, "findings", ())
    if findings:
        return [
            ParserError(
                ErrorCode.UNSUPPORTED_NODE,
                f"node '{f.node}' ({f.operator}, opset {f.version}): {f.reason or 'no such operator is supported'}",
                f.node,
                f.operator,
            )
            for f in findings
        ]
    about_node = "node '" in str(error)
    return [ParserError(ErrorCode.INVALID_NODE if about_node else ErrorCode.MODEL_DESERIALIZE_FAILED, str(error))]
