"""The network drawn beside the table of its steps: one row for each step, one lane for each tensor on its way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tensorwright.picture.arena import is_part
from tensorwright.picture.colours import Colours
from tensorwright.picture.facts import Facts, Tensor
from tensorwright.picture.markup import Markup, number, tag

SPACING, MARGIN, ROW = 9.0, 7.0, 24.0
WIDEST = 200.0
"""Many lanes stand closer."""


@dataclass(frozen=True)
class Edge:
    """A tensor on its way from the row that gives it to those that read it."""

    tensor: Tensor
    start: int
    ends: tuple[int, ...]

    @property
    def last(self) -> int:
        return self.ends[-1]


@dataclass(frozen=True)
class Lanes:
    """The edges of a plan and the lane of each. Rows: -1 holds the inputs, then one for each step, the outputs last."""

    edges: tuple[Edge, ...]
    lanes: tuple[int, ...]
    colours: Colours

    @property
    def width(self) -> float:
        return min(WIDEST, 2 * MARGIN + SPACING * max(self.lanes, default=0))

    def _x(self, lane: int) -> float:
        most = max(self.lanes, default=0)
        return MARGIN + (self.width - 2 * MARGIN) * lane / max(most, 1)

    @cached_property
    def _rows(self) -> Mapping[int, Sequence[tuple[Edge, int]]]:
        """The edges that a row shows, with their lanes."""
        rows: dict[int, list[tuple[Edge, int]]] = defaultdict(list)
        for edge, lane in zip(self.edges, self.lanes, strict=True):
            for row in range(edge.start, edge.last + 1):
                rows[row].append((edge, lane))
        return rows

    def row(self, row: int) -> Markup:
        """What passes, ends and begins in a row."""
        here = self._rows.get(row, ())
        begun = [lane for edge, lane in here if edge.start == row]
        ended = [lane for edge, lane in here if row in edge.ends]
        node = self._x(min(begun or ended, default=0))
        passing = [(edge, self._x(lane)) for edge, lane in here if edge.start < row < edge.last]
        parts = [self._line(edge, f"M{number(x)} 0V{number(ROW)}") for edge, x in passing]
        parts += [self._line(edge, _curve(self._x(lane), node, 0.0)) for edge, lane in here if row in edge.ends]
        parts += [self._line(edge, _curve(self._x(lane), node, ROW)) for edge, lane in here if edge.start == row]
        if begun or ended:
            parts.append(tag("path", d=f"M{number(node)} {number(ROW / 2)}h.01", class_="node"))
        return tag("svg", *parts, viewBox=f"0 0 {number(self.width)} {number(ROW)}", preserveAspectRatio="none")

    def _line(self, edge: Edge, path: str) -> Markup:
        layout = edge.tensor.layout
        title = tag("title", f"{edge.tensor.name}\n{edge.tensor.type} {layout}")
        return tag("path", title, d=path, class_=f"lane {self.colours.layouts.get(layout, 'l0')}")


def lanes_of(facts: Facts, colours: Colours) -> Lanes:
    """Edges in the lowest lanes that are free; a step's result goes on in the lane of an operand that ends there."""
    edges = sorted(_edges(facts), key=lambda edge: (edge.start, edge.last))
    busy: list[int] = []
    lanes = []
    for edge in edges:
        lane = next((n for n, until in enumerate(busy) if until <= edge.start), len(busy))
        busy[lane : lane + 1] = [edge.last]
        lanes.append(lane)
    return Lanes(tuple(edges), tuple(lanes), colours)


def _edges(facts: Facts) -> list[Edge]:
    """Concatenations that no step makes are drawn as what they consist of."""
    rows = len(facts.steps)
    writers = {step.writes: step.number for step in facts.steps if step.writes is not None}
    readers: dict[int, list[int]] = {n: [] for n in range(len(facts.tensors))}
    for step in facts.steps:
        for tensor in step.reads:
            for part in _sources(tensor, facts.tensors, writers):
                readers[part].append(step.number)
    found = []
    for n, given in enumerate(facts.tensors):
        start = -1 if n not in writers and given.place != "arena" else writers.get(n)
        ends = sorted({*readers[n], *([rows] if given.last == rows else [])})
        if start is not None and ends and ends[-1] > start:
            found.append(Edge(given, start, tuple(end for end in ends if end > start)))
    return found


def _sources(number: int, tensors: Sequence[Tensor], writers: dict[int, int]) -> list[int]:
    whole = tensors[number]
    if number in writers or whole.place != "arena":
        return [number]
    parts = [n for n, tensor in enumerate(tensors) if n != number and n in writers and is_part(tensor, whole)]
    return parts or [number]


def _curve(x: float, node: float, end: float) -> str:
    """From the node in the middle of a row to a lane at its upper or lower end."""
    middle, half = number(ROW / 2), number((ROW / 2 + end) / 2)
    if x == node:
        return f"M{number(node)} {middle}V{number(end)}"
    return f"M{number(node)} {middle}C{number(node)} {half} {number(x)} {half} {number(x)} {number(end)}"
