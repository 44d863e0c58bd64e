"""Networks of which every layer computes in float32 or narrower, as an input says.

One build of such a network shows what each layer brings about, alone and together with others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tensorwright.base.text import unused_name
from tensorwright.graph.graph import Graph, Value, apply, input_value, is_constant
from tensorwright.graph.region import Region
from tensorwright.ops.elementwise import Binary, Cast, Select
from tensorwright.ops.shape import Reshape, Slice
from tensorwright.passes.fuse import partition
from tensorwright.passes.precision import recast
from tensorwright.passes.quantise import activations_in_integers, quantised, weights_in_integers
from tensorwright.tensor.dtype import BOOL, FLOAT32, DType
from tensorwright.tensor.range import Range
from tensorwright.tensor.type import TensorType

Made = Mapping[Value, Value]
"""The values of a network that is being made, by those of the network that it is made from."""


@dataclass(frozen=True)
class Switched:
    """A network with switches.

    graph: has one more input, ``bool[layers]``, which says of every layer whether it is narrow.
    switches: the name of that input.
    layers: the results of the layers in the network that it was made from, in order.
    results: the same in `graph`, in float32.
    """

    graph: Graph
    switches: str
    layers: tuple[Value, ...]
    results: tuple[Value, ...]
    names: tuple[tuple[str, ...], ...]
    """The names of the operators in each layer."""


def switched_to_type(graph: Graph, dtype: DType) -> Switched:
    """Layers are regions, whose operators compute in a type as `recast` has them: rounded where a kernel stores."""
    whole = recast(graph, lambda _: dtype)
    narrow = {origin for made, origin in whole.origins.items() if made.type.dtype == dtype and made.op != Cast(dtype)}
    regions = [region for region in partition(graph) if narrow & set(region.values)]
    work = _Work(graph, [region.output for region in regions])
    made = {region.output: partial(_region_in_type, region, dtype, region.output in narrow) for region in regions}
    names = [[value.name for value in region.values if value in narrow] for region in regions]
    return work.switched(made, names)


def switched_to_integers(graph: Graph, ranges: Mapping[Value, Range]) -> Switched:
    """Layers are products of tensors whose ranges are known; whatever reads such a tensor reads its integers, too."""
    found = quantised(graph, ranges)
    products = found.products
    work = _Work(graph, products)
    for value, steps in found.steps.items():
        users = [number for number, product in enumerate(products) if product.inputs[0] is value]
        work.read_by[value] = users, partial(activations_in_integers, steps=steps)

    def product_of_integers(product: Value) -> Callable[[Made], Value]:
        weights = weights_in_integers(product)
        return lambda done: apply(
            product.op, done[product.inputs[0]], weights, *(done[one] for one in product.inputs[2:]), name=product.name
        )

    return work.switched({product: product_of_integers(product) for product in products}, [[p.name] for p in products])


class _Work:
    """A network that is being made."""

    def __init__(self, graph: Graph, layers: Sequence[Value]) -> None:
        self._graph = graph
        self._layers = layers
        self._name = unused_name("switches", {name for name, _ in graph.inputs})
        self._switches = input_value(self._name, TensorType(BOOL, (len(layers),)))
        self.read_by: dict[Value, tuple[list[int], Callable[[Value], Value]]] = {}
        """Of values that are read in another form while one of some layers is narrow: these layers, and the form."""

    def switched(self, narrow: Mapping[Value, Callable[[Made], Value]], names: Sequence[Sequence[str]]) -> Switched:
        """narrow: gives the result of a layer in float32 as it is when the layer is narrow."""
        done: dict[Value, Value] = {}
        plain: dict[Value, Value] = {}
        number = {layer: place for place, layer in enumerate(self._layers)}
        for value in self._graph.order():
            inputs = tuple(done[operand] for operand in value.inputs)
            made = value if inputs == value.inputs else apply(value.op, *inputs, name=value.name)
            if value in narrow:
                made = apply(Select(), self._switch(number[value]), narrow[value](done), made, name=value.name)
            plain[value] = done[value] = made
            if value in self.read_by:
                users, form = self.read_by[value]
                done[value] = apply(Select(), self._any(users), form(made), made, name=value.name)
        graph = self._graph.with_values(plain)
        graph = replace(graph, inputs=(*graph.inputs, (self._name, self._switches)))
        results = tuple(plain[layer] for layer in self._layers)
        return Switched(graph, self._name, tuple(self._layers), results, tuple(map(tuple, names)))

    def _switch(self, number: int) -> Value:
        return apply(Reshape(()), apply(Slice((number,), (1,), (1,)), self._switches))

    def _any(self, numbers: Sequence[int]) -> Value:
        found = self._switch(numbers[0])
        for number in numbers[1:]:
            found = apply(Binary("or"), found, self._switch(number))
        return found


def _region_in_type(region: Region, dtype: DType, is_rounded: bool, done: Made) -> Value:
    """The result of a region in float32, computed in a type."""
    outside = [value for value in region.inputs if not is_constant(value)]
    inputs = {value: input_value(f"operand {number}", value.type) for number, value in enumerate(outside)}
    inner: dict[Value, Value] = dict(inputs)
    for value in region.values:
        inner[value] = apply(value.op, *(inner.get(one, one) for one in value.inputs), name=value.name)
    alone = Graph(tuple((one.name, one) for one in inputs.values()), (("result", inner[region.output]),))
    graph = recast(alone, lambda _: dtype).graph
    made = {inputs[value]: done[value] for value in outside}
    for value in graph.order():
        if value not in made:
            made[value] = (
                apply(value.op, *(made[one] for one in value.inputs), name=value.name) if value.inputs else value
            )
    result = made[graph.outputs[0][1]]
    if is_rounded and result.type.dtype == FLOAT32:
        result = apply(Cast(FLOAT32), apply(Cast(dtype), result, name=region.output.name), name=region.output.name)
    return result
