"""Graphs and regions as text that a person reads at a glance and that `diff` compares.

    graph lenet
    dimension batch = 1:4:16
    input image = %image
    %image: float32[batch×1×28×28] = Input()
    %w: float32[20×1×5×5] = constant 1.95 KiB 1f8a07b2
    %conv1: float32[batch×20×24×24] = Convolution(%image, %w) strides=(1, 1) …
    output scores = %conv1

A value is called by its name; from the second value of a name on, ``#2`` and so on follow. Names that are no words are
quoted, with escapes for what a terminal must not get.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tensorwright.base.text import format_bytes, printable
from tensorwright.graph.graph import ConstantTensor, Graph, Input, Value
from tensorwright.graph.region import Region
from tensorwright.tensor.weights import Weights

SHOWN_ELEMENTS = 8
"""Constants of so many elements are written out, larger ones by size and digest."""

_WORD = re.compile(r"[\w./:+…-]+")
_BREAK = re.compile(r'["\\]')


@dataclass(frozen=True)
class Names:
    """What each value is called: unique among the values that it was made of."""

    by_value: Mapping[Value, str]

    def of(self, value: Value) -> str:
        return self.by_value[value]

    def list(self, values: Iterable[Value]) -> str:
        return ", ".join(map(self.of, values))


def names_of(values: Iterable[Value]) -> Names:
    """Names for values, in order."""
    seen: Counter[str] = Counter()
    found: dict[Value, str] = {}
    for value in dict.fromkeys(values):
        seen[value.name] += 1
        number = f"#{seen[value.name]}" if seen[value.name] > 1 else ""
        found[value] = f"%{quoted(value.name)}{number}"
    return Names(found)


def quoted(name: str) -> str:
    """A name as it is if it is a word, otherwise in quotes."""
    if name.isprintable() and _WORD.fullmatch(name):
        return name
    return f'"{printable(_BREAK.sub(lambda match: chr(92) + match[0], name))}"'


def graph_text(graph: Graph) -> str:
    """A whole graph: its dimensions, inputs, values in the order of computation, and outputs."""
    names = names_of(graph.order())
    lines = [f"graph {quoted(graph.name)}"]
    lines += [f"dimension {quoted(s.name)} = {s.min}:{s.opt}:{s.max}" for s in graph.symbols()]
    lines += [f"input {quoted(name)} = {names.of(value)}" for name, value in graph.inputs]
    lines += [value_text(value, names) for value in graph.order()]
    lines += [f"output {quoted(name)} = {names.of(value)}" for name, value in graph.outputs]
    return "\n".join(lines) + "\n"


def value_text(value: Value, names: Names) -> str:
    """A value: its name, type, operator with operands, and attributes."""
    return f"{names.of(value)}: {printable(repr(value.type))} = {_definition(value, names)}"


def _definition(value: Value, names: Names) -> str:
    op = value.op
    if isinstance(op, ConstantTensor):
        return f"constant {_elements(op.weights)}"
    attributes = [] if isinstance(op, Input) else op.attributes
    shown = "".join(f" {name}={printable(repr(attribute))}" for name, attribute in attributes)
    return f"{op.name}({names.list(value.inputs)}){shown}"


def _elements(weights: Weights) -> str:
    elements = weights.type.elements
    if isinstance(elements, int) and elements <= SHOWN_ELEMENTS:
        return " ".join(str(weights.array.tolist()).split())
    return f"{format_bytes(weights.type.max_bytes)} {weights.digest.hex()[:8]}"


def regions_text(graph: Graph, regions: Sequence[Region]) -> str:
    """All regions: what each reads, computes around its anchor, and gives."""
    names = names_of(graph.order())
    return "\n".join(region_text(f"region {number}", region, names) for number, region in enumerate(regions))


def region_text(title: str, region: Region, names: Names) -> str:
    """One region, one value a line: what it reads, its prologue, its anchor, its epilogue. Of a joined region, the
    stages.
    """
    lines = [f"{title} = {names.of(region.output)}"]
    lines += [f"  reads     {_read_text(value, names)}" for value in region.inputs]
    for number, stage in enumerate(region.stages):
        lines += [f"  stage {number}", *(f"  {line}" for line in _value_lines(stage, names))]
    lines += [] if region.stages else _value_lines(region, names)
    return "\n".join(lines) + "\n"


def _read_text(value: Value, names: Names) -> str:
    """A value that a region reads, with its definition if no region computes it."""
    if value.op.kind in ("source", "view"):
        return value_text(value, names)
    return f"{names.of(value)}: {printable(repr(value.type))}"


def _value_lines(region: Region, names: Names) -> list[str]:
    return [f"  {part:8}  {value_text(value, names)}" for value, part in _parts(region)]


def _parts(region: Region) -> list[tuple[Value, str]]:
    """Every value, and whether it comes before or after the anchor; without one, each element is computed alone."""
    if region.anchor is None:
        return [(value, "element") for value in region.values]
    at = region.values.index(region.anchor)
    before, after = region.values[:at], region.values[at + 1 :]
    return [
        *((value, "prologue") for value in before),
        (region.anchor, "anchor"),
        *((value, "epilogue") for value in after),
    ]
