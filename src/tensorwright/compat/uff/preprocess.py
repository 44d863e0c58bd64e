"""Lets a preprocessor change a graph before it is converted."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable

from tensorwright.base.errors import ImportFailure, TensorwrightError
from tensorwright.compat import graphsurgeon
from tensorwright.importers.tensorflow.read import FrozenGraph, as_frozen

Preprocessor = str | os.PathLike[str] | Callable[[graphsurgeon.DynamicGraph], object]


def preprocessed(graph: FrozenGraph, preprocessor: Preprocessor) -> FrozenGraph:
    """The graph as a preprocessor leaves it.

    Args:
        graph: the graph.
        preprocessor: a function of a `DynamicGraph`, or the path of a Python file that defines one, ``preprocess``.

    Raises:
        ImportFailure: there is no such file or function, or it fails.
    """
    dynamic = graphsurgeon.DynamicGraph(graph)
    label = f"preprocessor '{preprocessor if callable(preprocessor) else os.fspath(preprocessor)}'"
    try:
        function = preprocessor if callable(preprocessor) else _loaded(preprocessor, label)
        function(dynamic)
    except TensorwrightError:
        raise
    except Exception as error:
        raise ImportFailure(f"{label}: {type(error).__name__}: {error}") from error
    return as_frozen(dynamic.as_graph_def(), graph.label)


def _loaded(path: str | os.PathLike[str], label: str) -> Callable[[graphsurgeon.DynamicGraph], object]:
    """The function of a file, which may import `graphsurgeon`."""
    installed = sys.modules.get("graphsurgeon")
    sys.modules["graphsurgeon"] = graphsurgeon
    try:
        function = runpy.run_path(os.fspath(path)).get("preprocess")
    finally:
        if installed is None:
            del sys.modules["graphsurgeon"]
        else:
            sys.modules["graphsurgeon"] = installed
    if not callable(function):
        raise ImportFailure(f"{label}: expected a function preprocess(dynamic_graph), found none")
    return function  # type: ignore[no-any-return]
