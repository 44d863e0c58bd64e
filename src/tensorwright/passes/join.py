"""Proposes chains of regions that one kernel could compute without storing the results in between.

Whether there is such a kernel is for the catalogue to say, and whether it is faster for the timer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tensorwright.graph.graph import Graph
from tensorwright.graph.region import Region, joined

LONGEST = 3
"""Regions in a chain: enough for product, softmax, product."""


def joins(graph: Graph, regions: Sequence[Region]) -> tuple[Region, ...]:
    """Joined regions for all chains of two to `LONGEST` regions with anchors.

    The result of every region in a chain but the last is read by the next one only, and is no output of the network.
    """
    following = dict(_pairs(graph, regions))
    return tuple(joined(chain) for region in regions for chain in _chains(region, following))


def _chains(start: Region, following: dict[Region, Region]) -> Iterator[list[Region]]:
    chain = [start]
    while len(chain) < LONGEST and chain[-1] in following:
        chain = [*chain, following[chain[-1]]]
        yield chain


def _pairs(graph: Graph, regions: Sequence[Region]) -> Iterator[tuple[Region, Region]]:
    """Regions with anchors, and the only one that reads their result."""
    uses, outputs = graph.uses(), {value for _, value in graph.outputs}
    readers = {value: region for region in regions for value in region.inputs}
    for region in regions:
        result = region.output
        reader = readers.get(result)
        if reader is None or region.anchor is None or reader.anchor is None or result in outputs:
            continue
        if uses[result] == sum(value.inputs.count(result) for value in reader.values):
            yield region, reader
