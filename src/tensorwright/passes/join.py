"""Proposes regions that one kernel could compute: chains, without storing the results in between, and small ones.

Whether there is such a kernel is for the catalogue to say, and whether it is faster for the timer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from tensorwright.graph.graph import Graph, Value, storage_root
from tensorwright.graph.op import Op
from tensorwright.graph.region import Region, joined
from tensorwright.ops.shape import Slice, Transpose

LONGEST = 3
"""Regions in a chain: enough for product, softmax, product."""
SHORTEST_RUN = 3
"""Small regions that are worth a kernel of their own."""


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


def runs(graph: Graph, regions: Sequence[Region], is_small: Callable[[Region], bool]) -> Iterator[Region]:
    """Joined regions for the longest runs of at least `SHORTEST_RUN` small regions, none of which is in two.

    What a run computes is read in it alone, but for its last result; `regions` are in an order that respects all reads.
    """
    readers: dict[Value, set[Region]] = {storage_root(value): set() for _, value in graph.outputs}
    is_output = frozenset(readers)
    for region in regions:
        for value in region.inputs:
            readers.setdefault(storage_root(value), set()).add(region)
    start = 0
    while start < len(regions):
        end = next((n for n in range(start, len(regions)) if not is_small(regions[n])), len(regions))
        run = _longest_closed(regions[start:end], readers, is_output)
        if len(run) >= SHORTEST_RUN:
            yield joined(run)
        start += max(len(run), 1)


def _longest_closed(
    regions: Sequence[Region], readers: Mapping[Value, Collection[Region]], outputs: Collection[Value]
) -> Sequence[Region]:
    """The most regions from the first one on of whose results only the last one is needed elsewhere."""
    inside, waiting, longest = set[Region](), set[Region](), 0
    for number, region in enumerate(regions):
        inside.add(region)
        waiting.discard(region)
        if not waiting:
            longest = number + 1
        if region.output in outputs:
            break
        waiting |= set(readers.get(region.output, ())) - inside
    return regions[:longest]


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
