"""Chains of regions that may become one."""

from __future__ import annotations

import numpy as np

from graphs import constant, given, network
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Transpose
from tensorwright.passes.fuse import partition
from tensorwright.passes.join import joins

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
