"""Damaged, truncated and hostile graphs: an ImportFailure in bounded time and memory, or a graph, nothing else."""

from __future__ import annotations

import os
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorflow_graphs import GraphMaker, set_attribute
from tensorwright.base.errors import ImportFailure
from tensorwright.compat import uff
from tensorwright.graph.verify import verify
from tensorwright.importers.registry import handlers_in
from tensorwright.importers.tensorflow import import_tensorflow
from tensorwright.importers.tensorflow.translate import OPERATORS
from tensorwright.tensor.dtype import FLOAT32, INT32

LONGER = int(os.environ.get("TENSORWRIGHT_FUZZ", "1"))
"""Set TENSORWRIGHT_FUZZ to try that many times as much."""
FILES = 150 * LONGER
GRAPHS = 200 * LONGER


def network() -> bytes:
    graph = GraphMaker()
    x = graph.placeholder((-1, 6, 6, 2))
    kernel = graph.constant(np.ones((3, 3, 2, 4), np.float32), listed=True)
    y = graph.add("Conv2D", x, kernel, padding="SAME", strides=[1, 2, 2, 1], T=FLOAT32)
    made = graph.message.library.function.add()
    made.signature.name = "activation"
    made.signature.input_arg.add(name="x")
    made.signature.output_arg.add(name="y")
    made.ret["y"] = "relu:activations:0"
    made.node_def.add(name="relu", op="Relu", input=["x"])
    y = graph.add("activation", graph.add("BiasAdd", y, graph.constant(np.ones(4, np.float32))))
    y = graph.add("MaxPool", y, padding="VALID", ksize=[1, 2, 2, 1], strides=[1, 1, 1, 1])
    y = graph.add(
        "Reshape", graph.add("Pad", y, graph.constant([[0, 0], [1, 1], [0, 1], [0, 0]])), graph.constant([-1, 48])
    )
    y = graph.add("ConcatV2", y, graph.add("Split", graph.constant(1), y, num_split=2) + ":1", graph.constant(1), N=2)
    graph.add("Mean", graph.add("Softmax", y), graph.constant([1]), keep_dims=True, name="y")
    return graph.bytes()


FILE = network()


def read(data: bytes) -> None:
    """Read a graph; only an ImportFailure may come out of it."""
    with suppress(ImportFailure):
        verify(import_tensorflow(data))


def test_the_whole_file_is_read() -> None:
    verify(import_tensorflow(FILE))


@settings(max_examples=FILES)
@given(st.integers(0, len(FILE) - 1))
def test_truncated_files(length: int) -> None:
    read(FILE[:length])


@settings(max_examples=FILES)
@given(st.lists(st.tuples(st.integers(0, len(FILE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_files_with_other_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(FILE)
    for position, byte in changes:
        data[position] = byte
    read(bytes(data))


@settings(max_examples=FILES)
@given(st.integers(0, len(FILE)), st.integers(0, 64), st.binary(max_size=16))
def test_files_with_parts_replaced(start: int, length: int, insertion: bytes) -> None:
    read(FILE[:start] + insertion + FILE[start + length :])


@settings(max_examples=FILES)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    read(data)


NUMBERS = st.one_of(st.integers(-3, 9), st.sampled_from([1 << 31, -(1 << 31), (1 << 62), -(1 << 63)]))
VALUES = st.one_of(
    st.booleans(),
    NUMBERS,
    st.floats(allow_nan=True, allow_infinity=True, width=32),
    st.sampled_from(["SAME", "VALID", "EXPLICIT", "NHWC", "NCHW", "REFLECT", ""]),
    st.sampled_from([FLOAT32, INT32]),
    st.lists(NUMBERS, max_size=9),
)
ARRAYS = st.one_of(
    st.lists(st.integers(-4, 9), max_size=5).map(lambda numbers: np.array(numbers, np.int32)),
    st.integers(-5, 9).map(np.int32),
    st.lists(st.integers(1, 4), max_size=5).map(lambda shape: np.ones(shape, np.float32)),
    st.sampled_from(
        [np.array([1 << 30, 1 << 30], np.int32), np.array([1 << 60], np.int64), np.zeros((0, 2), np.int32)]
    ),
)


@st.composite
def hostile_graphs(draw: st.DrawFn) -> bytes:
    """Operators with inputs and attributes that need not fit them."""
    graph = GraphMaker()
    names = [graph.placeholder(draw(st.lists(st.integers(-1, 5), max_size=5)))]
    names += [graph.constant(draw(ARRAYS)) for _ in range(draw(st.integers(0, 4)))]
    for _ in range(draw(st.integers(1, 3))):
        operator = draw(st.sampled_from(sorted(handlers_in(OPERATORS))))
        count = draw(st.integers(0, 5))
        sources = [draw(st.sampled_from(names)) + draw(st.sampled_from(["", "", "", ":0", ":1"])) for _ in range(count)]
        name = graph.add(operator, *sources)
        node = graph.message.node[-1]
        for attribute in sorted(handlers_in(OPERATORS)[operator].attributes):
            if draw(st.integers(0, 3)):
                set_attribute(node.attr[attribute], draw(VALUES))
        names.append(name)
    return graph.bytes()


@settings(max_examples=GRAPHS)
@given(hostile_graphs())
def test_operators_with_inputs_that_do_not_fit(data: bytes) -> None:
    read(data)


@settings(max_examples=GRAPHS)
@given(hostile_graphs())
def test_operators_that_do_not_fit_are_converted_or_refused(data: bytes) -> None:
    with suppress(ImportFailure):
        uff.from_tensorflow(data, quiet=True)


@settings(max_examples=FILES)
@given(st.lists(st.tuples(st.integers(0, len(FILE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_graphs_with_other_bytes_are_converted_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(FILE)
    for position, byte in changes:
        data[position] = byte
    with suppress(ImportFailure):
        uff.from_tensorflow(bytes(data), quiet=True)


def test_long_chains_and_wide_nodes_take_no_recursion() -> None:
    graph = GraphMaker()
    last = graph.placeholder((1, 2))
    for _ in range(5000):
        last = graph.add("Relu", last)
    graph.add("ConcatV2", *[last] * 3000, graph.constant(0), name="y", N=3000)
    assert import_tensorflow(graph.bytes()).outputs[0][1].type.shape == (3000, 2)


def test_a_chain_of_reshapes_of_a_shape_ends() -> None:
    graph = GraphMaker()
    last = graph.add("Shape", graph.placeholder((-1, 2)))
    for _ in range(1500):
        last = graph.add("Reshape", last, graph.constant([1, 2]))
        last = graph.add("Reshape", last, graph.constant([2]))
    read(graph.bytes())


def test_nesting_without_end_is_refused() -> None:
    nested = b""
    for _ in range(200_000):
        if len(nested) > 4000:
            break
        nested = b"\x0a" + bytes([len(nested) & 127 | 128, len(nested) >> 7]) + nested
    with pytest.raises(ImportFailure):
        import_tensorflow(nested)


@pytest.mark.parametrize("operator", ["Fill", "BroadcastTo", "Tile", "Range", "OneHot", "Pad", "ResizeNearestNeighbor"])
def test_a_small_file_cannot_ask_for_much_memory(operator: str) -> None:
    graph = GraphMaker()
    large = graph.constant(np.array([1 << 20, 1 << 20], np.int32))
    one, number = graph.constant(np.float32(1)), graph.constant(np.int32(1 << 30))
    match operator:
        case "Fill":
            graph.add("Fill", large, one, name="y")
        case "BroadcastTo":
            graph.add("BroadcastTo", one, large, name="y")
        case "Tile":
            graph.add("Tile", graph.constant(np.ones((1, 1), np.float32)), large, name="y")
        case "Range":
            graph.add("Range", graph.constant(np.int32(0)), number, graph.constant(np.int32(1)), name="y")
        case "OneHot":
            graph.add("OneHot", graph.constant([1, 2]), number, one, graph.constant(np.float32(0)), name="y")
        case "Pad":
            amounts = graph.constant(np.array([[1 << 20, 1 << 20]] * 2, np.int32))
            graph.add("Pad", graph.constant(np.ones((1, 1), np.float32)), amounts, name="y")
        case _:
            image = graph.constant(np.ones((1, 1, 1, 1), np.float32))
            graph.add(operator, image, large, name="y")
    graph.add("Relu", "y", name="z")
    tracemalloc.start()
    try:
        read(graph.bytes())
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
