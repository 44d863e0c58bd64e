"""Walks the nodes of a frozen graph in order and builds the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn, cast

from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.graph.graph import Graph, Value, input_value
from tensorwright.importers.constants import Constants
from tensorwright.importers.failures import Finding, LocatedFailure, Unsupported, failure
from tensorwright.importers.inputs import InputShapes, Shapes
from tensorwright.importers.registry import Handler, handlers_in
from tensorwright.importers.tensorflow.attributes import Attribute, attribute_value
from tensorwright.importers.tensorflow.constants import with_constants
from tensorwright.importers.tensorflow.messages import NodeDef
from tensorwright.importers.tensorflow.node import Made, Node, Term
from tensorwright.importers.tensorflow.randomness import decided
from tensorwright.importers.tensorflow.read import (
    FREEZE,
    FrozenGraph,
    Reference,
    Source,
    branches,
    data_inputs,
    is_branch,
    order_of,
    read_graph,
    reference,
)
from tensorwright.importers.tensorflow.tensors import dtype_from, extents_from
from tensorwright.tensor.type import TensorType

OPERATORS = "tensorwright.importers.tensorflow.operators"
ADVICE = (
    "Name output nodes before these operators, replace them in the model, or remove what serves training with "
    "tf.compat.v1.graph_util.remove_training_nodes."
)
VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable", "ReadVariableOp"})
NOT_TAKEN: tuple[Term, ...] = (None,) * 64
"""The outputs of a node in a branch that is not taken."""
MOST_FURTHER_TENSORS = 1 << 16
PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2"})
WITHOUT_RESULT = frozenset({"NoOp", "Assert", "SaveV2", "RestoreV2"})
BATCH = "batch"
"""What the first dimension of every input is called, if it is unknown: one batch goes through the whole network."""
UNKNOWN_SCALARS_UP_TO = 23
"""Versions of graphs in which a placeholder without extents has an unknown shape; later it is a scalar."""

NEUTRAL = frozenset(
    {
        "T", "Tidx", "Tshape", "Tdim", "Tperm", "Tmultiples", "Tpaddings", "Tblock_shape", "Tcrops", "Tindices",
        "Tindex", "Tparams", "Taxis", "TI", "Tlen", "Tk", "U", "N", "SrcT", "dtype", "index_type", "Index", "type",
        "key_dtype", "Targmax", "Tsize", "Treduction_indices", "Tnum", "Tlabel", "Tinput", "Tb", "Ta", "Tx", "Ty",
        "Tin", "Tout", "tensor_type", "use_cudnn_on_gpu", "validate_indices", "validate_shape", "_output_shapes",
        "container", "shared_name", "incompatible_shape_error", "message", "first_n", "summarize", "element_shape",
        "num", "grad_a", "grad_b", "grad_x", "grad_y", "bad_indices_policy", "shape",
    }
)  # fmt: skip
"""Attributes that a handler need not know: they say types, counts and names that the inputs say too."""


@dataclass(frozen=True)
class Import:
    """A graph, and the value of every tensor by ``name`` or ``name:number``."""

    graph: Graph
    names: Mapping[str, Value]


@dataclass(frozen=True)
class Result:
    """What became of a node: its outputs, or None if it could not be translated."""

    outputs: tuple[Term, ...] | None
    made: Made | None = None


def import_tensorflow(
    source: Source,
    *,
    outputs: Sequence[str] | None = None,
    shapes: Shapes | None = None,
    constants: Constants | None = None,
) -> Graph:
    """The network of a frozen TensorFlow graph.

    Args:
        source: a path, the bytes of a file, or a loaded GraphDef.
        outputs: nodes (``name``) or tensors (``name:number``) to compute; None for all that nothing takes.
        shapes: what unknown dimensions are, by input name (one entry per axis) or by dimension name, as for
            `import_onnx`. The first dimensions of all inputs are one, called ``batch``; say them by input where they
            differ. Others are called ``<input>_<axis>``. Without an entry ``batch`` ranges from 1 to 16 (tuned for 1),
            every other one from 1 to 512 (tuned for 128).
        constants: values in place of nodes, by name, such as ``{"is_training": False, "keep_prob": 1.0}``.

    Raises:
        ImportFailure: the graph cannot be read, is wrong, or uses what is not supported (all of it is listed).
    """
    return read_network(source, outputs=outputs, shapes=shapes, constants=constants).graph


def read_network(
    source: Source | FrozenGraph,
    *,
    outputs: Sequence[str] | None = None,
    shapes: Shapes | None = None,
    constants: Constants | None = None,
) -> Import:
    """As `import_tensorflow`, with the values of all tensors by name."""
    graph = source if isinstance(source, FrozenGraph) else read_graph(source)
    graph = with_constants(graph, constants or {})
    names = result_names(graph) if outputs is None else outputs
    return _Translator(decided(graph), names, shapes).network()


def known_values(graph: FrozenGraph, outputs: Sequence[str]) -> Mapping[str, Value]:
    """The values of tensors by name, as far as they can be had; the graph need not be supported as a whole."""
    return _Translator(graph, outputs, None).known()


def result_names(graph: FrozenGraph) -> list[str]:
    """The nodes with a result that no other node takes; inputs are no results."""
    taken = {source.node for node in graph.nodes.values() for source in data_inputs(node)}
    idle = {*WITHOUT_RESULT, *PLACEHOLDERS, "Const", "Switch", "RefSwitch"}
    return [
        name
        for name, node in graph.nodes.items()
        if name not in taken and node.op not in idle and not is_branch(graph, node)
    ]


def input_names(source: Source) -> list[str]:
    """The names of the inputs of a graph.

    Raises:
        ImportFailure: the graph cannot be read.
    """
    return [name for name, node in read_graph(source).nodes.items() if is_input(node)]


def is_input(node: NodeDef, shapes: Shapes | None = None) -> bool:
    """Whether a node is an input of the network."""
    return node.op in PLACEHOLDERS or (node.op == "PlaceholderWithDefault" and node.name in (shapes or {}))


class _Translator:
    def __init__(self, graph: FrozenGraph, outputs: Sequence[str], shapes: Shapes | None) -> None:
        self._graph = graph
        self._names = tuple(outputs)
        self._shapes = shapes
        self._findings: list[Finding] = []
        self._results: dict[str, Result] = {}
        self._further = 0

    def network(self) -> Import:
        """The whole graph."""
        if not self._names:
            raise ImportFailure(f"{self._graph.label}: no output is named, and no node has a result that none takes")
        wanted = self._wanted()
        inputs = self._translate_all([source.node for _, source in wanted])
        if self._findings:
            raise failure(self._findings, self._graph.label, ADVICE)
        outputs = tuple((name, self._output(source)) for name, source in wanted)
        return Import(Graph(tuple(inputs.items()), outputs), MappingProxyType(self.names()))

    def known(self) -> Mapping[str, Value]:
        """What can be translated, up to the first node that is wrong."""
        with suppress(ImportFailure, NetworkError):
            self._translate_all([source.node for _, source in self._wanted()])
        return self.names()

    def _wanted(self) -> list[tuple[str, Reference]]:
        return [(name, reference(name, f"{self._graph.label}: output '{name}'")) for name in self._names]

    def _translate_all(self, roots: Sequence[str]) -> dict[str, Value]:
        """Translate what some nodes need; gives the inputs."""
        order = order_of(self._graph, roots)
        inputs = self._inputs(order)
        for node in order:
            if node.name not in inputs:
                self._results[node.name] = self._translated(node)
        return inputs

    def _inputs(self, order: Sequence[NodeDef]) -> dict[str, Value]:
        """The inputs that the outputs need, in the order of the file."""
        needed = {node.name for node in order}
        nodes = [n for n in self._graph.nodes.values() if n.name in needed and is_input(n, self._shapes)]
        types: dict[str, Value] = {}
        try:
            resolver = InputShapes(self._shapes, {node.name: self._declared(node) for node in nodes})
            for node in nodes:
                dtype = dtype_from(node.attr["dtype"].type, f"input '{node.name}'")
                types[node.name] = input_value(node.name, TensorType(dtype, resolver.shape_of(node.name)))
                self._results[node.name] = Result((types[node.name],))
        except Unsupported as error:
            raise failure([Finding(node.op, node.name, str(error))], self._graph.label, ADVICE) from None
        except ImportFailure as error:
            raise ImportFailure(f"{self._graph.label}: {error}") from None
        return types

    def _declared(self, node: NodeDef) -> Sequence[int | str] | None:
        """What the graph says of the shape of an input."""
        extents = extents_from(node.attr["shape"].shape) if "shape" in node.attr else None
        vague = node.name in (self._shapes or {}) or self._graph.producer <= UNKNOWN_SCALARS_UP_TO
        if extents is None or (not extents and vague):
            return None
        return [extent if extent >= 0 else "" if axis else BATCH for axis, extent in enumerate(extents)]

    def _translated(self, node: NodeDef) -> Result:
        try:
            return self._attempt(node)
        except Unsupported as error:
            self._findings.append(Finding(node.op, node.name, str(error)))
            return Result(None)
        except LocatedFailure:
            raise
        except (ImportFailure, NetworkError) as error:
            self._raise(node, str(error), error)
        except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError) as error:
            self._raise(node, f"{type(error).__name__}: {error}", error)

    def _raise(self, node: NodeDef, detail: str, error: Exception) -> NoReturn:
        raise LocatedFailure(f"{self._graph.label}: node '{node.name}' ({node.op}): {detail}") from error

    def _attempt(self, node: NodeDef) -> Result:
        if node.op in VARIABLES:
            raise Unsupported(f"a variable; {FREEZE}")
        sources = data_inputs(node)
        below = [self._results[source.node] for source in sources]
        handler = handlers_in(OPERATORS).get(node.op)
        if any(result.outputs is None for result in below):
            if handler is None:
                raise Unsupported("")
            return Result(None)
        inputs = tuple(self._term(source) for source in sources)
        alive = [term for term in inputs if term is not None]
        waits = any(self._results[branch.node].outputs == NOT_TAKEN for branch in branches(self._graph, node))
        if waits or (len(alive) < len(inputs) and (node.op != "Merge" or not alive)):
            return Result(NOT_TAKEN)
        if handler is None:
            raise Unsupported("")
        attributes = _attributes(node, handler)
        made = Made(node.op, inputs, attributes, tuple(result.made for result in below))
        results = handler(Node(node.name, node.op, made.producers), alive, attributes)
        outputs = tuple(cast("list[Term]", results)) if isinstance(results, list) else (cast("Term", results),)
        self._further += len(outputs) - 1
        if self._further > MOST_FURTHER_TENSORS:
            raise ImportFailure(
                f"nodes up to this one make {self._further} tensors beyond one each: is the file damaged?"
            )
        return Result(outputs, made)

    def _term(self, source: Reference) -> Term:
        outputs = self._results[source.node].outputs
        assert outputs is not None
        if source.output >= len(outputs):
            node = self._graph.nodes[source.node]
            raise Unsupported(f"output {source.output} of node '{node.name}' ({node.op}) is not supported")
        return outputs[source.output]

    def _output(self, source: Reference) -> Value:
        try:
            term = self._term(source)
        except Unsupported as error:
            raise ImportFailure(f"{self._graph.label}: {error}") from None
        if term is None:
            raise ImportFailure(f"{self._graph.label}: output '{source.node}' is in a branch that is never taken")
        return term

    def names(self) -> dict[str, Value]:
        names: dict[str, Value] = {}
        for name, result in self._results.items():
            for number, term in enumerate(result.outputs or ()):
                if term is not None:
                    names[f"{name}:{number}" if number else name] = term
        return names


def _attributes(node: NodeDef, handler: Handler) -> dict[str, Attribute]:
    """The attributes that the handler takes.

    Raises:
        Unsupported: there is another one that may matter.
    """
    unknown = sorted(
        name for name in node.attr if name not in handler.attributes | NEUTRAL and not name.startswith("_")
    )
    if unknown:
        raise Unsupported(f"attribute {', '.join(unknown)} is not supported")
    return {name: attribute_value(name, node.attr[name]) for name in sorted(handler.attributes & set(node.attr))}
