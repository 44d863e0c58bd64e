"""Networks that random ones were made smaller to when they were computed wrong."""

from __future__ import annotations

import pytest

from networks.checking import check
from networks.network import Attribute, Constant, Network, Node, Tensor
from networks.running import MAIN, Configuration


def tensor(name: str, *shape: int, dtype: str = "float32", low: float = -1.0, high: float = 1.0) -> Tensor:
    return Tensor(name, dtype, tuple((extent,) for extent in shape), low, high, is_exact=True)


def node(operator: str, operands: str, *results: Tensor, **attributes: Attribute) -> Node:
    return Node(operator, tuple(operands.split()), results, tuple(attributes.items()))


def integers(name: str, *elements: int) -> Constant:
    return Constant(tensor(name, len(elements), dtype="int64"), elements=elements)


NOTHING = Network(
    (tensor("x", 2, 1, 0),),
    (integers("shape", -1),),
    (node("Reshape", "x shape", tensor("t", 0)), node("Tanh", "t", tensor("y", 0))),
    ("y",),
)

SCATTERED = Network(
    (tensor("x", 1, 5, 0), tensor("u", 1, 5, 0)),
    (Constant(tensor("place", 1, 1, dtype="int64"), elements=(0,)),),
    (node("ScatterND", "x place u", tensor("y", 1, 5, 0)),),
    ("y",),
)

SCATTERED_SUM = Network(
    (tensor("x", 3, 4, 5), tensor("z")),
    (Constant(tensor("places", 3, 1, dtype="int64", low=0, high=2), elements=(0, 1, 2)),),
    (
        node("Add", "x z", tensor("sum", 3, 4, 5, low=-2, high=2)),
        node("ScatterND", "sum places sum", tensor("t", 3, 4, 5, low=-2, high=2)),
        node("Tanh", "t", tensor("y", 3, 4, 5)),
    ),
    ("y",),
)

FOUND: dict[str, tuple[Network, Configuration]] = {
    "a view of nothing": (NOTHING, MAIN),
    "a scatter of nothing": (SCATTERED, MAIN),
    "a sum scattered into itself": (SCATTERED_SUM, MAIN),
}


@pytest.mark.parametrize("name", FOUND)
def test_found_before(name: str) -> None:
    network, configuration = FOUND[name]
    verdict = check(network, [configuration], 0)
    assert verdict.outcome == "equal", verdict.detail
