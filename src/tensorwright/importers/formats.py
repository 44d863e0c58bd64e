"""Which format a model is in."""

from __future__ import annotations

import os
from pathlib import Path

FIRST_NODE = b"\x0a"
"""How a frozen TensorFlow graph begins; a model of ONNX begins with its version, ``08``."""


def is_frozen_graph(source: object) -> bool:
    """Whether a model is a frozen TensorFlow graph.

    Args:
        source: a path, the bytes of a file, or a loaded model.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source[:1]) == FIRST_NODE
    if not isinstance(source, str | os.PathLike):
        return type(source).__name__ == "GraphDef" or hasattr(source, "as_graph_def")
    path = Path(source)
    if path.suffix == ".pbtxt":
        return True
    try:
        with path.open("rb") as file:
            return file.read(1) == FIRST_NODE
    except (OSError, ValueError):
        return path.suffix == ".pb"
