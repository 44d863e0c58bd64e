"""Branches and loops whose course is known when the model is read."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import GraphProto

from tensorwright.graph.graph import Value, is_constant
from tensorwright.importers.compose import element, stacked
from tensorwright.importers.onnx.node import Node, Term
from tensorwright.tensor.dtype import BOOL, INT64

LONGEST_LOOP = 256
"""Loops with more rounds than this are not unrolled."""


def If(node: Node, condition: Value, *, then_branch: GraphProto, else_branch: GraphProto) -> list[Term]:
    """Only the branch that is taken becomes part of the network."""
    taken = bool(node.array(condition, "the condition of If").reshape(-1)[0])
    return list(node.translate(then_branch if taken else else_branch, {}))


def Loop(
    node: Node, trips: Value | None = None, condition: Value | None = None, *initial: Term, body: GraphProto
) -> list[Term]:
    """Unrolled: the number of rounds, and every round's condition to go on, must be known."""
    most = LONGEST_LOOP + 1 if trips is None else int(node.data(trips, "the trip count of Loop").reshape(-1)[0])
    going = condition is None or bool(node.data(condition, "the condition of Loop").reshape(-1)[0])
    carried: list[Term] = list(initial)
    scanned: list[list[Value]] = [[] for _ in body.output[1 + len(initial) :]]
    names, number = [value.name for value in body.input], 0
    while going and number < most:
        if number >= LONGEST_LOOP:
            node.unsupported(f"loops of more than {LONGEST_LOOP} rounds are not unrolled")
        state = [node.constant(number, INT64), node.constant(True, BOOL), *carried]
        results = node.translate(body, dict(zip(names, state, strict=True)))
        going, number = _goes_on(node, results[0], most), number + 1
        carried = list(results[1 : 1 + len(initial)])
        for found, result in zip(scanned, results[1 + len(initial) :], strict=True):
            found.append(_tensor(node, result))
    return [*carried, *(_stacked(node, found, 0) for found in scanned)]


def _goes_on(node: Node, condition: Term, most: int) -> bool:
    value = _tensor(node, condition)
    if not is_constant(value):
        node.unsupported("the condition of Loop depends on data")
    return bool(node.array(value, "the condition of Loop").reshape(-1)[0])


def Scan(
    node: Node,
    *inputs: Value | None,
    body: GraphProto,
    num_scan_inputs: int,
    directions: tuple[int, ...] = (),
    scan_input_axes: tuple[int, ...] = (),
    scan_input_directions: tuple[int, ...] = (),
    scan_output_axes: tuple[int, ...] = (),
    scan_output_directions: tuple[int, ...] = (),
) -> list[Term]:
    """Unrolled over the scanned axis, whose extent must be known."""
    if not 0 <= num_scan_inputs <= len(inputs):
        node.fail(f"num_scan_inputs: expected 0 to {len(inputs)}, found {num_scan_inputs}")
    if node.version < 9:
        return _batched_scan(node, inputs, body, num_scan_inputs, directions)
    given = [_tensor(node, value) for value in inputs]
    scans = given[len(given) - num_scan_inputs :]
    axes = [node.axis(a, s.type.rank) for a, s in zip(scan_input_axes or (0,) * len(scans), scans, strict=True)]
    carried, found = _rounds(node, given, body, axes, scan_input_directions or (0,) * len(scans))
    where, against = scan_output_axes or (0,) * len(found), scan_output_directions or (0,) * len(found)
    outputs = [
        _stacked(node, collected[::-1] if reverse else collected, axis)
        for collected, axis, reverse in zip(found, where, against, strict=True)
    ]
    return [*carried, *outputs]


def _batched_scan(
    node: Node, inputs: Sequence[Value | None], body: GraphProto, scanned: int, directions: tuple[int, ...]
) -> list[Term]:
    """Opset 8: one scan over axis 1 for each element of a batch; the first input says their lengths."""
    if inputs[0] is not None:
        node.unsupported("sequences of different lengths in Scan of opset 8")
    given = [_tensor(node, value) for value in inputs[1:]]
    (batch,) = {node.static(value.type.shape[:1], "the batch of Scan")[0] for value in given}
    results: list[list[Value]] = []
    for number in range(batch):
        own = [element(node, value, 0, number) for value in given]
        carried, found = _rounds(node, own, body, [0] * scanned, directions or (0,) * scanned)
        results.append([*(_tensor(node, term) for term in carried), *(_stacked(node, values, 0) for values in found)])
    return [_stacked(node, list(values), 0) for values in zip(*results, strict=True)]


def _rounds(
    node: Node, inputs: Sequence[Value], body: GraphProto, axes: Sequence[int], back: Sequence[int]
) -> tuple[list[Term], list[list[Value]]]:
    """The body for each position of the scanned inputs, which are the last ones: final states, and what each gives."""
    states = len(inputs) - len(axes)
    carried, scans = list[Term](inputs[:states]), inputs[states:]
    (count,) = {node.static([s.type.shape[a]], "a scanned axis")[0] for s, a in zip(scans, axes, strict=True)}
    if count > LONGEST_LOOP:
        node.unsupported(f"scans of more than {LONGEST_LOOP} rounds are not unrolled")
    names = [value.name for value in body.input]
    found: list[list[Value]] = [[] for _ in body.output[states:]]
    for number in range(count):
        picked = [
            element(node, scan, axis, count - 1 - number if reverse else number)
            for scan, axis, reverse in zip(scans, axes, back, strict=True)
        ]
        results = node.translate(body, dict(zip(names, [*carried, *picked], strict=True)))
        carried = list(results[:states])
        for collected, result in zip(found, results[states:], strict=True):
            collected.append(_tensor(node, result))
    return carried, found


def _tensor(node: Node, term: Term) -> Value:
    if not isinstance(term, Value):
        node.unsupported("loops over sequences are not supported")
    return term


def _stacked(node: Node, values: list[Value], axis: int) -> Value:
    if not values:
        node.unsupported("a loop of no rounds has outputs of unknown shape")
    return stacked(node, values, node.axis(axis, values[0].type.rank + 1))
