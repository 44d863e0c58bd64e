"""What a program's steps say about its memory, and the program as text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphs import binary, drawn, given, network, unary
from tensorwright.backends.find import backend_named
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Concatenation, Reshape
from tensorwright.passes.fuse import partition
from tensorwright.schedule.program import Program
from tensorwright.schedule.tensors import StoredTensor, memory_of
from tensorwright.schedule.text import program_text
from tensorwright.tune.search import Limits, Search
from tensorwright.tune.select import select
from tensorwright.tune.text import choices_text


def scheduled(graph: Graph) -> Program:
    tools = backend_named("cpu").toolchain(None, 2, None)
    search = Search(tools.offers, tools.roofline, Limits(None, 2))
    return tools.lower(graph, select(graph, search.all(partition(graph)), search))


def branches(rng: np.random.Generator) -> Graph:
    """Convolutions that are concatenated where they lie."""
    x = given("x", 1, 16, 6, 6)
    ones = (1, 1)
    parts = [apply(Convolution(ones, (0, 0), (0, 0), ones), x, drawn(rng, n, 16, 1, 1), name=f"c{n}") for n in (16, 32)]
    whole = apply(Concatenation(1), *parts, name="whole")
    return network(apply(Convolution(ones, (0, 0), (0, 0), ones), whole, drawn(rng, 8, 48, 1, 1), name="last"))


def nested(rng: np.random.Generator) -> Graph:
    """Concatenations within a concatenation, read only as a whole."""
    x, ones = given("x", 1, 16, 6, 6), (1, 1)
    parts = [
        apply(Convolution(ones, (0, 0), (0, 0), ones), x, drawn(rng, 16, 16, 1, 1), name=f"c{n}") for n in range(3)
    ]
    inner = apply(Concatenation(1), *parts[:2], name="inner")
    whole = apply(Concatenation(1), inner, parts[2], name="whole")
    return network(apply(Convolution(ones, (0, 0), (0, 0), ones), whole, drawn(rng, 8, 48, 1, 1), name="last"))


def chain(rng: np.random.Generator) -> Graph:
    x = given("x", 8, 12)
    first = apply(MatMul(), x, drawn(rng, 12, 16), name="first")
    view = apply(Reshape((16, 8)), apply(Relu(), first, name="relu"), name="view")
    second = apply(MatMul(), view, drawn(rng, 8, 4), name="second")
    return network(apply(MatMul(), second, drawn(rng, 4, 3), name="third"), binary("add", unary("exp", view), view))


def viewed(rng: np.random.Generator) -> Graph:
    """Convolutions that read a view of a vector as an image, in a layout of their own."""
    x = apply(Reshape((1, 32, 6, 6)), unary("exp", given("x", 32 * 36)), name="view")
    ones, parts = (1, 1), []
    for n in range(4):
        own = apply(Convolution(ones, ones, ones, ones), x, drawn(rng, 64, 32, 3, 3), name=f"c{n}")
        parts.append(apply(Convolution(ones, (0, 0), (0, 0), ones), own, drawn(rng, 64, 64, 1, 1), name=f"d{n}"))
    return network(*parts)


GRAPHS = [branches, nested, chain, viewed]
Make = Callable[[np.random.Generator], Graph]


def parts(whole: Value) -> set[Value]:
    """What a concatenation consists of, concatenations within it included."""
    inner = whole.inputs if isinstance(whole.op, Concatenation) else ()
    return {*inner, *(part for value in inner for part in parts(value))}


def meet(a: StoredTensor, b: StoredTensor) -> bool:
    """Whether two tensors have bytes of the arena in common at a time at which both are needed."""
    start, end = a.address.offset, a.address.offset + a.size
    bytes_meet = b.address.offset < end and start < b.address.offset + b.size
    return bytes_meet and a.first < b.last and b.first < a.last


@pytest.mark.parametrize("make", GRAPHS)
def test_tensors_share_memory_only_as_parts_of_each_other(make: Make, rng: np.random.Generator) -> None:
    program = scheduled(make(rng))
    inside = [tensor for tensor in memory_of(program).tensors if tensor.address.base == "arena"]
    assert max(t.address.offset + t.size for t in inside) <= program.arena_bytes
    for number, a in enumerate(inside):
        for b in inside[:number]:
            assert not meet(a, b) or a.value in parts(b.value) or b.value in parts(a.value)


@pytest.mark.parametrize("make", GRAPHS)
def test_steps_read_what_earlier_ones_wrote(make: Make, rng: np.random.Generator) -> None:
    program = scheduled(make(rng))
    memory = memory_of(program)
    for number, used in enumerate(memory.steps):
        assert memory.tensors[used.writes].first <= number
        for read in used.reads:
            assert memory.tensors[read].first < number <= memory.tensors[read].last
        assert set(used.constants) <= {constant.offset for constant in program.constants}


def test_inputs_outputs_and_wholes_have_their_lifetimes(rng: np.random.Generator) -> None:
    program = scheduled(branches(rng))
    found = {tensor.value.name: tensor for tensor in memory_of(program).tensors if not tensor.layout.is_plain}
    found |= {tensor.value.name: tensor for tensor in memory_of(program).tensors if tensor.address.base == "binding"}
    assert (found["x"].first, found["last"].last) == (-1, len(program.steps))
    assert found["whole"].first == found["c16"].first
    assert found["whole"].last > found["c32"].first


def test_a_whole_is_needed_from_its_first_part_on(rng: np.random.Generator) -> None:
    tensors = memory_of(scheduled(nested(rng))).tensors
    (whole,) = (tensor for tensor in tensors if tensor.value.name == "whole")
    assert whole.first == min(tensor.first for tensor in tensors if tensor.value.name in ("c0", "c1", "c2")) >= 0


def test_text_names_every_step_tensor_and_wait(rng: np.random.Generator) -> None:
    program = scheduled(chain(rng))
    text = program_text(program, 2)
    assert text == program_text(program, 2)
    assert text.count("\nstep ") == len(program.steps)
    assert text.count("-- all wait --") == len(program.waits(2))
    assert all(name in text for name in ("%relu", "%second", "%third"))
    chosen = choices_text([step.choice for step in program.steps])
    assert chosen.count("\n  * ") == len(program.steps)
    assert "ms estimated" in chosen
