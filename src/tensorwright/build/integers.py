"""Decides which products of a network are computed in integers of 8 bits: a calibrator, or a quantised model, permits,
the timer decides.

The network is measured as it is, in float32 and in every other type that is permitted, and with all products in
integers. Every region of the network as it is becomes a node whose alternatives are these types; see
`tensorwright.build.precision`. Regions of the quantised network belong to those whose layers' names they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf

import numpy as np

from tensorwright.build.precision import Measure, Wishes, conversions, costs_in, least
from tensorwright.graph.graph import Graph, Value, storage_root
from tensorwright.graph.region import Region
from tensorwright.kernels.work import work
from tensorwright.tensor.dim import tuning_value
from tensorwright.tensor.dtype import INT8
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.pbqp import solve
from tensorwright.tune.select import Searched
from tensorwright.tune.tuner import Bounds

Kept = Callable[[Value], bool]


HOPELESS = 3.0
"""Kernels for floats that are expected to take so many times as long as integers do are not timed, where arithmetic is
what takes the time.
"""


@dataclass(frozen=True)
class Quantisable:
    """A network whose products can be integers: one with known ranges, or a quantised one.

    products: those that can be. quantised: the network with all of them in integers but those that a predicate keeps.
    """

    products: tuple[Value, ...]
    quantised: Callable[[Kept], Graph]


@dataclass(frozen=True)
class Measurement:
    """What the user permits, how a network is measured, how the quantised one is made with products kept by name, and
    what conversions cost.
    """

    wishes: Wishes
    measure: Measure
    partly: Callable[[frozenset[str]], Graph]
    roofline: Roofline


def kept_in_floats(plain: Graph, whole: Graph, products: Sequence[Value], measurement: Measurement) -> frozenset[str]:
    """The names of the products that are not to be computed in integers.

    plain: the network with none of them in integers. whole: with all. Both are rewritten.
    """
    everything = frozenset(value.name for value in products)
    integers = measurement.measure(whole)

    def bounds(searched: Sequence[Searched]) -> Bounds:
        found: dict[str, float] = {}
        costs = _costs_of_integers(integers, _places(searched), everything)
        for place, item in enumerate(searched):
            is_comparable = place in costs and _is_bound_by_arithmetic(item.region, measurement.roofline)
            bound = HOPELESS * costs[place] if is_comparable else inf
            found[item.region.signature] = max(bound, found.get(item.region.signature, 0.0))
        return found

    searched = measurement.measure(plain, bounds)
    regions, types = [item.region for item in searched], (*measurement.wishes.types, INT8)
    number = {value: place for place, region in enumerate(regions) for value in region.values}
    floats = [costs_in(plain, dtype, number, len(regions), measurement.measure) for dtype in types[1:-1]]
    own = [least(item) for item in searched]
    places = _places(searched)
    quantised = _costs_of_integers(integers, places, everything)
    costs = np.array([own, *floats, [quantised.get(place, cost) for place, cost in enumerate(own)]]).T
    picks = solve(costs.tolist(), conversions(regions, number, types, measurement.roofline))
    kept = frozenset(name for name in everything if name in places and types[picks[places[name]]] != INT8)
    seconds = {
        everything: float(costs[:, :-1].min(axis=1).sum()),
        frozenset[str](): sum(map(least, integers)),
    }
    if kept not in seconds:
        seconds[kept] = sum(map(least, measurement.measure(measurement.partly(kept))))
    return kept if seconds[kept] <= min(seconds.values()) else min(seconds, key=lambda names: seconds[names])


def _is_bound_by_arithmetic(region: Region, roofline: Roofline) -> bool:
    """Whether estimates can be believed: how fast data move depends on where they lie."""
    needed = work(region)
    arithmetic = tuning_value(needed.flops) / roofline.flops_per_second
    return arithmetic > tuning_value(needed.bytes) / roofline.bytes_per_second


def _places(searched: Sequence[Searched]) -> Mapping[str, int]:
    """Which region has a layer of a name; anchors come before others, later regions before earlier ones."""
    found: dict[str, int] = {}
    for place, item in enumerate(searched):
        found.update(dict.fromkeys(chain.from_iterable(map(_names, item.region.values)), place))
    for place, item in enumerate(searched):
        if item.region.anchor is not None:
            found.update(dict.fromkeys(_names(item.region.anchor), place))
    return found


def _costs_of_integers(
    integers: Sequence[Searched], places: Mapping[str, int], products: frozenset[str]
) -> dict[int, float]:
    """What the regions of the quantised network cost, dealt out to those of the network as it is.

    A product's belongs to the product's, another one to the region that has the layer of its result; what is left, such
    as quantising an input, to the one that reads it.
    """
    costs: dict[int, float] = {}
    readers: dict[Value, int] = {}
    for item in reversed(integers):
        region = item.region
        anchored = [] if region.anchor is None else [name for name in _names(region.anchor) if name in products]
        names = (*anchored, *reversed(_names(region.output)))
        place = next((places[name] for name in names if name in places), readers.get(region.output))
        if place is not None:
            costs[place] = costs.get(place, 0.0) + least(item)
            readers.update((storage_root(value), place) for value in region.inputs)
    return costs


def _names(value: Value) -> tuple[str, ...]:
    return tuple(value.name.split(" + "))
