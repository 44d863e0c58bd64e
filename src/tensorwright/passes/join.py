"""Proposes chains of regions that one kernel could compute without storing the results in between.

Whether there is such a kernel is for the catalogue to say, and whether it is faster for the timer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tensorwright.graph.graph import Graph, Value
from tensorwright.graph.op import Op
from tensorwright.graph.region import Region, joined
from tensorwright.ops.shape import Slice, Transpose

LONGEST = 3
"""Regions in a chain: enough for product, softmax, product."""


def joins(graph: Graph, regions: Sequence[Region]) -> tuple[Region, ...]:
    """Joined regions for all chains of two to `LONGEST` regions with anchors, and for those chains, and single regions
    with anchors, with all moves before them (transpositions and slices) and transpositions behind
    them that serve nothing else.

    The result of every region in a chain but the last is read by the next one only, and is no output of the network.
    """
    readers = _only_readers(graph, regions)
    following = {a: b for a, b in readers.items() if a.anchor is not None and b.anchor is not None}
    moves = {region.output: region for region in regions if _consists_of(region, Transpose, Slice)}
    found: list[Region] = []
    for region in regions:
        for chain in _chains(region, following):
            if len(chain) > 1:
                found.append(joined(chain))
            around = _surrounded(chain, readers, moves)
            if len(around) > len(chain):
                found.append(joined(around))
    return tuple(found)


def _chains(start: Region, following: Mapping[Region, Region]) -> Iterator[list[Region]]:
    chain = [start]
    if start.anchor is not None:
        yield chain
    while len(chain) < LONGEST and chain[-1] in following:
        chain = [*chain, following[chain[-1]]]
        yield chain


def _surrounded(
    chain: Sequence[Region], readers: Mapping[Region, Region], moves: Mapping[Value, Region]
) -> list[Region]:
    """A chain between the moves that only it reads and the transposition that alone reads its result."""
    before, reading = list[Region](), chain
    while reading:
        sources = (moves.get(value) for region in reading for value in region.inputs)
        reading = [r for r in dict.fromkeys(sources) if r is not None and readers.get(r) in reading]
        before = [*reading, *before]
    after = readers.get(chain[-1])
    return [*before, *chain, *([after] if after is not None and _consists_of(after, Transpose) else [])]


def _consists_of(region: Region, *kinds: type[Op]) -> bool:
    return all(isinstance(value.op, kinds) for value in region.values)


def _only_readers(graph: Graph, regions: Sequence[Region]) -> dict[Region, Region]:
    """For regions whose result one region alone reads, that region."""
    uses, outputs = graph.uses(), {value for _, value in graph.outputs}
    readers = {value: region for region in regions for value in region.inputs}
    found: dict[Region, Region] = {}
    for region in regions:
        result = region.output
        reader = readers.get(result)
        if reader is None or result in outputs:
            continue
        if uses[result] == sum(value.inputs.count(result) for value in reader.values):
            found[region] = reader
    return found
