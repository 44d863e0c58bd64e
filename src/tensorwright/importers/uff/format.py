"""What UFF is like, for whoever has a model of some format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from tensorwright.importers.formats import Format, Imported, Model
from tensorwright.importers.options import ReadOptions

if TYPE_CHECKING:
    from tensorwright.importers.uff.read import Source

VERSION, DESCRIPTORS = b"\x08", b"\x10"
"""The tags of the first two fields, both numbers."""


def _is_file(head: bytes) -> bool:
    return head[:1] == VERSION and head[2:3] == DESCRIPTORS


def _read(source: Model, options: ReadOptions) -> Imported:
    from tensorwright.importers.uff.as_declared import import_as_declared

    return Imported(import_as_declared(cast("Source", source), options))


def _input_names(source: Model) -> Sequence[str]:
    from tensorwright.importers.uff.as_declared import input_names

    return input_names(cast("Source", source))


FORMAT = Format(
    "a UFF model",
    (".uff",),
    frozenset({"shapes", "outputs", "constants"}),
    _is_file,
    _read,
    _input_names,
)
