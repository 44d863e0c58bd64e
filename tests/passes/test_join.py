"""Chains of regions that may become one."""

from __future__ import annotations

import numpy as np

from graphs import constant, given, network
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.graph.region import Region
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.passes.fuse import partition
from tensorwright.passes.join import joins, runs

RNG = np.random.default_rng(7)


def convolution(x: Value, outputs: int, groups: int = 1) -> Value:
    channels = x.type.shape[1]
    assert isinstance(channels, int)
    weights = constant(RNG.standard_normal((outputs, channels // groups, 1, 1), dtype=np.float32))
    return apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1), groups), x, weights)


def proposed(graph: Graph) -> list[tuple[str, ...]]:
    return [tuple(stage.output.op.name for stage in region.stages) for region in joins(graph, partition(graph))]


def test_a_chain_is_proposed_in_all_its_parts() -> None:
    x = given("x", 1, 4, 5, 6)
    first = convolution(x, 8, 1)
    second = convolution(apply(Relu(), first), 8, 8)
    third = apply(Softmax(1), second)
    assert proposed(network(third)) == [
        ("Relu", "Convolution"),
        ("Relu", "Convolution", "Softmax"),
        ("Convolution", "Softmax"),
    ]


def test_a_joined_region_reads_what_its_stages_read_from_outside() -> None:
    x = given("x", 1, 4, 5, 6)
    first = convolution(x, 8)
    graph = network(convolution(first, 2))
    (region,) = joins(graph, partition(graph))
    assert region.inputs == (x, first.inputs[1], region.output.inputs[1])
    assert region.anchor is region.output
    assert region.signature not in {stage.signature for stage in region.stages}


def test_a_result_that_others_need_is_not_joined() -> None:
    x = given("x", 1, 4, 5, 6)
    first = convolution(x, 8)
    both = apply(Softmax(1), first), convolution(first, 2)
    assert proposed(network(*both)) == []


def test_an_output_of_the_network_is_not_joined() -> None:
    x = given("x", 1, 4, 5, 6)
    first = convolution(x, 8)
    assert proposed(network(first, convolution(first, 2))) == []


def attention(*outputs: str) -> Graph:
    """Attention between transpositions; `outputs` names those of q, k and v that are outputs of the network."""
    turned = {name: apply(Transpose((0, 2, 1, 3)), given(name, 1, 8, 2, 4)) for name in "qkv"}
    scores = apply(MatMul(transpose_b=True), turned["q"], turned["k"])
    result = apply(MatMul(), apply(Softmax(3), scores), turned["v"])
    return network(apply(Transpose((0, 2, 1, 3)), result), *(turned[name] for name in outputs))


def test_transpositions_around_a_chain_are_proposed_with_it() -> None:
    assert [stages for stages in proposed(attention()) if "Transpose" in stages] == [
        ("Transpose", "Transpose", "MatMul"),
        ("Transpose", "Transpose", "MatMul", "Softmax"),
        ("Transpose", "Transpose", "Transpose", "MatMul", "Softmax", "MatMul", "Transpose"),
        ("Transpose", "Softmax", "MatMul", "Transpose"),
        ("Transpose", "MatMul", "Transpose"),
    ]


def test_transpositions_that_others_read_stay_outside() -> None:
    longest = max(proposed(attention("k", "v")), key=len)
    assert longest == ("Transpose", "MatMul", "Softmax", "MatMul", "Transpose")


def of_runs(graph: Graph, large: str = "") -> list[tuple[str, ...]]:
    """The runs of a network, in which regions with an operator of a name are large."""

    def is_small(region: Region) -> bool:
        return all(value.op.name != large for value in region.values)

    return [tuple(stage.output.op.name for stage in run.stages) for run in runs(graph, partition(graph), is_small)]


def test_a_run_goes_on_through_views() -> None:
    x = convolution(given("x", 1, 4, 5, 6), 8)
    flat = apply(Reshape((1, 240)), apply(Softmax(1), x))
    last = apply(MatMul(), flat, constant(RNG.standard_normal((240, 3), dtype=np.float32)))
    graph = network(last)
    (run,) = runs(graph, partition(graph), lambda region: True)
    assert [stage.output.op.name for stage in run.stages] == ["Convolution", "Softmax", "MatMul"]
    assert flat in run.values
    assert flat not in run.inputs


def test_a_run_may_branch_inside() -> None:
    x = apply(Softmax(1), given("x", 3, 5))
    left, right = apply(Softmax(0), x), apply(Softmax(1), x)
    total = apply(Softmax(1), apply(Binary("add"), left, right))
    (found,) = of_runs(network(total))
    assert len(found) >= 3


def test_runs_end_where_others_read_and_at_large_regions() -> None:
    chain = [apply(Softmax(1), given("x", 3, 5))]
    for _ in range(6):
        chain.append(apply(Softmax(0), chain[-1]))
    assert list(map(len, of_runs(network(chain[-1])))) == [7]
    assert list(map(len, of_runs(network(chain[3], chain[-1])))) == [4, 3]
    product = apply(MatMul(), chain[2], constant(RNG.standard_normal((5, 5), dtype=np.float32)))
    after = product
    for _ in range(3):
        after = apply(Softmax(1), after)
    assert list(map(len, of_runs(network(after), "MatMul"))) == [3, 3]
    assert of_runs(network(chain[1])) == []
