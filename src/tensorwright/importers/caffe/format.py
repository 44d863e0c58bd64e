"""What Caffe networks are like, for whoever has a model of some format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from tensorwright.importers.files import field_at
from tensorwright.importers.formats import Format, Imported, Model, first_field
from tensorwright.importers.options import ReadOptions

if TYPE_CHECKING:
    from tensorwright.importers.caffe.definition import Source

FIELDS = frozenset(
    {"name", "layer", "layers", "input", "input_dim", "input_shape", "state", "force_backward", "debug_info"}
)
NAME, LAYER, OLD_LAYER = 1, 100, 2


def _is_file(head: bytes) -> bool:
    """A definition begins with one of its fields, a model with its name or with a layer."""
    if first_field(head) in FIELDS:
        return True
    number, content, end = field_at(head, 0)
    if number == NAME and content[:1].isalnum():
        number, content, end = field_at(head, end)
    return number == LAYER or (number == OLD_LAYER and content[:1] in (b"\x12", b"\x1a", b"\x22", b"\x0a"))


def _read(source: Model, options: ReadOptions) -> Imported:
    from tensorwright.importers.caffe.whole import import_whole

    return import_whole(cast("Source", source), options)


def _input_names(source: Model) -> Sequence[str]:
    from tensorwright.importers.caffe.whole import input_names

    return input_names(cast("Source", source))


FORMAT = Format(
    "a Caffe network",
    (".prototxt", ".caffemodel"),
    frozenset({"shapes", "outputs", "weights"}),
    _is_file,
    _read,
    _input_names,
)
