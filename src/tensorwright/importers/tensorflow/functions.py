"""Puts the bodies of functions in place of the nodes that call them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.tensorflow.messages import FunctionDef, GraphDef, NodeDef, new_node

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
CONDITIONS = frozenset({"If", "StatelessIf"})
DEEPEST = 32
MOST_NODES = 1 << 16
MOST_BYTES = 1 << 28

OUTPUTS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(
        ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
        ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"),
    ),
    "TopK": ("values", "indices"),
    "TopKV2": ("values", "indices"),
    "Switch": ("output_false", "output_true"),
    "RefSwitch": ("output_false", "output_true"),
    "Merge": ("output", "value_index"),
    "MaxPoolWithArgmax": ("output", "argmax"),
}
"""The outputs of operators that have several of different names, in order."""


def nodes_of(graph: GraphDef) -> Iterator[NodeDef]:
    """All nodes of a graph, with those of function bodies in place of calls.

    The nodes of a body are called ``call/node``; under the name of the call itself stands a node that passes its
    results on.

    Raises:
        ImportFailure: functions call each other without end, or make more nodes than any real graph has.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    made = size = 0
    for node, depth in _expanded(graph.node, functions, 0):
        if depth > 0:
            made, size = made + 1, size + node.ByteSize()
        if made > MOST_NODES or size > MOST_BYTES:
            raise ImportFailure(
                f"the functions of the graph make more than {MOST_NODES} nodes or {MOST_BYTES} bytes; is the file "
                "damaged?"
            )
        yield node


def _expanded(
    nodes: Sequence[NodeDef], functions: Mapping[str, FunctionDef], depth: int
) -> Iterator[tuple[NodeDef, int]]:
    for node in nodes:
        function = functions.get(_called(node))
        if function is None and node.op not in CONDITIONS:
            yield node, depth
            continue
        if depth >= DEEPEST:
            raise ImportFailure(f"functions call each other more than {DEEPEST} deep at '{node.name}'")
        if function is None:
            yield from _expanded(_branches(node, functions), functions, depth + 1)
            continue
        yield from _expanded(_body(node, function), functions, depth + 1)
        yield _results(node, function), depth + 1


def _branches(node: NodeDef, functions: Mapping[str, FunctionDef]) -> list[NodeDef]:
    """A condition as older graphs write it: Switch hands inputs to the branch that is taken, Merge takes its results.

    What takes no tensors in a branch waits for a node that is there only if the branch is taken.
    """
    condition, *given = [source for source in node.input if not source.startswith("^")] or [""]
    name, made, counts = node.name, list[NodeDef](), set[int]()
    made.append(_node(f"{name}/condition", "Switch", condition, condition))
    made += [_node(f"{name}/input_{i}", "Switch", source, condition) for i, source in enumerate(given)]
    for output, branch in enumerate(("else_branch", "then_branch")):
        function = functions.get(node.attr[branch].func.name)
        if function is None:
            raise ImportFailure(f"node '{name}' ({node.op}) has no function as its {branch}; is the file damaged?")
        counts.add(len(function.signature.output_arg))
        inputs = [f"{name}/input_{i}:{output}" for i in range(len(given))]
        made.append(_node(f"{name}/is_{branch}", "Identity", f"{name}/condition:{output}"))
        made.append(_node(f"{name}/{branch}", function.signature.name, *inputs, f"^{name}/is_{branch}"))
    if len(counts) != 1:
        raise ImportFailure(
            f"node '{name}' ({node.op}): its branches have {sorted(counts)} results; is the file damaged?"
        )
    results = range(counts.pop())
    made += [
        _node(f"{name}/output_{i}", "Merge", f"{name}/else_branch:{i}", f"{name}/then_branch:{i}") for i in results
    ]
    operator = "Identity" if len(results) == 1 else "IdentityN"
    return [*made, _node(name, operator, *(f"{name}/output_{i}" for i in results))]


def _node(name: str, operator: str, *inputs: str) -> NodeDef:
    node = new_node()
    node.name, node.op = name, operator
    node.input.extend(inputs)
    return node


def _called(node: NodeDef) -> str:
    """The name of the function that a node calls, if it calls one."""
    return node.attr["f"].func.name if node.op in CALLS and "f" in node.attr else node.op


def _body(call: NodeDef, function: FunctionDef) -> list[NodeDef]:
    names = _Names(call, function)
    branches = [source for source in call.input if source.startswith("^")]
    body = []
    for inner in function.node_def:
        node = new_node()
        node.CopyFrom(inner)
        node.name = f"{call.name}/{inner.name}"
        node.input[:] = [names.outside(source) for source in inner.input if not source.startswith("^")] or branches
        for key in list(node.attr):
            parameter = node.attr[key].placeholder
            if parameter and parameter in call.attr:
                node.attr[key].CopyFrom(call.attr[parameter])
        body.append(node)
    return body


def _results(call: NodeDef, function: FunctionDef) -> NodeDef:
    names = _Names(call, function)
    node = new_node()
    node.name = call.name
    node.op = "Identity" if len(function.signature.output_arg) == 1 else "IdentityN"
    for output in function.signature.output_arg:
        if output.name not in function.ret:
            raise ImportFailure(f"function '{function.signature.name}' does not say what its result '{output.name}' is")
        node.input.append(names.outside(function.ret[output.name]))
    return node


class _Names:
    """What the tensors of a function's body are called once it stands in the graph."""

    def __init__(self, call: NodeDef, function: FunctionDef) -> None:
        given = [source for source in call.input if not source.startswith("^")]
        wanted = [argument.name for argument in function.signature.input_arg]
        if len(given) != len(wanted):
            raise ImportFailure(
                f"node '{call.name}' gives function '{function.signature.name}' {len(given)} arguments, it has "
                f"{len(wanted)}"
            )
        self._call = call.name
        self._arguments = dict(zip(wanted, given, strict=True))
        self._operators = {node.name: node.op for node in function.node_def}

    def outside(self, source: str) -> str:
        """The name of a tensor: an argument, or ``node:output:number``."""
        if source in self._arguments:
            return self._arguments[source]
        name, *rest = source.split(":")
        if len(rest) != 2:
            return f"{self._call}/{source}"
        output, number = rest
        known = OUTPUTS.get(self._operators.get(name, ""), ())
        return f"{self._call}/{name}:{known.index(output) if output in known else number}"
