"""Branches and loops whose course follows from data: the host decides, their subgraphs are engines of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tensorwright.base.errors import ExecutionError

if TYPE_CHECKING:
    from tensorwright.importers.onnx.host import HostNode, Known


class Runner(Protocol):
    """Runs a subgraph."""

    @property
    def input_names(self) -> tuple[str, ...]: ...

    @property
    def output_names(self) -> tuple[str, ...]: ...

    def __call__(self, inputs: Mapping[str, Known], /) -> dict[str, Known]: ...


Nested = Callable[["HostNode", str], Runner]
"""The runner of a node's subgraph, by the name of its attribute."""


def run_if(node: HostNode, known: Mapping[str, Known], nested: Nested) -> dict[str, Known]:
    """The outputs of the branch that is taken."""
    branch = nested(node, "then_branch" if _truth(known[node.arguments[0]]) else "else_branch")
    found = branch({name: known[name] for name in branch.input_names})
    return dict(zip(node.results, (found[name] for name in branch.output_names), strict=True))


def run_loop(node: HostNode, known: Mapping[str, Known], nested: Nested) -> dict[str, Known]:
    """The final values of what is carried from round to round, then what each round gave, one above the other."""
    body = nested(node, "body")
    given = [known[name] if name else None for name in node.arguments]
    trips, condition, carried = given[0], given[1] if len(given) > 1 else None, given[2:]
    own = body.input_names[: 2 + len(carried)]
    around = {name: known[name] for name in body.input_names[len(own) :]}
    scanned: list[list[Known]] = [[] for _ in body.output_names[1 + len(carried) :]]
    number, going = 0, condition is None or _truth(condition)
    while going and (trips is None or number < int(np.asarray(trips).reshape(-1)[0])):
        state: list[Known] = [np.asarray(number, np.int64), np.asarray(True), *carried]
        found = body({**dict(zip(own, state, strict=True)), **around})
        results = [found[name] for name in body.output_names]
        going, carried, number = _truth(results[0]), results[1 : 1 + len(carried)], number + 1
        for rows, result in zip(scanned, results[1 + len(carried) :], strict=True):
            rows.append(result)
    stacked = [_stacked(node, rows) for rows in scanned]
    return {name: value for name, value in zip(node.results, [*carried, *stacked], strict=False) if name}


def run_scan(node: HostNode, known: Mapping[str, Known], nested: Nested) -> dict[str, Known]:
    """The final states, then what each position of the scanned tensors gave, side by side along an axis."""
    if node.version < 9:
        return node.run(known)
    body = nested(node, "body")
    given = [known[name] for name in node.arguments]
    count = node.integers("num_scan_inputs")[0]
    states, scans = given[: len(given) - count], [np.asarray(value) for value in given[len(given) - count :]]
    axes, back = node.integers("scan_input_axes", count), node.integers("scan_input_directions", count)
    lines = [
        np.flip(np.moveaxis(scan, axis, 0), 0) if reverse else np.moveaxis(scan, axis, 0)
        for scan, axis, reverse in zip(scans, axes, back, strict=True)
    ]
    own = body.input_names[: len(given)]
    around = {name: known[name] for name in body.input_names[len(own) :]}
    rows: list[list[Known]] = [[] for _ in body.output_names[len(states) :]]
    for picked in zip(*lines, strict=True):
        feeds = [*states, *(np.array(part) for part in picked)]
        found = body({**dict(zip(own, feeds, strict=True)), **around})
        results = [found[name] for name in body.output_names]
        states = results[: len(states)]
        for collected, result in zip(rows, results[len(states) :], strict=True):
            collected.append(result)
    where, against = (node.integers(f"scan_output_{what}", len(rows)) for what in ("axes", "directions"))
    outputs: list[Known] = [
        np.stack([np.asarray(row) for row in (collected[::-1] if reverse else collected)], axis)
        for collected, axis, reverse in zip(rows, where, against, strict=True)
    ]
    return {name: value for name, value in zip(node.results, [*states, *outputs], strict=False) if name}


def _truth(value: Known) -> bool:
    return bool(np.asarray(value).reshape(-1)[0])


def _stacked(node: HostNode, rows: Sequence[Known]) -> Known:
    if not rows:
        raise ExecutionError(f"{node.label}: a loop of no rounds has outputs of unknown shape")
    return np.stack([np.asarray(row) for row in rows])


CONTROL: Mapping[str, Callable[[HostNode, Mapping[str, Known], Nested], dict[str, Known]]] = {
    "If": run_if,
    "Loop": run_loop,
    "Scan": run_scan,
}
