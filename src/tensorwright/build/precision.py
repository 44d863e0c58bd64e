"""Decides which parts of a network are computed in narrower types: each type permits, the timer decides.

Every region of the float32 network is a node whose alternatives are the permitted types, each at the cost of its best
kernel in the network that is narrow as a whole; a tensor between regions of different types costs a conversion. See
`tensorwright.tune.pbqp`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from typing import Protocol

import numpy as np

from tensorwright.base.errors import BuildError
from tensorwright.graph.graph import Graph, Value, is_constant, storage_root
from tensorwright.graph.region import Region
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Cast
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.passes.precision import Recast, recast
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.pbqp import Costs, solve
from tensorwright.tune.select import Searched
from tensorwright.tune.tuner import Bounds

NARROW: Mapping[str, DType] = {"bf16": BFLOAT16, "fp16": FLOAT16}
"""The types that a build may be permitted to compute in, by the names of the options."""

TYPES: Mapping[str, DType] = {"fp32": FLOAT32, **NARROW}
"""What a layer may be held to."""

BoundsFor = Callable[[Sequence[Searched]], Bounds]
"""Seconds by signatures of the regions of a network: kernels that are expected to take longer need not be timed."""


class Measure(Protocol):
    """Gives the regions of a graph with all usable kernels and their costs."""

    def __call__(self, graph: Graph, bounds: BoundsFor | None = None) -> Sequence[Searched]: ...


@dataclass(frozen=True)
class Wishes:
    """What the user permits and demands.

    permitted: the types, beside float32. held: types of layers by patterns of their names, the first that fits counts.
    """

    permitted: tuple[DType, ...]
    held: Mapping[str, str]

    def held_type(self, value: Value) -> DType | None:
        """The type that a value is held to; None if any permitted one will do."""
        names = (value.name, *value.name.split(" + "))
        for pattern, wanted in self.held.items():
            if any(fnmatchcase(name, pattern) for name in names):
                return TYPES[wanted]
        return None

    @property
    def types(self) -> tuple[DType, ...]:
        """All types that may occur, float32 first."""
        return tuple(dict.fromkeys((FLOAT32, *self.permitted, *(TYPES[name] for name in self.held.values()))))


def wishes_of(permitted: Collection[str], held: Mapping[str, str], graph: Graph) -> Wishes:
    """The wishes for a network. Where float16 is permitted, products by weights that the model has in float16 are held
    to it: who stores them so wants to have them so.

    Raises:
        BuildError: a type is unknown, or a pattern fits no layer.
    """
    for pattern, wanted in held.items():
        if wanted not in TYPES:
            raise BuildError(f"layer_precision: '{pattern}' is held to {wanted!r}; expected one of {', '.join(TYPES)}")
    halves = _with_stored_halves(graph) if "fp16" in permitted else ()
    further = {name: "fp16" for name in map(escape, halves) if name not in held}
    wishes = Wishes(tuple(NARROW[name] for name in NARROW if name in permitted), {**held, **further})
    for pattern, wanted in held.items():
        only = Wishes((), {pattern: wanted})
        if all(only.held_type(value) is None for value in graph.order()):
            raise BuildError(f"layer_precision: no layer is called '{pattern}'; `tensorwright inspect` shows the names")
    return wishes


def _with_stored_halves(graph: Graph) -> list[str]:
    """The names of convolutions and products by weights of float16 that the network converts."""
    found = [value for value in graph.order() if isinstance(value.op, Convolution | MatMul)]
    return [value.name for value in found if _is_stored_half(value.inputs[1])]


def _is_stored_half(value: Value) -> bool:
    while isinstance(value.op, Cast | Reshape | Transpose):
        value = value.inputs[0]
    return is_constant(value) and value.type.dtype == FLOAT16


def in_chosen_types(
    graph: Graph,
    wishes: Wishes,
    fast: Collection[DType],
    kept: Collection[Value],
    measure: Measure | None,
    roofline: Roofline,
    log: Callable[[str, str], None],
) -> Graph:
    """The network with every region in the permitted type that is fastest for the whole.

    fast: types in which the target multiplies faster than in float32. kept: values that stay in float32 if they are not
    held to another type. measure: None to take the fast types unmeasured.
    """
    types = wishes.types
    if len(types) == 1:
        return graph
    if measure is None:
        best = next((dtype for dtype in wishes.permitted if dtype in fast), FLOAT32)
        made = recast(graph, lambda value: wishes.held_type(value) or (FLOAT32 if value in kept else best))
    else:
        made = recast(graph, _chosen(graph, wishes, kept, measure, roofline))
    _tell(made, wishes, fast, log)
    return made.graph


def _chosen(
    graph: Graph, wishes: Wishes, kept: Collection[Value], measure: Measure, roofline: Roofline
) -> Callable[[Value], DType]:
    """For every value the type that its region is to have."""
    searched, types = measure(graph), wishes.types
    regions = [item.region for item in searched]
    number = {value: place for place, region in enumerate(regions) for value in region.values}
    narrow = [costs_in(graph, dtype, number, len(regions), measure, kept) for dtype in types[1:]]
    costs = np.array([[least(item) for item in searched], *narrow]).T
    for value, place in number.items():
        held = wishes.held_type(value)
        if held is not None:
            costs[place] = [cost if dtype == held else np.inf for dtype, cost in zip(types, costs[place], strict=True)]
    picks = solve(costs.tolist(), conversions(regions, number, types, roofline))
    picked = {value: FLOAT32 if value in kept else types[picks[place]] for value, place in number.items()}
    return lambda value: wishes.held_type(value) or picked.get(storage_root(value), FLOAT32)


def costs_in(
    graph: Graph,
    dtype: DType,
    number: Mapping[Value, int],
    count: int,
    measure: Measure,
    kept: Collection[Value] = (),
) -> list[float]:
    """What each region of a graph costs if all but what is kept is computed in a narrow type.

    A region of the recast graph may hold values of several regions: its cost is dealt out among them.
    """
    made = recast(graph, lambda value: FLOAT32 if value in kept else dtype)
    costs = [0.0] * count
    for item in measure(made.graph):
        origins = [made.origins[value] for value in item.region.values if value in made.origins]
        places = [number[value] for value in origins if value in number]
        for place in places:
            costs[place] += least(item) / len(places)
    return costs


def least(item: Searched) -> float:
    """What a region costs with its best kernel."""
    return min(candidate.trial.cost for candidate in item.candidates)


def conversions(
    regions: Sequence[Region], number: Mapping[Value, int], types: Sequence[DType], roofline: Roofline
) -> dict[tuple[int, int], Costs]:
    """For pairs of regions, producer and consumer, what tensors between them cost where the types differ."""
    edges: dict[tuple[int, int], Costs] = {}
    differ = 1.0 - np.eye(len(types))
    for consumer, region in enumerate(regions):
        for value in region.inputs:
            producer = number.get(storage_root(value))
            if producer is not None and producer != consumer and value.type.dtype == FLOAT32:
                cost = differ * roofline.conversion(value.type)
                edges[producer, consumer] = edges.get((producer, consumer), 0.0) + cost
    return edges


def _tell(made: Recast, wishes: Wishes, fast: Collection[DType], log: Callable[[str, str], None]) -> None:
    for value, constant in made.kept.items():
        log("warning", f"layer '{value.name}' stays in float32: its constant '{constant}' does not fit a narrower type")
    for dtype in wishes.permitted:
        if dtype not in fast:
            log("warning", f"this target has no arithmetic in {dtype}: tensors in {dtype} are computed in float32")
