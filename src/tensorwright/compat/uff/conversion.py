"""`from_tensorflow` and `from_tensorflow_frozen_model`, with the keywords that old programs give them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tensorwright.base.errors import ImportFailure
from tensorwright.base.files import replacing
from tensorwright.compat.uff.converter import Converted, convert
from tensorwright.compat.uff.preprocess import Preprocessor, preprocessed
from tensorwright.compat.uff.replace import new_input, with_inputs
from tensorwright.importers.tensorflow.messages import NodeDef
from tensorwright.importers.tensorflow.read import FrozenGraph, Source, read_graph
from tensorwright.importers.tensorflow.translate import result_names

GraphInfo = tuple[bytes, list[NodeDef], list[NodeDef]]


def from_tensorflow(
    graphdef: Source,
    output_nodes: Sequence[str] | str = (),
    preprocessor: Preprocessor | None = None,
    *,
    output_filename: str | os.PathLike[str] | None = None,
    text: bool = False,
    quiet: bool = False,
    debug_mode: bool = False,
    return_graph_info: bool = False,
    write_preprocessed: bool = False,
    list_nodes: bool = False,
    input_nodes: Sequence[str] = (),
) -> bytes | GraphInfo | None:
    """The UFF model of a frozen TensorFlow graph.

    Args:
        graphdef: a GraphDef (of any library), its bytes, or the path of its file.
        output_nodes: names of the nodes to compute; none for all whose result nothing takes.
        preprocessor: changes the graph first: the path of a file that defines ``preprocess(dynamic_graph)``, or such a
            function; see `tensorwright.compat.graphsurgeon`.
        output_filename: where to write the model; None to write nothing.
        text: also write a readable form beside it, with the ending .pbtxt. It cannot be read back.
        quiet: say nothing.
        debug_mode: say which nodes become custom operators one by one.
        return_graph_info: return the model's bytes, the input nodes and the output nodes.
        write_preprocessed: write the graph as it is converted beside the model, with the ending .pb.
        list_nodes: list the nodes of the graph and convert nothing; the result is None.
        input_nodes: inputs to put in place of nodes, each written ``name,new_name,dtype,dim1,dim2,...``.

    Returns:
        The serialized model; see `return_graph_info` and `list_nodes`.

    Raises:
        ImportFailure: the graph cannot be read, an output does not exist, or something cannot be converted.
    """
    graph = read_graph(graphdef)
    if preprocessor is not None:
        graph = preprocessed(graph, preprocessor)
    if list_nodes:
        _say(listing(graph))
        return None
    graph = with_inputs(graph, [new_input(given) for given in input_nodes])
    outputs = [output_nodes] if isinstance(output_nodes, str) else list(output_nodes)
    converted = convert(graph, outputs or result_names(graph))
    if not quiet:
        _say(_report(converted, deduced=not outputs, in_detail=debug_mode))
    data = converted.model.serialized()
    if output_filename is not None:
        written = _write(converted, graph, Path(output_filename), data, text, write_preprocessed)
        if not quiet:
            _say("\n".join(written))
    return (data, list(converted.inputs), list(converted.outputs)) if return_graph_info else data


def from_tensorflow_frozen_model(
    frozen_file: str | os.PathLike[str],
    output_nodes: Sequence[str] | str = (),
    preprocessor: Preprocessor | None = None,
    *,
    output_filename: str | os.PathLike[str] | None = None,
    text: bool = False,
    quiet: bool = False,
    debug_mode: bool = False,
    return_graph_info: bool = False,
    write_preprocessed: bool = False,
    list_nodes: bool = False,
    input_nodes: Sequence[str] = (),
) -> bytes | GraphInfo | None:
    """As `from_tensorflow`, for the path of a file."""
    return from_tensorflow(
        os.fspath(frozen_file),
        output_nodes,
        preprocessor,
        output_filename=output_filename,
        text=text,
        quiet=quiet,
        debug_mode=debug_mode,
        return_graph_info=return_graph_info,
        write_preprocessed=write_preprocessed,
        list_nodes=list_nodes,
        input_nodes=input_nodes,
    )


def listing(graph: FrozenGraph) -> str:
    """All nodes of a graph, one a line: number, operator, name."""
    width = max(len(node.op) for node in graph.nodes.values())
    digits = len(str(len(graph.nodes)))
    return "\n".join(
        f"{number:{digits}}  {node.op:{width}}  {node.name}" for number, node in enumerate(graph.nodes.values(), 1)
    )


def _report(converted: Converted, *, deduced: bool, in_detail: bool) -> str:
    lines = [f"input '{node.name}'" for node in converted.inputs]
    source = " (nothing takes its result)" if deduced else ""
    lines += [f"output '{node.name}'{source}" for node in converted.outputs]
    counts: dict[str, int] = {}
    for node in converted.custom:
        counts[node.op] = counts.get(node.op, 0) + 1
        if in_detail:
            lines.append(f"node '{node.name}' becomes the custom operator _{node.op}")
    lines += [
        f"{number} × {operator}: no operator of UFF, written as _{operator}" for operator, number in counts.items()
    ]
    return "\n".join([*lines, f"{len(converted.model)} nodes"])


def _write(
    converted: Converted, graph: FrozenGraph, path: Path, data: bytes, text: bool, write_preprocessed: bool
) -> list[str]:
    """Write what is asked for; gives a line about each file."""
    contents = {path: data}
    if text:
        contents[path.with_suffix(".pbtxt")] = converted.model.text().encode()
    if write_preprocessed:
        contents[path.with_suffix(".pb")] = graph.serialized()
    for file, content in contents.items():
        try:
            with replacing(file) as draft:
                draft.write(content)
        except OSError as error:
            raise ImportFailure(f"{file}: cannot be written ({error.strerror})") from None
    return [f"written: {file} ({len(content)} bytes)" for file, content in contents.items()]


def _say(lines: str) -> None:
    sys.stdout.write(f"{lines}\n")
