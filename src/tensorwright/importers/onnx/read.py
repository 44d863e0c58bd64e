"""Reads a model file: from a path, from bytes or from a message that is already loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.files import read_bytes
from tensorwright.importers.onnx.expansion import require_bounded
from tensorwright.importers.onnx.spelling import require_names
from tensorwright.importers.protobuf import parse_bytes

WHAT = "an ONNX model"
OLDEST_OPSET = 1
STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class Source:
    """A model, what to call it in messages, and where its external data may lie.

    `folders` is empty for a model that is not in a file. Locations are relative to the first folder; links may lead to
    the others, since download caches keep the files of a model beside each other under other names.
    """

    model: ModelProto
    label: str
    folders: tuple[Path, ...]

    @property
    def opsets(self) -> dict[str, int]:
        """The imported version of each domain; the standard domain is called ''."""
        return opsets_of(self.model)


def opsets_of(proto: ModelProto | onnx.FunctionProto) -> dict[str, int]:
    """The imported version of each domain; the standard domain is called ''."""
    return {"" if entry.domain in STANDARD_DOMAINS else entry.domain: entry.version for entry in proto.opset_import}


def read_model(source: str | os.PathLike[str] | bytes | ModelProto) -> Source:
    """Load a model without its external data, and check that it is one that can be understood.

    Args:
        source: a path, the bytes of a file, or a loaded model (which is copied, and may change afterwards).

    Raises:
        ImportFailure: there is no such file, it is not an ONNX model, it is damaged, or its opset is too old or new.
    """
    if isinstance(source, ModelProto):
        model = ModelProto()
        model.CopyFrom(source)
        read = Source(model, f"model '{model.graph.name}'", ())
    elif isinstance(source, bytes | bytearray | memoryview):
        read = Source(parse_bytes(ModelProto, bytes(source), "the given bytes", WHAT), "model", ())
    else:
        path = Path(source)
        model = parse_bytes(ModelProto, read_bytes(path, WHAT), str(path), WHAT)
        read = Source(model, str(path), (path.absolute().parent, path.resolve().parent))
    _check(read)
    return read


def _check(source: Source) -> None:
    model, label = source.model, source.label
    if not model.HasField("graph") or not model.opset_import:
        lacking = "graph" if not model.HasField("graph") else "opset_import"
        raise ImportFailure(
            f"{label}: not an ONNX model, or truncated: it has no field '{lacking}'; export or copy it again"
        )
    require_names(model, label)
    require_bounded(model, label)
    if not model.graph.output:
        raise ImportFailure(f"{label}: the graph has no outputs; nothing would be computed, or the file is truncated")
    version = source.opsets.get("")
    if version is None and any(node.domain in STANDARD_DOMAINS for node in model.graph.node):
        raise ImportFailure(
            f"{label}: it has nodes of the domain ai.onnx and no opset_import of it: what they compute depends on the "
            "version; export the model again"
        )
    newest = onnx.defs.onnx_opset_version()
    if version is not None and not OLDEST_OPSET <= version <= newest:
        raise ImportFailure(
            f"{label}: opset {version} of the domain ai.onnx is not supported, expected {OLDEST_OPSET} to {newest}; "
            + ("upgrade the onnx package" if version > newest else "export the model again")
        )
