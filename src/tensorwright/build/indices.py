"""Has a network tell when indices that are data lie outside the axes that they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tensorwright.graph.graph import Graph, Value, apply, is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.work import work
from tensorwright.ops.indexing import Gather, GatherElements, GatherNd, IndexRange, ScatterElements, ScatterNd
from tensorwright.tensor.dim import Dim, tuning_value
from tensorwright.tune.estimate import Roofline

CHEAP = 0.01
"""The share of an inference that checks may take where nobody asks for them."""
CALLS = 5
"""What a small step costs beside its own work, in calls that do nothing: the threads may have to wait for it."""

Uses = Mapping[str, tuple["Use", ...]]


@dataclass(frozen=True)
class Use:
    """node: what uses indices; extents: of the axes that they are for; signed: whether negative ones count back."""

    node: str
    extents: tuple[Dim, ...]
    signed: bool


@dataclass(frozen=True)
class _Indices:
    """Indices that are data, and what they are used for."""

    value: Value
    along_axes: bool
    use: Use


def watched(graph: Graph, regions: Sequence[Region], wanted: str, roofline: Roofline) -> tuple[Graph, Uses]:
    """The graph with the ranges of its indices as further outputs, and what the indices of each are used for.

    regions: those of the graph. wanted: "always", "never", or "cheap": where all checks together are expected to take
    less than a hundredth of an inference.
    """
    found = [] if wanted == "never" else list(_found(graph))
    if not found or (wanted == "cheap" and _cost(found, roofline) > CHEAP * _whole(regions, roofline)):
        return graph, {}
    groups: dict[tuple[Value, bool], list[Use]] = {}
    for indices in found:
        groups.setdefault((indices.value, indices.along_axes), []).append(indices.use)
    taken = {name for name, _ in (*graph.inputs, *graph.outputs)}
    names = _free_names(taken)
    named = [
        (next(names), apply(IndexRange(axes, watched=True), value, name=f"range of {value.name}"), tuple(uses))
        for (value, axes), uses in groups.items()
    ]
    outputs = (*graph.outputs, *((name, value) for name, value, _ in named))
    return replace(graph, outputs=outputs), {name: uses for name, _, uses in named}


def _free_names(taken: set[str]) -> Iterator[str]:
    number = 0
    while True:
        name = f"index range {number}"
        if name not in taken:
            yield name
        number += 1


def _found(graph: Graph) -> Iterator[_Indices]:
    for value in graph.order():
        match value.op:
            case Gather(axis=axis) | GatherElements(axis=axis) | ScatterElements(axis=axis):
                extents, along_axes = value.inputs[0].type.shape[axis : axis + 1], False
            case GatherNd(batch_dims=batch):
                extents, along_axes = value.inputs[0].type.shape[batch:], True
            case ScatterNd():
                extents, along_axes = value.inputs[0].type.shape, True
            case _:
                continue
        indices = value.inputs[1]
        depth = indices.type.shape[-1] if along_axes else 1
        if isinstance(depth, int) and depth and not is_constant(indices):
            use = Use(value.name, extents[:depth], indices.type.dtype.kind != "unsigned")
            yield _Indices(indices, along_axes, use)


def _cost(found: Sequence[_Indices], roofline: Roofline) -> float:
    """Seconds of all checks: every index is read twice, one after another."""
    read = sum(2 * tuning_value(indices.value.type.elements) * 8 for indices in found)
    return len(found) * CALLS * roofline.call_seconds + read / roofline.bytes_per_second


def _whole(regions: Sequence[Region], roofline: Roofline) -> float:
    """Seconds of an inference at best."""
    total = 0.0
    for region in regions:
        needed = work(region)
        arithmetic = tuning_value(needed.flops) / roofline.flops_per_second
        total += roofline.call_seconds + max(arithmetic, tuning_value(needed.bytes) / roofline.bytes_per_second)
    return total
