"""Random valid networks."""

from __future__ import annotations

from math import prod

from networks import combining, elementwise, exports, motifs, shaping, spellings
from networks.choices import Choices, SeededChoices, chance, choose
from networks.growing import Growing, Unfit
from networks.network import Network, Tensor, pruned

TEMPLATES = tuple(
    template
    for module in (elementwise, shaping, combining, motifs, spellings, exports)
    for template in module.TEMPLATES
)
_WEIGHTED = tuple(function for weight, function in TEMPLATES for _ in range(weight))
MOST_OUTPUTS = 5
LARGEST_INPUT = 1 << 10
"""Elements of an image in a batch."""

CHANNELS = (4, 1, 3, 8, 16, 32, 5)
SPATIAL = (4, 1, 7, 2, 5, 8, 3, 20)


def network_of(seed: int) -> Network:
    """The network of a seed: 10 to 40 operators."""
    choices = SeededChoices(seed)
    return generate(choices, choices.integer(10, 40))


def generate(choices: Choices, operators: int) -> Network:
    """A network of about so many operators."""
    g = Growing(choices, _symbols(choices))
    _add_inputs(g)
    for _ in range(4 * operators):
        if len(g.nodes) >= operators:
            break
        point = g.checkpoint()
        try:
            choose(choices, _WEIGHTED)(g)
        except Unfit:
            g.restore(point)
    if not g.nodes:
        elementwise.step(g, g.inputs[0])
    return pruned(g.network(_outputs(g)))


def _symbols(choices: Choices) -> tuple[tuple[str, tuple[int, ...]], ...]:
    if not chance(choices, 25):
        return ()
    first = ("n", (choices.integer(1, 5), choices.integer(6, 8)))
    return (first, ("m", (choices.integer(2, 5), 1))) if chance(choices, 20) else (first,)


def _add_inputs(g: Growing) -> None:
    dtype = choose(g.choices, ("float32",) * 12 + ("float16", "float64", "bfloat16"))
    shape = _shape(g)
    g.input(dtype, shape, *_bounds(g))
    for _ in range(choose(g.choices, (1, 0, 2))):
        if chance(g.choices, 60):
            g.input(dtype, _related(g, shape), *_bounds(g))
        else:
            g.input(dtype, _shape(g), *_bounds(g))
    if chance(g.choices, 25):
        kind = choose(g.choices, ("int64", "int32", "uint8", "int8"))
        bounds = choose(g.choices, ((0, 1), (0, 3), (-3, 9))) if not kind.startswith("u") else (0, 5)
        g.input(kind, _related(g, shape) if chance(g.choices, 60) else [g.fixed(3)], *bounds)
    if chance(g.choices, 20):
        g.input("bool", _related(g, shape), 0, 1)


def _bounds(g: Growing) -> tuple[float, float]:
    return choose(g.choices, ((-2.0, 2.0), (-1.0, 1.0), (0.5, 2.0), (-4.0, 4.0)))


def _shape(g: Growing) -> list[tuple[int, ...]]:
    """Images mostly, else rows of any rank; the first extent may be a symbol, rarely another one."""
    batch = [g.symbols[0][1]] if g.symbols and chance(g.choices, 80) else [g.fixed(choose(g.choices, (1, 1, 2, 3)))]
    kind = choose(g.choices, ("image", "image", "rows", "line", "any", "volume", "scalar"))
    if kind == "scalar":
        return []
    if kind == "line":
        return [*batch, *g.fixed_shape([choose(g.choices, CHANNELS), choose(g.choices, (7, 16, 33, 1, 100))])]
    if kind == "rows":
        middle = g.symbols[-1][1] if len(g.symbols) > 1 else g.fixed(choose(g.choices, (5, 8, 1, 12)))
        return [*batch, middle, g.fixed(choose(g.choices, (16, 8, 32, 5, 48, 1)))]
    if kind == "any":
        return [*g.fixed_shape([min(g.extent(), 8) for _ in range(g.choices.integer(0, 3))]), *batch]
    spatial = [choose(g.choices, SPATIAL) for _ in range(3 if kind == "volume" else 2)]
    if kind == "volume":
        spatial = [min(extent, 5) for extent in spatial]
    if chance(g.choices, 2):
        spatial[-1] = 0
    shape = [choose(g.choices, CHANNELS), *spatial]
    while prod(shape) > LARGEST_INPUT:
        place = shape.index(max(shape))
        shape[place] //= 2
    return [*batch, *g.fixed_shape(shape)]


def _related(g: Growing, shape: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """A shape that broadcasts with another one."""
    kind = choose(g.choices, ("same", "same", "ones", "suffix"))
    if kind == "same":
        return shape
    if kind == "ones":
        return [g.fixed(1) if chance(g.choices, 40) else extent for extent in shape]
    return shape[g.choices.integer(0, len(shape)) :]


def _outputs(g: Growing) -> list[str]:
    """Results that nobody reads, and some that others read."""
    read = {name for node in g.nodes for name in node.inputs}
    results: list[Tensor] = [tensor for node in g.nodes for tensor in node.outputs]
    leaves = [tensor.name for tensor in results if tensor.name not in read]
    while len(leaves) > MOST_OUTPUTS:
        del leaves[g.choices.integer(0, len(leaves) - 1)]
    inner = [tensor.name for tensor in results if tensor.name in read and chance(g.choices, 8)]
    return [*leaves, *inner[:3]]
