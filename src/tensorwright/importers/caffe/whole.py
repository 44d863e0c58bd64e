"""A Caffe network as a whole: definition and weights found for each other, shapes as all formats take them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tensorwright.base.errors import ImportFailure
from tensorwright.graph.graph import Graph
from tensorwright.importers.caffe import sources
from tensorwright.importers.caffe.blobs import Source as Weights
from tensorwright.importers.caffe.definition import Source, read_definition
from tensorwright.importers.caffe.rules import NetState
from tensorwright.importers.caffe.translate import Import, read_network
from tensorwright.importers.formats import Imported
from tensorwright.importers.inputs import InputShapes, Shapes, checked_shapes
from tensorwright.importers.names import nearest
from tensorwright.importers.options import ReadOptions
from tensorwright.tensor.dim import Dim, Symbol

BATCH = "batch"
"""The first dimension of all inputs, in `shapes`."""
DEFINITION, MODEL = ".prototxt", ".caffemodel"


def import_whole(source: Source, options: ReadOptions) -> Imported:
    """A network with its weights.

    Args:
        source: the definition, or the path of a model beside which its definition lies.
        options: `weights`, by default the file beside the definition that has its name; `shapes` of inputs, and the
            batch of those that it does not name; `outputs`, blobs by name.

    Raises:
        ImportFailure: a file cannot be read, is wrong, or uses what is not supported (all of it is listed).
    """
    definition, weights = _files(source, options.weights)
    batch, shapes = _shapes({} if options.shapes is None else checked_shapes(options.shapes))
    imported = read_network(definition, weights, batch=batch, shapes=shapes)
    return Imported(_with_outputs(imported, options.outputs), imported.warnings)


def input_names(source: Source) -> Sequence[str]:
    """The names of the inputs of a network.

    Raises:
        ImportFailure: its definition cannot be read.
    """
    read = read_definition(_files(source, None)[0], NetState())
    tops = [top for layer in read.layers if hasattr(sources, layer.type) for top in layer.top]
    return [*(name for name, _ in read.inputs), *tops]


def _files(source: Source, weights: Weights | None) -> tuple[Source, Weights | None]:
    """The definition and the weights."""
    if not isinstance(source, str | os.PathLike):
        return source, weights
    path = Path(source)
    if path.suffix == MODEL:
        definition = path.with_suffix(DEFINITION)
        if not definition.exists():
            raise ImportFailure(
                f"{path}: the weights of a Caffe network, whose definition '{definition.name}' is not beside it; give "
                "the definition, and this file as its weights"
            )
        return definition, weights or path
    model = path.with_suffix(MODEL)
    return path, weights or (model if model.exists() else None)


def _shapes(shapes: Shapes) -> tuple[Dim | None, Mapping[str, Sequence[Dim]]]:
    """The batch of inputs that are not named, and the shapes of those that are."""
    named = {name: said for name, said in shapes.items() if name != BATCH and not isinstance(said, int | Symbol)}
    declared = {name: [BATCH, *[""] * (len(entries) - 1)][: len(entries)] for name, entries in named.items()}
    resolver = InputShapes(shapes, {**declared, "": [BATCH]})
    (batch,) = resolver.shape_of("")
    return batch if BATCH in shapes else None, {name: resolver.shape_of(name) for name in named}


def _with_outputs(imported: Import, outputs: Sequence[str] | None) -> Graph:
    if outputs is None:
        return imported.graph
    for name in outputs:
        if name not in imported.names:
            raise ImportFailure(f"outputs: the network has no blob '{name}'; {nearest(name, imported.names, 'blobs')}")
    return replace(imported.graph, outputs=tuple((name, imported.names[name]) for name in outputs))
