"""Branches and loops whose course follows from data: the host decides, their subgraphs are engines of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ExecutionError
from tensorwright.staged.watch import Watch, size

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
Control = Callable[["HostNode", Mapping[str, "Known"], Nested, Watch], "dict[str, Known]"]


def run_if(node: HostNode, known: Mapping[str, Known], nested: Nested, _watch: Watch) -> dict[str, Known]:
    """The outputs of the branch that is taken."""
    branch = nested(node, "then_branch" if _truth(known[node.arguments[0]]) else "else_branch")
    found = branch({name: known[name] for name in branch.input_names})
    return dict(zip(node.results, (found[name] for name in branch.output_names), strict=True))


def run_loop(node: HostNode, known: Mapping[str, Known], nested: Nested, watch: Watch) -> dict[str, Known]:
    """The final values of what is carried from trip to trip, then what each trip gave, one above the other."""
    body = Body(nested(node, "body"), known)
    given = [known[name] if name else None for name in node.arguments]
    condition, carried = given[1] if len(given) > 1 else None, given[2:]
    trips = None if given[0] is None else int(np.asarray(given[0]).reshape(-1)[0])
    going = condition is None or _truth(condition)
    if trips is not None and going and node.ends_by_count:
        watch.begin_loop(node.label, trips)
    rows = Rows(node, watch, body.outputs - 1 - len(carried))
    number = 0
    while going and (trips is None or number < trips):
        watch.trip(node.label, trips)
        results = body([np.asarray(number, np.int64), np.asarray(True), *carried])
        going, carried, number = _truth(results[0]), results[1 : 1 + len(carried)], number + 1
        rows.add(results[1 + len(carried) :])
    return _named(node, [*carried, *rows.stacked()])


def run_scan(node: HostNode, known: Mapping[str, Known], nested: Nested, watch: Watch) -> dict[str, Known]:
    """The final states, then what each position of the scanned tensors gave, side by side along an axis."""
    body = Body(nested(node, "body"), known)
    given = [known[name] if name else None for name in node.arguments]
    if node.version < 9:
        return _named(node, _batched_scan(node, given, body, watch))
    scanned = node.integers("num_scan_inputs")[0]
    states, scans = given[: len(given) - scanned], [np.asarray(value) for value in given[len(given) - scanned :]]
    axes, back = node.integers("scan_input_axes", scanned), node.integers("scan_input_directions", scanned)
    lines = [_line(scan, axis, reverse) for scan, axis, reverse in zip(scans, axes, back, strict=True)]
    states, rows = _positions(node, states, lines, body, watch)
    found = body.outputs - len(states)
    where, against = (node.integers(f"scan_output_{what}", found) for what in ("axes", "directions"))
    return _named(node, [*states, *rows.stacked(where, against)])


def _batched_scan(node: HostNode, given: Sequence[Known], body: Body, watch: Watch) -> list[Known]:
    """Opset 8: one scan over axis 1 for each element of a batch; the first input says their lengths."""
    if given[0] is not None:
        raise ExecutionError(f"{node.label}: sequences of different lengths are not supported")
    arrays, scanned = [np.asarray(value) for value in given[1:]], node.integers("num_scan_inputs")[0]
    back = node.integers("directions", scanned)
    results: list[list[Known]] = []
    for own in zip(*arrays, strict=True):
        lines = [_line(scan, 0, reverse) for scan, reverse in zip(own[len(own) - scanned :], back, strict=True)]
        states, rows = _positions(node, own[: len(own) - scanned], lines, body, watch)
        results.append([*states, *rows.stacked()])
    return [np.stack([np.asarray(value) for value in values]) for values in zip(*results, strict=True)]


def _positions(
    node: HostNode, states: Sequence[Known], lines: Sequence[npt.NDArray[np.generic]], body: Body, watch: Watch
) -> tuple[list[Known], Rows]:
    """The body for each position of some tensors, along their first axes: final states, and what each gives."""
    states, rows = list(states), Rows(node, watch, body.outputs - len(states))
    for picked in zip(*lines, strict=True):
        watch.check()
        results = body([*states, *(np.array(part) for part in picked)])
        states = results[: len(states)]
        rows.add(results[len(states) :])
    return states, rows


def run_sequence_map(node: HostNode, known: Mapping[str, Known], nested: Nested, watch: Watch) -> dict[str, Known]:
    """The body for each item of the first sequence, with the items of others at its place, and with whole tensors."""
    body = Body(nested(node, "body"), known)
    first, *others = (known[name] for name in node.arguments)
    if not isinstance(first, list):
        raise ExecutionError(f"{node.label}: expected a sequence as the first input, found a tensor")
    rows = Rows(node, watch, body.outputs)
    for number, item in enumerate(first):
        watch.check()
        rows.add(body([item, *(other[number] if isinstance(other, list) else other for other in others)]))
    return _named(node, rows.values)


class Body:
    """A subgraph that takes its own inputs by their places, and others from what is known around it."""

    def __init__(self, runner: Runner, known: Mapping[str, Known]) -> None:
        self._runner = runner
        self._known = known

    @property
    def outputs(self) -> int:
        """How many there are."""
        return len(self._runner.output_names)

    def __call__(self, own: Sequence[Known]) -> list[Known]:
        names = self._runner.input_names
        around = {name: self._known[name] for name in names[len(own) :]}
        found = self._runner({**dict(zip(names[: len(own)], own, strict=True)), **around})
        return [found[name] for name in self._runner.output_names]


class Rows:
    """What each trip of a loop gives, for some outputs."""

    def __init__(self, node: HostNode, watch: Watch, outputs: int) -> None:
        self._node = node
        self._watch = watch
        self._bytes = 0
        self.values: list[list[Known]] = [[] for _ in range(outputs)]

    def add(self, results: Sequence[Known]) -> None:
        """One trip more."""
        for collected, result in zip(self.values, results, strict=True):
            collected.append(result)
        self._bytes += sum(map(size, results))
        self._watch.hold(self._node.label, self._bytes)

    def stacked(self, axes: Sequence[int] = (), back: Sequence[int] = ()) -> Iterator[Known]:
        """The tensors of each output side by side along an axis, those of a reversed one from the last to the first."""
        zeros = (0,) * len(self.values)
        for collected, axis, reverse in zip(self.values, axes or zeros, back or zeros, strict=True):
            if not collected:
                raise ExecutionError(f"{self._node.label}: a loop of no rounds has outputs of unknown shape")
            yield np.stack([np.asarray(row) for row in (collected[::-1] if reverse else collected)], axis)


def _named(node: HostNode, results: Sequence[Known]) -> dict[str, Known]:
    return {name: value for name, value in zip(node.results, results, strict=False) if name}


def _truth(value: Known) -> bool:
    return bool(np.asarray(value).reshape(-1)[0])


def _line(scan: npt.NDArray[np.generic], axis: int, reverse: int) -> npt.NDArray[np.generic]:
    """A tensor with the axis that is scanned in front."""
    line = np.moveaxis(scan, axis, 0)
    return np.flip(line, 0) if reverse else line


CONTROL: Mapping[str, Control] = {"If": run_if, "Loop": run_loop, "Scan": run_scan, "SequenceMap": run_sequence_map}
