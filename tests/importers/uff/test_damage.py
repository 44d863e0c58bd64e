"""Damaged, truncated and hostile UFF models: an ImportFailure in bounded time and memory, or a graph, nothing else."""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorwright.base.errors import ImportFailure
from tensorwright.compat.uff.model import ORDERS, Orders
from tensorwright.graph.verify import verify
from tensorwright.importers.registry import handlers_in
from tensorwright.importers.uff import RegisteredInput, import_uff
from tensorwright.importers.uff.translate import OPERATORS
from tensorwright.tensor.dtype import FLOAT32
from uff_models import ModelMaker

LONGER = int(os.environ.get("TENSORWRIGHT_FUZZ", "1"))
"""Set TENSORWRIGHT_FUZZ to try that many times as much."""
FILES = 150 * LONGER
MODELS = 200 * LONGER
GIVEN = {"x": RegisteredInput((2, 6, 6))}


def model() -> bytes:
    made = ModelMaker()
    made.input((-1, 6, 6, 2))
    kernel = made.number(np.ones((3, 3, 2, 4), np.float32))
    y = made.node("Conv", "x", kernel, inputs_orders=Orders(("N+C", "+CK")), strides=[2, 2], implicit_padding="same")
    y = made.node("Binary", y, made.number(np.ones(4, np.float32)), func="add")
    y = made.node("Pool", y, func="max", kernel=[2, 2], strides=[1, 1], inputs_orders=Orders(("N+C",)))
    y = made.node("Reshape", y, made.number([-1, 16]))
    y = made.node("FullyConnected", y, made.number(np.ones((16, 3), np.float32)), inputs_orders=Orders(("NC", "CK")))
    made.output(made.node("Reduce", y, func="mean", axes=[1], keepdims=True))
    return made.serialized()


FILE = model()


def read(data: bytes) -> None:
    """Read a model; only an ImportFailure may come out of it."""
    with suppress(ImportFailure):
        verify(import_uff(data, GIVEN))


def test_the_whole_file_is_read() -> None:
    verify(import_uff(FILE, GIVEN))


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


NUMBERS = st.one_of(st.integers(-3, 9), st.sampled_from([1 << 31, 1 << 62, -(1 << 63)]))
FIELDS = st.one_of(
    st.booleans(),
    NUMBERS,
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["same", "valid", "max", "avg", "relu", "add", "pow", "mean", "neg", "x"]),
    st.just(FLOAT32),
    st.lists(NUMBERS, max_size=6),
    st.lists(st.sampled_from(sorted(ORDERS)), max_size=3).map(Orders),
)
ARRAYS = st.one_of(
    st.lists(st.integers(-4, 9), max_size=5).map(lambda numbers: np.array(numbers, np.int32)),
    st.lists(st.integers(1, 4), max_size=5).map(lambda shape: np.ones(shape, np.float32)),
    st.sampled_from([np.array([1 << 30, 1 << 30], np.int32), np.array([1 << 60], np.int64)]),
)


@st.composite
def hostile_models(draw: st.DrawFn) -> bytes:
    """Operators with inputs and fields that need not fit them."""
    made = ModelMaker()
    names = [made.input(tuple(draw(st.lists(st.integers(-1, 6), max_size=5))))]
    names += [made.number(draw(ARRAYS)) for _ in range(draw(st.integers(0, 4)))]
    for _ in range(draw(st.integers(1, 3))):
        operation = draw(st.sampled_from(sorted(handlers_in(OPERATORS))))
        sources = [draw(st.sampled_from(names)) for _ in range(draw(st.integers(0, 5)))]
        known = sorted(handlers_in(OPERATORS)[operation].attributes)
        fields = {name: draw(FIELDS) for name in known if draw(st.integers(0, 3))}
        names.append(made.node(operation, *sources, **fields))
    made.output(names[-1])
    return made.serialized()


@settings(max_examples=MODELS)
@given(hostile_models())
def test_operators_with_inputs_that_do_not_fit(data: bytes) -> None:
    read(data)


def test_long_chains_take_no_recursion() -> None:
    made = ModelMaker()
    last = made.input()
    for _ in range(5000):
        last = made.node("Identity", last)
    made.output(last)
    verify(import_uff(made.serialized(), GIVEN))
