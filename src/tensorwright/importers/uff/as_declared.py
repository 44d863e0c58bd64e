"""UFF models with the inputs that their files declare: arrays as they were in TensorFlow, nothing is registered."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.base.errors import ImportFailure
from tensorwright.graph.graph import Graph
from tensorwright.importers.inputs import InputShapes
from tensorwright.importers.options import ReadOptions
from tensorwright.importers.uff.inputs import RegisteredInput, declared_extents
from tensorwright.importers.uff.read import Source, UffModel, read_model
from tensorwright.importers.uff.translate import read_network
from tensorwright.tensor.dim import Dim

BATCH = "batch"


def import_as_declared(source: Source, options: ReadOptions) -> Graph:
    """The network of a UFF model whose inputs have the shapes and orders that the file declares.

    Args:
        source: a path, or the bytes of a file.
        options: shapes of inputs, with the batch, where the file leaves them open; outputs; constants.

    Raises:
        ImportFailure: the model cannot be read, is wrong, or uses what is not supported (all of it is listed).
    """
    model = read_model(source)
    constants = options.constants or {}
    names = [name for name in _inputs(model) if name not in constants]
    declared = {name: declared_extents(model, model.nodes[name]) for name in names}
    resolver = InputShapes(options.shapes, {name: _said(extents) for name, extents in declared.items()})
    shapes = {name: resolver.shape_of(name) for name in names}
    batches = {shape[:1] for shape in shapes.values()}
    if len(batches) > 1:
        said = sorted(str(dim) for (dim,) in batches)
        raise ImportFailure(f"{model.label}: all inputs of a UFF model have one batch, shapes says {said}")
    given = {name: _registered(model, name, shape, declared[name]) for name, shape in shapes.items()}
    batch = next(iter(batches))[0] if batches else None
    return read_network(model, given, options.outputs or (), batch=batch, constants=constants).graph


def input_names(source: Source) -> Sequence[str]:
    """The names of the inputs of a model.

    Raises:
        ImportFailure: it cannot be read.
    """
    return _inputs(read_model(source))


def _inputs(model: UffModel) -> list[str]:
    return [node.id for node in model.nodes.values() if node.operation == "Input"]


def _said(extents: Sequence[int]) -> list[int | str] | None:
    return [BATCH, *("" if extent < 0 else extent for extent in extents)] if extents else None


def _registered(model: UffModel, name: str, shape: Sequence[Dim], declared: Sequence[int]) -> RegisteredInput:
    dims = [dim for dim in shape[1:] if isinstance(dim, int)]
    if len(dims) < len(shape) - 1 or not dims:
        raise ImportFailure(
            f"{model.label}: input '{name}': only the batch of a UFF model may be open, found {list(map(str, shape))}; "
            f"fix the others with shapes={{{name!r}: (...)}}"
        )
    return RegisteredInput(tuple(dims), "NC" if len(declared) == len(dims) else "NHWC")
