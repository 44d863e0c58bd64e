"""Graphs and regions as text."""

from __future__ import annotations

import re

import numpy as np

from graphs import binary, constant, drawn, given, network, unary
from tensorwright.graph.graph import apply
from tensorwright.graph.region import joined
from tensorwright.graph.text import graph_text, names_of, region_text, regions_text
from tensorwright.ops.activation import Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Reshape
from tensorwright.passes.fuse import partition
from tensorwright.tensor.dim import symbol


def test_a_graph_reads_like_its_computation() -> None:
    x = given("x", symbol("batch", 1, 4, 8), 3)
    shifted = binary("add", x, constant([1.0, 2.0, 3.0], name="shift"), name="shifted")
    assert graph_text(network(apply(Relu(), shifted, name="y"))) == (
        "graph network\n"
        "dimension batch = 1:4:8\n"
        "input x = %x\n"
        "%x: float32[batch×3] = Input()\n"
        "%shift: float32[3] = constant [1.0, 2.0, 3.0]\n"
        "%shifted: float32[batch×3] = Binary(%x, %shift) function='add'\n"
        "%y: float32[batch×3] = Relu(%shifted)\n"
        "output out0 = %y\n"
    )


def test_values_of_one_name_are_told_apart_and_large_constants_are_abridged(rng: np.random.Generator) -> None:
    x = given("x", 4, 100)
    twice = unary("exp", unary("exp", apply(MatMul(), x, drawn(rng, 100, 5)), name="e"), name="e")
    text = graph_text(network(twice))
    assert "%e#2: float32[4×5] = Unary(%e) function='exp'" in text
    assert re.search(r"%constant: float32\[100×5\] = constant 1\.95 KiB [0-9a-f]{8}\n", text)
    assert text == graph_text(network(twice))


def test_hostile_names_are_quoted() -> None:
    text = graph_text(network(unary("exp", given('a"b\x1b[2J\n', 2), name="c d")))
    assert r'%"a\"b\x1b[2J\n": float32[2] = Input()' in text
    assert '%"c d": ' in text
    assert all(line.isprintable() for line in text.splitlines())


def test_regions_show_anchor_prologue_and_epilogue(rng: np.random.Generator) -> None:
    x = given("x", 4, 6)
    product = apply(MatMul(), apply(Reshape((6, 4)), x, name="view"), drawn(rng, 4, 5), name="product")
    total = apply(Softmax(1), apply(Relu(), product, name="relu"), name="soft")
    graph = network(total)
    regions = partition(graph)
    text = regions_text(graph, regions)
    assert "region 0 = %relu\n  reads     %view: float32[6×4] = Reshape(%x) shape=(6, 4)\n" in text
    assert "  anchor    %product: float32[6×5] = MatMul(%view, %constant)" in text
    assert "  epilogue  %relu: float32[6×5] = Relu(%product)\n" in text
    chain = region_text("joined", joined(regions), names_of(graph.order()))
    assert "  stage 1\n    anchor    %soft: float32[6×5] = Softmax(%relu) axis=1\n" in chain
