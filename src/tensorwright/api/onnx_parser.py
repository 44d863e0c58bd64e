"""The parser of ONNX models: fills a network definition, which stays editable."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tensorwright.api.definition import Definition
from tensorwright.api.dimensions import open_symbol
from tensorwright.api.logger import ILogger
from tensorwright.api.network import NetworkDefinition
from tensorwright.api.parsed import fill_and_mark
from tensorwright.api.parser import Parser
from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.tensor.dim import symbols_of

if TYPE_CHECKING:
    from tensorwright.importers.onnx.translate import Import

Source = bytes | str | os.PathLike[str]


class OnnxParser(Parser):
    """Reads ONNX models into a network with explicit batch.

    Every operator of the model becomes a layer that can be edited: `layer.set_input`, `layer.set_attribute`, weights of
    constant layers, further layers, other outputs. Dimensions that the model does not fix get their ranges from an
    optimization profile or, the first ones, from `max_batch_size`.
    """

    def __init__(self, network: NetworkDefinition, logger: ILogger | None = None) -> None:
        if not isinstance(network, Definition):
            raise NetworkError(f"OnnxParser: expected a network, found {type(network).__name__}")
        super().__init__(logger)
        self.network = network

    def parse(self, model: bytes, path: str | os.PathLike[str] | None = None) -> bool:
        """Read a model from bytes; those with external data need the `path` of their file. False if it fails."""
        return self._parse(model if path is None else path)

    def parse_from_file(self, path: str | os.PathLike[str]) -> bool:
        """Read a model from a file. False if it fails: see `num_errors` and `get_error`."""
        return self._parse(path)

    def supports_operator(self, name: str) -> bool:
        """Whether there is a translation of an operator of the standard domain."""
        from tensorwright.importers.onnx.registry import handler_of

        return handler_of("", name) is not None

    def _parse(self, source: Source) -> bool:
        try:
            _require_explicit_batch(self.network)
            imported = _read(source)
            needed = set(imported.graph.order())
            names = {name: value for name, value in imported.names.items() if value in needed}
            fill_and_mark(self.network, imported.graph, names)
        except (ImportFailure, NetworkError) as error:
            self.fail(error)
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
    """The model with open ranges of its unknown dimensions, as far as its tensors allow."""
    from tensorwright.importers.onnx.translate import read_network

    return read_network(source, shapes={name: open_symbol(name) for name in _unknown_dimensions(source)})


def _unknown_dimensions(source: Source) -> set[str]:
    """The names of unknown dimensions of the model's inputs."""
    from tensorwright.importers.onnx.ranges import input_types

    return {symbol.name for _, type in input_types(source) for dim in type.shape for symbol in symbols_of(dim)}
