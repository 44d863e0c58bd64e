"""Makes a network that is computed wrong smaller, as long as it stays wrong in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from networks.judge import computed, graph_of
from networks.network import Constant, Network, Node, Tensor, is_varying, pruned

Verdict = Callable[[Network], bool]


def shrink(network: Network, is_wrong: Verdict, seconds: float) -> Network:
    """The smallest network found in a time that is still wrong."""
    deadline = time.monotonic() + seconds
    changed = True
    while changed:
        changed = False
        for simplified in (_one_output, _one_assignment, _cut, _bypassed, _smaller):
            found = True
            while found:
                found = False
                for candidate in simplified(network):
                    if time.monotonic() > deadline:
                        return network
                    if _size(candidate) < _size(network) and is_wrong(candidate):
                        network, found, changed = candidate, True, True
                        break
    return network


def _size(network: Network) -> tuple[int, int, int, int, int]:
    given = [*network.inputs, *(c.tensor for c in network.constants)]
    elements = sum(sum(extent) for tensor in given for extent in tensor.shape)
    return len(network.nodes), len(network.outputs), network.assignments, len(given), elements


def _one_output(network: Network) -> Iterator[Network]:
    if len(network.outputs) > 1:
        yield from (pruned(network, [name]) for name in network.outputs)
        yield from (pruned(network, [o for o in network.outputs if o != name]) for name in network.outputs)


def _one_assignment(network: Network) -> Iterator[Network]:
    for kept in range(network.assignments if network.symbols else 0):

        def fixed(tensor: Tensor, kept: int = kept) -> Tensor:
            return replace(tensor, shape=tuple((extent[kept],) for extent in tensor.shape))

        yield _mapped(replace(network, symbols=()), fixed)


def _mapped(network: Network, change: Callable[[Tensor], Tensor]) -> Network:
    return replace(
        network,
        inputs=tuple(map(change, network.inputs)),
        constants=tuple(replace(c, tensor=change(c.tensor)) for c in network.constants),
        nodes=tuple(replace(node, outputs=tuple(map(change, node.outputs))) for node in network.nodes),
    )


def _cut(network: Network) -> Iterator[Network]:
    """With the results of nodes as inputs instead: of many, then of one, from the last on."""
    inner = [node for node in network.nodes if not any(tensor.name in network.outputs for tensor in node.outputs)]
    for part in (2, 4):
        size = len(inner) // part
        if size > 1:
            yield from (_without(network, inner[at : at + size]) for at in range(0, len(inner), size))
    yield from (_without(network, [node]) for node in reversed(inner))


def _without(network: Network, nodes: list[Node]) -> Network:
    results = tuple(replace(t, is_exact=True) for node in nodes for t in node.outputs)
    rest = tuple(node for node in network.nodes if node not in nodes)
    return pruned(replace(network, inputs=(*network.inputs, *results), nodes=rest))


def _bypassed(network: Network) -> Iterator[Network]:
    """With an operand in the place of a node's result, also in the outputs."""
    for node in reversed(network.nodes):
        (*_, result) = node.outputs
        for name in dict.fromkeys(node.inputs):
            operand = network.tensors.get(name)
            if (
                len(node.outputs) > 1
                or operand is None
                or (operand.dtype, operand.shape) != (result.dtype, result.shape)
            ):
                continue
            rest = tuple(
                replace(other, inputs=tuple(name if i == result.name else i for i in other.inputs))
                for other in network.nodes
                if other is not node
            )
            outputs = tuple(dict.fromkeys(name if o == result.name else o for o in network.outputs))
            if any(o in {t.name for n in rest for t in n.outputs} for o in outputs):
                yield pruned(replace(network, nodes=rest), outputs)


def _smaller(network: Network) -> Iterator[Network]:
    """With one extent smaller wherever it occurs in inputs and constants."""
    found = {e for t in (*network.inputs, *(c.tensor for c in network.constants)) for e in t.shape}
    for extent in sorted(found, reverse=True):
        if is_varying(extent):
            continue
        for less in dict.fromkeys((1, 2, extent[0] // 2, extent[0] - 1)):
            if 0 < less < extent[0]:
                candidate = _resized(network, extent[0], less)
                if candidate is not None:
                    yield candidate


def _resized(network: Network, extent: int, less: int) -> Network | None:
    def change(tensor: Tensor) -> Tensor:
        return replace(tensor, shape=tuple((less,) * len(e) if set(e) == {extent} else e for e in tensor.shape))

    def constant(c: Constant) -> Constant:
        if c.elements is None:
            return replace(c, tensor=change(c.tensor))
        return replace(c, elements=tuple(less if e == extent else e for e in c.elements))

    changed = replace(
        network, inputs=tuple(map(change, network.inputs)), constants=tuple(map(constant, network.constants))
    )
    try:
        return _typed(changed)
    except Exception:  # noqa: BLE001  # It does not fit, whatever says so.
        return None


def _typed(network: Network) -> Network:
    """With the shapes that the nodes' results have."""
    outputs = tuple(tensor.name for node in network.nodes for tensor in node.outputs)
    unknown = replace(network, outputs=outputs)
    model = unknown.model()
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    from tensorwright.importers.onnx import import_onnx

    graph = import_onnx(model, shapes=network.shapes)
    shapes = [
        {name: array.shape for name, array in computed(graph, network.draw(np.random.default_rng(0), a)).items()}
        for a in range(network.assignments)
    ]

    def change(tensor: Tensor) -> Tensor:
        if tensor.name not in shapes[0]:
            return tensor
        return replace(tensor, shape=tuple(zip(*(known[tensor.name] for known in shapes), strict=True)))

    changed = _mapped(network, change)
    graph_of(changed)
    return changed
