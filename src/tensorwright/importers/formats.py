"""The formats that models come in: each says what it is in ``importers/<format>/format.py``, found by being there."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from tensorwright.base.errors import BuildError, ImportFailure
from tensorwright.base.options import options_of
from tensorwright.graph.graph import Graph
from tensorwright.importers import files
from tensorwright.importers.options import ReadOptions

PACKAGE = "tensorwright.importers"
MODULE = "format"
# Names have four letters or more: what begins a binary message is never that.
_FIRST_FIELD = re.compile(rb"(?:\s|\#[^\n]*(?:\n|\Z))*([A-Za-z_]\w{3,})\s*[:{<]")


class Serializable(Protocol):
    """A loaded message, of whatever library: a ModelProto of onnx and a GraphDef of TensorFlow are such."""

    def SerializeToString(self) -> bytes: ...  # The name that the protobuf library gives it.


class LiveGraph(Protocol):
    """A graph in a program, such as ``tf.Graph``; its variables must be frozen."""

    def as_graph_def(self) -> Serializable: ...


Model = str | os.PathLike[str] | bytes | Serializable | LiveGraph
"""What a model can be read from: a path, the bytes of a file, or what a program has loaded."""


@dataclass(frozen=True)
class Imported:
    """A model as a graph, and what its author should know."""

    graph: Graph
    warnings: tuple[str, ...] = ()


def never(_source: object) -> bool:
    """For formats that no library loads into objects."""
    return False


@dataclass(frozen=True)
class Format:
    """A foreign format.

    what: its models, as messages call them ("an ONNX model").
    suffixes: how its files are called.
    options: which options of `ReadOptions` it takes.
    is_file: whether a file may be of this format, by its first bytes, at most `files.HEAD` of them.
    read: the graph of a model.
    input_names: the inputs of a model.
    is_loaded: whether an object in a program is a model of this format.
    in_stages: a model that is translated part by part while it runs, for what no single graph expresses; None for
        formats that have no such models.
    """

    what: str
    suffixes: tuple[str, ...]
    options: frozenset[str]
    is_file: Callable[[bytes], bool]
    read: Callable[[Model, ReadOptions], Imported]
    input_names: Callable[[Model], Sequence[str]]
    is_loaded: Callable[[object], bool] = never
    in_stages: Callable[[Model, ReadOptions], object] | None = None


@cache
def formats() -> tuple[Format, ...]:
    """All formats, by the names of their folders."""
    entries = pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__)
    return tuple(importlib.import_module(f"{PACKAGE}.{one.name}.{MODULE}").FORMAT for one in entries if one.ispkg)


def read_model(source: Model, options: ReadOptions) -> Imported:
    """The graph of a model of any format.

    Raises:
        ImportFailure: it is of no known format, cannot be read, or uses what is not supported.
        BuildError: it is nothing that a model can be read from, or an option is given that the format does not take.
    """
    found = format_of(source)
    for name in (option.name for option in options_of(ReadOptions)):
        if getattr(options, name) is not None and name not in found.options:
            others = " or ".join(one.what for one in formats() if name in one.options)
            raise BuildError(f"build: {name} are for {others}; this is {found.what}")
    return found.read(source, options)


def format_of(source: object) -> Format:
    """The format of a model: what its first bytes say, or else the ending of its name.

    Raises:
        ImportFailure: the file cannot be read, or is of no known format.
        BuildError: it is nothing that a model can be read from.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        head = bytes(source[: files.HEAD])
        files.refuse_strangers(head, "the given bytes", "a model")
        return _by_content(head, "the given bytes", "")
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        suffix = path.suffix.lower()
        expected = [one.what for one in formats() if suffix in one.suffixes] or [one.what for one in formats()]
        return _by_content(files.read_head(path, " or ".join(expected)), str(path), suffix)
    loaded = [one for one in formats() if one.is_loaded(source)]
    if not loaded:
        known = ", ".join(one.what for one in formats())
        raise BuildError(
            f"build: expected a model ({known}) as a path, as bytes or loaded, a network or a graph, found "
            f"{type(source).__name__}"
        )
    return loaded[0]


def _by_content(head: bytes, label: str, suffix: str) -> Format:
    alike = [one for one in formats() if one.is_file(head)]
    named = [one for one in formats() if suffix in one.suffixes]
    found = [one for one in named if one in alike] or alike or named
    if not found:
        known = "; ".join(f"{one.what} ({', '.join(one.suffixes)})" for one in formats())
        begins = f"it begins with {head[:12]!r}" if head else "it is empty"
        raise ImportFailure(f"{label}: no format of a model is known in which {begins}; expected one of: {known}")
    return found[0]


def first_field(head: bytes) -> str:
    """The name of the first field of a protocol buffer in text form; empty where it is no such text."""
    found = None if b"\0" in head else _FIRST_FIELD.match(head.removeprefix(b"\xef\xbb\xbf"))
    return "" if found is None else found[1].decode()
