"""What frozen TensorFlow graphs are like, for whoever has a model of some format."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.importers.files import field_at
from tensorwright.importers.formats import Format, Imported, Model, first_field
from tensorwright.importers.options import ReadOptions

NODE = b"\x0a"
"""The tag of a node in a graph, and of its name in a node."""
FIELDS = frozenset({"node", "library", "versions"})


def _is_file(head: bytes) -> bool:
    """A Caffe model may begin alike, with its name, where a graph has a node, which begins with a name itself."""
    return (head[:1] == NODE and field_at(head, 0)[1][:1] == NODE) or first_field(head) in FIELDS


def _is_loaded(source: object) -> bool:
    return type(source).__name__ == "GraphDef" or hasattr(source, "as_graph_def")


def _read(source: Model, options: ReadOptions) -> Imported:
    from tensorwright.importers.tensorflow.translate import import_tensorflow

    graph = import_tensorflow(source, outputs=options.outputs, shapes=options.shapes, constants=options.constants)
    return Imported(graph)


def _input_names(source: Model) -> Sequence[str]:
    from tensorwright.importers.tensorflow.translate import input_names

    return input_names(source)


FORMAT = Format(
    "a frozen TensorFlow graph",
    (".pb", ".pbtxt"),
    frozenset({"shapes", "outputs", "constants"}),
    _is_file,
    _read,
    _input_names,
    _is_loaded,
)
