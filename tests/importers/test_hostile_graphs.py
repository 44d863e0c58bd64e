"""Small TensorFlow graphs and UFF models that ask for much: refused or read, with little memory and no long wait.

A wait shows as a test that does not end; each of these took minutes or gigabytes without its bound.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from tensorflow_graphs import GraphMaker
from tensorwright.base.errors import ImportFailure
from tensorwright.compat import uff
from tensorwright.importers.tensorflow import import_tensorflow
from tensorwright.importers.uff import RegisteredInput, import_uff
from uff_models import ModelMaker

MOST_MEMORY = 30_000_000
GIVEN = {"x": RegisteredInput((2,), "NC")}
Reader = Callable[[bytes], object]


def read_uff(data: bytes) -> object:
    return import_uff(data, GIVEN)


def within_bounds(read: Callable[[], object]) -> str:
    """What reading something says, if it is refused; it must stay within bounds either way."""
    message = ""
    tracemalloc.start()
    try:
        read()
    except ImportFailure as error:
        message = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MEMORY
    return message


@pytest.fixture
def graph() -> GraphMaker:
    return GraphMaker()


def field(number: int, content: bytes) -> bytes:
    """A member of a message, as protocol buffers write it."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


@pytest.mark.parametrize("read", [import_tensorflow, read_uff])
def test_nesting_and_lengths_that_lie(read: Reader) -> None:
    functions = b""
    for _ in range(1000):
        functions = field(2, field(1, b"a") + field(2, field(10, functions)))
    attribute = field(1, b"a") + field(2, field(10, functions))
    nested = field(1, field(1, b"n") + field(2, b"Relu") + field(5, attribute))
    groups = b"\x0b" * 1_000_000
    lengths = [b"\x0a" + length + b"abc" for length in (b"\x7f", b"\xff\xff\xff\xff\x07", b"\xff" * 9 + b"\x01")]
    for data in (nested, groups, *lengths):
        assert ": not a" in within_bounds(lambda data=data: read(data))


@pytest.mark.parametrize("read", [import_tensorflow, uff.from_tensorflow])
def test_expressions_over_dimensions_do_not_explode(graph: GraphMaker, read: Reader) -> None:
    x = graph.placeholder((-1, -1, -1))
    one, halves = graph.constant(1), graph.add("Shape", x)
    squares = halves
    for _ in range(40):
        squares = graph.add("Mul", squares, graph.add("Add", squares, one))
        halves = graph.add(
            "FloorDiv", graph.add("Add", graph.add("Mul", halves, graph.constant(3)), one), graph.constant(2)
        )
    graph.add("Reshape", x, squares, name="y")
    graph.add("Reshape", x, halves, name="z")
    message = within_bounds(lambda: read(graph.bytes()))
    assert read is not import_tensorflow or "the target shape has to be known" in message


def test_products_of_many_dimensions_do_not_explode(graph: GraphMaker) -> None:
    x = graph.placeholder((-1,) * 30)
    padded = graph.add("Pad", x, graph.constant([[0, 1]] * 30))
    graph.add("Reshape", padded, graph.constant([-1]), name="y")
    short = {"batch": (1, 1, 16), **{f"x_{axis}": (1, 1, 512) for axis in range(1, 30)}}
    message = within_bounds(lambda: import_tensorflow(graph.bytes(), shapes=short))
    assert "an expression over dimensions takes up to" in message
    assert "no tensor has so many" in within_bounds(lambda: import_tensorflow(graph.bytes()))


def test_a_symbolic_model_of_uff_does_not_explode() -> None:
    model = ModelMaker()
    model.input((-1, 2))
    shape = model.node("Shape", "x")
    for _ in range(60):
        shape = model.node("Binary", shape, model.node("Binary", shape, model.number([1, 1]), func="add"), func="mul")
    model.output(model.node("Reshape", "x", shape))
    assert "the target shape has to be known" in within_bounds(lambda: read_uff(model.serialized()))


@pytest.mark.parametrize("operator", ["Split", "Unpack"])
def test_a_tensor_is_not_divided_without_end(graph: GraphMaker, operator: str) -> None:
    x = graph.placeholder((1 << 24,))
    if operator == "Split":
        graph.add("Split", graph.constant(0), x, name="y", num_split=1 << 24)
    else:
        graph.add("Unpack", x, name="y", num=1 << 24)
    graph.add("Relu", "y:5", name="z")
    assert "16777216 parts; expected at most 16384" in within_bounds(lambda: import_tensorflow(graph.bytes()))


def test_many_divisions_have_an_end(graph: GraphMaker) -> None:
    x, axis = graph.placeholder((1 << 14,)), graph.constant(0)
    parts = [graph.add("Split", axis, x, num_split=1 << 14) for _ in range(5)]
    graph.add("AddN", *parts, name="y", N=5)
    with pytest.raises(ImportFailure, match="nodes up to this one make 81915 tensors beyond one each"):
        import_tensorflow(graph.bytes())


def test_positions_of_long_axes_are_not_listed(graph: GraphMaker) -> None:
    graph.add("MirrorPad", graph.placeholder((1 << 30,)), graph.constant([[1 << 29, 1]]), name="y", mode="SYMMETRIC")
    assert "an axis of 1610612737 elements" in within_bounds(lambda: import_tensorflow(graph.bytes()))
    other = GraphMaker()
    x = other.placeholder((-1, 4))
    other.add("Reshape", x, other.add("Tile", other.add("Shape", x), other.constant([1 << 28])), name="y")
    assert "the target shape has to be known" in within_bounds(lambda: import_tensorflow(other.bytes()))


def test_one_element_does_not_stand_for_a_long_shape(graph: GraphMaker) -> None:
    shape = graph.constant(np.int32([4]))
    extents = graph.message.node[-1].attr["value"].tensor.tensor_shape.dim
    extents[0].size = 1 << 26
    graph.add("Reshape", graph.placeholder((4,)), shape, name="y")
    assert "the target shape has to be known" in within_bounds(lambda: import_tensorflow(graph.bytes()))


def test_functions_do_not_copy_large_constants_without_end(graph: GraphMaker) -> None:
    x = graph.placeholder((1,))
    made = graph.message.library.function.add()
    made.signature.name = "f"
    made.signature.input_arg.add(name="x")
    made.signature.output_arg.add(name="y")
    made.ret["y"] = "x"
    constant = made.node_def.add(name="c", op="Const").attr["value"].tensor
    constant.dtype, constant.tensor_content = 1, bytes(8_000_000)
    constant.tensor_shape.dim.add(size=2_000_000)
    for _ in range(40):
        x = graph.add("f", x)
    assert "or 268435456 bytes; is the file damaged?" in within_bounds(lambda: import_tensorflow(graph.bytes()))


def test_a_blob_is_read_once_however_many_constants_share_it() -> None:
    model = ModelMaker()
    model.input((-1, 2))
    names = [model.constant("c", np.zeros(1_000_000, np.float32))]
    first = model._graph.nodes[-1]
    for number in range(100):
        names.append(model.add("Const", f"c{number}"))
        model._graph.nodes[-1].CopyFrom(first)
        model._graph.nodes[-1].id = names[-1]
    model.output(model.node("Concat", *names, axis=0))
    assert within_bounds(lambda: read_uff(model.serialized())) == ""


def test_a_convolution_behind_an_unknown_operator_is_typed_once(graph: GraphMaker) -> None:
    x = graph.add("Frob", graph.placeholder((-1, 8, 8, 4)))
    kernel = graph.constant(np.ones((1, 1, 4, 4), np.float32))
    for _ in range(500):
        x = graph.add("Conv2D", x, kernel, padding="SAME", strides=[1, 1, 1, 1])
    assert within_bounds(lambda: uff.from_tensorflow(graph.bytes(), quiet=True)) == ""
