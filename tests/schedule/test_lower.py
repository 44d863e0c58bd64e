"""Where tensors lie: in place, inside concatenations, at bindings; constants are packed once; who waits for scalars."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from graphs import binary, drawn, given, network, unary
from schedule.programs import program_of, step_of
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Reshape
from tensorwright.plan.plan import Address
from tensorwright.schedule.program import Program
from tensorwright.tensor.dim import Dim, symbol


def concatenated(*values: Value, axis: int = 1, name: str = "concat") -> Value:
    return apply(Concatenation(axis), *values, name=name)


def placed(program: Program, name: str) -> Address:
    """Where the value of a name is written."""
    return step_of(program, name).operands[0]


def read(program: Program, name: str) -> list[Address]:
    """Where the step that computes the value of a name reads."""
    return list(step_of(program, name).operands[1:])


def steps(program: Program) -> list[str]:
    return [step.choice.region.output.name for step in program.steps]


def test_a_chain_of_elementwise_steps_stays_in_place() -> None:
    x = given("x", 1, 64)
    values = [unary("exp", x, "a")]
    for name in ("b", "c", "d"):
        values.append(unary("tanh", values[-1], name))
    program = program_of(network(values[-1]), fuse=False)
    assert placed(program, "a") == placed(program, "b") == placed(program, "c")
    assert placed(program, "d") == Address("binding", 1)
    assert program.arena_bytes == 256


def test_network_inputs_and_outputs_are_never_overwritten() -> None:
    x = given("x", 1, 64)
    first = unary("exp", x, "first")
    program = program_of(network(first, unary("neg", unary("tanh", first, "second"), "third")), fuse=False)
    assert placed(program, "first") == Address("binding", 1)
    assert placed(program, "second").base == "arena"
    assert placed(program, "third") == Address("binding", 2)


def test_an_operand_that_is_read_later_is_not_overwritten() -> None:
    a = unary("exp", given("x", 1, 64), "a")
    b = unary("tanh", a, "b")
    program = program_of(network(binary("add", unary("neg", b, "c"), a, "sum")), fuse=False)
    assert placed(program, "b") != placed(program, "a")
    assert placed(program, "c") == placed(program, "b")


def test_a_view_may_be_overwritten_when_its_memory_is_read_no_more() -> None:
    a = unary("exp", given("x", 4, 16), "a")
    view = apply(Reshape((8, 8)), a, name="view")
    b = unary("tanh", view, "b")
    program = program_of(network(unary("neg", b, "c")), fuse=False)
    assert placed(program, "b") == placed(program, "a")


def test_a_view_is_not_overwritten_while_its_memory_is_read() -> None:
    a = unary("exp", given("x", 4, 16), "a")
    b = unary("tanh", apply(Reshape((8, 8)), a, name="view"), "b")
    again = apply(Reshape((4, 16)), unary("neg", b, "c"), name="again")
    program = program_of(network(binary("add", again, apply(Reshape((4, 16)), a), "sum")), fuse=False)
    assert placed(program, "b") != placed(program, "a")


def test_operands_are_computed_inside_their_concatenation() -> None:
    x = given("x", 1, 3, 4, 4)
    a, b = unary("exp", x, "a"), unary("tanh", x, "b")
    program = program_of(network(unary("neg", concatenated(a, b), "out")), fuse=False)
    assert steps(program) == ["a", "b", "out"]
    (source,) = read(program, "out")
    assert placed(program, "a") == source
    assert placed(program, "b") == Address("arena", source.offset + 3 * 16 * 4)


def test_concatenations_nest() -> None:
    x = given("x", 1, 4, 4, 4)
    a, b, c = (unary(function, x, function) for function in ("exp", "tanh", "neg"))
    program = program_of(network(unary("abs", concatenated(concatenated(a, b, name="in"), c), "out")), fuse=False)
    (source,) = read(program, "out")
    assert [placed(program, name).offset - source.offset for name in ("exp", "tanh", "neg")] == [0, 256, 512]


@pytest.mark.parametrize("twice", [True, False])
def test_what_cannot_move_is_copied(twice: bool) -> None:
    x = given("x", 1, 4, 4, 4)
    a = unary("exp", x, "a")
    program = program_of(network(unary("abs", concatenated(a, a if twice else x), "out")), fuse=False)
    assert steps(program) == ["a", "concat", "out"]


def test_an_operand_lies_in_one_concatenation_only() -> None:
    x = given("x", 1, 4, 4, 4)
    a, b, c = (unary(function, x, function) for function in ("exp", "tanh", "neg"))
    one, other = concatenated(a, b, name="one"), concatenated(a, c, name="other")
    program = program_of(network(unary("abs", one, "out"), unary("neg", other, "more")), fuse=False)
    assert "one" not in steps(program)
    assert "other" in steps(program)


def blocks(height: Dim) -> Program:
    """Two maps in the blocked layout, concatenated by channels."""
    x = given("x", 1, 16, height, 4)
    maps = [unary(function, x, function) for function in ("exp", "tanh")]
    return program_of(network(unary("abs", concatenated(*maps), "out")), fuse=False, blocked=True)


def test_blocks_of_channels_are_computed_inside_their_concatenation() -> None:
    program = blocks(8)
    assert "concat" not in steps(program)
    assert placed(program, "tanh").offset - placed(program, "exp").offset == 16 * 8 * 4 * 4


def test_a_concatenation_of_unknown_extents_is_copied() -> None:
    program = blocks(symbol("height", 1, 4, 8))
    assert not step_of(program, "concat").kernel.output.is_plain


def overwritten_concatenation() -> Graph:
    """The concatenation t is read last where its operand a is still needed."""
    a = apply(Relu(), given("x", 1, 8, 4, 4), name="a")
    t = concatenated(a, unary("tanh", a, "b"), name="t")
    return network(concatenated(a, unary("exp", t, "e"), name="y"))


def test_a_concatenation_is_not_overwritten_while_an_operand_is_read() -> None:
    program = program_of(overwritten_concatenation())
    assert placed(program, "e") != placed(program, "a")
    assert placed(program, "a") in read(program, "y")


def test_a_concatenation_is_not_overwritten_where_its_operand_is_read_elsewhere_by_the_same_step() -> None:
    x = given("x", 1, 2, 8)
    a, b = unary("exp", x, "a"), unary("tanh", x, "b")
    t = concatenated(a, b, name="t")
    row = apply(Reshape((1, 16)), a, name="row")
    both = binary("add", apply(Reshape((2, 16)), t, name="view"), row, "both")
    program = program_of(network(unary("neg", both, "out")), fuse=False)
    assert "t" not in steps(program)
    assert placed(program, "both") != placed(program, "a")


def test_a_concatenation_is_overwritten_when_nothing_in_it_is_read_any_more() -> None:
    a = unary("exp", given("x", 1, 8, 4, 4), "a")
    t = concatenated(a, unary("tanh", a, "b"), name="t")
    program = program_of(network(unary("neg", unary("abs", t, "c"), "out")), fuse=False)
    assert placed(program, "c") == placed(program, "a")


def scalar_read_by_all(rng: np.random.Generator) -> Graph:
    """The memory of a scalar that all tasks of a step read is used again by the step behind it."""
    x = given("x", 128, 128)
    scale = apply(Reduction("max", (0, 1), False), x, name="scale")
    scaled = binary("div", apply(MatMul(), x, drawn(rng, 128, 128)), scale, "scaled")
    return network(apply(MatMul(), scaled, apply(Softmax(1), x, name="other")))


def test_threads_wait_before_a_scalar_that_all_read_is_overwritten(rng: np.random.Generator) -> None:
    program = program_of(scalar_read_by_all(rng))
    assert placed(program, "other") == placed(program, "scale")
    assert step_of(program, "scaled").kernel.tasks != 1
    reader, writer = (steps(program).index(name) for name in ("scaled", "other"))
    assert reader < writer
    for threads in (2, 3, 8):
        assert any(reader < step <= writer for step in program.waits(threads))


def test_equal_constants_lie_in_the_weights_once(rng: np.random.Generator) -> None:
    weights = drawn(rng, 32, 32)
    x = given("x", 8, 32)
    program = program_of(network(apply(MatMul(), apply(MatMul(), x, weights, name="a"), weights, name="b")))
    assert len(program.constants) == 1
    assert read(program, "a")[1] == read(program, "b")[1]


def test_constants_start_at_multiples_of_a_cache_line(rng: np.random.Generator) -> None:
    x = given("x", 3, 5)
    program = program_of(network(binary("add", binary("mul", x, drawn(rng, 5)), drawn(rng, 3, 5))), fuse=False)
    ends = [(constant_.offset, constant_.offset + constant_.size) for constant_ in program.constants]
    assert all(start % 64 == 0 for start, _ in ends)
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    assert ends[-1][1] <= program.weights_bytes
    whole = np.frombuffer(program.weights, np.uint8)
    for found, (start, end) in zip(program.constants, ends, strict=True):
        assert np.shares_memory(found.packed, whole)  # No constant is in memory twice.
        assert found.packed.tobytes() == whole[start:end].tobytes()
