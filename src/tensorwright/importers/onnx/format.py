"""What ONNX is like, for whoever has a model of some format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from tensorwright.importers.formats import Format, Imported, Model
from tensorwright.importers.options import ReadOptions

if TYPE_CHECKING:
    from onnx import ModelProto

    from tensorwright.importers.onnx.parts import PartialModel

VERSION = b"\x08"
"""The tag of ir_version, the first field."""
SECOND_OF_UFF = b"\x10"


def _is_file(head: bytes) -> bool:
    """UFF begins alike, but its second field is a number: no field of a ModelProto has that tag."""
    return head[:1] == VERSION and head[2:3] != SECOND_OF_UFF


def _is_loaded(source: object) -> bool:
    return type(source).__name__ == "ModelProto"


def _read(source: Model, options: ReadOptions) -> Imported:
    from tensorwright.importers.onnx.translate import read_network

    model = cast("str | bytes | ModelProto", source)
    read = read_network(model, shapes=options.shapes, constants=options.constants)
    return Imported(read.graph, read.warnings)


def _in_stages(source: Model, options: ReadOptions) -> PartialModel:
    from tensorwright.importers.onnx.parts import PartialModel

    return PartialModel(cast("str | bytes | ModelProto", source), options.shapes)


def _input_names(source: Model) -> Sequence[str]:
    from tensorwright.importers.onnx.ranges import input_types

    return [name for name, _ in input_types(cast("str | bytes | ModelProto", source))]


FORMAT = Format(
    "an ONNX model",
    (".onnx",),
    frozenset({"shapes", "constants"}),
    _is_file,
    _read,
    _input_names,
    _is_loaded,
    _in_stages,
)
