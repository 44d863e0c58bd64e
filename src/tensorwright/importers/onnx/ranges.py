"""What a model says about the types of its inputs, before anything else of it is read."""

from __future__ import annotations

import os

from onnx import ModelProto

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.onnx.inputs import InputShapes, Shapes
from tensorwright.importers.onnx.read import read_model
from tensorwright.tensor.type import TensorType

Model = str | os.PathLike[str] | bytes | ModelProto
"""What a model can be read from."""


def input_types(source: Model, *, shapes: Shapes | None = None) -> tuple[tuple[str, TensorType], ...]:
    """Names and types of the inputs of a model, with the symbols and ranges that `import_onnx` gives them.

    Raises:
        ImportFailure: the model cannot be read, or an input has a type that is not supported.
    """
    read = read_model(source)
    graph = read.model.graph
    constants = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    declared = [value for value in graph.input if value.name not in constants]
    try:
        resolver = InputShapes(shapes, declared)
        return tuple((value.name, resolver.type_of(value)) for value in declared)
    except (ImportFailure, Unsupported) as error:
        raise ImportFailure(f"{read.label}: {error}") from None
